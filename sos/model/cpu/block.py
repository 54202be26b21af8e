"""A block of the GPT as one operator of torch, forward and backward: float32 on the CPU, packed rows, no dropout.

Modules and autograd read and write whole batches between small operations. Here a few rows at a time go through the whole block, so
that what lies between the matrix products stays in the cache, in buffers that are used again; norms and SwiGLU are one
kernel each. The equations are those of `sos.model.gpt.Block`.

Shape suffixes as in `sos.model.gpt`, N = rows of a part x T, E = (H + 2 K) D, and F the hidden width.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from sos.model.cpu.attention import as_arrays, over_rows
from sos.model.cpu.attention_kernels import attend_rows, attend_rows_backward
from sos.model.cpu.operators import differentiable
from sos.model.cpu.vectors import (
    LANES,
    exp_negative,
    inverse_rms,
    kernel,
    larger,
    load,
    load_first,
    spread,
    store,
    store_first,
    sum_of,
    where_negative,
)

PART = 1024  # tokens of a part, per thread


@kernel
def norm_rows(begin, end, x_BTC, gain_C, out_BTC):
    """Write the RMS norm of rows begin..end - 1."""
    _, num_tokens, width = x_BTC.shape
    for at in range(begin * num_tokens * width, end * num_tokens * width, width):
        scale = inverse_rms(x_BTC, at, width)
        for i in range(0, width, LANES):
            num = width - i
            store_first(out_BTC, at + i, load_first(x_BTC, at + i, num) * scale * load_first(gain_C, i, num), num)


@kernel
def norm_rows_backward(begin, end, x_BTC, gain_C, grad_BTC, skip_BTC, dx_BTC, dgain_BC, out_BTC):
    """Write skip plus the gradient of x, that of the gain for each row of the batch, and the norm once more."""
    _, num_tokens, width = x_BTC.shape
    for b in range(begin, end):
        dgain_BC[b] = 0
        for at in range(b * num_tokens * width, (b + 1) * num_tokens * width, width):
            scale = inverse_rms(x_BTC, at, width)
            dots = spread(np.float32(0))
            for i in range(0, width, LANES):
                num = width - i
                x, grad = load_first(x_BTC, at + i, num) * scale, load_first(grad_BTC, at + i, num)
                gain, g = load_first(gain_C, i, num), b * width + i
                store_first(out_BTC, at + i, x * gain, num)
                store_first(dgain_BC, g, load_first(dgain_BC, g, num) + x * grad, num)
                dots += x * grad * gain
            shrink = sum_of(dots) / np.float32(width)
            for i in range(0, width, LANES):
                num = width - i
                x = load_first(x_BTC, at + i, num) * scale
                change = (load_first(grad_BTC, at + i, num) * load_first(gain_C, i, num) - x * shrink) * scale
                store_first(dx_BTC, at + i, load_first(skip_BTC, at + i, num) + change, num)


@kernel
def _sigmoid(x):
    """1 / (1 + exp(-x)) of a vector."""
    zero, one = np.float32(0), np.float32(1)
    small = exp_negative(zero - larger(x, zero - x))
    below_half = small / (small + one)
    return where_negative(x, below_half, one - below_half)


@kernel
def swiglu_rows(begin, end, gate_up_BTF, out_BTF):
    """Write silu(gate) * up of rows begin..end - 1; gate and up are the halves of a vector, F a multiple of 16."""
    _, num_tokens, width = out_BTF.shape
    for row in range(begin * num_tokens, end * num_tokens):
        for at in range(row * width, (row + 1) * width, LANES):
            gate_at = at + row * width
            gate, up = load(gate_up_BTF, gate_at), load(gate_up_BTF, gate_at + width)
            store(out_BTF, at, gate * _sigmoid(gate) * up)


@kernel
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


def _parts(rows: int, num_tokens: int) -> tuple[int, list[slice]]:
    """Return the number of rows of the batch that go through the block together, and all such parts."""
    step = min(rows, max(1, PART * torch.get_num_threads() // num_tokens))
    return step, [slice(start, min(rows, start + step)) for start in range(0, rows, step)]


def _both(*tensors: Tensor) -> list[tuple[Tensor, np.ndarray]]:
    """Return each (B, T, X) as a matrix of B * T rows, for products, and as an array, for kernels."""
    return [(x.view(-1, x.shape[2]), x.numpy()) for x in tensors]


def _outputs(x_BTC: Tensor, *weights: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the residual stream y after the block and in the middle, attended, qkv, gate_up, lse: not yet written."""
    (rows, num_tokens, width), head_dim, hidden = x_BTC.shape, weights[2].shape[1], weights[6].shape[1]
    widths = (width, width, width, len(weights[1]), 2 * hidden)
    y_BTC, mid_BTC, attended_BTC, qkv_BTE, gate_up_BT2F = (x_BTC.new_empty(rows, num_tokens, size) for size in widths)
    return y_BTC, mid_BTC, attended_BTC, qkv_BTE, gate_up_BT2F, x_BTC.new_empty(rows, width // head_dim, num_tokens)


def _forward(
    x_BTC: Tensor,
    attention_gain_C: Tensor,
    qkv_EC: Tensor,
    gains_2D: Tensor,
    out_CC: Tensor,
    mlp_gain_C: Tensor,
    gate_up_2FC: Tensor,
    down_CF: Tensor,
    cos_BTF: Tensor,
    sin_BTF: Tensor,
    doc_ids_BT: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    (rows, num_tokens, width), hidden = x_BTC.shape, down_CF.shape[1]
    x_BTC = x_BTC.contiguous()
    outputs = _outputs(x_BTC, attention_gain_C, qkv_EC, gains_2D, out_CC, mlp_gain_C, gate_up_2FC, down_CF)
    attention_gain, gains, mlp_gain = as_arrays(attention_gain_C, gains_2D, mlp_gain_C)
    cos, sin, doc_ids, lse = as_arrays(cos_BTF, sin_BTF, doc_ids_BT, outputs[5])
    both = _both(x_BTC, *outputs[:5])
    step, parts = _parts(rows, num_tokens)
    buffers = _both(torch.empty(step, num_tokens, width), torch.empty(step, num_tokens, hidden))
    for part in parts:
        num, tokens = part.stop - part.start, slice(part.start * num_tokens, part.stop * num_tokens)
        (x, x_), (y, _), (mid, mid_), (attended, attended_), (qkv, qkv_), (gate_up, gate_up_) = (
            (matrix[tokens], array[part]) for matrix, array in both
        )
        (normed, normed_), (product, product_) = (
            (matrix[: num * num_tokens], array[:num]) for matrix, array in buffers
        )

        over_rows(norm_rows, num, x_, attention_gain, normed_)
        torch.mm(normed, qkv_EC.t(), out=qkv)
        turned_by = (gains, cos[part], sin[part], doc_ids[part])
        over_rows(attend_rows, num, _heads(qkv_, gains), *turned_by, _heads(attended_, gains), lse[part])
        torch.addmm(x, attended, out_CC.t(), out=mid)

        over_rows(norm_rows, num, mid_, mlp_gain, normed_)
        torch.mm(normed, gate_up_2FC.t(), out=gate_up)
        over_rows(swiglu_rows, num, gate_up_, product_)
        torch.addmm(mid, product, down_CF.t(), out=y)
    return outputs


def _heads(x_BTE: np.ndarray, gains_2D: np.ndarray) -> np.ndarray:
    return x_BTE.reshape(*x_BTE.shape[:2], -1, gains_2D.shape[1])


def _backward(
    grad_BTC: Tensor,
    x_BTC: Tensor,
    attention_gain_C: Tensor,
    qkv_EC: Tensor,
    gains_2D: Tensor,
    out_CC: Tensor,
    mlp_gain_C: Tensor,
    gate_up_2FC: Tensor,
    down_CF: Tensor,
    cos_BTF: Tensor,
    sin_BTF: Tensor,
    doc_ids_BT: Tensor,
    y_BTC: Tensor,
    mid_BTC: Tensor,
    attended_BTC: Tensor,
    qkv_BTE: Tensor,
    gate_up_BT2F: Tensor,
    lse_BHT: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    (rows, num_tokens, width), hidden = x_BTC.shape, down_CF.shape[1]
    dx_BTC, dgains_B2D = torch.empty(x_BTC.shape), torch.empty(rows, *gains_2D.shape)
    dattention_gain_BC, dmlp_gain_BC = torch.empty(rows, width), torch.empty(rows, width)
    dqkv_EC, dout_CC, dgate_up_2FC, ddown_CF = (torch.zeros(w.shape) for w in (qkv_EC, out_CC, gate_up_2FC, down_CF))
    attention_gain, gains, mlp_gain = as_arrays(attention_gain_C, gains_2D, mlp_gain_C)
    cos, sin, doc_ids, lse = as_arrays(cos_BTF, sin_BTF, doc_ids_BT, lse_BHT)
    dattention_gain, dgains, dmlp_gain = as_arrays(dattention_gain_BC, dgains_B2D, dmlp_gain_BC)
    both = _both(grad_BTC.contiguous(), dx_BTC, x_BTC.contiguous(), mid_BTC, attended_BTC, qkv_BTE, gate_up_BT2F)
    step, parts = _parts(rows, num_tokens)
    widths = (width, width, width, len(qkv_EC), hidden, hidden, 2 * hidden)
    buffers = _both(*(torch.empty(step, num_tokens, size) for size in widths))
    for part in parts:
        num, tokens = part.stop - part.start, slice(part.start * num_tokens, part.stop * num_tokens)
        (dy, dy_), (_, dx_), (_, x_), (_, mid_), (attended, attended_), (_, qkv_), (_, gate_up_) = (
            (matrix[tokens], array[part]) for matrix, array in both
        )
        normed, change, dmid, dqkv, product, dproduct, dgate_up = (matrix[: num * num_tokens] for matrix, _ in buffers)
        normed_, change_, dmid_, dqkv_, product_, dproduct_, dgate_up_ = (array[:num] for _, array in buffers)

        torch.mm(dy, down_CF, out=dproduct)
        over_rows(swiglu_rows_backward, num, gate_up_, dproduct_, dgate_up_, product_)
        ddown_CF.addmm_(dy.t(), product)
        torch.mm(dgate_up, gate_up_2FC, out=change)
        over_rows(norm_rows_backward, num, mid_, mlp_gain, change_, dy_, dmid_, dmlp_gain[part], normed_)
        dgate_up_2FC.addmm_(dgate_up.t(), normed)

        torch.mm(dmid, out_CC, out=change)
        dout_CC.addmm_(dmid.t(), attended)
        saved = (_heads(qkv_, gains), gains, cos[part], sin[part], doc_ids[part], _heads(attended_, gains), lse[part])
        gradients = (_heads(dqkv_, gains), dgains[part])
        over_rows(attend_rows_backward, num, _heads(change_, gains), *saved, *gradients)
        torch.mm(dqkv, qkv_EC, out=change)
        over_rows(norm_rows_backward, num, x_, attention_gain, change_, dmid_, dx_, dattention_gain[part], normed_)
        dqkv_EC.addmm_(dqkv.t(), normed)
    dattention_gain_C, dgains_2D, dmlp_gain_C = (x.sum(0) for x in (dattention_gain_BC, dgains_B2D, dmlp_gain_BC))
    return dx_BTC, dattention_gain_C, dqkv_EC, dgains_2D, dout_CC, dmlp_gain_C, dgate_up_2FC, ddown_CF


_block = differentiable("block", _forward, _backward, _outputs, num_gradients=8)


def block(x_BTC: Tensor, *weights: Tensor, cos: Tensor, sin: Tensor, doc_ids_BT: Tensor) -> Tensor:
    """Return the residual stream after a block, (B, T, C); differentiable once, in x and the weights.

    weights: gain (C,) and qkv (E, C) of attention, gains (2, D) of queries and keys (or none: (0, D)), out (C, C);
    gain (C,), gate_up (2 F, C) and down (C, F) of the MLP. cos, sin, doc_ids_BT: see `packed_attention`.
    """
    shape = (*x_BTC.shape[:2], -1)
    return _block(x_BTC, *weights, cos[:, :, 0].expand(shape), sin[:, :, 0].expand(shape), doc_ids_BT)
