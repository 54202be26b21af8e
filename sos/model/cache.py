"""Keys and values of traces that are being written.

Shape suffixes as in `sos.model.gpt`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask

from sos.model.attention import attention
from sos.model.decode import append_and_attend
from sos.model.shape import GPTConfig


class KVCache:
    """Keys and values of up to `num_slots` traces, allocated once: two tensors (L, B, H, S, D).

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
        shape = (config.num_layers, num_slots, config.num_heads, num_positions, config.head_dim)
        self.k_LBHSD = torch.zeros(shape, device=device, dtype=dtype)
        self.v_LBHSD = torch.zeros(shape, device=device, dtype=dtype)

    @property
    def num_slots(self) -> int:
        """Number of traces the cache holds."""
        return self.k_LBHSD.shape[1]

    @property
    def num_positions(self) -> int:
        """Largest number of tokens of a trace."""
        return self.k_LBHSD.shape[3]

    def keep(self, slots: Tensor) -> None:
        """Keep only these slots (int64), in this order; frees the memory of the others."""
        self.k_LBHSD = self.k_LBHSD[:, slots]
        self.v_LBHSD = self.v_LBHSD[:, slots]


@dataclass
class CacheSlice:
    """The part of a KVCache that one call of `GPT.forward_cached` works on."""

    cache: KVCache
    slots_B: Tensor | None  # int64; None: row b is slot b, which needs no copy
    positions_BT: Tensor
    span: int
    # bool (B, 1, T, S), True where index s of the cache is not after position t, or the same in blocks
    mask: Tensor | BlockMask

    def attend(self, layer: int, q_BHTD: Tensor, k_BHTD: Tensor, v_BHTD: Tensor) -> Tensor:
        """Store new keys and values of a layer; return the attention to all of these rows' so far, (B, H, T, D)."""
        k_BHSD, v_BHSD = self.cache.k_LBHSD[layer], self.cache.v_LBHSD[layer]
        one_token_each = self.slots_B is None and self.positions_BT.shape[1] == 1
        if one_token_each and k_BHSD.device.type == "cpu" and k_BHSD.dtype == v_BHTD.dtype == torch.float32:
            q_BHD, k_BHD, v_BHD = (x_BHTD[:, :, 0] for x_BHTD in (q_BHTD, k_BHTD, v_BHTD))
            return append_and_attend(q_BHD, k_BHD, v_BHD, k_BHSD, v_BHSD, self.positions_BT[:, 0])[:, :, None]
        rows = torch.arange(len(k_BHTD), device=k_BHTD.device) if self.slots_B is None else self.slots_B
        where = (rows[:, None], slice(None), self.positions_BT)
        k_BHSD[where] = k_BHTD.transpose(1, 2).to(k_BHSD.dtype)
        v_BHSD[where] = v_BHTD.transpose(1, 2).to(v_BHSD.dtype)
        k_BHSD, v_BHSD = k_BHSD[:, :, : self.span], v_BHSD[:, :, : self.span]
        if self.slots_B is not None:
            k_BHSD, v_BHSD = k_BHSD[rows], v_BHSD[rows]
        return attention(q_BHTD.type_as(k_BHSD), k_BHSD, v_BHSD, self.mask)
