"""The kernels of `sos.model.cpu.attention`.

Shape suffixes as there. A trace is read token by token into buffers, head by head, and written back in the same way: memory is
read in order. In between, a head goes through its trace in blocks of 16 queries; scores are (keys, 16), a vector per key.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from sos.kernels import allocating
from sos.model.cpu.vectors import (
    LANES,
    ROWS,
    add_product,
    exp_negative,
    inverse_rms,
    kernel,
    larger,
    load,
    load_first,
    set_product,
    spread,
    store,
    store_first,
    sum_of,
)


class Scratch(NamedTuple):
    """Buffers of one thread for traces of up to S tokens, flat float32.

    X numbers hold one vector, its two halves (see `_turn`) padded to multiples of 16.
    """

    queries: np.ndarray  # (H, S + 16, X), normed, turned and scaled
    keys: np.ndarray  # (K, S + 16, X), normed and turned
    values: np.ndarray  # (K, S + 16, X)
    outs: np.ndarray  # (H, S + 16, X), the output, or the gradient of the queries
    grads: np.ndarray  # (H, S + 16, X), the gradient of the output
    dkeys: np.ndarray  # (K, S + 16, X)
    dvalues: np.ndarray  # (K, S + 16, X)
    queries_T: np.ndarray  # (X, 16)
    grads_T: np.ndarray  # (X, 16)
    scores: np.ndarray  # (S + 16, 16)
    dscores: np.ndarray  # (S + 16, 16)
    shift: np.ndarray  # (H, S + 16), log of the sum of weights
    total: np.ndarray  # (H, S + 16), what is taken from the gradients of a query's weights


@kernel
def up(size, step):
    """Return `size` rounded up to a multiple of `step`."""
    return -(-size // step) * step


@allocating
def _scratch(num_tokens, num_heads, num_kv_heads, head_dim, backward):
    depth, padded, f = 2 * up(head_dim // 2, LANES), num_tokens + LANES, np.float32
    size, kv_size = num_heads * padded * depth, num_kv_heads * padded * depth
    more, more_kv = (size, kv_size) if backward else (0, 0)
    return Scratch(
        np.empty(size, f),
        np.empty(kv_size, f),
        np.empty(kv_size, f),
        np.empty(size, f),
        np.empty(more, f),
        np.empty(more_kv, f),
        np.empty(more_kv, f),
        np.empty(LANES * depth, f),
        np.empty(LANES * depth, f),
        np.empty(padded * LANES, f),
        np.empty(padded * LANES, f),
        np.empty(num_heads * padded, f),
        np.empty(num_heads * padded, f),
    )


@kernel
def _turn(x, at, head_dim, gains, which, cos, sin, token, scale, y, y_at):
    """Read a vector, normed if there are gains, its pairs (i, i + D / 2) turned by the angle of its position, scaled."""
    half = head_dim // 2
    padded = up(half, LANES)
    if len(gains):
        scale *= inverse_rms(x, at, head_dim)
    for d in range(0, half, LANES):
        a, b = load_first(x, at + d, half - d), load_first(x, at + half + d, half - d)
        if len(gains):
            a *= load_first(gains, which * head_dim + d, half - d)
            b *= load_first(gains, which * head_dim + half + d, half - d)
        c, s = load_first(cos, token * half + d, half - d) * scale, load_first(sin, token * half + d, half - d) * scale
        store(y, y_at + d, a * c - b * s)
        store(y, y_at + padded + d, b * c + a * s)


@kernel
def _turn_back(dy, dy_at, x, at, head_dim, gains, which, cos, sin, token, scale, dx, dgains):
    """Write the gradient of a vector, given that of the turned one, and add to that of the gains."""
    half = head_dim // 2
    padded = up(half, LANES)
    inverse, dots = np.float32(1), spread(np.float32(0))
    if len(gains):
        inverse = inverse_rms(x, at, head_dim)
    for d in range(0, half, LANES):
        num = half - d
        a, b = load(dy, dy_at + d), load(dy, dy_at + padded + d)
        c, s = load_first(cos, token * half + d, num) * scale, load_first(sin, token * half + d, num) * scale
        a, b = a * c + b * s, b * c - a * s
        if len(gains):
            x_a, x_b = load_first(x, at + d, num) * inverse, load_first(x, at + half + d, num) * inverse
            g = which * head_dim + d
            store_first(dgains, g, load_first(dgains, g, num) + a * x_a, num)
            store_first(dgains, g + half, load_first(dgains, g + half, num) + b * x_b, num)
            a *= load_first(gains, g, num)
            b *= load_first(gains, g + half, num)
            dots += a * x_a + b * x_b
        store_first(dx, at + d, a, num)
        store_first(dx, at + half + d, b, num)
    if len(gains):
        shrink = sum_of(dots) * inverse / np.float32(head_dim)
        for d in range(0, head_dim, LANES):
            num = head_dim - d
            store_first(dx, at + d, (load_first(dx, at + d, num) - load_first(x, at + d, num) * shrink) * inverse, num)


@kernel
def _read(x, at, head_dim, y, y_at):
    """Read a vector, each half padded to whole vectors."""
    half = head_dim // 2
    for d in range(0, half, LANES):
        store(y, y_at + d, load_first(x, at + d, half - d))
        store(y, y_at + up(half, LANES) + d, load_first(x, at + half + d, half - d))


@kernel
def _write(y, y_at, scale, head_dim, x, at):
    """Write what `_read` could have read, times `scale`."""
    half = head_dim // 2
    for d in range(0, half, LANES):
        store_first(x, at + d, load(y, y_at + d) * scale, half - d)
        store_first(x, at + half + d, load(y, y_at + up(half, LANES) + d) * scale, half - d)


@kernel
def _read_trace(qkv, gains, cos, sin, at, num_tokens, num_heads, head_dim, scratch):
    queries, keys, values = scratch.queries, scratch.keys, scratch.values
    depth = len(scratch.queries_T) // LANES
    pitch = len(queries) // num_heads
    num_kv_heads = len(keys) // pitch
    one, scale = np.float32(1), np.float32(1 / math.sqrt(head_dim))
    for t in range(num_tokens):
        q_at = (at + t) * qkv.shape[1] * head_dim
        k_at = q_at + num_heads * head_dim
        v_at = k_at + num_kv_heads * head_dim
        for h in range(num_heads):
            y_at = h * pitch + t * depth
            _turn(qkv, q_at + h * head_dim, head_dim, gains, 0, cos, sin, at + t, scale, queries, y_at)
        for h in range(num_kv_heads):
            y_at = h * pitch + t * depth
            _turn(qkv, k_at + h * head_dim, head_dim, gains, 1, cos, sin, at + t, one, keys, y_at)
            _read(qkv, v_at + h * head_dim, head_dim, values, y_at)
    for h in range(num_heads):
        _clear(queries, h * pitch + num_tokens * depth, LANES * depth)
    for h in range(num_kv_heads):
        _clear(keys, h * pitch + num_tokens * depth, ROWS * depth)
        _clear(values, h * pitch + num_tokens * depth, ROWS * depth)


@kernel
def _clear(x, at, num):
    for i in range(at, at + num, LANES):
        store(x, i, spread(np.float32(0)))


@kernel
def _transpose(x, at, depth, y):
    for t in range(LANES):
        for d in range(depth):
            y[d * LANES + t] = x[at + t * depth + d]


@kernel
def _hide(scores, start, end):
    """Hide keys start..end - 1 from the queries before them, those of a block that starts at `start`."""
    for key in range(start, end):
        for t in range(min(LANES, key - start)):
            scores[key * LANES + t] = -np.inf


@kernel
def _forward_head(base, kv_base, num_tokens, line, scratch):
    queries, keys, values, outs = scratch.queries, scratch.keys, scratch.values, scratch.outs
    queries_T, scores = scratch.queries_T, scratch.scores
    depth = len(queries_T) // LANES
    for start in range(0, num_tokens, LANES):
        num = min(LANES, num_tokens - start)
        end = up(start + num, ROWS)
        _transpose(queries, base + start * depth, depth, queries_T)
        for key in range(0, end, ROWS):
            set_product(scores, key * LANES, LANES, keys, kv_base + key * depth, depth, 1, queries_T, 0, LANES, depth)
        _hide(scores, start, end)
        most = spread(np.float32(-np.inf))
        for key in range(end):
            most = larger(most, load(scores, key * LANES))
        sums = spread(np.float32(0))
        for key in range(end):
            weights = exp_negative(load(scores, key * LANES) - most)
            store(scores, key * LANES, weights)
            sums += weights
        store(scratch.shift, line + start, most)
        store(scratch.total, line + start, sums)
        for t in range(0, num, ROWS):
            for d in range(0, depth, LANES):
                set_product(
                    outs, base + (start + t) * depth + d, depth, scores, t, 1, LANES, values, kv_base + d, depth, end
                )


@kernel
def _forward_trace(qkv, gains, cos, sin, out, lse, at, num_tokens, num_heads, head_dim, scratch):
    depth = len(scratch.queries_T) // LANES
    pitch = len(scratch.queries) // num_heads
    queries_each = len(scratch.queries) // len(scratch.keys)
    _read_trace(qkv, gains, cos, sin, at, num_tokens, num_heads, head_dim, scratch)
    for h in range(num_heads):
        _forward_head(h * pitch, h // queries_each * pitch, num_tokens, h * (pitch // depth), scratch)
    for t in range(num_tokens):
        for h in range(num_heads):
            line = h * (pitch // depth) + t
            lse[h, at + t] = scratch.shift[line] + math.log(scratch.total[line])
            share, y_at = np.float32(1) / scratch.total[line], ((at + t) * num_heads + h) * head_dim
            _write(scratch.outs, line * depth, share, head_dim, out, y_at)


@kernel
def _backward_head(base, kv_base, num_tokens, line, scratch):
    """Write the gradient of a head's queries, and add to those of its keys and values."""
    queries, keys, values, grads = scratch.queries, scratch.keys, scratch.values, scratch.grads
    queries_T, grads_T, scores, dscores = scratch.queries_T, scratch.grads_T, scratch.scores, scratch.dscores
    dqueries, dkeys, dvalues = scratch.outs, scratch.dkeys, scratch.dvalues
    depth = len(queries_T) // LANES
    for start in range(0, num_tokens, LANES):
        num = min(LANES, num_tokens - start)
        end = up(start + num, ROWS)
        q_at = base + start * depth
        _transpose(queries, q_at, depth, queries_T)
        _transpose(grads, q_at, depth, grads_T)
        for key in range(0, end, ROWS):
            k_at = kv_base + key * depth
            set_product(scores, key * LANES, LANES, keys, k_at, depth, 1, queries_T, 0, LANES, depth)
            set_product(dscores, key * LANES, LANES, values, k_at, depth, 1, grads_T, 0, LANES, depth)
        _hide(scores, start, end)
        shift, drop = load(scratch.shift, line + start), load(scratch.total, line + start)
        for key in range(end):
            weights = exp_negative(load(scores, key * LANES) - shift)
            store(scores, key * LANES, weights)
            store(dscores, key * LANES, weights * (load(dscores, key * LANES) - drop))
        for d in range(0, depth, LANES):
            for t in range(0, num, ROWS):
                set_product(dqueries, q_at + t * depth + d, depth, dscores, t, 1, LANES, keys, kv_base + d, depth, end)
            for key in range(0, end, ROWS):
                k_at = kv_base + key * depth + d
                add_product(dvalues, k_at, depth, scores, key * LANES, LANES, 1, grads, q_at + d, depth, num)
                add_product(dkeys, k_at, depth, dscores, key * LANES, LANES, 1, queries, q_at + d, depth, num)


@kernel
def _backward_trace(grad, qkv, gains, cos, sin, saved, dqkv, dgains, at, num_tokens, num_heads, head_dim, scratch):
    depth = len(scratch.queries_T) // LANES
    pitch = len(scratch.queries) // num_heads
    one, scale = np.float32(1), np.float32(1 / math.sqrt(head_dim))
    queries_each, num_kv_heads = len(scratch.queries) // len(scratch.keys), len(scratch.keys) // pitch
    out, lse = saved
    _read_trace(qkv, gains, cos, sin, at, num_tokens, num_heads, head_dim, scratch)
    for t in range(num_tokens):
        for h in range(num_heads):
            line, y_at = h * (pitch // depth) + t, ((at + t) * num_heads + h) * head_dim
            _read(grad, y_at, head_dim, scratch.grads, line * depth)
            dots = spread(np.float32(0))
            for d in range(0, head_dim, LANES):
                dots += load_first(grad, y_at + d, head_dim - d) * load_first(out, y_at + d, head_dim - d)
            scratch.total[line] = sum_of(dots)
            scratch.shift[line] = lse[h, at + t]
    for h in range(num_kv_heads):
        _clear(scratch.dkeys, h * pitch, (num_tokens + ROWS) * depth)
        _clear(scratch.dvalues, h * pitch, (num_tokens + ROWS) * depth)
    for h in range(num_heads):
        line = h * (pitch // depth)
        _clear(scratch.grads, (line + num_tokens) * depth, LANES * depth)
        _clear(scratch.total, line + num_tokens, LANES)
        _clear(scratch.shift, line + num_tokens, LANES)
        _backward_head(h * pitch, h // queries_each * pitch, num_tokens, line, scratch)
    for t in range(num_tokens):
        q_at = (at + t) * qkv.shape[1] * head_dim
        k_at = q_at + num_heads * head_dim
        v_at = k_at + num_kv_heads * head_dim
        for h in range(num_heads):
            x_at, y_at = q_at + h * head_dim, h * pitch + t * depth
            _turn_back(scratch.outs, y_at, qkv, x_at, head_dim, gains, 0, cos, sin, at + t, scale, dqkv, dgains)
        for h in range(num_kv_heads):
            x_at, y_at = k_at + h * head_dim, h * pitch + t * depth
            _turn_back(scratch.dkeys, y_at, qkv, x_at, head_dim, gains, 1, cos, sin, at + t, one, dqkv, dgains)
            _write(scratch.dvalues, y_at, one, head_dim, dqkv, v_at + h * head_dim)


@kernel
def _trace_end(doc_ids_T, start):
    end = start + 1
    while end < len(doc_ids_T) and doc_ids_T[end] == doc_ids_T[start]:
        end += 1
    return end


@kernel
def _forward_rows(begin, end, qkv, gains, cos, sin, doc_ids, out, lse, scratch):
    _, num_tokens, num_heads, head_dim = out.shape
    for b in range(begin, end):
        at = 0
        while at < num_tokens:
            after = _trace_end(doc_ids[b], at)
            if doc_ids[b, at] < 0:
                out[b, at:after] = 0
                lse[b, :, at:after] = 0
            else:
                num = after - at
                _forward_trace(qkv[b], gains, cos[b], sin[b], out[b], lse[b], at, num, num_heads, head_dim, scratch)
            at = after


@kernel
def _backward_rows(begin, end, grad, qkv, gains, cos, sin, doc_ids, out, lse, dqkv, dgains, scratch):
    _, num_tokens, num_heads, head_dim = out.shape
    for b in range(begin, end):
        dgains[b] = 0
        at = 0
        while at < num_tokens:
            after = _trace_end(doc_ids[b], at)
            if doc_ids[b, at] < 0:
                dqkv[b, at:after] = 0
            else:
                num, saved = after - at, (out[b], lse[b])
                _backward_trace(
                    grad[b],
                    qkv[b],
                    gains,
                    cos[b],
                    sin[b],
                    saved,
                    dqkv[b],
                    dgains[b],
                    at,
                    num,
                    num_heads,
                    head_dim,
                    scratch,
                )
            at = after


@allocating
def attend_rows(begin, end, qkv_BTGD, gains_2D, cos_BTF, sin_BTF, doc_ids_BT, out_BTHD, lse_BHT):
    """Write the attention of rows begin..end - 1 and, for the backward pass, the log of each query's sum of weights.

    gains_2D: of queries and keys, (0, D) for none. Arguments as in `packed_attention`, all contiguous.
    """
    _, num_tokens, num_heads, head_dim = out_BTHD.shape
    scratch = _scratch(num_tokens, num_heads, (qkv_BTGD.shape[2] - num_heads) // 2, head_dim, False)
    _forward_rows(begin, end, qkv_BTGD, gains_2D, cos_BTF, sin_BTF, doc_ids_BT, out_BTHD, lse_BHT, scratch)


@allocating
def attend_rows_backward(
    begin, end, grad_BTHD, qkv_BTGD, gains_2D, cos_BTF, sin_BTF, doc_ids_BT, out_BTHD, lse_BHT, dqkv_BTGD, dgains_B2D
):
    """Write the gradients of rows begin..end - 1, those of the gains row by row; the weights are computed again."""
    _, num_tokens, num_heads, head_dim = out_BTHD.shape
    scratch = _scratch(num_tokens, num_heads, (qkv_BTGD.shape[2] - num_heads) // 2, head_dim, True)
    saved = (qkv_BTGD, gains_2D, cos_BTF, sin_BTF, doc_ids_BT, out_BTHD, lse_BHT)
    _backward_rows(begin, end, grad_BTHD, *saved, dqkv_BTGD, dgains_B2D, scratch)
