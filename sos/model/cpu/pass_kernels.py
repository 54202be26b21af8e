"""One pass of a float32 GPT over rows of tokens, and the choice of the next ones, as kernels on flat arrays.

A row is one token of one trace; a pass takes any mixture of rows of any traces, so that the prompts of new traces are
read beside the others, without padding. After the embedding all is whole vectors: widths are padded with zeros to
multiples of 16 numbers (half a head at a time), rows to multiples of 6, which is what `_multiply` takes at once.

Shape suffixes as in `sos.model.gpt`, R rows, S positions, E all heads, G queries, keys and values together. X is what
`sos.model.cpu.passes` packs: a matrix as (outputs / 16, inputs, 16), keys as (S / 16, D, 16), values as (S, D).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sos.kernels import inlined, kernel
from sos.model.cpu.layers import inverse_rms, round_up
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
from sos.rng import uniform

BLOCK_ROWS = 6


class Weights(NamedTuple):
    """A GPT's weights, packed; all arrays are float32.

    The first four sizes are those of the model. Those of the arrays are padded: C the width, D a head, E all heads, F
    the hidden width, V the vocabulary.
    """

    width: int
    head_dim: int
    num_kv_heads: int
    vocab_size: int
    half_dim: int  # D / 2, padded
    embed_VC: np.ndarray
    attention_norm_LC: np.ndarray
    qkv_LX: np.ndarray  # C to G: each head's low halves and high halves, queries, keys, then values
    q_norm_LD: np.ndarray  # (L, 0) without norms
    k_norm_LD: np.ndarray
    out_LX: np.ndarray  # E to C
    mlp_norm_LC: np.ndarray
    gate_up_LX: np.ndarray  # C to 2 F
    down_LX: np.ndarray  # F to C
    norm_C: np.ndarray
    head_X: np.ndarray  # C to V
    cos_SD: np.ndarray  # of the D / 2 angles
    sin_SD: np.ndarray


class PassBuffers(NamedTuple):
    """The cache of keys and values, and what a pass writes on its way; float32, the latter flat."""

    keys_BLKX: np.ndarray
    values_BLKX: np.ndarray
    x_RC: np.ndarray
    normed_RC: np.ndarray
    qkv_RG: np.ndarray
    y_RE: np.ndarray
    gate_up_RF: np.ndarray  # 2 F
    hidden_RF: np.ndarray
    logits_RV: np.ndarray
    scores_S: np.ndarray
    cumulative_V: np.ndarray  # float64


class Batch(NamedTuple):
    """The traces being written, arrays over slots, and the rows of a pass."""

    tokens_BT: np.ndarray  # int32
    logprobs_BT: np.ndarray  # float32, of written tokens
    # What follows is int64 where nothing else is said.
    num_read: np.ndarray  # how many of a trace's tokens the cache holds
    lengths: np.ndarray
    limits: np.ndarray  # lengths at which they stop
    live: np.ndarray  # bool
    keys: np.ndarray  # uint64, the random streams
    row_tokens: np.ndarray
    row_slots: np.ndarray
    row_positions: np.ndarray
    wanted: np.ndarray  # rows whose logits are wanted


@kernel
def write_tokens(weights, buffers, batch, eos_id, temperature, num_passes):
    """Make up to `num_passes` passes, until one completes a trace: it is at its end token or limit, and not live."""
    pitch = round_up(weights.vocab_size, LANES)
    for _ in range(num_passes):
        num_rows, num_wanted = plan_rows(batch)
        read_rows(weights, buffers, batch, num_rows, num_wanted)
        stop = num_rows == 0
        for i in range(num_wanted):
            slot = batch.row_slots[batch.wanted[i]]
            at = batch.lengths[slot]
            draw = uniform(batch.keys[slot], at) if temperature > 0 else 0.0
            logits = buffers.logits_RV[i * pitch : (i + 1) * pitch]
            token, logprob = choose_token(logits, weights.vocab_size, temperature, draw, buffers.cumulative_V)
            batch.tokens_BT[slot, at] = token
            batch.logprobs_BT[slot, at] = logprob
            batch.lengths[slot] = at + 1
            if token == eos_id or at + 1 == batch.limits[slot]:
                batch.live[slot] = False
                stop = True
        if stop:
            break


@kernel
def plan_rows(batch):
    """List what live slots have not read yet, in whole slots' order, as far as there is room for rows.

    Every live slot reads at least one token (there is room for that); `num_read` is brought up to date. Returns the
    numbers of rows and of wanted ones: the last row of each slot that now has read all.
    """
    num_live = 0
    for b in range(len(batch.live)):
        num_live += batch.live[b]
    room = len(batch.row_tokens) - num_live
    num_rows, num_wanted = 0, 0
    for b in range(len(batch.live)):
        if not batch.live[b]:
            continue
        start = batch.num_read[b]
        extra = min(batch.lengths[b] - start - 1, room)
        room -= extra
        for p in range(start, start + 1 + extra):
            batch.row_tokens[num_rows] = batch.tokens_BT[b, p]
            batch.row_slots[num_rows] = b
            batch.row_positions[num_rows] = p
            num_rows += 1
        batch.num_read[b] = start + 1 + extra
        if start + 1 + extra == batch.lengths[b]:
            batch.wanted[num_wanted] = num_rows - 1
            num_wanted += 1
    return num_rows, num_wanted


@kernel
def read_rows(weights, buffers, batch, num_rows, num_wanted):
    """Append the rows to their traces; write the logits of the wanted ones into the first rows of `logits_RV`."""
    width, vocab = weights.embed_VC.shape[1], round_up(weights.vocab_size, LANES)
    num_layers = len(weights.qkv_LX)
    heads, vectors = weights.out_LX.shape[1] // width, weights.qkv_LX.shape[1] // width
    hidden = weights.gate_up_LX.shape[1] // (2 * width)
    x, normed, qkv, y = buffers.x_RC, buffers.normed_RC, buffers.qkv_RG, buffers.y_RE
    num_blocks = -(-num_rows // BLOCK_ROWS)
    for r in range(num_blocks * BLOCK_ROWS):
        for c in range(0, width, LANES):
            store(x, r * width + c, load(weights.embed_VC[batch.row_tokens[r]], c) if r < num_rows else zeros())
    for i in range(num_rows * heads, num_blocks * BLOCK_ROWS * heads):
        y[i] = 0
    for layer in range(num_layers):
        for r in range(num_blocks * BLOCK_ROWS):
            _norm(x, r * width, weights.width, weights.attention_norm_LC[layer], normed, r * width)
        _multiply(normed, num_blocks, width, weights.qkv_LX[layer], vectors, qkv, False)
        for r in range(num_rows):
            place = (layer, batch.row_slots[r], batch.row_positions[r])
            _append_and_attend(weights, buffers, place, r * vectors, heads, r * heads)
        _multiply(y, num_blocks, heads, weights.out_LX[layer], width, x, True)
        for r in range(num_blocks * BLOCK_ROWS):
            _norm(x, r * width, weights.width, weights.mlp_norm_LC[layer], normed, r * width)
        _multiply(normed, num_blocks, width, weights.gate_up_LX[layer], 2 * hidden, buffers.gate_up_RF, False)
        for r in range(num_blocks * BLOCK_ROWS):
            _swiglu(buffers.gate_up_RF, 2 * r * hidden, hidden, buffers.hidden_RF, r * hidden)
        _multiply(buffers.hidden_RF, num_blocks, hidden, weights.down_LX[layer], width, x, True)
    for i in range(num_wanted):
        _norm(x, batch.wanted[i] * width, weights.width, weights.norm_C, normed, i * width)
    _multiply(normed, -(-num_wanted // BLOCK_ROWS), width, weights.head_X, vocab, buffers.logits_RV, False)


@kernel
def _multiply(x, num_blocks, num_inputs, packed, num_outputs, out, add):
    """out = x @ matrix, or out += x @ matrix, for blocks of 6 rows; 16 outputs at a time stay in the cache."""
    for n in range(0, num_outputs, LANES):
        for block in range(num_blocks):
            i0, o0 = block * BLOCK_ROWS * num_inputs, block * BLOCK_ROWS * num_outputs + n
            i1, i2, i3 = i0 + num_inputs, i0 + 2 * num_inputs, i0 + 3 * num_inputs
            i4, i5 = i0 + 4 * num_inputs, i0 + 5 * num_inputs
            o1, o2, o3 = o0 + num_outputs, o0 + 2 * num_outputs, o0 + 3 * num_outputs
            o4, o5 = o0 + 4 * num_outputs, o0 + 5 * num_outputs
            s0 = s1 = s2 = s3 = s4 = s5 = zeros()
            if add:
                s0, s1, s2 = load(out, o0), load(out, o1), load(out, o2)
                s3, s4, s5 = load(out, o3), load(out, o4), load(out, o5)
            for k in range(num_inputs):
                column = load(packed, n * num_inputs + k * LANES)
                s0 = multiply_add(everywhere(x, i0 + k), column, s0)
                s1 = multiply_add(everywhere(x, i1 + k), column, s1)
                s2 = multiply_add(everywhere(x, i2 + k), column, s2)
                s3 = multiply_add(everywhere(x, i3 + k), column, s3)
                s4 = multiply_add(everywhere(x, i4 + k), column, s4)
                s5 = multiply_add(everywhere(x, i5 + k), column, s5)
            store(out, o0, s0)
            store(out, o1, s1)
            store(out, o2, s2)
            store(out, o3, s3)
            store(out, o4, s4)
            store(out, o5, s5)


@kernel
def _norm(x, start, width, gain_C, out, out_start):
    scale = spread(inverse_rms(x, start, len(gain_C), width))
    for i in range(0, len(gain_C), LANES):
        store(out, out_start + i, load(x, start + i) * scale * load(gain_C, i))


@kernel
def _swiglu(gate_up, start, hidden, out, out_start):
    for i in range(0, hidden, LANES):
        gate, up = load(gate_up, start + i), load(gate_up, start + hidden + i)
        store(out, out_start + i, gate * up / (spread(np.float32(1)) + exponential(zeros() - gate)))


@inlined
def _turn(weights, x, start, gain_D, position, scale):
    """Norm a head's query or key in place if there is a gain, turn it by its position and scale it."""
    half, cos_SD, sin_SD = weights.half_dim, weights.cos_SD, weights.sin_SD
    if len(gain_D):
        scale *= inverse_rms(x, start, 2 * half, weights.head_dim)
    for i in range(0, half, LANES):
        low, high = load(x, start + i) * spread(scale), load(x, start + half + i) * spread(scale)
        if len(gain_D):
            low, high = low * load(gain_D, i), high * load(gain_D, half + i)
        cos, sin = load(cos_SD, position * half + i), load(sin_SD, position * half + i)
        store(x, start + i, low * cos - high * sin)
        store(x, start + half + i, high * cos + low * sin)


@kernel
def _append_and_attend(weights, buffers, place, start, heads, out_start):
    """Store a row's keys and values at its (layer, slot, position); write its attention over what the slot holds.

    start: where the row begins in `qkv_RG`; heads: E; out_start: where it begins in `y_RE`. O(E * position).
    """
    layer, slot, position = place
    qkv, scores, depth, num = buffers.qkv_RG, buffers.scores_S, 2 * weights.half_dim, position + 1
    num_kv_heads = weights.num_kv_heads
    q_gain, k_gain = weights.q_norm_LD[layer], weights.k_norm_LD[layer]
    scale, one = np.float32(1) / np.sqrt(np.float32(weights.head_dim)), np.float32(1)
    place_in_keys = position // LANES * depth * LANES + position % LANES
    queries_each = heads // depth // num_kv_heads
    for h in range(num_kv_heads):
        k = start + heads + h * depth
        v = k + num_kv_heads * depth
        keys, values = buffers.keys_BLKX[slot, layer, h], buffers.values_BLKX[slot, layer, h]
        _turn(weights, qkv, k, k_gain, position, one)
        for d in range(depth):
            keys[place_in_keys + d * LANES] = qkv[k + d]
        for d in range(0, depth, LANES):
            store(values, position * depth + d, load(qkv, v + d))
        for at in range(h * queries_each * depth, (h + 1) * queries_each * depth, depth):
            _turn(weights, qkv, start + at, q_gain, position, scale)
            _write_scores(qkv, start + at, keys, depth, num, scores)
            share = _write_weights(scores, num)
            _write_sums(scores, share, values, depth, num, buffers.y_RE, out_start + at)


@kernel
def _write_scores(q, q_start, keys, depth, num, scores):
    """Write the products of a query with the first `num` keys, -inf up to a whole vector; 32 divides depth."""
    padded, pitch = round_up(num, LANES), depth * LANES
    at, s = 0, 0
    while s + 4 * LANES <= padded:
        s0 = s1 = s2 = s3 = zeros()
        for d in range(depth):
            factor = everywhere(q, q_start + d)
            i = at + d * LANES
            s0 = multiply_add(factor, load(keys, i), s0)
            s1 = multiply_add(factor, load(keys, i + pitch), s1)
            s2 = multiply_add(factor, load(keys, i + 2 * pitch), s2)
            s3 = multiply_add(factor, load(keys, i + 3 * pitch), s3)
        store(scores, s, s0)
        store(scores, s + LANES, s1)
        store(scores, s + 2 * LANES, s2)
        store(scores, s + 3 * LANES, s3)
        at, s = at + 4 * pitch, s + 4 * LANES
    while s < padded:
        s0 = s1 = s2 = s3 = zeros()
        for d in range(0, depth, 4):
            i = at + d * LANES
            s0 = multiply_add(everywhere(q, q_start + d), load(keys, i), s0)
            s1 = multiply_add(everywhere(q, q_start + d + 1), load(keys, i + LANES), s1)
            s2 = multiply_add(everywhere(q, q_start + d + 2), load(keys, i + 2 * LANES), s2)
            s3 = multiply_add(everywhere(q, q_start + d + 3), load(keys, i + 3 * LANES), s3)
        store(scores, s, (s0 + s1) + (s2 + s3))
        at, s = at + pitch, s + LANES
    for i in range(num, padded):
        scores[i] = -np.inf


@kernel
def _write_weights(scores, num):
    """Turn scores into weights, and return what makes their sum 1, float32."""
    padded = round_up(num, LANES)
    most = load(scores, 0)
    for i in range(LANES, padded, LANES):
        most = larger(most, load(scores, i))
    shift, mass = spread(largest_of(most)), zeros()
    for i in range(0, padded, LANES):
        weight = exponential(load(scores, i) - shift)
        store(scores, i, weight)
        mass = mass + weight
    return np.float32(1) / sum_of(mass)


@kernel
def _write_sums(weights, share, values, depth, num, out, out_start):
    """Write the sum of the first `num` values times their weights and `share`."""
    factor = spread(share)
    for d in range(0, depth, 2 * LANES):
        low0 = low1 = high0 = high1 = zeros()
        i = d
        for s in range(0, num - 1, 2):
            a, b = everywhere(weights, s), everywhere(weights, s + 1)
            low0 = multiply_add(a, load(values, i), low0)
            high0 = multiply_add(a, load(values, i + LANES), high0)
            low1 = multiply_add(b, load(values, i + depth), low1)
            high1 = multiply_add(b, load(values, i + depth + LANES), high1)
            i += 2 * depth
        if num % 2:
            a = everywhere(weights, num - 1)
            low0, high0 = multiply_add(a, load(values, i), low0), multiply_add(a, load(values, i + LANES), high0)
        store(out, out_start + d, (low0 + low1) * factor)
        store(out, out_start + d + LANES, (high0 + high1) * factor)


@kernel
def choose_token(logits_V, vocab_size, temperature, draw, cumulative_V):
    """Choose a token as `sos.model.steps.choose_tokens` does; temperature 0 is greedy. Overwrites the padding.

    Returns the token and its log probability, float32.
    """
    logits_V[vocab_size:] = -np.inf
    most = load(logits_V, 0)
    for v in range(LANES, len(logits_V), LANES):
        most = larger(most, load(logits_V, v))
    best = largest_of(most)
    if temperature == 0:
        token, mass = 0, zeros()
        while token < vocab_size - 1 and logits_V[token] != best:
            token += 1
        for v in range(0, len(logits_V), LANES):
            mass = mass + exponential(load(logits_V, v) - spread(best))
        return token, np.float32(-np.log(sum_of(mass)))
    shift, mass_so_far = np.float64(best), 0.0
    for v in range(vocab_size):
        mass_so_far += np.exp((logits_V[v] - shift) / temperature)
        cumulative_V[v] = mass_so_far
    token, target = 0, draw * mass_so_far
    while token < vocab_size - 1 and cumulative_V[token] <= target:
        token += 1
    return token, np.float32((logits_V[token] - shift) / temperature - np.log(mass_so_far))
