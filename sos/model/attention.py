"""Attention of the GPT's modules: masks of packed rows, their kernels, rotary positions.

Shape suffixes as in `sos.model.gpt`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

_compile = functools.cache(functools.partial(torch.compile, dynamic=False))  # FlexAttention wants fixed shapes


def _compiled(function: Callable) -> Callable:
    """Return the function compiled once per process, or as it is when the whole model is being compiled."""
    return function if torch.compiler.is_compiling() else _compile(function)


@dataclass(frozen=True)
class TraceMask:
    """The mask of packed rows as `packed_attention` takes it."""

    doc_ids_BT: Tensor
    fused: bool = False  # blocks and losses as single operators, see `GPT.fuses`


Mask = Tensor | BlockMask | TraceMask | None


def packed_mask(doc_ids_BT: Tensor, backend: str) -> Tensor | BlockMask | TraceMask:
    """Return the mask of packed rows: a token sees itself and what came before it in its own document.

    doc_ids_BT: ints; equal ids are one document, so padding (-1) sees only padding (or nothing) and no row is ever empty.
    backend: "sdpa" gives a bool tensor (B, 1, T, T), True where attention is allowed; "flex" a BlockMask; "numba" a
    TraceMask, for which a document is a run of equal ids.
    """
    if backend == "numba":
        return TraceMask(doc_ids_BT)
    num_rows, num_tokens = doc_ids_BT.shape
    if backend == "flex":

        def same_doc(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
            return (q >= k) & (doc_ids_BT[b, q] == doc_ids_BT[b, k])

        return _compiled(create_block_mask)(same_doc, num_rows, None, num_tokens, num_tokens, device=doc_ids_BT.device)
    causal_TT = torch.ones(num_tokens, num_tokens, dtype=torch.bool, device=doc_ids_BT.device).tril()
    return ((doc_ids_BT[:, :, None] == doc_ids_BT[:, None, :]) & causal_TT)[:, None]


def decoding_mask(positions_B: Tensor, num_positions: int) -> BlockMask:
    """Return the mask of one query per row, which sees the cache's indices 0..positions_B[b] (int64) of `num_positions`.

    Blocks of the cache behind a query are not read: a step costs what its traces are long, not what the longest one is.
    """
    size = 128
    num_rows, num_blocks = len(positions_B), -(-num_positions // size)

    def written(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        return k <= positions_B[b]

    return BlockMask.from_kv_blocks(
        (positions_B // size + 1).int()[:, None, None],
        torch.arange(num_blocks, dtype=torch.int32, device=positions_B.device).expand(num_rows, 1, 1, num_blocks),
        BLOCK_SIZE=size,
        mask_mod=written,
        seq_lengths=(1, num_positions),
        compute_q_blocks=False,
    )


def attention(q_BHTD: Tensor, k_BKSD: Tensor, v_BKSD: Tensor, mask: Tensor | BlockMask | None) -> Tensor:
    """Return softmax(q k^T / sqrt(D)) v, shape (B, H, T, D); a mask of None means causal with T == S.

    A bool mask goes to SDPA, the reference; a BlockMask goes to FlexAttention. (On a CPU a float mask is 1 to 3%
    faster than a bool one but takes longer to build and must match the dtype of q.)
    """
    shared = k_BKSD.shape[1] != q_BHTD.shape[1]
    if isinstance(mask, BlockMask):
        # torch 2.13 on the CPU, compiled, misreads views at an offset (k is the second half of a tensor): so no views.
        q_BHTD, k_BKSD, v_BKSD = q_BHTD.contiguous(), k_BKSD.contiguous(), v_BKSD.contiguous()
        return _compiled(flex_attention)(q_BHTD, k_BKSD, v_BKSD, block_mask=mask, enable_gqa=shared)
    return F.scaled_dot_product_attention(
        q_BHTD, k_BKSD, v_BKSD, attn_mask=mask, is_causal=mask is None, enable_gqa=shared
    )


def rotary(positions: Tensor, head_dim: int, theta: float) -> tuple[Tensor, Tensor]:
    """Return (cos, sin) of the rotary angles, float32 of shape positions.shape + (1, D / 2), the 1 being for heads."""
    pair = torch.arange(0, head_dim, 2, dtype=torch.float32, device=positions.device)
    angles = positions[..., None, None].float() * theta ** (-pair / head_dim)
    return angles.cos(), angles.sin()


def rotate(x_BTHD: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn each pair (i, i + D / 2) of a query or key by the angle of its position, in float32."""
    a, b = x_BTHD.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)
