"""Tests of the counter-based random streams."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy import stats

from sos.rng import below, fold, permute, stream_key, uniform

WORD = 2**64


def naive_mix64(x: int) -> int:
    """SplitMix64's finaliser with Python integers."""
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % WORD
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB % WORD
    return x ^ (x >> 31)


def naive_fold(key: int, counter: int) -> int:
    return naive_mix64((key + (counter + 1) * 0x9E3779B97F4A7C15) % WORD)


def naive_below(key: int, counter: int, bound: int) -> int:
    x = naive_fold(key, counter)
    while (x >> 32) * bound % 2**32 < 2**32 % bound:
        x = naive_mix64((x + 0x9E3779B97F4A7C15) % WORD)
    return (x >> 32) * bound >> 32


def test_fold_is_the_published_splitmix64() -> None:
    # The first outputs of SplitMix64 seeded with 1234567, as its reference implementation prints them.
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    assert [int(fold(np.uint64(1234567), k)) for k in range(4)] == expected


def test_fold_agrees_with_python_integers() -> None:
    keys = [0, 1, 2**63, WORD - 1, 0x123456789ABCDEF]
    for key in keys:
        for counter in (0, 1, 2**31, 2**40, 2**62, np.uint64(WORD - 1)):
            assert int(fold(np.uint64(key), counter)) == naive_fold(key, int(counter))
        assert naive_fold(key, WORD - 1) == naive_mix64(key)


@pytest.mark.parametrize("bound", [1, 2, 3, 99, 2**31 + 1, 3 * 2**30, 2**32 - 1, 2**32])
def test_below_agrees_with_python_integers(bound: int) -> None:
    key = stream_key(5, "below")
    draws = [int(below(key, k, bound)) for k in range(300)]
    assert draws == [naive_below(int(key), k, bound) for k in range(300)]
    assert min(draws) >= 0
    assert max(draws) < bound


@pytest.mark.parametrize("bound", [2, 7, 91, 256])
def test_below_is_unbiased(bound: int) -> None:
    key = stream_key(0, f"chi/{bound}")
    counts = np.bincount([below(key, k, bound) for k in range(400 * bound)], minlength=bound)
    assert stats.chisquare(counts).pvalue > 1e-3


def test_below_rejects_where_a_multiply_alone_would_be_biased() -> None:
    # With a bound of 3/4 of 2**32, multiplying alone gives every third value twice as often.
    key, bound = stream_key(0, "reject"), 3 * 2**30
    counts = np.bincount([int(below(key, k, bound)) % 3 for k in range(6000)], minlength=3)
    assert stats.chisquare(counts).pvalue > 1e-3


def test_uniform_is_uniform_on_the_half_open_interval() -> None:
    key = stream_key(3, "uniform")
    draws = np.array([uniform(key, k) for k in range(20_000)])
    assert draws.min() >= 0.0
    assert draws.max() < 1.0
    assert stats.kstest(draws, "uniform").pvalue > 1e-3
    assert (2**64 - 1 >> 11) * (1.0 / 2**53) < 1.0  # the largest value


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 16, 17, 64, 65, 1000, 4096, 5000])
def test_permute_is_a_bijection(size: int) -> None:
    key = stream_key(1, "permute")
    assert sorted(int(permute(key, k, size)) for k in range(size)) == list(range(size))


def test_permute_depends_on_the_key_and_mixes() -> None:
    size = 1000
    images = [[int(permute(stream_key(seed, "p"), k, size)) for k in range(size)] for seed in range(2)]
    assert images[0] != images[1]
    assert sum(a == b for a, b in zip(*images, strict=True)) < 10
    for image in images:
        assert sum(abs(b - a) == 1 for a, b in pairwise(image)) < 20
        assert abs(stats.spearmanr(image, range(size)).statistic) < 0.1


def test_permute_takes_large_sizes() -> None:
    key, size = stream_key(1, "large"), 10**12 + 39
    images = {int(permute(key, k, size)) for k in range(200)}
    assert len(images) == 200
    assert all(0 <= image < size for image in images)


def test_golden_values() -> None:
    key = stream_key(0, "train")
    values = (int(key), *(int(below(key, k, 100)) for k in range(5)), *(int(permute(key, k, 1000)) for k in range(5)))
    assert values == GOLDEN
    assert f"{uniform(key, 0):.17g}" == GOLDEN_UNIFORM


GOLDEN = (17582477718607430748, 8, 77, 45, 90, 84, 334, 88, 295, 147, 61)
GOLDEN_UNIFORM = "0.082515834631789686"


def test_streams_of_different_names_or_seeds_are_unrelated() -> None:
    names = [(seed, name) for seed in (0, 1, -1) for name in ("train", "train/1", "val", "")]
    keys = [stream_key(seed, name) for seed, name in names]
    assert len({int(k) for k in keys}) == len(keys)
    draws = np.array([[uniform(key, k) for k in range(1000)] for key in keys])
    correlations = np.corrcoef(draws) - np.eye(len(keys))
    assert np.abs(correlations).max() < 0.15


def test_seed_and_name_do_not_run_together() -> None:
    assert stream_key(1, "1/a") != stream_key(11, "/a")
    assert stream_key(1, "2/a") != stream_key(12, "a")
