"""Tests of the named sets of problems and of the strategies' table, against searches one by one."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from drivers import read_jsonl, run_search

from sos.commands.cli import call
from sos.config import Config, DataConfig, EvalConfig, SearchConfig
from sos.data.splits import evaluation_problems
from sos.envs.countdown.config import CountdownConfig
from sos.envs.countdown.rules import Countdown
from sos.judge.problems import split_problems
from sos.published.names import published_strategies, published_weight
from sos.published.strategies import ANY, MEAN, MIXTURE, as_lines, as_text, solve_table
from sos.published.wording import trace_text
from sos.search.depth_first import DepthFirst
from sos.system import System, build_system
from sos.trace import Outcome

main = partial(call, "strategies")

CONFIG = Config(
    env=CountdownConfig(num_numbers=3, max_number=30, max_value=2**31 - 1),
    search=SearchConfig(name="beam", width=2),
    data=DataConfig(context=256, val_fraction=0.3),
)


@pytest.fixture(scope="module")
def system() -> System:
    return build_system(CONFIG)


def solves(strategy: object, system: System, problem: np.ndarray) -> bool:
    return run_search(strategy, system.env, problem).outcome == Outcome.SOLVED


def test_the_twelve_are_the_published_mixture(system: System) -> None:
    from sos.search import mix
    from sos.system import build_strategy
    from sos.view.sources import compose

    mixture, names = build_strategy(compose(["search=paper_mixture"]).search, system.env)
    twelve = published_strategies()
    assert names == tuple(twelve)
    budget = [
        s._replace(max_nodes=100_000, **({"shuffle": True} if hasattr(s, "shuffle") else {})) for s in twelve.values()
    ]
    expected = mix(budget, [published_weight(name) for name in names])
    for ours, configured in zip(expected, mixture, strict=True):
        np.testing.assert_array_equal(ours, configured)


def test_the_twelve_write_the_published_texts(reference: Path) -> None:
    twelve = published_strategies()
    num = 0
    for row in list(read_jsonl(reference / "traces.jsonl"))[::8]:
        env = Countdown(len(row["nums"]))
        for name, entry in row["traces"].items():
            strategy = twelve[name.replace("bfs", "beam").replace("-", "_")]
            assert trace_text(run_search(strategy, env, env.problem_row(row["target"], row["nums"]))) == entry["text"]
            num += 1
    assert num > 80


def test_no_search_has_more_nodes_than_the_full_tree() -> None:
    everything = DepthFirst(heuristic=0, use_threshold=False)
    for num_numbers, found, most in ((2, 5, 5), (3, 57, 61)):
        env = Countdown(num_numbers, max_target=1000)
        # These divide each other (but not their sums), and the target is out of reach.
        trace = run_search(everything, env, env.problem_row(999, [4, 16, 64][:num_numbers]))
        assert len(trace.nodes) == found
        assert env.tree_nodes == most
    assert Countdown(5).tree_nodes == 58_601


def test_difficult_problems_are_those_that_no_strategy_solves(system: System) -> None:
    found = split_problems(system, "difficult", 5)
    assert len(found) == 5
    twelve = published_strategies().values()
    expected = []
    for problem in evaluation_problems(system.env, system.splits, "val", 2000):
        if len(expected) < 5 and not any(solves(strategy, system, problem) for strategy in twelve):
            expected.append(problem.tolist())
    assert found.tolist() == expected
    assert split_problems(system, "difficult", 3).tolist() == expected[:3]
    assert all(solves(DepthFirst(0, False), system, problem) for problem in found)


def test_unsolved_problems_are_those_that_the_teacher_does_not_solve(system: System) -> None:
    found = split_problems(system, "unsolved", 20)
    expected = [
        problem.tolist()
        for problem in evaluation_problems(system.env, system.splits, "val", 200)
        if not solves(system.strategy, system, problem)
    ]
    assert 20 <= len(expected) < 150
    assert found.tolist() == expected[:20]
    perfect = replace(system, strategy=DepthFirst(1, False, True))
    assert split_problems(perfect, "unsolved", 20).shape == (0, 5)


def test_a_mixtures_unsolved_problems_depend_on_who_searched_them(system: System) -> None:
    from sos.search import mix

    half = replace(system, strategy=mix([DepthFirst(1, False, True), system.strategy], [1.0, 1.0]))
    found = split_problems(half, "unsolved", 10)
    assert not any(solves(system.strategy, system, problem) for problem in found)
    hard = split_problems(system, "unsolved", 10).tolist()
    assert found.tolist() != hard  # the perfect half of the teacher has solved some of them


def test_the_keys_of_the_splits_are_checked() -> None:
    for splits in ([], ["val", "val"], ["test"]):
        with pytest.raises(ValueError, match=r"^eval.splits must name some of val, val_target, difficult, unsolved, "):
            EvalConfig(splits=splits)
    with pytest.raises(ValueError, match=r"eval.splits: difficult needs whole searches, .*env.num_numbers=6"):
        Config(env=CountdownConfig(num_numbers=6), eval=EvalConfig(splits=["val", "difficult"]))
    six = build_system(Config(env=CountdownConfig(num_numbers=6)))
    with pytest.raises(ValueError, match="split unsolved needs whole searches, which can have 3516061 nodes"):
        split_problems(six, "unsolved", 1)


def test_the_table_is_what_searches_one_by_one_give(system: System) -> None:
    problems = {
        "val": evaluation_problems(system.env, system.splits, "val", 30),
        "val_target": evaluation_problems(system.env, system.splits, "val_target", 10),
    }
    rows = solve_table(system, problems)
    assert list(rows) == [*published_strategies(), MEAN, MIXTURE, ANY]
    solved = {}
    for name, strategy in published_strategies().items():
        traces = [run_search(strategy, system.env, problem) for problem in problems["val"]]
        solved[name] = [trace.outcome == Outcome.SOLVED for trace in traces]
        assert rows[name]["solve/val"].value == np.mean(solved[name])
        assert rows[name]["nodes/val"].value == np.mean([len(trace.nodes) for trace in traces])
        assert rows[name]["tokens/val"].value > 0
        assert rows[name]["solve/val_target"].num == 10
    rates = {name: np.mean(values) for name, values in solved.items()}
    assert rows[MEAN]["solve/val"].value == pytest.approx(np.mean(list(rates.values())))
    depth_first = (rates["dfs_sum"] + rates["dfs_mult"]) / 4
    beams = sum(rate for name, rate in rates.items() if name.startswith("beam")) / 20
    assert rows[MIXTURE]["solve/val"].value == pytest.approx(depth_first + beams)
    assert rows[ANY]["solve/val"].value == np.mean(np.any(list(solved.values()), 0))
    lines = as_text(rows).splitlines()
    assert len(lines) == 16
    assert lines[0].split() == ["strategy", *rows["dfs_sum"]]
    assert len(as_lines(rows)) == 1 + 14 * 6 + 2


@pytest.mark.slow
def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["env=countdown", "stream=compact", "data.context=64", "eval.splits=[difficult]"]
    assert main([*small, "problems=4", f"out={tmp_path / 'a' / 'table.csv'}"]) == 0
    assert "any of the 12   0.0%" in capsys.readouterr().out
    assert (
        (tmp_path / "a" / "table.csv").read_text().startswith("strategy,metric,value,low,high,num\ndfs_sum,solve/dif")
    )
    for arguments, complaint in (
        (["problems=0"], "problems must be at least 1, got 0"),
        (["env.num_numbers=6"], "env.num_numbers=6: a search can have 3516061 nodes"),
        (["eval.splits=[all]"], "eval.splits must name some of"),
        (["env.colour=3"], "colour"),
    ):
        assert main(arguments) == 2
        assert complaint in capsys.readouterr().err
