"""The table of teachers: shares of the same problems, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from drivers import run_search

from sos.commands.cli import call
from sos.data import teachers
from sos.data.splits import make_splits, sample_problems
from sos.data.teachers import CONTEXTS, STREAMS, cover, table
from sos.envs.countdown.rules import Countdown
from sos.stream.codec import encode
from sos.stream.dialect.compile import load_dialect
from sos.trace import Outcome


def test_shares_are_those_of_the_single_searches() -> None:
    env = Countdown(num_numbers=3)
    problems = sample_problems(env, make_splits(env, 0.1, 0.0), "train", 20)
    named = {name: strategy for name, strategy in teachers.teachers().items() if "sum" in name}
    assert len(named) == 4
    widening = "widening size from 300, look-ahead 1"
    named[widening] = teachers.teachers()[widening]
    rows = cover(env, 20, named, STREAMS[-1:])
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
    named = {name: teachers.teachers()[name]}
    rows = [cover(e, 200, named, STREAMS[:1])[0] for e in (env, env._replace(descending=True))]
    assert all(row.solved == 1.0 for row in rows)
    assert rows[1].fits > rows[0].fits


def test_an_impossible_limit_is_refused(capsys) -> None:
    assert call("teachers", ["max_value=99"]) == 2
    assert "max_value" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["numbers=[7]"], ["numbers=[1]"], ["problems=0"]])
def test_impossible_options_are_one_line(arguments: list[str], capsys) -> None:
    assert call("teachers", arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith(("error: problems must be at least 1", "error: numbers must be from 2 to 6"))
    assert len(said.splitlines()) == 1
