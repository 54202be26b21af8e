"""Penalties against the released code on texts, and by hand on events."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from drivers import read_jsonl

from sos.improve.penalties import count_calls, error_penalties, format_penalties, penalised, text_penalties
from sos.stream.verify import Error
from sos.trace import Event


def test_penalties_of_texts_are_those_of_the_released_code(reference: Path) -> None:
    looked_at = 0
    for row in read_jsonl(reference / "losses" / "roc_penalties.jsonl"):
        assert text_penalties(row["text"]) == (row["p_err"], row["p_format"]), row["case"]
        looked_at += 1
    assert looked_at >= 18


def test_penalties_of_counts(reference: Path) -> None:
    looked_at = 0
    for row in read_jsonl(reference / "losses" / "roc.jsonl"):
        np.testing.assert_allclose(error_penalties(row["calls"], row["errors"]), row["p_err"], atol=1e-15)
        looked_at += len(row["calls"])
    assert looked_at >= 300


@pytest.mark.parametrize(
    ("calls", "errors", "answers", "turns", "expected"),
    [
        (0, 0, 1, 1, (0.5, 0.0)),
        (4, 1, 0, 5, (0.25, 1.0)),
        (1, 1, 2, 2, (1.0, 0.5)),
        (1, 0, 9, 2, (0.0, 1.0)),
        (0, 0, 1, 0, (0.5, 1.0)),
    ],
)
def test_the_rule_of_the_paper(
    calls: int, errors: int, answers: int, turns: int, expected: tuple[float, float]
) -> None:
    found = error_penalties([calls], [errors])[0], format_penalties([answers], [turns])[0]
    assert found == expected


def test_calls_are_counted_from_events() -> None:
    """Three rollouts: a right one, one with mistakes that never claims a goal and becomes unreadable, an empty one."""
    right = [(Event.EXPAND, 0), (Event.GENERATE, 0), (Event.GENERATE, 0), (Event.GOAL, 0), (Event.END, 0)]
    wrong = [
        (Event.EXPAND, Error.STATE),  # the problem, which the policy did not write
        (Event.GENERATE, Error.ARITHMETIC),
        (Event.DEAD_END, Error.FALSE_DEAD_END),  # no call
        (Event.EXPAND, Error.JUMP),
        (Event.BACKTRACK, 0),
    ]
    kinds, errors = (np.array(column, np.int8) for column in zip(*right, *wrong, strict=True))
    found = count_calls(kinds, errors, np.array([0, 5, 10, 10]), np.array([False, True, False]))
    assert found.calls.tolist() == [2, 4, 0]
    assert found.errors.tolist() == [0, 3, 0]
    assert found.answers.tolist() == [1, 0, 0]
    assert found.turns.tolist() == [3, 5, 1]
    assert error_penalties(found.calls, found.errors).tolist() == [0, 0.75, 0.5]
    assert format_penalties(found.answers, found.turns).tolist() == [0, 1, 1]
    assert penalised([1, 0, 0], [0, 1, 1], 0.5).tolist() == [1, -0.5, -0.5]


def test_long_texts_take_linear_time() -> None:
    """Half a million unclosed tags, for which a pattern would take hours."""
    assert text_penalties("<answer>" * 500_000) == (0.5, 1.0)
    assert text_penalties("<tool_response>" * 500_000) == (0.5, 1.0)
