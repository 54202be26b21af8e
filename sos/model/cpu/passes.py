"""Rollouts on the CPU without a module or a torch call in sight: a float32 GPT as kernels over packed weights.

For models of this size, a token through `nn.Module`s is mostly the cost of calling torch, and a matrix product of a
few rows runs at half the speed that the processor has when its matrix lies ready in panels
(`sos.model.cpu.pass_kernels`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from sos.model.attention import rotary
from sos.model.cpu.layers import round_up
from sos.model.cpu.pass_kernels import BLOCK_ROWS, Batch, PassBuffers, Weights, write_tokens
from sos.model.cpu.threads import num_threads
from sos.model.cpu.vectors import LANES

PASSES = 64  # at most this many before Python has a turn
PROMPT_ROWS = 60  # tokens of prompts read beside one token of each slot
# Slots of a thread. While the weights stay in the processor's cache, more slots would only push out keys and values;
# larger weights are read from memory in every pass, which pays for many rows.
FEW_SLOTS, MANY_SLOTS, SMALL_WEIGHTS = 6, 36, 8e6


class Passes:
    """The slots of rollouts on one thread: packed weights, and a cache for traces of up to `num_positions` tokens.

    New slots read their prompts in the same pass in which the others write.
    """

    refill_share = 1_000  # one free slot is enough to refill

    def __init__(self, weights: Weights, num_slots: int, num_positions: int, eos_id: int, temperature: float) -> None:
        self.weights, self.eos_id, self.temperature = weights, eos_id, temperature
        max_rows = num_slots + PROMPT_ROWS
        layers, width = weights.attention_norm_LC.shape
        depth = 2 * weights.half_dim
        heads = weights.out_LX.shape[1] // width
        hidden = weights.gate_up_LX.shape[1] // (2 * width)
        vocab = round_up(weights.vocab_size, LANES)
        rows = round_up(max_rows, BLOCK_ROWS)

        def zeros(*shape: int) -> np.ndarray:
            return np.zeros(shape, np.float32)

        cache = (num_slots, layers, weights.num_kv_heads, round_up(num_positions, LANES) * depth)
        self.buffers = PassBuffers(
            keys_BLKX=zeros(*cache),
            values_BLKX=zeros(*cache),
            x_RC=zeros(rows * width),
            normed_RC=zeros(rows * width),
            qkv_RG=zeros(rows * (weights.qkv_LX.shape[1] // width)),
            y_RE=zeros(rows * heads),
            gate_up_RF=zeros(rows * 2 * hidden),
            hidden_RF=zeros(rows * hidden),
            logits_RV=zeros(round_up(num_slots, BLOCK_ROWS) * vocab),
            scores_S=zeros(round_up(num_positions, LANES)),
            cumulative_V=np.zeros(vocab),
        )
        slots, row = (lambda: np.zeros(num_slots, np.int64)), (lambda: np.zeros(max_rows, np.int64))
        self.batch = Batch(
            tokens_BT=np.zeros((num_slots, num_positions), np.int32),
            logprobs_BT=zeros(num_slots, num_positions),
            num_read=slots(),
            lengths=slots(),
            limits=slots(),
            live=np.zeros(num_slots, bool),
            keys=np.zeros(num_slots, np.uint64),
            row_tokens=row(),
            row_slots=row(),
            row_positions=row(),
            wanted=slots(),
        )

    @property
    def live(self) -> np.ndarray:
        """Which slots hold a trace that is not complete, bool (num_slots,)."""
        return self.batch.live

    def start(self, slots: np.ndarray, prompts: list[np.ndarray], limits: np.ndarray, keys: np.ndarray) -> None:
        """Begin new traces in free slots: prompts, lengths at which they stop, uint64 random streams."""
        batch = self.batch
        for slot, prompt in zip(slots, prompts, strict=True):
            batch.tokens_BT[slot, : len(prompt)] = prompt
            batch.lengths[slot] = len(prompt)
        batch.num_read[slots], batch.limits[slots], batch.keys[slots] = 0, limits, keys
        batch.live[slots] = True

    def run(self) -> None:
        """Write tokens in all live slots until one of them is complete and not live any more, or for some passes."""
        write_tokens(self.weights, self.buffers, self.batch, self.eos_id, self.temperature, PASSES)

    def results(self, slots: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return all tokens, int32, and their log probabilities, float32, of complete traces."""
        tokens, logprobs, lengths = self.batch.tokens_BT, self.batch.logprobs_BT, self.batch.lengths
        return [(tokens[slot, : lengths[slot]].copy(), logprobs[slot, : lengths[slot]].copy()) for slot in slots]


def passes(model: Any, num_slots: int, num_positions: int, eos_id: int, temperature: float) -> list[Passes]:
    """Return `Passes` for each thread that has work, with about `num_slots` slots in all at most."""
    weights = pack(model, num_positions)
    small = sum(parameter.nbytes for parameter in model.parameters()) < SMALL_WEIGHTS
    threads = min(num_threads(), max(1, num_slots // BLOCK_ROWS))
    slots_each = min(-(-num_slots // threads), FEW_SLOTS if small else MANY_SLOTS)
    return [Passes(weights, slots_each, num_positions, eos_id, temperature) for _ in range(threads)]


def pack(model: Any, num_positions: int) -> Weights:
    """Copy the weights of a GPT into the layout of the kernels, with the rotary angles of `num_positions` positions."""
    config = model.config
    half, half_dim = config.head_dim // 2, round_up(config.head_dim // 2, LANES)
    width = round_up(config.width, LANES)

    def padded(x: np.ndarray, size: int) -> np.ndarray:
        return np.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, size - x.shape[-1])])

    def by_halves(x: np.ndarray) -> np.ndarray:
        """Pad the last axis, whole heads, half a head at a time."""
        return padded(x.reshape(*x.shape[:-1], -1, half), half_dim).reshape(*x.shape[:-1], -1)

    def panels(matrix_IO: np.ndarray) -> np.ndarray:
        """Lay out a matrix of inputs by outputs as (O / 16, I, 16), flat."""
        whole = padded(matrix_IO, round_up(matrix_IO.shape[1], LANES))
        return whole.reshape(len(matrix_IO), -1, LANES).swapaxes(0, 1).ravel()

    def inputs(linear: nn.Linear) -> np.ndarray:
        """Return the matrix of a layer that reads the residual stream, inputs first."""
        return padded(_array(linear.weight), width).T

    def gain(norm: nn.Module | None) -> np.ndarray:
        return np.zeros(0, np.float32) if norm is None else by_halves(_array(norm.weight))

    blocks = list(model.blocks)
    attentions = [block.attention for block in blocks]
    angles = rotary(torch.arange(round_up(num_positions, LANES)), config.head_dim, config.rope_theta)
    cos, sin = (padded(x[:, 0].numpy(), half_dim).ravel() for x in angles)
    return Weights(
        width=config.width,
        head_dim=config.head_dim,
        num_kv_heads=config.kv_heads,
        vocab_size=config.vocab_size,
        half_dim=half_dim,
        embed_VC=padded(_array(model.embed.weight), width),
        attention_norm_LC=np.stack([padded(_array(block.attention_norm.weight), width) for block in blocks]),
        qkv_LX=np.stack([panels(by_halves(inputs(a.qkv))) for a in attentions]),
        q_norm_LD=np.stack([gain(a.q_norm) for a in attentions]),
        k_norm_LD=np.stack([gain(a.k_norm) for a in attentions]),
        out_LX=np.stack([panels(padded(by_halves(_array(a.out.weight)).T, width)) for a in attentions]),
        mlp_norm_LC=np.stack([padded(_array(block.mlp_norm.weight), width) for block in blocks]),
        gate_up_LX=np.stack([panels(inputs(block.mlp.gate_up)) for block in blocks]),
        down_LX=np.stack([panels(padded(_array(block.mlp.down.weight).T, width)) for block in blocks]),
        norm_C=padded(_array(model.norm.weight), width),
        head_X=panels(inputs(model.head)),
        cos_SD=cos,
        sin_SD=sin,
    )


def _array(weight: Any) -> np.ndarray:
    return weight.detach().numpy()
