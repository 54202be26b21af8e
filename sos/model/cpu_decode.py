"""Decoding on the CPU without a module in sight: a float32 GPT as matrix products with kernels between them.

For models of this size, a decode step through `nn.Module`s is mostly the cost of calling torch. Here a step is four matrix
products and four kernels per layer over preallocated buffers. A row is one token of one trace; a call takes any
mixture of rows, so that the prompts of new traces are read in the same call in which the others write, without padding.

Shape suffixes as in `sos.model.gpt`, R rows. A key/value cache is an array of (B, H, X) per layer, X in blocks of 16 numbers so
that both products of attention are sums of multiples of whole vectors: keys as (S / 16, D, 16), values as (D / 16, S, 16).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from torch import Tensor, nn

from sos.model.decode import in_parts
from sos.model.gpt import GPT, MLP, Attention, Block, RMSNorm, rotary

LANES = 16
MODULES = {GPT, Block, Attention, MLP, RMSNorm, nn.Linear, nn.Embedding, nn.Dropout, nn.ModuleList}
FASTMATH = {"reassoc", "contract", "nsz", "arcp"}


class CPUDecoder:
    """A GPT in eval mode with a key/value cache of `num_slots` traces of up to `num_positions` tokens.

    One call of `logits` reads up to `max_rows` tokens. The weights are those of the model, not copies.
    """

    @staticmethod
    def fits(model: GPT) -> bool:
        """Whether this decodes the model as its own `forward` would.

        False off the CPU, in another dtype, under autocast, and for a model with modules or hooks that are not GPT's.
        """
        return not torch.is_autocast_enabled("cpu") and (
            all(w.dtype == torch.float32 and w.device.type == "cpu" and w.is_contiguous() for w in model.parameters())
            and all(type(module) in MODULES for module in model.modules())
            and not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
        )

    def __init__(self, model: GPT, num_slots: int, num_positions: int, max_rows: int) -> None:
        config = model.config
        depth, heads, width = config.head_dim, config.num_heads, config.width
        self.model = model
        self.blocks: list[Any] = list(model.blocks)
        padded = _up(num_positions)
        cos, sin = rotary(torch.arange(padded), depth, config.rope_theta)
        self.cos_SF, self.sin_SF = cos[:, 0].numpy(), sin[:, 0].numpy()
        shape = (config.num_layers, num_slots, heads)
        self.keys_LBHX = np.zeros((*shape, padded * depth), np.float32)
        self.values_LBHX = np.zeros((*shape, padded * _up(depth)), np.float32)

        self.tokens = np.zeros(max_rows, np.int64)
        self.slots = np.zeros(max_rows, np.int64)
        self.positions = np.zeros(max_rows, np.int64)
        self.every_row = np.arange(max_rows)
        self.x_RC = torch.empty(max_rows, width)
        self.normed_RC = torch.empty(max_rows, width)
        self.qkv_RE = torch.empty(max_rows, 3 * width)
        self.q_RC = np.empty((max_rows, width), np.float32)
        self.y_RC = torch.empty(max_rows, width)
        self.gate_up_RF = torch.empty(max_rows, 2 * config.mlp_hidden)
        self.hidden_RF = torch.empty(max_rows, config.mlp_hidden)
        self.logits_RV = torch.empty(max_rows, config.vocab_size)

    def logits(self, num_rows: int, wanted: np.ndarray) -> np.ndarray:
        """Read the first rows of `tokens`, `slots` and `positions`; return logits of the `wanted` rows (int64 (N,)).

        The rows of a slot come in order and continue what it has read; a new trace starts by overwriting position 0. The
        result, float32 (N, V), is valid until the next call.
        """
        slots, positions, every = self.slots[:num_rows], self.positions[:num_rows], self.every_row[:num_rows]
        x, normed, qkv, y = (t[:num_rows] for t in (self.x_RC, self.normed_RC, self.qkv_RE, self.y_RC))
        gate_up, hidden = self.gate_up_RF[:num_rows], self.hidden_RF[:num_rows]
        qkv_array, y_array, x_array, normed_array = qkv.numpy(), y.numpy(), x.numpy(), normed.numpy()
        gate_up_array, hidden_array = gate_up.numpy(), hidden.numpy()
        np.take(_array(self.model.embed.weight), self.tokens[:num_rows], axis=0, out=x_array)
        for layer, block in enumerate(self.blocks):
            attention, keys, values = block.attention, self.keys_LBHX[layer], self.values_LBHX[layer]
            _norm(x_array, every, _array(block.attention_norm.weight), normed_array)
            torch.mm(normed, attention.qkv.weight.t(), out=qkv)
            gains = (_gain(attention.q_norm), _gain(attention.k_norm))
            _append(qkv_array, *gains, self.cos_SF, self.sin_SF, slots, positions, keys, values, self.q_RC)
            in_parts(_attend, num_rows, self.q_RC, slots, positions, keys, values, y_array)
            x.addmm_(y, attention.out.weight.t())
            _norm(x_array, every, _array(block.mlp_norm.weight), normed_array)
            torch.mm(normed, block.mlp.gate_up.weight.t(), out=gate_up)
            in_parts(_swiglu, num_rows, gate_up_array, hidden_array)
            x.addmm_(hidden, block.mlp.down.weight.t())
        _norm(x_array, wanted, _array(self.model.norm.weight), normed_array)
        out = self.logits_RV[: len(wanted)]
        return torch.mm(normed[: len(wanted)], self.model.head.weight.t(), out=out).numpy()


def _up(size: int) -> int:
    return -(-size // LANES) * LANES


def _array(weight: Tensor) -> np.ndarray:
    return weight.detach().numpy()


def _gain(norm: RMSNorm | None) -> np.ndarray:
    return np.zeros(0, np.float32) if norm is None else _array(norm.weight)


@njit(cache=True, nogil=True, fastmath=FASTMATH)
def exp_negative(x):
    """exp(x) in float32 for x <= 0, to a relative 4e-6 and not below exp(-87); loops over it become vector code."""
    y = max(x, np.float32(-87)) * np.float32(1.4426950408889634)
    n = np.int32(y - np.float32(0.5))
    f = (y - np.float32(n)) * np.float32(0.6931471805599453)
    p = f * np.float32(1 / 720) + np.float32(1 / 120)
    p = p * f + np.float32(1 / 24)
    p = p * f + np.float32(1 / 6)
    p = p * f + np.float32(0.5)
    p = p * f + np.float32(1)
    p = p * f + np.float32(1)
    return p * np.int32((n + np.int32(127)) << np.int32(23)).view(np.float32)


@njit(cache=True, nogil=True, fastmath=FASTMATH)
def _inverse_rms(x):
    total = np.float32(0)
    for i in range(len(x)):
        total += x[i] * x[i]
    return np.float32(1) / np.sqrt(total / np.float32(len(x)) + np.float32(1e-6))


@njit(cache=True, nogil=True, fastmath=FASTMATH)
def _norm(x_RC, rows, gain_C, out_RC):
    """Write the RMS norm of these rows of x into the first rows of `out_RC`."""
    for r in range(len(rows)):
        x, out = x_RC[rows[r]], out_RC[r]
        scale = _inverse_rms(x)
        for i in range(len(x)):
            out[i] = x[i] * scale * gain_C[i]


@njit(cache=True, nogil=True, fastmath=FASTMATH)
def _turn(x, gain, cos, sin, scale, out):
    """Write a head's query or key, normed if there is a gain, turned by its position and scaled."""
    half = len(cos)
    low, high, out_high = x[:half], x[half:], out[half:]
    if len(gain):
        scale *= _inverse_rms(x)
        gain_high = gain[half:]
        for d in range(half):
            a, b = low[d] * gain[d], high[d] * gain_high[d]
            out[d] = (a * cos[d] - b * sin[d]) * scale
            out_high[d] = (b * cos[d] + a * sin[d]) * scale
    else:
        for d in range(half):
            out[d] = (low[d] * cos[d] - high[d] * sin[d]) * scale
            out_high[d] = (high[d] * cos[d] + low[d] * sin[d]) * scale


@njit(cache=True, nogil=True, fastmath=FASTMATH)
def _append(qkv_RE, q_gain, k_gain, cos_SF, sin_SF, slots, positions, keys_BHX, values_BHX, q_RC):
    """Store each row's keys and values; write its queries, turned and divided by sqrt(D)."""
    width = q_RC.shape[1]
    num_heads = keys_BHX.shape[1]
    depth = width // num_heads
    padded = len(cos_SF)
    scale, one = np.float32(1 / math.sqrt(depth)), np.float32(1)
    key = np.empty(depth, np.float32)
    for r in range(len(slots)):
        p = positions[r]
        cos, sin = cos_SF[p], sin_SF[p]
        for h in range(num_heads):
            start, end = h * depth, (h + 1) * depth
            _turn(qkv_RE[r, start:end], q_gain, cos, sin, scale, q_RC[r, start:end])
            _turn(qkv_RE[r, width + start : width + end], k_gain, cos, sin, one, key)
            keys, values = keys_BHX[slots[r], h], values_BHX[slots[r], h]
            for d in range(depth):
                keys[(p // LANES * depth + d) * LANES + p % LANES] = key[d]
                values[(d // LANES * padded + p) * LANES + d % LANES] = qkv_RE[r, 2 * width + start + d]


@intrinsic
def _sum_multiples(typing_context, y, y_start, x, x_start, factors, num):
    """y[y_start:][:16] = factors[:num] @ x[x_start:].reshape(-1, 16)[:num], all flat float32 arrays.

    Written in vectors, four sums at a time: LLVM makes code half as fast of the same loop in Python.
    """

    def generate(context, builder, signature, arguments):
        numbers, lanes = ir.VectorType(ir.FloatType(), LANES), ir.VectorType(ir.IntType(32), LANES)
        y_start, x_start, num = (arguments[i] for i in (1, 3, 5))
        y, x, factors = (context.make_array(signature.args[i])(context, builder, arguments[i]).data for i in (0, 2, 4))
        x, y = builder.gep(x, [x_start]), builder.gep(y, [y_start])
        fma_type = ir.FunctionType(numbers, [numbers] * 3)
        fma = cgutils.get_or_insert_function(builder.module, fma_type, f"llvm.fma.v{LANES}f32")
        zeros = ir.Constant(numbers, [0.0] * LANES)
        sums = [cgutils.alloca_once_value(builder, zeros) for _ in range(4)]

        def add(i, into):
            row = builder.bitcast(builder.gep(x, [builder.mul(i, num.type(LANES))]), numbers.as_pointer())
            factor = builder.insert_element(zeros, builder.load(builder.gep(factors, [i])), ir.IntType(32)(0))
            factor = builder.shuffle_vector(factor, zeros, ir.Constant(lanes, [0] * LANES))
            builder.store(builder.call(fma, [factor, builder.load(row, align=4), builder.load(into)]), into)

        whole = builder.and_(num, num.type(-4))
        with cgutils.for_range_slice(builder, num.type(0), whole, num.type(4)) as (i, _):
            for k, into in enumerate(sums):
                add(builder.add(i, num.type(k)), into)
        with cgutils.for_range_slice(builder, whole, num, num.type(1)) as (i, _):
            add(i, sums[0])
        a, b, c, d = map(builder.load, sums)
        out = builder.bitcast(y, numbers.as_pointer())
        builder.store(builder.fadd(builder.fadd(a, b), builder.fadd(c, d)), out, align=4)
        return context.get_dummy_value()

    return types.void(y, types.intp, x, types.intp, factors, types.intp), generate


@njit(cache=True, nogil=True, fastmath=FASTMATH)
def _exp_sum(x, shift):
    """x = exp(x - shift), shift being the largest; return the sum."""
    for i in range(len(x)):
        x[i] = exp_negative(x[i] - shift)
    total = np.float32(0)
    for i in range(len(x)):
        total += x[i]
    return total


@njit(cache=True, nogil=True, fastmath=FASTMATH)
def _largest(x):
    """Return the largest of a multiple of 16 numbers."""
    lanes = np.full(LANES, np.float32(-np.inf))
    for start in range(0, len(x), LANES):
        block = x[start:]
        for j in range(LANES):
            lanes[j] = max(lanes[j], block[j])
    return lanes.max()


@njit(cache=True, nogil=True, fastmath=FASTMATH)
def _attend(begin, end, q_RC, slots, positions, keys_BHX, values_BHX, out_RC):
    """Write attention of rows begin..end - 1 over what their slots hold up to their own positions. O(C * positions)."""
    num_heads = keys_BHX.shape[1]
    depth = q_RC.shape[1] // num_heads
    padded = keys_BHX.shape[2] // depth
    weights = np.empty(padded, np.float32)
    total = np.empty(-(-depth // LANES) * LANES, np.float32)
    for r in range(begin, end):
        num = positions[r] + 1
        for h in range(num_heads):
            q, keys, values = q_RC[r, h * depth : (h + 1) * depth], keys_BHX[slots[r], h], values_BHX[slots[r], h]
            for start in range(0, num, LANES):
                _sum_multiples(weights, start, keys, start * depth, q, depth)
            whole = weights[: -(-num // LANES) * LANES]
            whole[num:] = -np.inf
            mass = _exp_sum(weights[:num], _largest(whole))
            for d in range(0, depth, LANES):
                _sum_multiples(total, d, values, d * padded, weights, num)
            out = out_RC[r, h * depth : (h + 1) * depth]
            for d in range(depth):
                out[d] = total[d] / mass


@njit(cache=True, nogil=True, fastmath=FASTMATH)
def _swiglu(begin, end, gate_up_RF, out_RF):
    """Write silu(gate) * up of rows begin..end - 1."""
    width = out_RF.shape[1]
    for r in range(begin, end):
        gate, up, out = gate_up_RF[r, :width], gate_up_RF[r, width:], out_RF[r]
        for i in range(width):
            small = exp_negative(-abs(gate[i]))
            share = np.float32(1) if gate[i] >= 0 else small
            out[i] = gate[i] * up[i] * share / (np.float32(1) + small)


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"})
def choose_rows(logits_RV, temperature, draws, tokens, logprobs):
    """Choose a token for each row, as `sos.model.rollout.choose` does; temperature 0 is greedy and reads no draws.

    draws: float64 (R,). Writes tokens int64 (R,) and logprobs float32 (R,).
    """
    cumulative = np.empty(logits_RV.shape[1])
    for r in range(len(logits_RV)):
        logits = logits_RV[r]
        best = 0
        for v in range(1, len(logits)):
            if logits[v] > logits[best]:
                best = v
        token = best
        if temperature == 0:
            rest = np.float32(0)
            for v in range(len(logits)):
                rest += exp_negative(logits[v] - logits[best])
            logprobs[r] = -np.log(rest)
        else:
            shift = np.float64(logits[best])
            total = 0.0
            for v in range(len(logits)):
                total += np.exp((logits[v] - shift) / temperature)
                cumulative[v] = total
            token = min(np.searchsorted(cumulative, draws[r] * total, side="right"), len(logits) - 1)
            logprobs[r] = (logits[token] - shift) / temperature - np.log(total)
        tokens[r] = token


@njit(cache=True, nogil=True)
def plan_rows(tokens_BT, num_read, lengths, live, tokens, slots, positions, wanted):
    """List what live slots have not read yet, in whole slots' order, as far as there is room for rows.

    Every live slot reads at least one token (there is room for that); `num_read` is brought up to date. Writes the rows
    into tokens, slots and positions, all (max_rows,), and the last row of each slot that now has read all into `wanted`.
    Returns the numbers of rows and of wanted ones.
    """
    room = len(tokens) - live.sum()
    num_rows, num_wanted = 0, 0
    for b in range(len(live)):
        if not live[b]:
            continue
        extra = min(lengths[b] - num_read[b] - 1, room)
        room -= extra
        for p in range(num_read[b], num_read[b] + 1 + extra):
            tokens[num_rows], slots[num_rows], positions[num_rows] = tokens_BT[b, p], b, p
            num_rows += 1
        num_read[b] += 1 + extra
        if num_read[b] == lengths[b]:
            wanted[num_wanted] = num_rows - 1
            num_wanted += 1
    return num_rows, num_wanted
