"""Kernels of attention over packed rows, forward and backward, with the norm and the rotary turn of queries and keys.

SDPA computes packed rows as dense T x T squares under a mask; these kernels compute the pairs that exist: causal,
inside each trace. A trace is read token by token into buffers, head by head, and written back in the same way: memory
is read in order. In between, a head goes through its trace in blocks of 16 queries; scores are (keys, 16), a vector
per key.

Shape suffixes as in `sos.model.gpt`, F = D / 2, and G = H + 2 K vectors per token: queries, keys, values.
"""

from __future__ import annotations

import math

import numpy as np

from sos.model.cpu.attention_data import Head, Row, Turn
from sos.model.cpu.layers import (
    TILE,
    Matrix,
    Rows,
    add_product,
    exp_negative,
    inverse_rms,
    round_up,
    set_product,
)
from sos.model.cpu.vectors import (
    LANES,
    fast_kernel,
    larger,
    load,
    load_first,
    spread,
    store,
    store_first,
    sum_of,
)


@fast_kernel
def _turn(x, at, row, turn, y, y_at):
    """Read a vector, normed if there are gains, turned in pairs (i, i + D / 2) by its angle, scaled."""
    head_dim, half = row.head_dim, row.head_dim // 2
    padded = round_up(half, LANES)
    gains, gain_at, angle_at, scale = row.gains_2D, turn.which * head_dim, turn.token * half, turn.factor
    if len(gains):
        scale *= inverse_rms(x, at, head_dim, head_dim)
    for d in range(0, half, LANES):
        num = half - d
        a, b = load_first(x, at + d, num), load_first(x, at + half + d, num)
        if len(gains):
            a = a * load_first(gains, gain_at + d, num)
            b = b * load_first(gains, gain_at + half + d, num)
        c, s = load_first(row.cos_TF, angle_at + d, num) * scale, load_first(row.sin_TF, angle_at + d, num) * scale
        store(y, y_at + d, a * c - b * s)
        store(y, y_at + padded + d, b * c + a * s)


@fast_kernel
def _turn_back(dy, dy_at, at, row, turn, dx, dgains):
    """Write the gradient of the vector at `at`, given that of the turned one, and add to that of the gains."""
    x, head_dim, half = row.qkv_TGD, row.head_dim, row.head_dim // 2
    padded = round_up(half, LANES)
    gains, gain_at, angle_at, scale = row.gains_2D, turn.which * head_dim, turn.token * half, turn.factor
    inverse, dots = np.float32(1), spread(np.float32(0))
    if len(gains):
        inverse = inverse_rms(x, at, head_dim, head_dim)
    for d in range(0, half, LANES):
        num = half - d
        a, b = load(dy, dy_at + d), load(dy, dy_at + padded + d)
        c, s = load_first(row.cos_TF, angle_at + d, num) * scale, load_first(row.sin_TF, angle_at + d, num) * scale
        a, b = a * c + b * s, b * c - a * s
        if len(gains):
            x_a, x_b = load_first(x, at + d, num) * inverse, load_first(x, at + half + d, num) * inverse
            g = gain_at + d
            store_first(dgains, g, load_first(dgains, g, num) + a * x_a, num)
            store_first(dgains, g + half, load_first(dgains, g + half, num) + b * x_b, num)
            a = a * load_first(gains, g, num)
            b = b * load_first(gains, g + half, num)
            dots = dots + (a * x_a + b * x_b)
        store_first(dx, at + d, a, num)
        store_first(dx, at + half + d, b, num)
    if len(gains):
        shrink = sum_of(dots) * inverse / np.float32(head_dim)
        for d in range(0, head_dim, LANES):
            num = head_dim - d
            store_first(dx, at + d, (load_first(dx, at + d, num) - load_first(x, at + d, num) * shrink) * inverse, num)


@fast_kernel
def _read(x, at, head_dim, y, y_at):
    """Read a vector, each half padded to whole vectors."""
    half = head_dim // 2
    for d in range(0, half, LANES):
        store(y, y_at + d, load_first(x, at + d, half - d))
        store(y, y_at + round_up(half, LANES) + d, load_first(x, at + half + d, half - d))


@fast_kernel
def _write(y, y_at, scale, head_dim, x, at):
    """Write what `_read` could have read, times `scale`."""
    half = head_dim // 2
    for d in range(0, half, LANES):
        store_first(x, at + d, load(y, y_at + d) * scale, half - d)
        store_first(x, at + half + d, load(y, y_at + round_up(half, LANES) + d) * scale, half - d)


@fast_kernel
def _read_trace(row, at, num_tokens, buffers):
    """Read the queries, keys and values of a trace that begins at `at` into the buffers."""
    qkv, num_heads, head_dim = row.qkv_TGD, row.num_heads, row.head_dim
    queries, keys, values = buffers.queries, buffers.keys, buffers.values
    depth = len(buffers.queries_T) // LANES
    pitch = len(queries) // num_heads
    num_kv_heads = len(keys) // pitch
    one, scale = np.float32(1), np.float32(1 / math.sqrt(head_dim))
    for t in range(num_tokens):
        q_at = (at + t) * qkv.shape[1] * head_dim
        k_at = q_at + num_heads * head_dim
        v_at = k_at + num_kv_heads * head_dim
        for h in range(num_heads):
            _turn(qkv, q_at + h * head_dim, row, Turn(0, at + t, scale), queries, h * pitch + t * depth)
        for h in range(num_kv_heads):
            _turn(qkv, k_at + h * head_dim, row, Turn(1, at + t, one), keys, h * pitch + t * depth)
            _read(qkv, v_at + h * head_dim, head_dim, values, h * pitch + t * depth)
    for h in range(num_heads):
        _clear(queries, h * pitch + num_tokens * depth, LANES * depth)
    for h in range(num_kv_heads):
        _clear(keys, h * pitch + num_tokens * depth, TILE * depth)
        _clear(values, h * pitch + num_tokens * depth, TILE * depth)


@fast_kernel
def _clear(x, at, num):
    for i in range(at, at + num, LANES):
        store(x, i, spread(np.float32(0)))


@fast_kernel
def _transpose(x, at, depth, y):
    for t in range(LANES):
        for d in range(depth):
            y[d * LANES + t] = x[at + t * depth + d]


@fast_kernel
def _hide(scores, start, end):
    """Hide keys start..end - 1 from the queries before them, those of a block that starts at `start`."""
    for key in range(start, end):
        for t in range(min(LANES, key - start)):
            scores[key * LANES + t] = -np.inf


@fast_kernel
def _forward_head(head, buffers):
    """Write the sums of weighted values of a head, and of each query the largest score and the sum of its weights."""
    queries, keys, values, outs = buffers.queries, buffers.keys, buffers.values, buffers.outs
    queries_T, scores = buffers.queries_T, buffers.scores
    depth = len(queries_T) // LANES
    for start in range(0, head.num_tokens, LANES):
        num = min(LANES, head.num_tokens - start)
        end = round_up(start + num, TILE)
        q_at = head.at + start * depth
        _transpose(queries, q_at, depth, queries_T)
        for key in range(0, end, TILE):
            part = Matrix(keys, head.kv_at + key * depth, depth, 1)
            set_product(Rows(scores, key * LANES, LANES), part, Rows(queries_T, 0, LANES), depth)
        _hide(scores, start, end)
        most = spread(np.float32(-np.inf))
        for key in range(end):
            most = larger(most, load(scores, key * LANES))
        sums = spread(np.float32(0))
        for key in range(end):
            weights = exp_negative(load(scores, key * LANES) - most)
            store(scores, key * LANES, weights)
            sums = sums + weights
        store(buffers.shift, head.line + start, most)
        store(buffers.total, head.line + start, sums)
        for t in range(0, num, TILE):
            for d in range(0, depth, LANES):
                out = Rows(outs, q_at + t * depth + d, depth)
                set_product(out, Matrix(scores, t, 1, LANES), Rows(values, head.kv_at + d, depth), end)


@fast_kernel
def _head(h, num_tokens, num_heads, buffers):
    depth = len(buffers.queries_T) // LANES
    pitch = len(buffers.queries) // num_heads
    queries_each = len(buffers.queries) // len(buffers.keys)
    return Head(h * pitch, h // queries_each * pitch, h * (pitch // depth), num_tokens)


@fast_kernel
def _forward_trace(row, at, num_tokens, out, lse, buffers):
    num_heads, head_dim = row.num_heads, row.head_dim
    depth = len(buffers.queries_T) // LANES
    _read_trace(row, at, num_tokens, buffers)
    for h in range(num_heads):
        _forward_head(_head(h, num_tokens, num_heads, buffers), buffers)
    for t in range(num_tokens):
        for h in range(num_heads):
            line = _head(h, num_tokens, num_heads, buffers).line + t
            lse[h, at + t] = buffers.shift[line] + math.log(buffers.total[line])
            share, y_at = np.float32(1) / buffers.total[line], ((at + t) * num_heads + h) * head_dim
            _write(buffers.outs, line * depth, share, head_dim, out, y_at)


@fast_kernel
def _backward_head(head, buffers):
    """Write the gradient of a head's queries, and add to those of its keys and values."""
    queries, keys, values, grads = buffers.queries, buffers.keys, buffers.values, buffers.grads
    queries_T, grads_T, scores, dscores = buffers.queries_T, buffers.grads_T, buffers.scores, buffers.dscores
    dqueries, dkeys, dvalues = buffers.outs, buffers.dkeys, buffers.dvalues
    depth = len(queries_T) // LANES
    for start in range(0, head.num_tokens, LANES):
        num = min(LANES, head.num_tokens - start)
        end = round_up(start + num, TILE)
        q_at = head.at + start * depth
        _transpose(queries, q_at, depth, queries_T)
        _transpose(grads, q_at, depth, grads_T)
        for key in range(0, end, TILE):
            k_at, at = head.kv_at + key * depth, key * LANES
            set_product(Rows(scores, at, LANES), Matrix(keys, k_at, depth, 1), Rows(queries_T, 0, LANES), depth)
            set_product(Rows(dscores, at, LANES), Matrix(values, k_at, depth, 1), Rows(grads_T, 0, LANES), depth)
        _hide(scores, start, end)
        shift, drop = load(buffers.shift, head.line + start), load(buffers.total, head.line + start)
        for at in range(0, end * LANES, LANES):
            weights = exp_negative(load(scores, at) - shift)
            store(scores, at, weights)
            store(dscores, at, weights * (load(dscores, at) - drop))
        for d in range(0, depth, LANES):
            for t in range(0, num, TILE):
                dquery = Rows(dqueries, q_at + t * depth + d, depth)
                set_product(dquery, Matrix(dscores, t, 1, LANES), Rows(keys, head.kv_at + d, depth), end)
            for key in range(0, end, TILE):
                k_at, at = head.kv_at + key * depth + d, key * LANES
                weights, dweights = Matrix(scores, at, LANES, 1), Matrix(dscores, at, LANES, 1)
                add_product(Rows(dvalues, k_at, depth), weights, Rows(grads, q_at + d, depth), num)
                add_product(Rows(dkeys, k_at, depth), dweights, Rows(queries, q_at + d, depth), num)


@fast_kernel
def _read_gradients(grad, out, lse, row, trace, buffers):
    """Read the gradient of the output of `trace` (where, how long), and what is taken from that of its weights."""
    num_heads, head_dim = row.num_heads, row.head_dim
    depth = len(buffers.queries_T) // LANES
    at, num_tokens = trace
    for t in range(num_tokens):
        for h in range(num_heads):
            line = _head(h, num_tokens, num_heads, buffers).line + t
            y_at = ((at + t) * num_heads + h) * head_dim
            _read(grad, y_at, head_dim, buffers.grads, line * depth)
            dots = spread(np.float32(0))
            for d in range(0, head_dim, LANES):
                dots = dots + load_first(grad, y_at + d, head_dim - d) * load_first(out, y_at + d, head_dim - d)
            buffers.total[line] = sum_of(dots)
            buffers.shift[line] = lse[h, at + t]
    for h in range(num_heads):
        line = _head(h, num_tokens, num_heads, buffers).line + num_tokens
        _clear(buffers.grads, line * depth, LANES * depth)
        _clear(buffers.total, line, LANES)
        _clear(buffers.shift, line, LANES)


@fast_kernel
def _backward_trace(row, at, num_tokens, dqkv, dgains, buffers):
    """Write the gradients of a trace whose gradients of the output have been read."""
    num_heads, head_dim = row.num_heads, row.head_dim
    depth = len(buffers.queries_T) // LANES
    pitch = len(buffers.queries) // num_heads
    num_kv_heads = len(buffers.keys) // pitch
    one, scale = np.float32(1), np.float32(1 / math.sqrt(head_dim))
    for h in range(num_kv_heads):
        _clear(buffers.dkeys, h * pitch, (num_tokens + TILE) * depth)
        _clear(buffers.dvalues, h * pitch, (num_tokens + TILE) * depth)
    for h in range(num_heads):
        _backward_head(_head(h, num_tokens, num_heads, buffers), buffers)
    for t in range(num_tokens):
        q_at = (at + t) * row.qkv_TGD.shape[1] * head_dim
        k_at = q_at + num_heads * head_dim
        v_at = k_at + num_kv_heads * head_dim
        for h in range(num_heads):
            turn = Turn(0, at + t, scale)
            _turn_back(buffers.outs, h * pitch + t * depth, q_at + h * head_dim, row, turn, dqkv, dgains)
        for h in range(num_kv_heads):
            turn, y_at = Turn(1, at + t, one), h * pitch + t * depth
            _turn_back(buffers.dkeys, y_at, k_at + h * head_dim, row, turn, dqkv, dgains)
            _write(buffers.dvalues, y_at, one, head_dim, dqkv, v_at + h * head_dim)


@fast_kernel
def _trace_end(doc_ids_T, start):
    end = start + 1
    while end < len(doc_ids_T) and doc_ids_T[end] == doc_ids_T[start]:
        end += 1
    return end


@fast_kernel
def attend_rows(begin, end, packed, attended, buffers):
    """Write the attention of rows begin..end - 1: softmax(q k^T / sqrt(D)) v of turned vectors, inside each trace.

    packed, attended, buffers: `Packed`, `Attended`, `TraceBuffers`. H / K queries in a row share a head of keys and
    values. O(H * D * sum of squared lengths).
    """
    _, num_tokens, num_heads, head_dim = attended.out_BTHD.shape
    for b in range(begin, end):
        qkv, cos, sin = packed.qkv_BTGD[b], packed.cos_BTF[b], packed.sin_BTF[b]
        row = Row(qkv, packed.gains_2D, cos, sin, num_heads, head_dim)
        doc_ids, out, lse = packed.doc_ids_BT[b], attended.out_BTHD[b], attended.lse_BHT[b]
        at = 0
        while at < num_tokens:
            after = _trace_end(doc_ids, at)
            if doc_ids[at] < 0:
                out[at:after] = 0
                lse[:, at:after] = 0
            else:
                _forward_trace(row, at, after - at, out, lse, buffers)
            at = after


@fast_kernel
def attend_rows_backward(begin, end, grad_BTHD, packed, attended, gradients, buffers):
    """Write the `AttentionGradients` of rows begin..end - 1; the weights are computed again."""
    _, num_tokens, num_heads, head_dim = grad_BTHD.shape
    for b in range(begin, end):
        qkv, cos, sin = packed.qkv_BTGD[b], packed.cos_BTF[b], packed.sin_BTF[b]
        row = Row(qkv, packed.gains_2D, cos, sin, num_heads, head_dim)
        doc_ids, grad = packed.doc_ids_BT[b], grad_BTHD[b]
        out, lse = attended.out_BTHD[b], attended.lse_BHT[b]
        dqkv, dgains = gradients.dqkv_BTGD[b], gradients.dgains_B2D[b]
        dgains[:] = 0
        at = 0
        while at < num_tokens:
            after = _trace_end(doc_ids, at)
            if doc_ids[at] < 0:
                dqkv[at:after] = 0
            else:
                _read_trace(row, at, after - at, buffers)
                _read_gradients(grad, out, lse, row, (at, after - at), buffers)
                _backward_trace(row, at, after - at, dqkv, dgains, buffers)
            at = after
