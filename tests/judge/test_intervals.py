"""Intervals against scipy, published values and brute force."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import special, stats

from sos.judge.intervals import (
    Interval,
    least_of_k,
    mean_interval,
    normal_quantile,
    pass_at_k,
    seed_interval,
    t_quantile,
    welch_interval,
    wilson,
)

rates = st.lists(st.floats(0, 1), min_size=2, max_size=8)


def test_normal_quantile_known_values() -> None:
    assert normal_quantile(0.95) == pytest.approx(1.959963984540054, rel=1e-12)
    assert normal_quantile(0.99) == pytest.approx(2.575829303548901, rel=1e-12)


@pytest.mark.parametrize(
    ("successes", "num", "low", "high"),
    [  # Newcombe 1998, Statistics in Medicine 17: table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_published_values(successes: int, num: int, low: float, high: float) -> None:
    assert wilson(successes, num) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 5000), st.data())
def test_wilson_agrees_with_scipy(num: int, data: st.DataObject) -> None:
    successes = data.draw(st.integers(0, num))
    expected = stats.binomtest(successes, num).proportion_ci(0.95, method="wilson")
    interval = wilson(successes, num)
    assert interval == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert 0 <= interval.low <= successes / num <= interval.high <= 1


def test_wilson_is_exact_at_the_ends_and_knows_nothing_without_trials() -> None:
    assert wilson(0, 7).low == 0
    assert wilson(7, 7).high == 1
    assert wilson(0, 0) == Interval(0.0, 1.0)


@pytest.mark.parametrize(("successes", "num"), [(-1, 5), (6, 5), (1, 0), (math.nan, 5)])
def test_wilson_refuses_impossible_counts(successes: float, num: int) -> None:
    with pytest.raises(ValueError, match="successes must be between 0 and num"):
        wilson(successes, num)


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95.0, math.nan])
def test_confidence_is_checked(confidence: float) -> None:
    for interval in (lambda: wilson(1, 2, confidence), lambda: seed_interval([1.0, 2.0], confidence)):
        with pytest.raises(ValueError, match="confidence must be between 0 and 1"):
            interval()


@given(
    st.one_of(st.integers(1, 200).map(float), st.floats(1, 1e9)),
    st.one_of(st.just(0.975), st.floats(1e-9, 1 - 1e-9)),
)
def test_t_quantile_is_the_inverse_of_the_distribution(df: float, probability: float) -> None:
    """Beside the distribution as an incomplete beta function (Abramowitz and Stegun 26.7.1)."""
    assume(abs(probability - 0.5) > 1e-6)
    t = t_quantile(probability, df)
    tail = special.betainc(df / 2, 0.5, df / (df + t * t)) / 2
    assert (tail if t < 0 else 1 - tail) == pytest.approx(probability, rel=1e-6)


def test_t_quantile_of_a_printed_table() -> None:
    table = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 9: 2.262, 30: 2.042, 120: 1.980}
    for df, value in table.items():
        assert t_quantile(0.975, df) == pytest.approx(value, abs=5e-4)
        assert t_quantile(0.025, df) == pytest.approx(-value, abs=5e-4)
    assert t_quantile(0.5, 3) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(("probability", "df"), [(0, 3), (1, 3), (0.9, 0), (0.9, 0.5), (0.9, math.nan), (math.nan, 3)])
def test_t_quantile_refuses(probability: float, df: float) -> None:
    with pytest.raises(ValueError, match="must be"):
        t_quantile(probability, df)


@given(rates)
def test_seed_and_mean_intervals_agree_with_scipy(values: list[float]) -> None:
    assume(np.std(values) > 1e-9)
    error = stats.sem(values)
    seeds, problems = seed_interval(values), mean_interval(values)
    assert seeds == pytest.approx(stats.t.interval(0.95, len(values) - 1, np.mean(values), error), rel=1e-9, abs=1e-12)
    assert problems == pytest.approx(stats.norm.interval(0.95, np.mean(values), error), rel=1e-9, abs=1e-12)


def test_two_seeds_tell_little() -> None:
    low, high = seed_interval([0.60, 0.70]) or (0, 0)
    assert high - low == pytest.approx(1.2706, abs=1e-4)


@given(rates, rates)
def test_welch_agrees_with_scipy(arm: list[float], baseline: list[float]) -> None:
    assume(np.std(arm) > 1e-9 and np.std(baseline) > 1e-9)
    expected = stats.ttest_ind(arm, baseline, equal_var=False).confidence_interval(0.95)
    assert welch_interval(arm, baseline) == pytest.approx((expected.low, expected.high), rel=1e-8, abs=1e-12)


def test_welch_with_one_arm_that_does_not_vary() -> None:
    low, high = welch_interval([0.7, 0.8], [0.5, 0.5, 0.5]) or (0, 0)
    assert (low, high) == pytest.approx((0.25 - 12.7062 * 0.05, 0.25 + 12.7062 * 0.05), abs=1e-5)
    assert welch_interval([0.1, 0.1, 0.1], [0.1, 0.1]) == pytest.approx((0, 0), abs=1e-15)


def test_no_interval_over_fewer_than_two() -> None:
    assert seed_interval([]) is None
    assert seed_interval([0.5]) is None
    assert mean_interval([0.5]) is None
    assert welch_interval([0.5], [0.4, 0.6]) is None
    assert welch_interval([0.4, 0.6], [0.5]) is None


def test_samples_are_checked() -> None:
    with pytest.raises(ValueError, match="finite"):
        seed_interval([0.5, math.nan])
    with pytest.raises(ValueError, match="one-dimensional"):
        mean_interval(np.zeros((2, 2)))


@given(st.integers(1, 7), st.data())
def test_pass_at_k_is_the_share_of_subsets_with_a_solved_one(num_samples: int, data: st.DataObject) -> None:
    solved = data.draw(st.lists(st.booleans(), min_size=num_samples, max_size=num_samples))
    k = data.draw(st.integers(1, num_samples))
    subsets = [any(subset) for subset in itertools.combinations(solved, k)]
    assert pass_at_k([num_samples], [sum(solved)], k)[0] == pytest.approx(np.mean(subsets), abs=1e-12)


@given(st.integers(1, 7), st.data())
def test_least_of_k_is_the_share_of_subsets_with_as_many(num_samples: int, data: st.DataObject) -> None:
    right = data.draw(st.lists(st.booleans(), min_size=num_samples, max_size=num_samples))
    k = data.draw(st.integers(1, num_samples))
    least = data.draw(st.integers(1, k))
    subsets = [sum(subset) >= least for subset in itertools.combinations(right, k)]
    assert least_of_k(num_samples, [sum(right)], k, least)[0] == pytest.approx(np.mean(subsets), abs=1e-12)
    assert least_of_k(num_samples, [sum(right)] * 2, k, 1) == pytest.approx(pass_at_k(num_samples, [sum(right)] * 2, k))


def test_least_of_k_of_all_is_a_share_and_impossible_numbers_are_refused() -> None:
    assert least_of_k(64, np.array([0, 2, 3, 64]), 64, 3).tolist() == [0, 0, 1, 1]
    for numbers in ((4, [1], 5, 1), (4, [1], 2, 3), (4, [1], 2, 0), (4, [5], 2, 1), (4, [-1], 2, 1)):
        with pytest.raises(ValueError, match="must"):
            least_of_k(*numbers)


def test_pass_at_k_of_many_problems_at_once() -> None:
    result = pass_at_k(np.array([4, 4, 10, 200]), np.array([0, 4, 3, 1]), 4)
    assert result.dtype == np.float64
    assert result == pytest.approx([0, 1, 1 - math.comb(7, 4) / math.comb(10, 4), 4 / 200], abs=1e-12)
    assert pass_at_k(np.uint16(10), np.arange(11, dtype=np.uint16), 1) == pytest.approx(np.arange(11) / 10, abs=1e-12)


@pytest.mark.parametrize(
    ("num_samples", "num_correct", "k", "message"),
    [
        ([4], [1], 5, "k=5 and num_samples=4"),
        ([4], [1], 0, "k=0"),
        ([4], [5], 1, "num_correct"),
        ([4], [-1], 1, "num_correct"),
        ([4], [0.5], 1, "whole numbers"),
    ],
)
def test_pass_at_k_refuses(num_samples: list[int], num_correct: list[float], k: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pass_at_k(num_samples, num_correct, k)
