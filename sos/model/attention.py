"""Attention of the GPT's modules: masks of packed rows, their kernels, rotary positions.

Shape suffixes as in `sos.model.gpt`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

_compile = functools.cache(functools.partial(torch.compile, dynamic=False))  # FlexAttention wants fixed shapes


def _compiled(function: Callable) -> Callable:
    """Return the function compiled once per process, or as it is when the whole model is being compiled."""
    return function if torch.compiler.is_compiling() else _compile(function)


Mask = Tensor | BlockMask | None


def flex_on(device: torch.device) -> bool:
    """Whether masks on a device are for FlexAttention, which skips what is hidden; it has no backward pass on the
    CPU.
    """
    return device.type == "cuda"


def packed_mask(doc_ids_BT: Tensor) -> Tensor | BlockMask:
    """Return the mask of packed rows: a token sees itself and what came before it in its own document.

    doc_ids_BT: ints; equal ids are one document, so padding (-1) sees only padding (or nothing) and no row is ever
    empty. For SDPA it is a bool tensor (B, 1, T, T), True where attention is allowed; where `flex_on` says so, a
    BlockMask.
    """
    num_rows, num_tokens = doc_ids_BT.shape
    if flex_on(doc_ids_BT.device):

        def same_doc(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
            return (q >= k) & (doc_ids_BT[b, q] == doc_ids_BT[b, k])

        return _compiled(create_block_mask)(same_doc, num_rows, None, num_tokens, num_tokens, device=doc_ids_BT.device)
    causal_TT = torch.ones(num_tokens, num_tokens, dtype=torch.bool, device=doc_ids_BT.device).tril()
    return ((doc_ids_BT[:, :, None] == doc_ids_BT[:, None, :]) & causal_TT)[:, None]


def step_mask(positions_B: Tensor, num_positions: int) -> BlockMask:
    """Return the mask of one query per row, which sees the cache up to index positions_B[b] of `num_positions`.

    positions_B: int64. Blocks of the cache behind a query are not read: a step costs what its traces are long, not what
    the longest one is.
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


def attention(q_BHTD: Tensor, k_BKSD: Tensor, v_BKSD: Tensor, mask: Mask) -> Tensor:
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
