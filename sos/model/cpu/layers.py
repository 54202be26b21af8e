"""What several kernels are made of: norms, SwiGLU, exponentials of float32, products of tiles.

Shape suffixes as in `sos.model.gpt`, F the hidden width.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sos.model.cpu.vectors import (
    LANES,
    everywhere,
    fast_kernel,
    larger,
    load,
    load_first,
    power_of_two,
    spread,
    store,
    store_first,
    sum_of,
    truncated,
    where_negative,
)

TILE = 4  # rows of a tile of `set_product`: eight registers of sums keep both units for products busy


class Rows(NamedTuple):
    """Rows of numbers in an array: the first begins at `at`, the next `pitch` numbers behind it."""

    array: np.ndarray
    at: int
    pitch: int


class Matrix(NamedTuple):
    """Numbers in an array, element (i, k) at `at + i * row + k * column`."""

    array: np.ndarray
    at: int
    row: int
    column: int


class NormGradients(NamedTuple):
    """What `norm_rows_backward` writes."""

    dx_BTC: np.ndarray
    dgain_BC: np.ndarray
    out_BTC: np.ndarray  # the norm once more


@fast_kernel
def round_up(size, step):
    """Return `size` rounded up to a multiple of `step`."""
    return -(-size // step) * step


@fast_kernel
def exp_negative(x):
    """exp(x) of numbers or vectors x <= 0, to a relative 6e-7 and not below exp(-87).

    Training takes this one, for vectors and single numbers; rollouts take `exponential`, for any x and twice as exact.
    They stay two because either one for both would change the last bits of every run or of every rollout.
    """
    y = larger(x, np.float32(-87)) * np.float32(1.4426950408889634)
    n = truncated(y - np.float32(0.5))
    f = (y - n) * np.float32(0.6931471805599453)
    p = f * np.float32(1 / 720) + np.float32(1 / 120)
    p = p * f + np.float32(1 / 24)
    p = p * f + np.float32(1 / 6)
    p = p * f + np.float32(0.5)
    p = p * f + np.float32(1)
    p = p * f + np.float32(1)
    return p * power_of_two(n)


@fast_kernel
def inverse_rms(x, at, num, width):
    """1 / sqrt(mean of squares + 1e-6) of `num` numbers from `at` on; all but `width` of them are zeros that pad."""
    squares = spread(np.float32(0))
    for i in range(0, num, LANES):
        a = load_first(x, at + i, num - i)
        squares = squares + a * a
    return np.float32(1) / np.sqrt(sum_of(squares) / np.float32(width) + np.float32(1e-6))


@fast_kernel
def norm_rows(begin, end, x_BTC, gain_C, out_BTC):
    """Write the RMS norm of rows begin..end - 1."""
    _, num_tokens, width = x_BTC.shape
    for at in range(begin * num_tokens * width, end * num_tokens * width, width):
        scale = inverse_rms(x_BTC, at, width, width)
        for i in range(0, width, LANES):
            num = width - i
            store_first(out_BTC, at + i, load_first(x_BTC, at + i, num) * scale * load_first(gain_C, i, num), num)


@fast_kernel
def norm_rows_backward(begin, end, x_BTC, gain_C, grad_BTC, skip_BTC, outputs):
    """Write `skip` plus the gradient of x, that of the gain for each row of the batch, and the norm once more.

    outputs: `NormGradients`, whose `dx_BTC` may be `skip_BTC`.
    """
    dx_BTC, dgain_BC, out_BTC = outputs
    _, num_tokens, width = x_BTC.shape
    for b in range(begin, end):
        dgain_BC[b] = 0
        for at in range(b * num_tokens * width, (b + 1) * num_tokens * width, width):
            scale = inverse_rms(x_BTC, at, width, width)
            dots = spread(np.float32(0))
            for i in range(0, width, LANES):
                num = width - i
                x, grad = load_first(x_BTC, at + i, num) * scale, load_first(grad_BTC, at + i, num)
                gain, g = load_first(gain_C, i, num), b * width + i
                store_first(out_BTC, at + i, x * gain, num)
                store_first(dgain_BC, g, load_first(dgain_BC, g, num) + x * grad, num)
                dots = dots + x * grad * gain
            shrink = sum_of(dots) / np.float32(width)
            for i in range(0, width, LANES):
                num = width - i
                x = load_first(x_BTC, at + i, num) * scale
                change = (load_first(grad_BTC, at + i, num) * load_first(gain_C, i, num) - x * shrink) * scale
                store_first(dx_BTC, at + i, load_first(skip_BTC, at + i, num) + change, num)


@fast_kernel
def add_rows(rows_NC, places_N, sums_VC):
    """Add row n to row places_N[n] of the sums, in the order of n."""
    num, width = rows_NC.shape
    for n in range(num):
        for i in range(0, width, LANES):
            at, left = places_N[n] * width + i, width - i
            row = load_first(rows_NC, n * width + i, left)
            store_first(sums_VC, at, load_first(sums_VC, at, left) + row, left)


@fast_kernel
def _sigmoid(x):
    """1 / (1 + exp(-x)) of a vector."""
    zero, one = np.float32(0), np.float32(1)
    small = exp_negative(zero - larger(x, zero - x))
    below_half = small / (small + one)
    return where_negative(x, below_half, one - below_half)


@fast_kernel
def swiglu_rows(begin, end, gate_up_BTF, out_BTF):
    """Write silu(gate) * up of rows begin..end - 1; gate and up are the halves of a vector, F a multiple of 16."""
    _, num_tokens, width = out_BTF.shape
    for row in range(begin * num_tokens, end * num_tokens):
        for at in range(row * width, (row + 1) * width, LANES):
            gate_at = at + row * width
            gate, up = load(gate_up_BTF, gate_at), load(gate_up_BTF, gate_at + width)
            store(out_BTF, at, gate * _sigmoid(gate) * up)


@fast_kernel
def swiglu_rows_backward(begin, end, gate_up_BTF, grad_BTF, dgate_up_BTF, out_BTF):
    """Write the gradient of gate and up, and what `swiglu_rows` writes."""
    _, num_tokens, width = out_BTF.shape
    one = np.float32(1)
    for row in range(begin * num_tokens, end * num_tokens):
        for at in range(row * width, (row + 1) * width, LANES):
            gate_at = at + row * width
            gate, up = load(gate_up_BTF, gate_at), load(gate_up_BTF, gate_at + width)
            share, grad = _sigmoid(gate), load(grad_BTF, at)
            silu = gate * share
            store(out_BTF, at, silu * up)
            store(dgate_up_BTF, gate_at, grad * up * (share + silu * (one - share)))
            store(dgate_up_BTF, gate_at + width, grad * silu)


@fast_kernel
def _sum_products(sums, a, b, num):
    s0, s1, s2, s3 = sums
    for k in range(num):
        x, at = load(b.array, b.at + k * b.pitch), a.at + k * a.column
        s0 = s0 + x * everywhere(a.array, at)
        s1 = s1 + x * everywhere(a.array, at + a.row)
        s2 = s2 + x * everywhere(a.array, at + 2 * a.row)
        s3 = s3 + x * everywhere(a.array, at + 3 * a.row)
    return s0, s1, s2, s3


@fast_kernel
def set_product(c, a, b, num):
    """Write c[i] = sum of a[i, k] * b[k] over k < num, 4 rows of 16 numbers, for `Rows`, a `Matrix` and `Rows`."""
    zero = spread(np.float32(0))
    s0, s1, s2, s3 = _sum_products((zero, zero, zero, zero), a, b, num)
    store(c.array, c.at, s0)
    store(c.array, c.at + c.pitch, s1)
    store(c.array, c.at + 2 * c.pitch, s2)
    store(c.array, c.at + 3 * c.pitch, s3)


@fast_kernel
def add_product(c, a, b, num):
    """Add to a tile what `set_product` would write."""
    s0, s1 = load(c.array, c.at), load(c.array, c.at + c.pitch)
    s2, s3 = load(c.array, c.at + 2 * c.pitch), load(c.array, c.at + 3 * c.pitch)
    s0, s1, s2, s3 = _sum_products((s0, s1, s2, s3), a, b, num)
    store(c.array, c.at, s0)
    store(c.array, c.at + c.pitch, s1)
    store(c.array, c.at + 2 * c.pitch, s2)
    store(c.array, c.at + 3 * c.pitch, s3)
