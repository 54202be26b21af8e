"""Keys and values of traces that are being written.

Shape suffixes as in `sos.model.gpt`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sos.model.attention import Mask, attention
from sos.model.shape import GPTConfig


class KVCache:
    """Keys and values of up to `num_slots` traces, allocated once: two tensors (L, B, K, S, D).

    The token at position p of a trace is stored at index p of its slot, and a query at position p sees indices 0..p.
    So a slot needs no length: what lies beyond p is never seen, and a new trace starts by overwriting position 0.
    """

    def __init__(
        self,
        config: GPTConfig,
        num_slots: int,
        num_positions: int,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        shape = (config.num_layers, num_slots, config.kv_heads, num_positions, config.head_dim)
        self.k_LBKSD = torch.zeros(shape, device=device, dtype=dtype)
        self.v_LBKSD = torch.zeros(shape, device=device, dtype=dtype)

    @property
    def num_slots(self) -> int:
        """Number of traces the cache holds."""
        return self.k_LBKSD.shape[1]

    @property
    def num_positions(self) -> int:
        """Largest number of tokens of a trace."""
        return self.k_LBKSD.shape[3]

    def keep(self, slots: Tensor) -> None:
        """Keep only these slots (int64), in this order; frees the memory of the others."""
        self.k_LBKSD = self.k_LBKSD[:, slots]
        self.v_LBKSD = self.v_LBKSD[:, slots]


@dataclass
class CacheSlice:
    """The part of a KVCache that one call of `GPT.forward_cached` works on."""

    cache: KVCache
    slots_B: Tensor | None  # int64; None: row b is slot b, which needs no copy
    positions_BT: Tensor
    span: int
    # bool (B, 1, T, S), True where index s of the cache is not after position t, or the same in blocks
    mask: Mask

    def attend(self, layer: int, q_BHTD: Tensor, k_BKTD: Tensor, v_BKTD: Tensor) -> Tensor:
        """Store new keys and values of a layer; return the attention to all of these rows' so far, (B, H, T, D)."""
        k_BKSD, v_BKSD = self.cache.k_LBKSD[layer], self.cache.v_LBKSD[layer]
        rows = torch.arange(len(k_BKTD), device=k_BKTD.device) if self.slots_B is None else self.slots_B
        where = (rows[:, None], slice(None), self.positions_BT)
        k_BKSD[where] = k_BKTD.transpose(1, 2).to(k_BKSD.dtype)
        v_BKSD[where] = v_BKTD.transpose(1, 2).to(v_BKSD.dtype)
        k_BKSD, v_BKSD = k_BKSD[:, :, : self.span], v_BKSD[:, :, : self.span]
        if self.slots_B is not None:
            k_BKSD, v_BKSD = k_BKSD[rows], v_BKSD[rows]
        return attention(q_BHTD.type_as(k_BKSD), k_BKSD, v_BKSD, self.mask)
