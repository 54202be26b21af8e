"""A block of the GPT as one operator of torch, forward and backward: float32 on the CPU, packed rows, no dropout.

Modules and autograd read and write whole batches between small operations. Here a few rows at a time go through the
whole block, so that what lies between the matrix products stays in the cache, in buffers that are used again; norms
and SwiGLU are one kernel each. The equations are those of `sos.model.gpt.Block`.

Shape suffixes as in `sos.model.gpt`, N = rows of a part x T, E = (H + 2 K) D, and F the hidden width (of cosines and
sines: D / 2).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sos.model.cpu.attention_data import Attended, AttentionGradients, Packed, TraceBuffers, trace_buffers
from sos.model.cpu.attention_kernels import attend_rows, attend_rows_backward
from sos.model.cpu.layers import NormGradients, norm_rows, norm_rows_backward, swiglu_rows, swiglu_rows_backward
from sos.model.cpu.operators import Function, differentiable
from sos.model.cpu.threads import as_arrays, num_parts, over_rows

PART = 1024  # tokens of a part, per thread


class Inputs(NamedTuple):
    """The residual stream, the weights of a block, and the rows' positions and documents."""

    x_BTC: Tensor
    attention_gain_C: Tensor
    qkv_EC: Tensor
    gains_2D: Tensor  # of the norms of queries and keys; (0, D) without them
    out_CC: Tensor
    mlp_gain_C: Tensor
    gate_up_2FC: Tensor
    down_CF: Tensor
    cos_BTF: Tensor
    sin_BTF: Tensor
    doc_ids_BT: Tensor


class Outputs(NamedTuple):
    """The residual stream after the block, then what the backward pass needs."""

    y_BTC: Tensor
    mid_BTC: Tensor  # the residual stream after attention
    attended_BTC: Tensor
    qkv_BTE: Tensor
    gate_up_BT2F: Tensor
    lse_BHT: Tensor


class Both(NamedTuple):
    """The same numbers as a matrix of N rows, for products, and as an array (B, T, X), for kernels."""

    matrix: Tensor
    array: np.ndarray

    def part(self, rows: slice) -> Both:
        """Return some rows of the batch."""
        num_tokens = self.array.shape[1]
        return Both(self.matrix[rows.start * num_tokens : rows.stop * num_tokens], self.array[rows])


def _both(x_BTX: Tensor) -> Both:
    return Both(x_BTX.view(-1, x_BTX.shape[2]), x_BTX.numpy())


def _empty(num_rows: int, num_tokens: int, *widths: int) -> list[Both]:
    return [_both(torch.empty(num_rows, num_tokens, width)) for width in widths]


def _parts(num_rows: int, num_tokens: int) -> tuple[int, list[slice]]:
    """Return the number of rows of the batch that go through the block together, and all such parts."""
    step = min(num_rows, max(1, PART * torch.get_num_threads() // num_tokens))
    return step, [slice(start, min(num_rows, start + step)) for start in range(0, num_rows, step)]


def _unwritten(inputs: Inputs) -> Outputs:
    x_BTC = inputs.x_BTC
    (num_rows, num_tokens, width), head_dim = x_BTC.shape, inputs.gains_2D.shape[1]
    widths = (width, width, width, len(inputs.qkv_EC), len(inputs.gate_up_2FC))
    y, mid, attended, qkv, gate_up = (x_BTC.new_empty(num_rows, num_tokens, size) for size in widths)
    return Outputs(y, mid, attended, qkv, gate_up, x_BTC.new_empty(num_rows, width // head_dim, num_tokens))


def _buffers(inputs: Inputs, num_rows: int, backward: bool) -> list[TraceBuffers]:
    """Return buffers of attention for each part of so many rows."""
    (_, num_tokens, width), head_dim = inputs.x_BTC.shape, inputs.gains_2D.shape[1]
    num_heads = width // head_dim
    num_kv_heads = (len(inputs.qkv_EC) // head_dim - num_heads) // 2
    sizes = (num_tokens, num_heads, num_kv_heads, head_dim, backward)
    return [trace_buffers(*sizes) for _ in range(num_parts(num_rows))]


def _heads(x_BTE: np.ndarray, head_dim: int) -> np.ndarray:
    return x_BTE.reshape(*x_BTE.shape[:2], -1, head_dim)


class _Attention:
    """The arrays of a block that its attention reads and writes."""

    def __init__(self, inputs: Inputs, outputs: Outputs) -> None:
        self.head_dim = inputs.gains_2D.shape[1]
        qkv, attended = (_heads(x.numpy(), self.head_dim) for x in (outputs.qkv_BTE, outputs.attended_BTC))
        self.packed = Packed(qkv, *as_arrays(inputs.gains_2D, inputs.cos_BTF, inputs.sin_BTF, inputs.doc_ids_BT))
        self.attended = Attended(attended, *as_arrays(outputs.lse_BHT))

    def part(self, rows: slice) -> tuple[Packed, Attended]:
        """Return some rows of the batch."""
        gains = self.packed.gains_2D
        return Packed(*(x if x is gains else x[rows] for x in self.packed)), Attended(*(x[rows] for x in self.attended))


def _forward(inputs: Inputs) -> Outputs:
    num_rows, num_tokens, width = inputs.x_BTC.shape
    outputs = _unwritten(inputs)
    attention_gain, mlp_gain = as_arrays(inputs.attention_gain_C, inputs.mlp_gain_C)
    attention = _Attention(inputs, outputs)
    wholes = [_both(tensor) for tensor in (inputs.x_BTC.contiguous(), *outputs[:5])]
    step, parts = _parts(num_rows, num_tokens)
    buffers = _empty(step, num_tokens, width, inputs.down_CF.shape[1])
    trace_buffers = _buffers(inputs, step, backward=False)
    for part in parts:
        num = part.stop - part.start
        x, y, mid, attended, qkv, gate_up = (whole.part(part) for whole in wholes)
        normed, product = (buffer.part(slice(0, num)) for buffer in buffers)

        over_rows(norm_rows, num, x.array, attention_gain, normed.array)
        torch.mm(normed.matrix, inputs.qkv_EC.t(), out=qkv.matrix)
        over_rows(attend_rows, num, *attention.part(part), buffers=trace_buffers)
        torch.addmm(x.matrix, attended.matrix, inputs.out_CC.t(), out=mid.matrix)

        over_rows(norm_rows, num, mid.array, mlp_gain, normed.array)
        torch.mm(normed.matrix, inputs.gate_up_2FC.t(), out=gate_up.matrix)
        over_rows(swiglu_rows, num, gate_up.array, product.array)
        torch.addmm(mid.matrix, product.matrix, inputs.down_CF.t(), out=y.matrix)
    return outputs


def _backward(grad_BTC: Tensor, inputs: Inputs, outputs: Outputs) -> tuple[Tensor, ...]:
    (num_rows, num_tokens, width), hidden = inputs.x_BTC.shape, inputs.down_CF.shape[1]
    dx_BTC, dgains_B2D = torch.empty(inputs.x_BTC.shape), torch.empty(num_rows, *inputs.gains_2D.shape)
    dattention_gain_BC, dmlp_gain_BC = torch.empty(num_rows, width), torch.empty(num_rows, width)
    matrices = (inputs.qkv_EC, inputs.out_CC, inputs.gate_up_2FC, inputs.down_CF)
    dqkv_EC, dout_CC, dgate_up_2FC, ddown_CF = (torch.zeros(matrix.shape) for matrix in matrices)
    attention_gain, mlp_gain = as_arrays(inputs.attention_gain_C, inputs.mlp_gain_C)
    dattention_gain, dgains, dmlp_gain = as_arrays(dattention_gain_BC, dgains_B2D, dmlp_gain_BC)
    attention = _Attention(inputs, outputs)
    tensors = (grad_BTC.contiguous(), dx_BTC, inputs.x_BTC.contiguous(), *outputs[1:5])
    wholes = [_both(tensor) for tensor in tensors]
    step, parts = _parts(num_rows, num_tokens)
    buffers = _empty(step, num_tokens, width, width, width, len(dqkv_EC), hidden, hidden, 2 * hidden)
    trace_buffers = _buffers(inputs, step, backward=True)
    for part in parts:
        num = part.stop - part.start
        dy, dx, x, mid, attended, _, gate_up = (whole.part(part) for whole in wholes)
        normed, change, dmid, dqkv, product, dproduct, dgate_up = (buffer.part(slice(0, num)) for buffer in buffers)

        torch.mm(dy.matrix, inputs.down_CF, out=dproduct.matrix)
        over_rows(swiglu_rows_backward, num, gate_up.array, dproduct.array, dgate_up.array, product.array)
        ddown_CF.addmm_(dy.matrix.t(), product.matrix)
        torch.mm(dgate_up.matrix, inputs.gate_up_2FC, out=change.matrix)
        written = NormGradients(dmid.array, dmlp_gain[part], normed.array)
        over_rows(norm_rows_backward, num, mid.array, mlp_gain, change.array, dy.array, written)
        dgate_up_2FC.addmm_(dgate_up.matrix.t(), normed.matrix)

        torch.mm(dmid.matrix, inputs.out_CC, out=change.matrix)
        dout_CC.addmm_(dmid.matrix.t(), attended.matrix)
        gradients = AttentionGradients(_heads(dqkv.array, attention.head_dim), dgains[part])
        dattended = _heads(change.array, attention.head_dim)
        over_rows(attend_rows_backward, num, dattended, *attention.part(part), gradients, buffers=trace_buffers)
        torch.mm(dqkv.matrix, inputs.qkv_EC, out=change.matrix)
        written = NormGradients(dx.array, dattention_gain[part], normed.array)
        over_rows(norm_rows_backward, num, x.array, attention_gain, change.array, dmid.array, written)
        dqkv_EC.addmm_(dqkv.matrix.t(), normed.matrix)
    dattention_gain_C, dgains_2D, dmlp_gain_C = (x.sum(0) for x in (dattention_gain_BC, dgains_B2D, dmlp_gain_BC))
    return dx_BTC, dattention_gain_C, dqkv_EC, dgains_2D, dout_CC, dmlp_gain_C, dgate_up_2FC, ddown_CF


_block = differentiable("block", Function(Inputs, Outputs, _forward, _unwritten, _backward, num_gradients=8))


def block(module: Any, x_BTC: Tensor, cos: Tensor, sin: Tensor, doc_ids_BT: Tensor) -> Tensor:
    """Return the residual stream after a `sos.model.gpt.Block`, (B, T, C); differentiable once, in x and the weights.

    cos, sin: (B or 1, T, 1, D / 2), see `sos.model.attention.rotary`. doc_ids_BT: ints; a trace is a run of equal ids
    >= 0, and sees itself alone; negative ids are padding, which sees nothing.
    """
    attention, mlp = module.attention, module.mlp
    if attention.q_norm is None:
        gains_2D = x_BTC.new_empty(0, attention.head_dim)
    else:
        gains_2D = torch.stack((attention.q_norm.weight, attention.k_norm.weight))
    weights = [module.attention_norm.weight, attention.qkv.weight, gains_2D, attention.out.weight]
    weights += [module.mlp_norm.weight, mlp.gate_up.weight, mlp.down.weight]
    shape = (*x_BTC.shape[:2], -1)
    return _block(x_BTC, *weights, cos[:, :, 0].expand(shape), sin[:, :, 0].expand(shape), doc_ids_BT)
