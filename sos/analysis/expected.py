"""Verdicts over seeds: every arm against the baseline on the primary metric, and what the sweep file expected of its
arms.

Two intervals of a difference of means are kept beside each other. Welch's takes the runs of both arms as independent
and decides. The paired one takes the differences seed by seed: it is narrower where a seed moves both arms alike, as
the same base and the same problems do, and it says nothing more where it does not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sos.analysis.compare import Comparison
from sos.analysis.paired import holm, welch
from sos.judge.intervals import Interval, seed_interval, t_quantile, welch_interval
from sos.runs.expectations import Expectation, read_expectation

CONFIRMED, REFUTED, UNDECIDED, NOT_RUN = "confirmed", "refuted", "undecided", "not run"
MOST_SEEDS = 1000


@dataclass(frozen=True)
class Difference:
    """The mean of a metric in one arm minus that in another, over seeds."""

    arm: str
    other: str
    metric: str
    seeds: tuple[int, int]  # of the arm, of the other
    means: tuple[float, float]
    value: float
    welch: Interval | None  # None with fewer than 2 seeds
    paired: Interval | None  # over the seeds that both have; None with fewer than 2
    p_welch: float | None  # None without spread, too
    variances: tuple[float, float] | None  # over seeds, of the arm and of the other; None with fewer than 2


@dataclass(frozen=True)
class Verdict:
    """What became of an expectation."""

    expectation: Expectation
    found: Difference | None  # None where an arm or its metric is missing
    verdict: str
    seeds_to_decide: int | None  # of each arm, if mean and spread stay as they are; None for more than `MOST_SEEDS`
    p_holm: float | None = None  # Welch's p, corrected for the number of expectations


def difference(
    comparison: Comparison, arm: str, other: str, metric: str, other_metric: str | None = None
) -> Difference | None:
    """Return how a metric differs between two arms, by their labels; None where one of them does not have it. Of
    `other` it is `other_metric`, where that is another one."""
    ours, theirs = _by_seed(comparison, arm, metric), _by_seed(comparison, other, other_metric or metric)
    if not ours or not theirs:
        return None
    x, y = list(ours.values()), list(theirs.values())
    shared = sorted(ours.keys() & theirs.keys())
    means = (math.fsum(x) / len(x), math.fsum(y) / len(y))
    both = len(x) > 1 and len(y) > 1
    return Difference(
        arm,
        other,
        metric,
        (len(x), len(y)),
        means,
        means[0] - means[1],
        welch_interval(x, y),
        seed_interval([ours[seed] - theirs[seed] for seed in shared]),
        welch(x, y),
        (float(np.var(x, ddof=1)), float(np.var(y, ddof=1))) if both else None,
    )


def against_baseline(comparison: Comparison, metric: str) -> list[Difference]:
    """Return every other arm's difference to the baseline; arms without the metric are left out."""
    labels = [arm.label for arm in comparison.arms if arm.label != comparison.baseline]
    found = [difference(comparison, label, comparison.baseline, metric) for label in labels]
    return [one for one in found if one is not None]


def decide(expectation: Expectation, interval: Interval | None) -> str:
    """Say whether an interval of the difference lies inside what is expected, outside of it, or over its edge."""
    if interval is None:
        return UNDECIDED
    if expectation.low < interval.low and interval.high < expectation.high:
        return CONFIRMED
    if interval.high <= expectation.low or interval.low >= expectation.high:
        return REFUTED
    return UNDECIDED


def seeds_that_decide(expectation: Expectation, value: float, variances: tuple[float, float]) -> int | None:
    """Return with how many seeds an arm Welch's interval would decide, were the difference of the means and both
    variances what they are seen to be; None where that takes more than `MOST_SEEDS`.
    """
    total = sum(variances)
    if total == 0:
        return 2 if decide(expectation, Interval(value, value)) != UNDECIDED else None
    freedom = total**2 / sum(one**2 for one in variances)  # of Welch and Satterthwaite, over the seeds but one
    for seeds in range(2, MOST_SEEDS + 1):
        half = t_quantile(0.975, freedom * (seeds - 1)) * math.sqrt(total / seeds)
        if decide(expectation, Interval(value - half, value + half)) != UNDECIDED:
            return seeds
    return None


def verdicts(comparison: Comparison) -> list[Verdict]:
    """Judge every line that the sweep file of a comparison expects, in their order; none for runs of no sweep."""
    found = [_judge(comparison, read_expectation(text, comparison.primary)) for text in comparison.expect]
    tested = [i for i, one in enumerate(found) if one.found is not None and one.found.p_welch is not None]
    corrected = dict(zip(tested, holm([_p(found[i]) for i in tested]), strict=True))
    return [
        Verdict(one.expectation, one.found, one.verdict, one.seeds_to_decide, corrected.get(i))
        for i, one in enumerate(found)
    ]


def _judge(comparison: Comparison, expectation: Expectation) -> Verdict:
    line = expectation
    found = difference(comparison, line.arm, line.other, line.metric, line.other_metric)
    if found is None:
        return Verdict(expectation, None, NOT_RUN, None)
    said = decide(expectation, found.welch)
    needed = None
    if said == UNDECIDED and found.variances is not None:
        needed = seeds_that_decide(expectation, found.value, found.variances)
    return Verdict(expectation, found, said, needed)


def _by_seed(comparison: Comparison, label: str, metric: str) -> dict[int, float]:
    """Return a metric of an arm by seed; empty where there is no such arm or metric."""
    runs: Sequence = next((arm.runs for arm in comparison.arms if arm.label == label), ())
    values = {run.seed: run.metrics[metric].value for run in runs if metric in run.metrics}
    return {seed: value for seed, value in values.items() if value is not None}


def _p(verdict: Verdict) -> float:
    assert verdict.found is not None
    assert verdict.found.p_welch is not None
    return verdict.found.p_welch
