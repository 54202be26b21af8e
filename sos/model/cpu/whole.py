"""The losses of a whole GPT as one function of torch, forward and backward: float32 on the CPU, packed rows.

Pieces of a batch (`sos.model.cpu.pieces`) go through all blocks on several threads, forward and later backward; each
has the gradients of its own rows, which are summed in the order of the pieces. Shape suffixes as in `sos.model.gpt`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from sos.model.attention import rotary
from sos.model.cpu import block, loss
from sos.model.cpu.block import BlockSizes, BlockValues, BlockWeights, Both, Seen
from sos.model.cpu.layers import add_rows
from sos.model.cpu.loss import LossValues
from sos.model.cpu.pieces import OrderedSum, Pool, pieces_of, places_of, views_of
from sos.model.cpu.threads import as_arrays, share_out


class Weights(NamedTuple):
    """The weights of a GPT, or their gradients."""

    embed_VC: Tensor
    blocks: list[BlockWeights]
    gain_C: Tensor
    head_VC: Tensor


class Values(NamedTuple):
    """What the forward pass of a piece leaves for its backward pass, in buffers that are used again."""

    streams: list[Both]  # the residual stream before each block, and after the last one
    blocks: list[BlockValues]


class Left(NamedTuple):
    """All that the forward pass of a piece leaves."""

    values: Values
    seen: Seen
    loss: LossValues


class Batch(NamedTuple):
    """Packed rows."""

    tokens_BT: Tensor
    positions_BT: Tensor
    doc_ids_BT: Tensor
    targets_BT: Tensor


class _Held:
    """What the pieces of one forward pass left; its buffers go back when nothing can need them any more."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.left: dict[int, tuple[BlockSizes, Left]] = {}

    def __del__(self) -> None:
        for sizes, left in self.left.values():
            self.pool.give(("values", sizes), left.values)


class _Work:
    """What is known of a batch before its forward pass, and what has to be kept until its backward pass."""

    def __init__(self, model: Any, batch: Batch, keep: bool) -> None:
        self.config, self.batch, self.keep = model.config, batch, keep
        self.pool = _POOLS.setdefault(model, Pool())
        self.held = _Held(self.pool)
        self.pieces = list(enumerate(pieces_of(*batch.tokens_BT.shape)))

    def sizes(self, rows: slice) -> BlockSizes:
        return block.sizes_of(self.config, rows.stop - rows.start, self.batch.tokens_BT.shape[1])


_POOLS: WeakKeyDictionary[nn.Module, Pool] = WeakKeyDictionary()


def _tensors(model: Any) -> Iterator[Tensor]:
    """Yield the weights, those of a block in the order of `BlockWeights`; a tied one comes twice."""
    yield model.embed.weight
    for module in model.blocks:
        yield from block.tensors_of(module)
    yield from (model.norm.weight, model.head.weight)


def _weights(tensors: Sequence[Tensor]) -> Weights:
    """Arrange what `_tensors` yields."""
    size = len(BlockWeights._fields)
    blocks = [block.weights_of(tensors[at : at + size]) for at in range(1, len(tensors) - 2, size)]
    return Weights(tensors[0], blocks, *tensors[-2:])


def _forward(work: _Work, weights: Weights, losses_BT: Tensor, piece: tuple[int, slice]) -> None:
    """Write the losses of a piece, and keep what its backward pass needs."""
    number, rows = piece
    tokens, positions, doc_ids, targets = (tensor[rows] for tensor in work.batch)
    sizes, pool, config = work.sizes(rows), work.pool, work.config
    values = pool.take(("values", sizes), lambda: _values(sizes, len(weights.blocks)))
    scratch = pool.take(("scratch", sizes), lambda: block.scratch(sizes))
    cos, sin = rotary(positions, config.head_dim, config.rope_theta)
    seen = Seen(*as_arrays(cos[:, :, 0], sin[:, :, 0], doc_ids))
    torch.index_select(weights.embed_VC, 0, tokens.flatten(), out=values.streams[0].matrix)
    for of_block, kept, x, y in zip(weights.blocks, values.blocks, values.streams, values.streams[1:], strict=False):
        block.forward_rows(of_block, seen, x, y, kept, scratch)
    found, of_loss = loss.forward_rows(values.streams[-1].matrix, weights.gain_C, weights.head_VC, targets.flatten())
    losses_BT[rows] = found.view(targets.shape)
    pool.give(("scratch", sizes), scratch)
    if work.keep:
        work.held.left[number] = sizes, Left(values, seen, of_loss)
    else:
        pool.give(("values", sizes), values)


def _values(sizes: BlockSizes, num_layers: int) -> Values:
    streams = [block.empty(sizes.num_rows, sizes.num_tokens, sizes.width) for _ in range(num_layers + 1)]
    return Values(streams, [block.unwritten(sizes) for _ in range(num_layers)])


def _backward(work: _Work, weights: Weights, grad_BT: Tensor, gradients: Weights, piece: tuple[int, slice]) -> None:
    """Write the gradients of the weights over a piece."""
    number, rows = piece
    sizes, (values, seen, of_loss) = work.held.left[number]
    scratch = work.pool.take(("scratch", sizes), lambda: block.scratch(sizes))
    stream = scratch.dstream_BTC
    loss.backward_rows(
        grad_BT[rows].flatten(),
        weights.gain_C,
        weights.head_VC,
        of_loss,
        stream.matrix,
        gradients.gain_C,
        gradients.head_VC,
    )
    for layer in reversed(range(len(weights.blocks))):
        x, kept = values.streams[layer], values.blocks[layer]
        block.backward_rows(weights.blocks[layer], seen, x, stream, kept, scratch, gradients.blocks[layer])
    gradients.embed_VC.zero_()
    add_rows(*as_arrays(stream.matrix, work.batch.tokens_BT[rows].flatten(), gradients.embed_VC))
    work.pool.give(("scratch", sizes), scratch)


class _Losses(torch.autograd.Function):
    """Losses of packed rows, and the gradients of the weights."""

    @staticmethod
    def forward(ctx: Any, work: _Work, *tensors: Tensor) -> Tensor:
        losses_BT, weights = torch.zeros(work.batch.targets_BT.shape), _weights(tensors)
        share_out(lambda piece: _forward(work, weights, losses_BT, piece), work.pieces)
        if work.keep:
            ctx.work = work
            ctx.save_for_backward(*tensors)
        return losses_BT

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_BT: Tensor) -> tuple[Tensor | None, ...]:
        work, tensors = ctx.work, ctx.saved_tensors
        shapes, pool = tuple(tensor.shape for tensor in tensors), ctx.work.pool
        first, weights = _gradients(shapes), _weights(tensors)
        total = OrderedSum(lambda flat: pool.give(shapes, lent.pop(id(flat))))
        lent: dict[int, tuple[Tensor, Weights]] = {}

        def work_on(piece: tuple[int, slice]) -> None:
            flat, gradients = pool.take(shapes, lambda: _gradients(shapes)) if piece[0] else first
            _backward(work, weights, grad_BT, gradients, piece)
            lent[id(flat)] = flat, gradients
            total.add(piece[0], flat)

        share_out(work_on, work.pieces)
        return (None, *views_of(first[0], shapes))


def _gradients(shapes: Sequence[torch.Size]) -> tuple[Tensor, Weights]:
    """Return a flat buffer for the gradients of all weights, and these."""
    flat = torch.zeros(places_of(shapes)[-1])
    return flat, _weights(views_of(flat, shapes))


def token_losses(model: Any, batch: Batch) -> Tensor:
    """Return minus the log-probability of each target, (B, T), 0 where a target is negative; differentiable once.

    batch: int64 (B, T); a trace is a run of equal document ids >= 0, and sees itself alone; negative ids are padding,
    which sees nothing. `positions_BT` may be (1, T).
    """
    tensors = list(_tensors(model))
    keep = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
    return _Losses.apply(_Work(model, batch, keep), *tensors)
