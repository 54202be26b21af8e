"""The table of teachers: shares of the same problems, in any environment, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from drivers import run_search

from sos.commands.cli import call
from sos.compose import compose
from sos.config import Config
from sos.data.splits import make_splits, sample_problems
from sos.envs.countdown.rules import Countdown
from sos.judge.teachers import CONTEXTS, Stream, cover, streams, table, teachers
from sos.search import Widening
from sos.stream.codec import encode
from sos.stream.dialect.compile import load_dialect
from sos.system import build_env
from sos.trace import Outcome


def test_shares_are_those_of_the_single_searches() -> None:
    env, known = Countdown(num_numbers=3), teachers(Config())
    problems = sample_problems(env, make_splits(env, 0.1, 0.0), "train", 20)
    named = {name: strategy for name, strategy in known.items() if name.startswith("dfs sum")}
    assert len(named) == 4
    widening = "widening size, look-ahead 1"
    named[widening] = known[widening]
    rows = cover(env, 20, named, [Stream("sos", 9)])
    dialect = load_dialect("sos", env, 9)
    for row in rows:
        traces = [run_search(named[row.teacher], env, problem) for problem in problems]
        assert all(trace.outcome == Outcome.SOLVED for trace in traces)
        lengths = np.array([len(encode(dialect, trace)[0]) for trace in traces])
        assert row.solved == 1.0
        assert row.fits == tuple(float((lengths <= context).mean()) for context in CONTEXTS)
        assert row.median_tokens == np.median(lengths)
    assert rows[0].fits[0] < rows[3].fits[1] == 1.0  # looking ahead shortens
    medians = [row.median_tokens for row in rows[:4]]
    assert medians == sorted(medians, reverse=True)  # the further a search looks ahead, the less it writes
    assert len(table("title", rows).splitlines()) == 4 + len(rows)


def test_the_order_of_the_numbers_changes_searches_by_operator() -> None:
    env, name = Countdown(num_numbers=4, max_value=300), "dfs operator, dead ends in range"
    named = {name: teachers(Config())[name]}
    rows = [cover(e, 200, named, [Stream("compact", 9)])[0] for e in (env, env._replace(descending=True))]
    assert all(row.solved == 1.0 for row in rows)
    assert rows[1].fits > rows[0].fits


def test_an_environment_has_the_teachers_that_it_can_have() -> None:
    known = teachers(Config())
    assert len(known) == 2 * 5 * 4
    assert sum(isinstance(strategy, Widening) for strategy in known.values()) == 20
    far = teachers(compose(["env.max_target=400", "env.max_value=400"]))  # farther than the bound of widening
    assert list(far) == [name for name in known if name.startswith("dfs ")]
    assert list(teachers(compose(["env=path_star"]))) == ["dfs generation order"]
    env = build_env(compose(["env=path_star"]))
    assert streams(env, ["compact"]) == [Stream("compact", 29)]  # digits would run into each other
    assert {stream.dialect for stream in streams(env)} == {"checked", "compact", "published"}
    assert Stream("compact", 9) in streams(build_env(Config()))


def test_it_has_a_table_for_each_environment(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["env=path_star", "env.num_arms=2,3", "problems=20", "dialects=[compact]"]
    assert call("teachers", words) == 0
    said = capsys.readouterr().out.splitlines()
    assert [line for line in said if "solvable" in line] == [
        f"{arms} arms of 4 nodes with 30 labels, 20 solvable problems, %" for arms in (2, 3)
    ]
    rows = [line for line in said if "dfs generation order" in line]
    assert len(rows) == 2
    assert all("| 100.0 | 100.0 |" in row for row in rows)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["env.max_value=99"], "env.max_target=100 must not be above env.max_value=99"),
        (["env.num_numbers=7"], "env.num_numbers must be at most 6, got 7"),
        (["problems=0"], "problems must be at least 1"),
        (["dialects=[compat]", "problems=5"], "stream.dialect: no dialect 'compat'"),
        (["search.heuristic=sum"], "search"),
    ],
)
def test_impossible_options_are_one_line(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("teachers", words) == 2
    line = capsys.readouterr().err.strip()
    assert line.startswith("error: ")
    assert said in line
    assert "\n" not in line
