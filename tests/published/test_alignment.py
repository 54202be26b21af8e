"""Tests of the alignment of rollouts with the published strategies."""

from __future__ import annotations

import csv
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drivers import run_search
from synthetic_runs import write_run

from sos.commands.cli import call
from sos.config import Config, DataConfig, StreamConfig, to_dict
from sos.data.splits import evaluation_problems
from sos.envs.countdown.config import CountdownConfig
from sos.published.alignment import align_rollouts, table, visited_states
from sos.published.metric import parse_tree
from sos.published.names import published_strategies
from sos.published.wording import published_text, trace_text
from sos.stream.codec import encode, encode_prompt
from sos.stream.dialect.compile import Dialect
from sos.system import System, build_system

main = partial(call, "alignment")

CONFIG = Config(
    env=CountdownConfig(num_numbers=3, max_number=30, max_value=2**31 - 1),
    stream=StreamConfig(numbers="digits"),
    data=DataConfig(context=2048, val_fraction=0.3),
)
TWELVE = published_strategies()


@pytest.fixture(scope="module")
def system() -> System:
    return build_system(CONFIG)


def imitate(system: System, problems: np.ndarray, dialect: Dialect, name: str) -> list[np.ndarray]:
    return [encode(dialect, run_search(TWELVE[name], system.env, problem))[0] for problem in problems]


@pytest.mark.parametrize("dialect_name", ["compact", "sos"])
def test_a_model_that_imitates_a_strategy_is_recognised(dialect_name: str, system: System, dialect_of: Any) -> None:
    dialect = dialect_of(dialect_name, system.env, 9)
    problems = evaluation_problems(system.env, system.splits, "val", 12)
    for name in ("dfs_mult", "beam_sum_3"):
        streams = imitate(system, problems, dialect, name)
        texts = [trace_text(run_search(TWELVE[name], system.env, problem)) for problem in problems]
        assert [published_text(dialect, system.env, tokens) for tokens in streams] == texts
        done: list[int] = []
        found = align_rollouts(dialect, system.env, problems, streams, done.append)
        assert sum(done) == 12
        s = found.strategies.index(name)
        assert (found.values[:, s] == 1).all()
        np.testing.assert_allclose(found.between[s], found.values.mean(0))
        np.testing.assert_allclose(found.nearest.sum(1), 1)
        assert found.nearest[:, s].mean() == found.nearest.mean(0).max()
        assert table(found).splitlines()[1].split()[0] == name


def test_mistakes_and_nonsense_align_with_nothing_that_they_did_not_visit(system: System) -> None:
    problems = evaluation_problems(system.env, system.splits, "val", 2)
    found = align_rollouts(system.dialect, system.env, problems, [np.zeros(3, int), np.array([1, 2])])
    assert not found.values.any()
    assert not found.nearest.any()
    assert visited_states("nothing") == set()
    prompt = np.array(encode_prompt(system.dialect, problems[0]))
    text = published_text(system.dialect, system.env, prompt)
    assert text == f"Current State: {problems[0][0]}:{problems[0][2:].tolist()}, Operations: []\n"
    assert visited_states(text) == {tuple(sorted(problems[0][2:].tolist()))}
    assert parse_tree(text).num_total_nodes == 0


def test_the_command(system: System, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    problems = evaluation_problems(system.env, system.splits, "val", 6)
    folder = write_run(tmp_path / "run", config=to_dict(CONFIG), evaluated=problems)
    streams = imitate(system, problems, system.dialect, "dfs_sum")
    path = folder / "rollouts_val.npz"
    with np.load(path) as stored:
        arrays = dict(stored)
    np.savez(path, **arrays, tokens=np.concatenate(streams), offsets=np.cumsum([0, *map(len, streams)]))
    out = tmp_path / "out" / "alignment.csv"
    assert main([str(folder), "problems=4", f"out={out}"]) == 0
    said = capsys.readouterr().out
    assert "4 rollouts of val\nstrategy" in said
    with out.open() as file:
        rows = {(row["strategy"], row["metric"]): row for row in csv.DictReader(file)}
    assert len(rows) == 24
    assert float(rows["dfs_sum", "alignment"]["value"]) == 1
    assert rows["dfs_sum", "alignment"]["num"] == "4"
    for arguments, complaint in (
        ([str(folder), "split=val_target"], "no rollouts of split val_target"),
        ([str(folder), "problems=0"], "problems must be at least 1, got 0"),
        ([str(tmp_path / "none")], "none"),
    ):
        assert main(arguments) == 2
        assert complaint in capsys.readouterr().err
