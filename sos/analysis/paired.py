"""Paired tests of two arms on identical problems, effect sizes, and Holm's correction for many arms.

Two questions are kept apart. McNemar's test and the paired bootstrap ask whether these trained models differ on other
problems of the kind; Welch's test over seeds asks whether training differently makes a difference. Tests come from
scipy.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from sos.judge.intervals import Interval

if TYPE_CHECKING:
    from sos.analysis.compare import Arm, Comparison

RESAMPLES = 9999


@dataclass(frozen=True)
class PairedTest:
    """One arm against the baseline, on one rate of answers; rates and differences are fractions."""

    arm: str
    seeds: tuple[int, ...]  # that both arms have
    num_problems: int
    won: int  # (problem, seed) pairs that only the arm solves
    lost: int  # (problem, seed) pairs that only the baseline solves
    difference: float  # of the mean solve rates over these seeds
    bootstrap: Interval  # of the difference, over problems: whole problems are resampled, with all their seeds
    cohen_h: float  # 2 asin sqrt(p) - 2 asin sqrt(q): 0.2 small, 0.5 medium, 0.8 large
    hedges_g: float | None  # difference over seeds in units of their spread; None with fewer than 2 seeds or no spread
    p_mcnemar: float  # exact
    p_welch: float | None  # over seeds; None as for hedges_g
    p_mcnemar_holm: float = math.nan
    p_welch_holm: float | None = None


def mcnemar(won: int, lost: int) -> float:
    """Return the exact two-sided p-value of McNemar's test (1947): whether `won` of `won + lost` fits a fair coin."""
    from scipy.stats import binomtest

    return float(binomtest(won, won + lost).pvalue) if won + lost else 1.0


def paired_bootstrap(differences: npt.ArrayLike, seed: int = 0) -> Interval:
    """Return the 95% percentile interval of the mean of per-problem differences (P,), P > 0, resampling problems."""
    from scipy.stats import bootstrap

    sample = np.asarray(differences, np.float64)
    if sample.min() == sample.max():
        return Interval(float(sample[0]), float(sample[0]))
    found = bootstrap(
        (sample,),
        np.mean,
        n_resamples=RESAMPLES,
        batch=500,
        method="percentile",
        random_state=np.random.default_rng(seed),
    ).confidence_interval
    return Interval(float(found.low), float(found.high))


def welch(arm: Sequence[float], baseline: Sequence[float]) -> float | None:
    """Return the two-sided p-value of Welch's t-test over seeds; None with fewer than 2 values or without spread."""
    from scipy.stats import ttest_ind

    if min(len(arm), len(baseline)) < 2 or not (np.ptp(arm) or np.ptp(baseline)):
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # one arm without spread is no loss of precision here
        return float(ttest_ind(arm, baseline, equal_var=False).pvalue)


def holm(values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for testing all of them (Holm 1979), in the given order."""
    adjusted = [0.0] * len(values)
    highest = 0.0
    for rank, at in enumerate(np.argsort(values, kind="stable")):
        highest = max(highest, min(1.0, (len(values) - rank) * values[at]))
        adjusted[at] = highest
    return adjusted


def cohen_h(rate: float, baseline: float) -> float:
    """Return Cohen's h (1988), the effect size of two rates."""
    return 2 * math.asin(math.sqrt(rate)) - 2 * math.asin(math.sqrt(baseline))


def hedges_g(arm: Sequence[float], baseline: Sequence[float]) -> float | None:
    """Return Hedges' g (1981): the difference of the means over the pooled spread, corrected for small samples."""
    m, n = len(arm), len(baseline)
    if min(m, n) < 2:
        return None
    pooled = math.sqrt(((m - 1) * np.var(arm, ddof=1) + (n - 1) * np.var(baseline, ddof=1)) / (m + n - 2))
    if pooled < 1e-12:
        return None
    return float((np.mean(arm) - np.mean(baseline)) / pooled * (1 - 3 / (4 * (m + n) - 9)))


def paired_test(arm: Arm, baseline: Arm, metric: str) -> PairedTest | None:
    """Compare two arms on the answers that `metric` (`solve/val`, `plan/val`) counts, seed by seed; None where no seed
    was evaluated on the same problems in both."""
    split = metric.partition("/")[2]
    ours, theirs = (
        {run.seed: (run, right) for run in one.runs if (right := run.right(metric)) is not None}
        for one in (arm, baseline)
    )
    seeds = tuple(sorted(seed for seed in ours.keys() & theirs.keys()))
    digests = {runs[seed][0].problem_digests[split] for runs in (ours, theirs) for seed in seeds}
    if len(digests) != 1:
        return None
    x, y = (np.array([runs[seed][1] for seed in seeds], bool) for runs in (ours, theirs))  # (S, P)
    rates_x, rates_y = x.mean(1).tolist(), y.mean(1).tolist()
    won, lost = int((x & ~y).sum()), int((y & ~x).sum())
    return PairedTest(
        arm.label,
        seeds,
        x.shape[1],
        won,
        lost,
        float(x.mean() - y.mean()),
        paired_bootstrap((x.astype(np.float64) - y).mean(0)),
        cohen_h(float(x.mean()), float(y.mean())),
        hedges_g(rates_x, rates_y),
        mcnemar(won, lost),
        welch(rates_x, rates_y),
    )


def paired_tests(comparison: Comparison, metric: str) -> list[PairedTest]:
    """Test every arm against the baseline on the answers that `metric` counts, with Holm's correction over the arms."""
    base = next(arm for arm in comparison.arms if arm.label == comparison.baseline)
    found = [paired_test(arm, base, metric) for arm in comparison.arms if arm is not base]
    tests = [test for test in found if test]
    by_problems = holm([test.p_mcnemar for test in tests])
    have = [i for i, test in enumerate(tests) if test.p_welch is not None]
    by_seeds = dict(zip(have, holm([tests[i].p_welch or 0.0 for i in have]), strict=True))
    return [replace(test, p_mcnemar_holm=by_problems[i], p_welch_holm=by_seeds.get(i)) for i, test in enumerate(tests)]
