"""Attention over packed rows on the CPU, forward and backward, with the rotary turn of queries and keys.

SDPA computes packed rows as dense T x T squares under a mask. These kernels compute the pairs that exist: causal, inside
each trace. `tests/bench/train_speed.py` measures what that is worth.

Shape suffixes as in `sos.model.gpt`, F = D / 2; row b of the batch is cut into traces. A tile is a flat array of keys (or
components) by queries: every inner loop runs along queries, in whole vectors at a fixed pitch, so that LLVM needs neither
alias checks nor a remainder loop. That alone made the products 3 times as fast.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from numba import njit
from torch import Tensor

TILE = 256  # queries computed together
PITCH = TILE + 8  # not a power of 2, so that the rows of a tile fall on different cache sets
LANES = 8  # float32 numbers in a vector
FASTMATH = {"reassoc", "contract", "nsz", "arcp"}


class Scratch(NamedTuple):
    """Buffers of one thread for traces of up to S tokens; depth is the head width rounded up to a multiple of 4."""

    keys: np.ndarray  # (S + 3, depth), turned
    keys_T: np.ndarray  # (depth, S + 3)
    values: np.ndarray  # (S + 3, depth)
    values_T: np.ndarray  # (depth, S + 3)
    dkeys: np.ndarray  # (S + 3, depth)
    dvalues: np.ndarray  # (S + 3, depth)
    vectors: np.ndarray  # (TILE, depth)
    queries_T: np.ndarray  # tile (depth * PITCH,), turned and scaled
    grads_T: np.ndarray  # tile, gradient of the output
    outs_T: np.ndarray  # tile, the output, or the gradient of the queries
    weights: np.ndarray  # tile of keys by queries ((S + 3) * PITCH,)
    dweights: np.ndarray  # tile of four keys (4 * PITCH,)
    shift: np.ndarray  # (PITCH,)
    total: np.ndarray  # (PITCH,)
    bits: np.ndarray  # int32 (PITCH,)


@njit(cache=True, nogil=True)
def _scratch(num_tokens, head_dim):
    depth, padded, f = -(-head_dim // 4) * 4, num_tokens + 3, np.float32
    by_row, by_component = (padded, depth), (depth, padded)
    return Scratch(
        np.zeros(by_row, f),
        np.zeros(by_component, f),
        np.zeros(by_row, f),
        np.zeros(by_component, f),
        np.zeros(by_row, f),
        np.zeros(by_row, f),
        np.zeros((TILE, depth), f),
        np.zeros(depth * PITCH, f),
        np.zeros(depth * PITCH, f),
        np.zeros(depth * PITCH, f),
        np.zeros(padded * PITCH, f),
        np.zeros(4 * PITCH, f),
        np.zeros(PITCH, f),
        np.zeros(PITCH, f),
        np.zeros(PITCH, np.int32),
    )


@njit(cache=True, nogil=True, fastmath=FASTMATH)
def _add_products(y, x, a, b, vectors):
    """Row 0 of y += a[:4] @ rows 0..3 of x, row 1 += b[:4] @ them, in the first columns."""
    a0, a1, a2, a3 = a[0], a[1], a[2], a[3]
    b0, b1, b2, b3 = b[0], b[1], b[2], b[3]
    for t in range(vectors * LANES):
        x0, x1, x2, x3 = x[t], x[t + PITCH], x[t + 2 * PITCH], x[t + 3 * PITCH]
        y[t] += a0 * x0 + a1 * x1 + a2 * x2 + a3 * x3
        y[t + PITCH] += b0 * x0 + b1 * x1 + b2 * x2 + b3 * x3


@njit(cache=True, nogil=True, fastmath=FASTMATH)
def _add_dots(y, x, a, b, vectors):
    """a[:4] += row 0 of y . rows 0..3 of x, b[:4] += row 1 of y . them, over the first columns."""
    zero = np.float32(0)
    a0, a1, a2, a3, b0, b1, b2, b3 = zero, zero, zero, zero, zero, zero, zero, zero
    for t in range(vectors * LANES):
        y0, y1 = y[t], y[t + PITCH]
        x0, x1, x2, x3 = x[t], x[t + PITCH], x[t + 2 * PITCH], x[t + 3 * PITCH]
        a0 += y0 * x0
        a1 += y0 * x1
        a2 += y0 * x2
        a3 += y0 * x3
        b0 += y1 * x0
        b1 += y1 * x1
        b2 += y1 * x2
        b3 += y1 * x3
    a[0] += a0
    a[1] += a1
    a[2] += a2
    a[3] += a3
    b[0] += b0
    b[1] += b1
    b[2] += b2
    b[3] += b3


@njit(cache=True, nogil=True, fastmath=FASTMATH)
def _exp(x, shift, bits, vectors):
    """x = exp(x - shift) where that is at most 1, to a relative 2e-6.

    A power of two from the exponent bits times a polynomial: libm's exp would be a call for each number.
    """
    powers = bits.view(np.float32)
    for t in range(vectors * LANES):
        y = max(x[t] - shift[t], np.float32(-87)) * np.float32(1.4426950408889634)
        n = np.int32(y - np.float32(0.5))
        f = (y - np.float32(n)) * np.float32(0.6931471805599453)
        bits[t] = (n + np.int32(127)) << np.int32(23)
        p = f * np.float32(1 / 720) + np.float32(1 / 120)
        p = p * f + np.float32(1 / 24)
        p = p * f + np.float32(1 / 6)
        p = p * f + np.float32(0.5)
        p = p * f + np.float32(1)
        x[t] = p * f + np.float32(1)
    for t in range(vectors * LANES):
        x[t] *= powers[t]


@njit(cache=True, nogil=True)
def _copy(x_THD, start, num, head, out):
    for t in range(num):
        x, y = x_THD[start + t, head], out[t]
        for d in range(len(x)):
            y[d] = x[d]


@njit(cache=True, nogil=True)
def _turn(x_THD, cos_TF, sin_TF, start, num, head, scale, out):
    """Copy a head's vectors, each pair (d, d + F) turned by the angle of its position."""
    half = cos_TF.shape[1]
    for t in range(num):
        x, y, cos, sin = x_THD[start + t, head], out[t], cos_TF[start + t], sin_TF[start + t]
        low, high, y_high = x[:half], x[half:], y[half:]
        for d in range(half):
            y[d] = (low[d] * cos[d] - high[d] * sin[d]) * scale
        for d in range(half):
            y_high[d] = (high[d] * cos[d] + low[d] * sin[d]) * scale


@njit(cache=True, nogil=True)
def _turn_back(x, cos_TF, sin_TF, start, num, head, scale, out_THD):
    """Write the gradient of a head's vectors, given that of the turned ones."""
    half = cos_TF.shape[1]
    for t in range(num):
        low, y, cos, sin = x[t], out_THD[start + t, head], cos_TF[start + t], sin_TF[start + t]
        high, y_high = low[half:], y[half:]
        for d in range(half):
            y[d] = (low[d] * cos[d] + high[d] * sin[d]) * scale
        for d in range(half):
            y_high[d] = (high[d] * cos[d] - low[d] * sin[d]) * scale


@njit(cache=True, nogil=True)
def _transpose(x, num, out):
    for d in range(x.shape[1]):
        row = out[d]
        for t in range(num):
            row[t] = x[t, d]


@njit(cache=True, nogil=True)
def _to_tile(x, num, width, tile):
    """Write vectors as the columns of a tile, and zeros behind them up to `width`."""
    for d in range(x.shape[1]):
        row = tile[d * PITCH : d * PITCH + width]
        for t in range(num):
            row[t] = x[t, d]
        row[num:] = 0


@njit(cache=True, nogil=True)
def _clear(tile, rows, begin, width):
    for i in range(rows):
        tile[i * PITCH + begin : i * PITCH + width] = 0


@njit(cache=True, nogil=True)
def _hide(tile, key, start, end, begin, width, value):
    """Write `value` where a query comes before its key, and into keys behind the end: rows key..key + 3 of the tile."""
    for i in range(4):
        hidden = width if key + i >= end else key + i - start
        for t in range(begin, hidden):
            tile[i * PITCH + t] = value


@njit(cache=True, nogil=True, fastmath=FASTMATH)
def _forward_trace(q_THD, k_THD, v_THD, cos_TF, sin_TF, out_THD, lse_T, at, num_tokens, head, scratch):
    """Attend within the trace at..at + num_tokens of a row, one head."""
    keys, values, values_T, vectors = scratch.keys, scratch.values, scratch.values_T, scratch.vectors
    queries_T, weights, outs_T = scratch.queries_T, scratch.weights, scratch.outs_T
    largest, total, bits = scratch.shift, scratch.total, scratch.bits
    head_dim, depth = q_THD.shape[2], keys.shape[1]
    _turn(k_THD, cos_TF, sin_TF, at, num_tokens, head, np.float32(1), keys)
    _copy(v_THD, at, num_tokens, head, values)
    _transpose(values, num_tokens, values_T)
    for start in range(0, num_tokens, TILE):
        end = min(num_tokens, start + TILE)
        num = end - start
        width = -(-num // LANES) * LANES
        _turn(q_THD, cos_TF, sin_TF, at + start, num, head, np.float32(1 / math.sqrt(head_dim)), vectors)
        _to_tile(vectors, num, width, queries_T)
        largest[:width] = -np.inf
        total[:width] = 0
        _clear(outs_T, depth, 0, width)

        for key in range(0, end, 4):  # queries before `begin` see none of these four keys
            begin = max(0, key - start) // LANES * LANES
            length = (width - begin) // LANES
            rows = weights[key * PITCH :]
            _clear(rows, 4, begin, width)
            for i in range(0, 4, 2):
                for d in range(0, depth, 4):
                    a, b = keys[key + i, d:], keys[key + i + 1, d:]
                    _add_products(rows[i * PITCH + begin :], queries_T[d * PITCH + begin :], a, b, length)
            _hide(rows, key, start, end, begin, width, np.float32(-np.inf))
            for i in range(4):
                row, most = rows[i * PITCH + begin :], largest[begin:]
                for t in range(length * LANES):
                    most[t] = max(most[t], row[t])

        for key in range(0, end, 4):
            begin = max(0, key - start) // LANES * LANES
            length = (width - begin) // LANES
            rows = weights[key * PITCH :]
            for i in range(4):
                _exp(rows[i * PITCH + begin :], largest[begin:], bits, length)
            _hide(rows, key, start, end, begin, width, np.float32(0))
            for i in range(4):
                row, sums = rows[i * PITCH + begin :], total[begin:]
                for t in range(length * LANES):
                    sums[t] += row[t]
            for d in range(0, depth, 2):
                a, b = values_T[d, key:], values_T[d + 1, key:]
                _add_products(outs_T[d * PITCH + begin :], rows[begin:], a, b, length)

        for t in range(num):
            lse_T[at + start + t] = largest[t] + math.log(total[t])
            y, share = out_THD[at + start + t, head], np.float32(1) / total[t]
            for d in range(head_dim):
                y[d] = outs_T[d * PITCH + t] * share


@njit(cache=True, nogil=True, fastmath=FASTMATH)
def _backward_trace(
    grad_THD, q_THD, k_THD, v_THD, cos_TF, sin_TF, out_THD, lse_T, dq_THD, dk_THD, dv_THD, at, num_tokens, head, scratch
):
    """Write the gradients of the trace at..at + num_tokens of a row, one head; the weights are computed again."""
    keys, keys_T, values, vectors = scratch.keys, scratch.keys_T, scratch.values, scratch.vectors
    queries_T, grads_T, dqueries_T = scratch.queries_T, scratch.grads_T, scratch.outs_T
    dkeys, dvalues, weights, dweights = scratch.dkeys, scratch.dvalues, scratch.weights, scratch.dweights
    lse, delta, bits = scratch.shift, scratch.total, scratch.bits
    head_dim, depth = q_THD.shape[2], keys.shape[1]
    one, scale = np.float32(1), np.float32(1 / math.sqrt(head_dim))
    _turn(k_THD, cos_TF, sin_TF, at, num_tokens, head, one, keys)
    _transpose(keys, num_tokens, keys_T)
    _copy(v_THD, at, num_tokens, head, values)
    dkeys[:num_tokens] = 0
    dvalues[:num_tokens] = 0
    for start in range(0, num_tokens, TILE):
        end = min(num_tokens, start + TILE)
        num = end - start
        width = -(-num // LANES) * LANES
        _turn(q_THD, cos_TF, sin_TF, at + start, num, head, scale, vectors)
        _to_tile(vectors, num, width, queries_T)
        _copy(grad_THD, at + start, num, head, vectors)
        _to_tile(vectors, num, width, grads_T)
        _clear(dqueries_T, depth, 0, width)
        lse[num:width] = 0
        delta[num:width] = 0
        for t in range(num):
            lse[t] = lse_T[at + start + t]
            dy, y, dot = vectors[t], out_THD[at + start + t, head], np.float32(0)
            for d in range(head_dim):
                dot += dy[d] * y[d]
            delta[t] = dot

        for key in range(0, end, 4):
            begin = max(0, key - start) // LANES * LANES
            length = (width - begin) // LANES
            _clear(weights, 4, begin, width)
            _clear(dweights, 4, begin, width)
            for i in range(0, 4, 2):
                row, drow = weights[i * PITCH + begin :], dweights[i * PITCH + begin :]
                for d in range(0, depth, 4):
                    a, b = keys[key + i, d:], keys[key + i + 1, d:]
                    _add_products(row, queries_T[d * PITCH + begin :], a, b, length)
                    a, b = values[key + i, d:], values[key + i + 1, d:]
                    _add_products(drow, grads_T[d * PITCH + begin :], a, b, length)
            _hide(weights, key, start, end, begin, width, np.float32(-np.inf))
            for i in range(4):
                _exp(weights[i * PITCH + begin :], lse[begin:], bits, length)
            _hide(weights, key, start, end, begin, width, np.float32(0))
            for i in range(4):
                row, drow, shift = weights[i * PITCH + begin :], dweights[i * PITCH + begin :], delta[begin:]
                for t in range(length * LANES):
                    drow[t] = row[t] * (drow[t] - shift[t])
            for i in range(0, 4, 2):
                row, drow = weights[i * PITCH + begin :], dweights[i * PITCH + begin :]
                for d in range(0, depth, 4):
                    a, b = dvalues[key + i, d:], dvalues[key + i + 1, d:]
                    _add_dots(row, grads_T[d * PITCH + begin :], a, b, length)
                    a, b = dkeys[key + i, d:], dkeys[key + i + 1, d:]
                    _add_dots(drow, queries_T[d * PITCH + begin :], a, b, length)
            for d in range(0, depth, 2):
                a, b = keys_T[d, key:], keys_T[d + 1, key:]
                _add_products(dqueries_T[d * PITCH + begin :], dweights[begin:], a, b, length)

        for t in range(num):
            for d in range(head_dim):
                vectors[t, d] = dqueries_T[d * PITCH + t]
        _turn_back(vectors, cos_TF, sin_TF, at + start, num, head, scale, dq_THD)
    _turn_back(dkeys, cos_TF, sin_TF, at, num_tokens, head, one, dk_THD)
    for t in range(num_tokens):
        x, y = dvalues[t], dv_THD[at + t, head]
        for d in range(head_dim):
            y[d] = x[d]


@njit(cache=True, nogil=True)
def _trace_end(doc_ids_T, start):
    end = start + 1
    while end < len(doc_ids_T) and doc_ids_T[end] == doc_ids_T[start]:
        end += 1
    return end


@njit(cache=True, nogil=True)
def _forward(q, k, v, cos, sin, doc_ids, out, lse):
    num_rows, num_tokens, num_heads, head_dim = q.shape
    scratch = _scratch(num_tokens, head_dim)
    for b in range(num_rows):
        at = 0
        while at < num_tokens:
            end = _trace_end(doc_ids[b], at)
            if doc_ids[b, at] < 0:
                out[b, at:end] = 0
                lse[b, :, at:end] = 0
            else:
                for h in range(num_heads):
                    _forward_trace(q[b], k[b], v[b], cos[b], sin[b], out[b], lse[b, h], at, end - at, h, scratch)
            at = end


@njit(cache=True, nogil=True)
def _backward(grad, q, k, v, cos, sin, doc_ids, out, lse, dq, dk, dv):
    num_rows, num_tokens, num_heads, head_dim = q.shape
    scratch = _scratch(num_tokens, head_dim)
    for b in range(num_rows):
        at = 0
        while at < num_tokens:
            end = _trace_end(doc_ids[b], at)
            if doc_ids[b, at] < 0:
                dq[b, at:end] = 0
                dk[b, at:end] = 0
                dv[b, at:end] = 0
            else:
                for h in range(num_heads):
                    _backward_trace(
                        grad[b],
                        q[b],
                        k[b],
                        v[b],
                        cos[b],
                        sin[b],
                        out[b],
                        lse[b, h],
                        dq[b],
                        dk[b],
                        dv[b],
                        at,
                        end - at,
                        h,
                        scratch,
                    )
            at = end


@functools.cache
def _pool(num_threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(num_threads, thread_name_prefix="attention")


def _over_rows(kernel: Callable[..., None], *tensors: Tensor) -> None:
    """Run a kernel on all rows, split over as many threads as torch uses."""
    arrays = [tensor.detach().contiguous().numpy() for tensor in tensors]
    num_parts = max(1, min(torch.get_num_threads(), len(arrays[0])))
    ends = [len(arrays[0]) * i // num_parts for i in range(num_parts + 1)]
    parts = [[array[start:end] for array in arrays] for start, end in pairwise(ends)]
    waiting = [_pool(num_parts - 1).submit(kernel, *part) for part in parts[1:]]
    kernel(*parts[0])
    for future in waiting:
        future.result()


@torch.library.custom_op("sos::packed_attention", mutates_args=())
def _attend(
    q_BTHD: Tensor, k_BTHD: Tensor, v_BTHD: Tensor, cos_BTF: Tensor, sin_BTF: Tensor, doc_ids_BT: Tensor
) -> tuple[Tensor, Tensor]:
    rows, num_tokens, num_heads, _ = q_BTHD.shape
    out_BTHD, lse_BHT = torch.empty(q_BTHD.shape), torch.empty(rows, num_heads, num_tokens)
    _over_rows(_forward, q_BTHD, k_BTHD, v_BTHD, cos_BTF, sin_BTF, doc_ids_BT, out_BTHD, lse_BHT)
    return out_BTHD, lse_BHT


@_attend.register_fake
def _(q: Tensor, k: Tensor, v: Tensor, cos: Tensor, sin: Tensor, doc_ids: Tensor) -> tuple[Tensor, Tensor]:
    rows, num_tokens, num_heads, _ = q.shape
    return q.new_empty(q.shape), q.new_empty(rows, num_heads, num_tokens)


@torch.library.custom_op("sos::packed_attention_backward", mutates_args=())
def _attend_backward(
    grad_BTHD: Tensor,
    q_BTHD: Tensor,
    k_BTHD: Tensor,
    v_BTHD: Tensor,
    cos_BTF: Tensor,
    sin_BTF: Tensor,
    doc_ids_BT: Tensor,
    out_BTHD: Tensor,
    lse_BHT: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    dq, dk, dv = torch.empty(q_BTHD.shape), torch.empty(q_BTHD.shape), torch.empty(q_BTHD.shape)
    saved = (q_BTHD, k_BTHD, v_BTHD, cos_BTF, sin_BTF, doc_ids_BT, out_BTHD, lse_BHT)
    _over_rows(_backward, grad_BTHD, *saved, dq, dk, dv)
    return dq, dk, dv


@_attend_backward.register_fake
def _(grad: Tensor, q: Tensor, *saved: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return q.new_empty(q.shape), q.new_empty(q.shape), q.new_empty(q.shape)


def _save(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
    ctx.save_for_backward(*inputs, *output)


def _gradients(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    return (*_attend_backward(grad, *ctx.saved_tensors), None, None, None)


_attend.register_autograd(_gradients, setup_context=_save)


def packed_attention(
    q_BTHD: Tensor, k_BTHD: Tensor, v_BTHD: Tensor, cos: Tensor, sin: Tensor, doc_ids_BT: Tensor
) -> Tensor:
    """Return softmax(q k^T / sqrt(D)) v of turned queries and keys, causal inside each trace, (B, T, H, D).

    All float32 on the CPU. cos, sin: (B or 1, T, 1, D / 2), see `sos.model.gpt.rotary`. doc_ids_BT: ints; a trace is a
    run of equal ids >= 0; negative ids are padding, whose output and gradient are 0. Differentiable once, in q, k and v.
    O(H * D * sum of squared lengths); the scratch takes T * 1 kB. Raises ValueError for another device or dtype.
    """
    if q_BTHD.device.type != "cpu" or q_BTHD.dtype != torch.float32:
        raise ValueError(f"model.attention=numba takes float32 on the CPU, got {q_BTHD.dtype} on {q_BTHD.device}")
    shape = (*q_BTHD.shape[:2], -1)
    return _attend(q_BTHD, k_BTHD, v_BTHD, cos[:, :, 0].expand(shape), sin[:, :, 0].expand(shape), doc_ids_BT)[0]
