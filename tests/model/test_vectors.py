"""Tests of the vectors in kernels against numpy."""

from __future__ import annotations

import numpy as np
from numba import njit

from sos.kernels import OPTIONS
from sos.model.cpu.vectors import (
    LANES,
    everywhere,
    exponential,
    larger,
    largest_of,
    load,
    multiply_add,
    spread,
    store,
    sum_of,
    zeros,
)


@njit(**OPTIONS)
def exponentials(x, out):
    for i in range(0, len(x), LANES):
        store(out, i, exponential(load(x, i)))


@njit(**OPTIONS)
def arithmetic(x, y, out):
    a, b = load(x, 1), load(y, 3)
    store(out, 0, a + b)
    store(out, LANES, a - b)
    store(out, 2 * LANES, a * b)
    store(out, 3 * LANES, a / b)
    store(out, 4 * LANES, multiply_add(a, b, spread(np.float32(0.5))))
    store(out, 5 * LANES, larger(a, b))
    store(out, 6 * LANES, everywhere(x, 5) + zeros())
    return sum_of(a), largest_of(b)


def test_the_exponential_is_accurate_and_cut_at_both_ends() -> None:
    x = np.concatenate([np.linspace(-87, 87, 4000), -np.geomspace(1e-6, 87, 4000)]).astype(np.float32)
    found = np.zeros_like(x)
    exponentials(x, found)
    np.testing.assert_allclose(found, np.exp(x.astype(np.float64)), rtol=3e-7)
    ends = np.array([-np.inf, -1e30, 1e30, np.inf] * 4, np.float32)
    exponentials(ends, found[:LANES])
    np.testing.assert_allclose(found[:4], np.exp([-87.0, -87.0, 87.0, 87.0]), rtol=3e-7)


def test_arithmetic_at_any_offset() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 20)).astype(np.float32)
    out = np.zeros(7 * LANES, np.float32)
    sum_a, largest_b = arithmetic(x, y, out)
    a, b = x[1:17], y[3:19]
    expected = [a + b, a - b, a * b, a / b, a * b + np.float32(0.5), np.maximum(a, b), np.full(LANES, x[5])]
    np.testing.assert_allclose(out.reshape(7, LANES), expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(sum_a, a.sum(), rtol=1e-5)
    assert largest_b == b.max()
