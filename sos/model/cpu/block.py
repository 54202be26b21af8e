"""A block of the GPT, forward and backward, of some rows at a time: float32 on the CPU, packed rows.

Modules and autograd read and write whole batches between small operations. Here a few rows at a time go through the
whole block, so that what lies between the matrix products stays in the cache, in buffers that are used again; norms
and SwiGLU are one kernel each. The equations are those of `sos.model.gpt.Block`.

Shape suffixes as in `sos.model.gpt`, N = rows x T, E = (H + 2 K) D, and F the hidden width (of cosines and sines:
D / 2).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sos.model.cpu.attention_data import Attended, AttentionGradients, Packed, TraceBuffers, trace_buffers
from sos.model.cpu.attention_kernels import attend_rows, attend_rows_backward
from sos.model.cpu.layers import NormGradients, norm_rows, norm_rows_backward, swiglu_rows, swiglu_rows_backward


class BlockWeights(NamedTuple):
    """The weights of a block, or their gradients; what kernels take is an array, what is multiplied a tensor."""

    attention_gain_C: np.ndarray
    qkv_EC: Tensor
    gains_2D: np.ndarray  # of the norms of queries and keys; (0, D) without them
    out_CC: Tensor
    mlp_gain_C: np.ndarray
    gate_up_2FC: Tensor
    down_CF: Tensor


class Both(NamedTuple):
    """The same numbers as a matrix of N rows, for products, and as an array (B, T, X), for kernels."""

    matrix: Tensor
    array: np.ndarray


class Seen(NamedTuple):
    """What attention knows of the rows: their positions, as angles, and their documents."""

    cos_BTF: np.ndarray
    sin_BTF: np.ndarray
    doc_ids_BT: np.ndarray


class BlockValues(NamedTuple):
    """What the forward pass of a block leaves for its backward pass, besides its input."""

    mid_BTC: Both  # the residual stream after attention
    attended_BTC: Both
    qkv_BTE: Both
    gate_up_BT2F: Both
    lse_BHT: np.ndarray


class Scratch(NamedTuple):
    """Buffers of some rows for both passes; nothing is kept in them."""

    normed_BTC: Both
    product_BTF: Both
    change_BTC: Both
    dmid_BTC: Both
    dqkv_BTE: Both
    dproduct_BTF: Both
    dgate_up_BT2F: Both
    dstream_BTC: Both
    dgain_BC: Both
    dgains_B2D: np.ndarray
    attention: TraceBuffers


class BlockSizes(NamedTuple):
    """The sizes of a block, and those of some rows."""

    num_rows: int
    num_tokens: int
    width: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    hidden: int
    num_gains: int  # 2 where queries and keys are normed, else 0


def tensors_of(module: Any) -> list[Tensor]:
    """Return the weights of a `sos.model.gpt.Block` in the order of `BlockWeights`."""
    attention, mlp = module.attention, module.mlp
    weight = attention.qkv.weight
    normed = attention.q_norm is not None
    gains = torch.stack((attention.q_norm.weight, attention.k_norm.weight)) if normed else None
    gains_2D = weight.new_empty(0, attention.head_dim) if gains is None else gains
    before = [module.attention_norm.weight, weight, gains_2D, attention.out.weight]
    return [*before, module.mlp_norm.weight, mlp.gate_up.weight, mlp.down.weight]


def weights_of(tensors: Sequence[Tensor]) -> BlockWeights:
    """Return the same weights as both passes take them."""
    attention_gain, qkv, gains, out, mlp_gain, gate_up, down = (tensor.detach().contiguous() for tensor in tensors)
    return BlockWeights(attention_gain.numpy(), qkv, gains.numpy(), out, mlp_gain.numpy(), gate_up, down)


def both(x_BTX: Tensor) -> Both:
    """Return contiguous numbers as both."""
    return Both(x_BTX.view(-1, x_BTX.shape[-1]), x_BTX.numpy())


def empty(*shape: int) -> Both:
    """Return numbers that are not written yet."""
    return both(torch.empty(shape))


def sizes_of(config: Any, num_rows: int, num_tokens: int) -> BlockSizes:
    """Return the sizes of the blocks of a GPT and of so many rows."""
    shape = (config.width, config.num_heads, config.kv_heads, config.head_dim, config.mlp_hidden, 2 * config.qk_norm)
    return BlockSizes(num_rows, num_tokens, *shape)


def unwritten(sizes: BlockSizes) -> BlockValues:
    """Return what a forward pass will write."""
    rows = (sizes.num_rows, sizes.num_tokens)
    vectors = (sizes.num_heads + 2 * sizes.num_kv_heads) * sizes.head_dim
    widths = (sizes.width, sizes.width, vectors, 2 * sizes.hidden)
    mid, attended, qkv, gate_up = (empty(*rows, width) for width in widths)
    lse_BHT = np.empty((sizes.num_rows, sizes.num_heads, sizes.num_tokens), np.float32)
    return BlockValues(mid, attended, qkv, gate_up, lse_BHT)


def scratch(sizes: BlockSizes) -> Scratch:
    """Return the buffers of one thread."""
    num_rows, num_tokens, width, num_heads, num_kv_heads, head_dim, hidden, num_gains = sizes
    vectors = (num_heads + 2 * num_kv_heads) * head_dim

    def rows(size: int) -> Both:
        return empty(num_rows, num_tokens, size)

    return Scratch(
        normed_BTC=rows(width),
        product_BTF=rows(hidden),
        change_BTC=rows(width),
        dmid_BTC=rows(width),
        dqkv_BTE=rows(vectors),
        dproduct_BTF=rows(hidden),
        dgate_up_BT2F=rows(2 * hidden),
        dstream_BTC=rows(width),
        dgain_BC=empty(num_rows, width),
        dgains_B2D=np.empty((num_rows, num_gains, head_dim), np.float32),
        attention=trace_buffers(num_tokens, num_heads, num_kv_heads, head_dim, backward=True),
    )


def _heads(x_BTE: np.ndarray, head_dim: int) -> np.ndarray:
    return x_BTE.reshape(*x_BTE.shape[:2], -1, head_dim)


def _attention(weights: BlockWeights, seen: Seen, values: BlockValues) -> tuple[Packed, Attended]:
    """Return what attention reads, and what it writes."""
    gains = weights.gains_2D
    packed = Packed(_heads(values.qkv_BTE.array, gains.shape[1]), gains, *seen)
    return packed, Attended(_heads(values.attended_BTC.array, gains.shape[1]), values.lse_BHT)


def forward_rows(weights: BlockWeights, seen: Seen, x: Both, y: Both, values: BlockValues, scratch: Scratch) -> None:
    """Write the residual stream `y` after the block, given that before it, and the `values`."""
    num, mid, normed, product = len(x.array), values.mid_BTC, scratch.normed_BTC, scratch.product_BTF
    packed, attended = _attention(weights, seen, values)
    norm_rows(0, num, x.array, weights.attention_gain_C, normed.array)
    torch.mm(normed.matrix, weights.qkv_EC.t(), out=values.qkv_BTE.matrix)
    attend_rows(0, num, packed, attended, scratch.attention)
    torch.addmm(x.matrix, values.attended_BTC.matrix, weights.out_CC.t(), out=mid.matrix)
    norm_rows(0, num, mid.array, weights.mlp_gain_C, normed.array)
    torch.mm(normed.matrix, weights.gate_up_2FC.t(), out=values.gate_up_BT2F.matrix)
    swiglu_rows(0, num, values.gate_up_BT2F.array, product.array)
    torch.addmm(mid.matrix, product.matrix, weights.down_CF.t(), out=y.matrix)


def backward_rows(
    weights: BlockWeights,
    seen: Seen,
    x: Both,
    dy: Both,
    values: BlockValues,
    scratch: Scratch,
    gradients: BlockWeights,
) -> None:
    """Turn the gradient of the residual stream after the block into that before it, and write those of the weights.

    dy: overwritten. gradients: overwritten, those of the weights over these rows.
    """
    num, mid, attended, gate_up = len(x.array), values.mid_BTC, values.attended_BTC, values.gate_up_BT2F
    normed, product, change, dmid, dqkv, dproduct, dgate_up, _, dgain, dgains_B2D, buffers = scratch

    torch.mm(dy.matrix, weights.down_CF, out=dproduct.matrix)
    swiglu_rows_backward(0, num, gate_up.array, dproduct.array, dgate_up.array, product.array)
    torch.mm(dy.matrix.t(), product.matrix, out=gradients.down_CF)
    torch.mm(dgate_up.matrix, weights.gate_up_2FC, out=change.matrix)
    written = NormGradients(dmid.array, dgain.array, normed.array)
    norm_rows_backward(0, num, mid.array, weights.mlp_gain_C, change.array, dy.array, written)
    dgain.array.sum(0, out=gradients.mlp_gain_C)
    torch.mm(dgate_up.matrix.t(), normed.matrix, out=gradients.gate_up_2FC)

    torch.mm(dmid.matrix, weights.out_CC, out=change.matrix)
    torch.mm(dmid.matrix.t(), attended.matrix, out=gradients.out_CC)
    head_dim = weights.gains_2D.shape[1]
    of_attention = AttentionGradients(_heads(dqkv.array, head_dim), dgains_B2D)
    packed, attended_ = _attention(weights, seen, values)
    attend_rows_backward(0, num, _heads(change.array, head_dim), packed, attended_, of_attention, buffers)
    dgains_B2D.sum(0, out=gradients.gains_2D)
    torch.mm(dqkv.matrix, weights.qkv_EC, out=change.matrix)
    written = NormGradients(dy.array, dgain.array, normed.array)
    norm_rows_backward(0, num, x.array, weights.attention_gain_C, change.array, dmid.array, written)
    dgain.array.sum(0, out=gradients.attention_gain_C)
    torch.mm(dqkv.matrix.t(), normed.matrix, out=gradients.qkv_EC)
