"""What a sweep file expects of its arms, written before any run: `expect` of conf/sweep/*.yaml.

A line is `ARM SIGN ARM [within MARGIN] [in METRIC [against METRIC]]`, such as `roc_inverse < random`. `<` and `>` speak
of the means over seeds; `=`, `<=` and `>=` need a margin, since no number of runs shows that two means are equal:
`>= random within 0.02` is less than 0.02 below it. The metric is the sweep's primary one unless it is said; rates are
fractions. `in A against B` takes the metric A of the first arm and B of the second, where one of them is asked
otherwise, as behind a context.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

from sos.errors import UserError

_LINE = re.compile(r"(\S+) (<|>|=|<=|>=) (\S+)(?: within (\S+))?(?: in (\S+)(?: against (\S+))?)?")


class Expectation(NamedTuple):
    """A line of `expect`: the mean of `metric` in `arm` minus that of `other_metric` in `other` is above `low` and
    below `high`."""

    text: str
    arm: str
    other: str
    metric: str
    low: float
    high: float
    other_metric: str


def read_expectation(text: str, primary: str) -> Expectation:
    """Read one line; raises UserError for what is none."""
    found = _LINE.fullmatch(" ".join(text.split()))
    if found is None:
        raise UserError(f"sweep: expect holds {text!r}, which is not ARM SIGN ARM [within MARGIN] [in METRIC]")
    arm, sign, other, within, metric, against = found.groups()
    if (within is None) != (sign in "<>"):
        needs = "needs" if within is None else "has no use for"
        raise UserError(f"sweep: expect holds {text!r}: the sign {sign} {needs} a margin")
    margin = _margin(within, text)
    low, high = {
        "<": (-math.inf, 0.0),
        ">": (0.0, math.inf),
        "=": (-margin, margin),
        "<=": (-math.inf, margin),
        ">=": (-margin, math.inf),
    }[sign]
    metric = metric or primary
    return Expectation(found[0], arm, other, metric, low, high, against or metric)


def read_expectations(texts: Sequence[str], arms: Sequence[str], primary: str) -> list[Expectation]:
    """Read the lines of a sweep with these arms; raises UserError for a line that names another one, or one twice."""
    found = [read_expectation(text, primary) for text in texts]
    for line in found:
        unknown = next((arm for arm in (line.arm, line.other) if arm not in arms), None)
        if unknown is not None:
            raise UserError(f"sweep: expect holds {line.text!r}: {unknown} is no arm; there are {', '.join(arms)}")
        if (line.arm, line.metric) == (line.other, line.other_metric):
            raise UserError(f"sweep: expect holds {line.text!r}, which compares an arm with itself")
    return found


def _margin(text: str | None, line: str) -> float:
    try:
        margin = float(text or 0)
    except ValueError:
        margin = math.nan
    if not 0 <= margin < math.inf or (text is not None and margin == 0):
        raise UserError(f"sweep: expect holds {line!r}: the margin must be a number above 0, got {text}")
    return margin
