"""What a sweep file expects: its lines are read, and what is none is refused before any run."""

from __future__ import annotations

import math

import pytest

from sos.errors import UserError
from sos.runs.expectations import read_expectation, read_expectations

ARMS = ["base", "new", "a__b"]


@pytest.mark.parametrize(
    ("text", "metric", "low", "high"),
    [
        ("new < base", "nodes/val", -math.inf, 0),
        ("new  >  base", "nodes/val", 0, math.inf),
        ("new = base within 0.5", "nodes/val", -0.5, 0.5),
        ("new >= base within 0.02 in solve/val", "solve/val", -0.02, math.inf),
        ("new <= base within 1e-3", "nodes/val", -math.inf, 1e-3),
        ("new < base in solve/val_target", "solve/val_target", -math.inf, 0),
        ("new < base in solve/val against plan/val", "solve/val", -math.inf, 0),
    ],
)
def test_a_line_says_where_the_difference_lies(text: str, metric: str, low: float, high: float) -> None:
    found = read_expectation(text, "nodes/val")
    against = "plan/val" if "against" in text else metric
    assert found[1:] == ("new", "base", metric, low, high, against)
    assert found.text == " ".join(text.split())


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("new better base", "is not ARM SIGN ARM"),
        ("new<base", "is not ARM SIGN ARM"),
        ("", "is not ARM SIGN ARM"),
        ("new < base in solve/val within 0.1", "is not ARM SIGN ARM"),
        ("new < base against solve/val", "is not ARM SIGN ARM"),
        ("new = base", "the sign = needs a margin"),
        ("new >= base in solve/val", "the sign >= needs a margin"),
        ("new < base within 0.1", "the sign < has no use for a margin"),
        ("new = base within much", "the margin must be a number above 0, got much"),
        ("new = base within 0", "the margin must be a number above 0, got 0"),
        ("new = base within -1", "the margin must be a number above 0, got -1"),
        ("new = base within inf", "the margin must be a number above 0, got inf"),
        ("new = base within nan", "the margin must be a number above 0, got nan"),
        ("new < other", "other is no arm; there are base, new, a__b"),
        ("other < new", "other is no arm"),
        ("new < new", "compares an arm with itself"),
    ],
)
def test_what_is_no_expectation_is_refused_by_name(text: str, reason: str) -> None:
    with pytest.raises(UserError, match=r"^sweep: expect holds ") as caught:
        read_expectations(["a__b > base", text], ARMS, "nodes/val")
    assert reason in str(caught.value)
