"""A block, and the losses behind the last one, as operators of torch each: for `torch.compile`, and for logits.

What is not compiled takes the whole model at once (`sos.model.cpu.whole`). Shape suffixes as in `sos.model.gpt`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from sos.model.cpu import block as blocks
from sos.model.cpu import loss
from sos.model.cpu.block import BlockSizes, BlockValues, Both, Seen
from sos.model.cpu.operators import Function, differentiable
from sos.model.cpu.pieces import OrderedSum, pieces_of, places_of, views_of
from sos.model.cpu.threads import as_arrays, share_out


class BlockInputs(NamedTuple):
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


class BlockOutputs(NamedTuple):
    """The residual stream after the block, then what the backward pass needs."""

    y_BTC: Tensor
    mid_BTC: Tensor  # the residual stream after attention
    attended_BTC: Tensor
    qkv_BTE: Tensor
    gate_up_BT2F: Tensor
    lse_BHT: Tensor


class LossInputs(NamedTuple):
    """The residual stream after all blocks, the weights of the last norm and of the head, and the targets."""

    x_BTC: Tensor
    gain_C: Tensor
    head_VC: Tensor
    targets_BT: Tensor


class LossOutputs(NamedTuple):
    """The loss of each token, then what the backward pass needs."""

    losses_BT: Tensor
    indices_N: Tensor  # of the tokens with a target
    targets_N: Tensor
    x_NC: Tensor
    logits_NV: Tensor
    lse_N: Tensor


NUM_WEIGHTS = len(blocks.BlockWeights._fields)


def _unwritten(inputs: BlockInputs) -> BlockOutputs:
    x_BTC = inputs.x_BTC
    (num_rows, num_tokens, width), head_dim = x_BTC.shape, inputs.gains_2D.shape[1]
    widths = (width, width, width, len(inputs.qkv_EC), len(inputs.gate_up_2FC))
    y, mid, attended, qkv, gate_up = (x_BTC.new_empty(num_rows, num_tokens, size) for size in widths)
    return BlockOutputs(y, mid, attended, qkv, gate_up, x_BTC.new_empty(num_rows, width // head_dim, num_tokens))


def _sizes(inputs: BlockInputs, rows: slice) -> BlockSizes:
    (_, num_tokens, width), (num_gains, head_dim) = inputs.x_BTC.shape, inputs.gains_2D.shape
    num_heads = width // head_dim
    num_kv_heads = (len(inputs.qkv_EC) // head_dim - num_heads) // 2
    hidden = inputs.down_CF.shape[1]
    return BlockSizes(rows.stop - rows.start, num_tokens, width, num_heads, num_kv_heads, head_dim, hidden, num_gains)


def _rows(inputs: BlockInputs, outputs: BlockOutputs, rows: slice) -> tuple[Seen, Both, Both, BlockValues]:
    """Return what is seen of some rows, their stream before and after the block, and what is kept."""
    y, mid, attended, qkv, gate_up = (blocks.both(tensor[rows]) for tensor in outputs[:-1])
    values = BlockValues(mid, attended, qkv, gate_up, outputs.lse_BHT[rows].numpy())
    return Seen(*as_arrays(*(tensor[rows] for tensor in inputs[-3:]))), blocks.both(inputs.x_BTC[rows]), y, values


def _forward(inputs: BlockInputs) -> BlockOutputs:
    outputs, weights = _unwritten(inputs), blocks.weights_of(inputs[1 : 1 + NUM_WEIGHTS])
    inputs = inputs._replace(x_BTC=inputs.x_BTC.contiguous())

    def work(rows: slice) -> None:
        blocks.forward_rows(weights, *_rows(inputs, outputs, rows), blocks.scratch(_sizes(inputs, rows)))

    share_out(work, pieces_of(*inputs.x_BTC.shape[:2]))
    return outputs


def _backward(grad_BTC: Tensor, inputs: BlockInputs, outputs: BlockOutputs) -> tuple[Tensor, ...]:
    tensors = inputs[1 : 1 + NUM_WEIGHTS]
    weights, shapes = blocks.weights_of(tensors), [tensor.shape for tensor in tensors]
    inputs = inputs._replace(x_BTC=inputs.x_BTC.contiguous())
    dx_BTC, sums = grad_BTC.clone(memory_format=torch.contiguous_format), torch.zeros(places_of(shapes)[-1])
    total = OrderedSum(lambda flat: None)

    def work(piece: tuple[int, slice]) -> None:
        number, rows = piece
        flat = torch.zeros_like(sums) if number else sums
        seen, x, _, values = _rows(inputs, outputs, rows)
        scratch, gradients = blocks.scratch(_sizes(inputs, rows)), blocks.weights_of(views_of(flat, shapes))
        blocks.backward_rows(weights, seen, x, blocks.both(dx_BTC[rows]), values, scratch, gradients)
        total.add(number, flat)

    share_out(work, list(enumerate(pieces_of(*dx_BTC.shape[:2]))))
    # An operator returns no views of one buffer.
    return dx_BTC, *(view.clone() for view in views_of(sums, shapes))


_block = differentiable(
    "block", Function(BlockInputs, BlockOutputs, _forward, _unwritten, _backward, num_gradients=1 + NUM_WEIGHTS)
)


def block(module: Any, x_BTC: Tensor, cos: Tensor, sin: Tensor, doc_ids_BT: Tensor) -> Tensor:
    """Return the residual stream after a `sos.model.gpt.Block`, (B, T, C); differentiable once, in x and the weights.

    cos, sin: (B or 1, T, 1, D / 2), see `sos.model.attention.rotary`. doc_ids_BT: ints; a trace is a run of equal ids
    >= 0, and sees itself alone; negative ids are padding, which sees nothing.
    """
    shape = (*x_BTC.shape[:2], -1)
    angles = (cos[:, :, 0].expand(shape), sin[:, :, 0].expand(shape))
    return _block(x_BTC, *blocks.tensors_of(module), *angles, doc_ids_BT)


def _forward_losses(inputs: LossInputs) -> LossOutputs:
    x_BTC, gain_C, head_VC, targets_BT = inputs
    losses, values = loss.forward_rows(x_BTC.reshape(-1, x_BTC.shape[2]), gain_C, head_VC, targets_BT.flatten())
    return LossOutputs(losses.view(targets_BT.shape), *values)


def _unwritten_losses(inputs: LossInputs) -> LossOutputs:
    x_BTC, _, head_VC, targets_BT = inputs
    num = torch.library.get_ctx().new_dynamic_size()
    losses_BT, indices_N, targets_N = (
        x_BTC.new_empty(targets_BT.shape),
        targets_BT.new_empty(num),
        targets_BT.new_empty(num),
    )
    x_NC, logits_NV = (x_BTC.new_empty(num, width) for width in (x_BTC.shape[2], len(head_VC)))
    return LossOutputs(losses_BT, indices_N, targets_N, x_NC, logits_NV, x_BTC.new_empty(num))


def _backward_losses(grad_BT: Tensor, inputs: LossInputs, outputs: LossOutputs) -> tuple[Tensor, ...]:
    x_BTC, gain_C, head_VC, _ = inputs
    dx_BTC, dgain_C, dhead_VC = torch.empty(x_BTC.shape), torch.empty(gain_C.shape), torch.empty(head_VC.shape)
    values = loss.LossValues(*outputs[1:])
    dx_NC = dx_BTC.view(-1, x_BTC.shape[2])
    loss.backward_rows(grad_BT.flatten(), gain_C, head_VC, values, dx_NC, dgain_C, dhead_VC)
    return dx_BTC, dgain_C, dhead_VC


_losses = differentiable(
    "token_losses",
    Function(LossInputs, LossOutputs, _forward_losses, _unwritten_losses, _backward_losses, num_gradients=3),
)


def token_losses(x_BTC: Tensor, gain_C: Tensor, head_VC: Tensor, targets_BT: Tensor) -> Tensor:
    """Return minus the log-probability of each target, (B, T), 0 where a target is negative.

    x_BTC: the residual stream after all blocks. targets_BT: int64. Differentiable once, in x, the gain and the head.
    """
    return _losses(x_BTC, gain_C, head_VC, targets_BT)
