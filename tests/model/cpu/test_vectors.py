"""Tests of the vectors in kernels against their twins of numpy."""

from __future__ import annotations

import numpy as np

from sos.kernels import kernel
from sos.model.cpu import plain
from sos.model.cpu.vectors import (
    LANES,
    everywhere,
    exponential,
    larger,
    largest_of,
    load,
    load_first,
    multiply_add,
    power_of_two,
    spread,
    store,
    store_first,
    sum_of,
    truncated,
    where_negative,
    zeros,
)


@kernel
def exponentials(x, out):
    for i in range(0, len(x), LANES):
        store(out, i, exponential(load(x, i)))


@kernel
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


@kernel
def rest(x, out, num):
    a, b = load_first(x, 0, num), load(x, 2)
    store(out, 0, a)
    store(out, LANES, where_negative(b, a, zeros() - b))
    store(out, 2 * LANES, truncated(b))
    store(out, 3 * LANES, power_of_two(truncated(b)))
    store_first(out, 4 * LANES, b, num)


def test_the_other_operations_are_their_twins() -> None:
    """Whole vectors and parts of one, none included."""
    x, sizes = np.random.default_rng(1).normal(scale=5, size=20).astype(np.float32), (0, 1, 7, 15, 16, 40)
    for num in sizes:
        out, part = np.full(5 * LANES, 9, np.float32), min(num, LANES)
        rest(x, out, num)
        b = x[2 : 2 + LANES]
        a = plain.load_masked(x, 0, part)
        written = np.where(np.arange(LANES) < part, b, np.float32(9))
        whole = plain.truncated(b)
        expected = [a, plain.where_negative(b, a, -b), whole, plain.power_of_two(whole), written]
        np.testing.assert_array_equal(out.reshape(5, LANES), expected)
    assert len(sizes) == 6
