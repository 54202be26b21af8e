"""Intervals of rates, means and differences, and the unbiased pass@k.

Every interval is two-sided at `confidence` (0.95 unless told otherwise). Two sources of variation are kept apart:
an interval *over problems* (`wilson`, `mean_interval`) says what another draw of evaluation problems could change, an
interval *over seeds* (`seed_interval`, `welch_interval`) what another training run could change. Only the latter tells
whether two ways of training differ.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sos.errors import UserError


class Interval(NamedTuple):
    """A two-sided interval, in the unit of the estimate."""

    low: float
    high: float


def normal_quantile(confidence: float = 0.95) -> float:
    """Return z with P(|Z| < z) = `confidence` for a standard normal Z (1.96 at 0.95)."""
    _check_confidence(confidence)
    return NormalDist().inv_cdf(0.5 + confidence / 2)


def wilson(successes: float, num: int, confidence: float = 0.95) -> Interval:
    """Return Wilson's score interval of a rate, `successes` out of `num`.

    It solves |p - successes/num| = z sqrt(p (1 - p) / num) for p, so it stays inside [0, 1] and keeps a width at 0%
    and at 100%. Without trials (`num` = 0) nothing is known: (0, 1). A count that is not whole (a rounded rate times
    its number) is accepted. Raises ValueError unless 0 <= successes <= num.
    """
    z = normal_quantile(confidence)
    if not 0 <= successes <= num:
        raise UserError(f"successes must be between 0 and num={num}, got {successes}")
    if num == 0:
        return Interval(0.0, 1.0)
    rate, spread = successes / num, z * z / num
    centre = (rate + spread / 2) / (1 + spread)
    half = math.sqrt(spread * (rate * (1 - rate) + spread / 4)) / (1 + spread)
    low = 0.0 if successes == 0 else max(0.0, centre - half)  # exact at the ends, where rounding could miss them
    high = 1.0 if successes == num else min(1.0, centre + half)
    return Interval(low, high)


def mean_interval(values: npt.ArrayLike, confidence: float = 0.95) -> Interval | None:
    """Return the normal interval of the mean of `values` (n,), for many problems; None when n < 2."""
    sample = _sample(values)
    if sample.size < 2:
        return None
    half = normal_quantile(confidence) * _standard_error(sample)
    return Interval(float(sample.mean()) - half, float(sample.mean()) + half)


def seed_interval(values: npt.ArrayLike, confidence: float = 0.95) -> Interval | None:
    """Return Student's t interval of the mean of `values` (n,), one per seed; None when n < 2.

    It is not clipped: with two seeds that differ by 10 points it spans 127 points, which is what two seeds tell.
    """
    sample = _sample(values)
    if sample.size < 2:
        return None
    half = _two_sided_t(sample.size - 1, confidence) * _standard_error(sample)
    return Interval(float(sample.mean()) - half, float(sample.mean()) + half)


def welch_interval(arm: npt.ArrayLike, baseline: npt.ArrayLike, confidence: float = 0.95) -> Interval | None:
    """Return Welch's t interval of mean(`arm`) - mean(`baseline`), one value per seed; None when either has n < 2.

    The variances may differ; degrees of freedom are Welch and Satterthwaite's. If no value varies within either arm
    the interval has no width.
    """
    x, y = _sample(arm), _sample(baseline)
    if x.size < 2 or y.size < 2:
        return None
    difference = float(x.mean() - y.mean())
    ex, ey = _standard_error(x), _standard_error(y)
    scale = max(ex, ey)
    if scale == 0:
        return Interval(difference, difference)
    vx, vy = (ex / scale) ** 2, (ey / scale) ** 2  # scaled, so that tiny variances do not underflow
    df = (vx + vy) ** 2 / (vx**2 / (x.size - 1) + vy**2 / (y.size - 1))
    half = _two_sided_t(df, confidence) * math.hypot(ex, ey)
    return Interval(difference - half, difference + half)


def t_quantile(probability: float, df: float) -> float:
    """Return t with P(T <= t) = `probability` for Student's T with `df` degrees of freedom, not necessarily whole.

    Raises UserError unless 0 < probability < 1 and df >= 1.
    """
    from scipy.special import stdtrit  # takes a tenth of a second to import, and many commands never ask

    if not 0 < probability < 1:
        raise UserError(f"probability must be between 0 and 1, got {probability}")
    if not df >= 1:
        raise UserError(f"df must be at least 1, got {df}")
    return float(stdtrit(df, probability))


def pass_at_k(num_samples: npt.ArrayLike, num_correct: npt.ArrayLike, k: int) -> npt.NDArray[np.float64]:
    """Return the unbiased pass@k of each problem, 1 - C(n-c, k) / C(n, k), as float64 (P,).

    Chen et al. 2021, "Evaluating Large Language Models Trained on Code": the chance that k of a problem's
    n = `num_samples` rollouts, drawn without replacement, hold at least one of its c = `num_correct` solved ones. Both
    are integers (P,) or broadcast to it. Raises ValueError unless 1 <= k <= n and 0 <= c <= n.
    """
    n, c = np.broadcast_arrays(np.asarray(num_samples), np.asarray(num_correct))
    if not (np.issubdtype(n.dtype, np.integer) and np.issubdtype(c.dtype, np.integer)):
        raise UserError(f"num_samples and num_correct must be whole numbers, got {n.dtype} and {c.dtype}")
    n, c = n.astype(np.int64), c.astype(np.int64)  # unsigned counts would wrap below
    if k < 1 or np.any(n < k):
        raise UserError(f"k must be between 1 and num_samples, got k={k} and num_samples={n.min(initial=k)}")
    if np.any((c < 0) | (c > n)):
        raise UserError("num_correct must be between 0 and num_samples for every problem")
    all_fail = np.ones(n.shape)
    for drawn in range(k):  # C(n-c, k) / C(n, k) as a product of ratios: no factorial to overflow
        all_fail *= np.maximum(n - c - drawn, 0) / (n - drawn)
    return 1.0 - all_fail


def least_of_k(num_samples: int, num_correct: npt.ArrayLike, k: int, least: int) -> npt.NDArray[np.float64]:
    """Return the chance that k of each problem's n = `num_samples` rollouts, drawn without replacement, hold `least` or
    more of its c = `num_correct` right ones (whole numbers (P,)), float64 (P,); for k = n, whether c >= `least`.

    Raises ValueError unless 1 <= `least` <= k <= n and 0 <= c <= n.
    """
    counts = np.asarray(num_correct)
    if not 1 <= least <= k <= num_samples:
        raise UserError(f"least={least} of k={k} of num_samples={num_samples} must rise from 1 on")
    if np.any((counts < 0) | (counts > num_samples)):
        raise UserError("num_correct must be between 0 and num_samples for every problem")
    choices = math.comb(num_samples, k)
    chances = [
        sum(math.comb(c, j) * math.comb(num_samples - c, k - j) for j in range(least, k + 1)) / choices
        for c in range(num_samples + 1)
    ]
    return np.array(chances)[counts.astype(np.int64)]


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise UserError(f"confidence must be between 0 and 1, got {confidence}")


def _sample(values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    sample = np.asarray(values, dtype=np.float64)
    if sample.ndim != 1:
        raise UserError(f"values must be one-dimensional, got shape {sample.shape}")
    if not np.isfinite(sample).all():
        raise UserError("values must be finite")
    return sample


def _standard_error(sample: npt.NDArray[np.float64]) -> float:
    if sample.min() == sample.max():  # else the rounded mean would leave a spread of 1e-17
        return 0.0
    return float(sample.std(ddof=1)) / math.sqrt(sample.size)


def _two_sided_t(df: float, confidence: float) -> float:
    _check_confidence(confidence)
    return t_quantile(0.5 + confidence / 2, df)
