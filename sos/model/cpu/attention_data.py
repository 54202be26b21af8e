"""What the kernels of attention read, write and work in.

Shape suffixes as in `sos.model.gpt`, F = D / 2, and G = H + 2 K vectors per token: queries, keys, values.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sos.model.cpu.layers import round_up
from sos.model.cpu.vectors import LANES


class Packed(NamedTuple):
    """Packed rows as attention reads them, all contiguous and float32 but the ids."""

    qkv_BTGD: np.ndarray
    gains_2D: np.ndarray  # of the norms of queries and keys; (0, D): they are not normed
    cos_BTF: np.ndarray
    sin_BTF: np.ndarray
    doc_ids_BT: np.ndarray  # a trace is a run of equal ids >= 0; negative ids are padding


class Attended(NamedTuple):
    """What `attend_rows` writes; 0 where there is padding."""

    out_BTHD: np.ndarray
    lse_BHT: np.ndarray  # log of each query's sum of weights


class AttentionGradients(NamedTuple):
    """What `attend_rows_backward` writes; those of the gains row by row."""

    dqkv_BTGD: np.ndarray
    dgains_B2D: np.ndarray


class Row(NamedTuple):
    """One of the packed rows, and the widths of its heads."""

    qkv_TGD: np.ndarray
    gains_2D: np.ndarray
    cos_TF: np.ndarray
    sin_TF: np.ndarray
    num_heads: int
    head_dim: int


class Turn(NamedTuple):
    """How a vector is turned: normed with a row of the gains, by the angles of a token, times a factor."""

    which: int
    token: int
    factor: float


class Head(NamedTuple):
    """Where a head has its part of a trace in the buffers."""

    at: int  # of its queries
    kv_at: int  # of its keys and values
    line: int  # of what is one number per token
    num_tokens: int


class TraceBuffers(NamedTuple):
    """Buffers of one thread for traces of up to S tokens, flat float32.

    X numbers hold one vector, its two halves (see `_turn`) padded to multiples of 16.
    """

    queries: np.ndarray  # (H, S + 16, X), normed, turned and scaled
    keys: np.ndarray  # (K, S + 16, X), normed and turned
    values: np.ndarray  # (K, S + 16, X)
    outs: np.ndarray  # (H, S + 16, X), the output, or the gradient of the queries
    grads: np.ndarray  # (H, S + 16, X), the gradient of the output
    dkeys: np.ndarray  # (K, S + 16, X)
    dvalues: np.ndarray  # (K, S + 16, X)
    queries_T: np.ndarray  # (X, 16)
    grads_T: np.ndarray  # (X, 16)
    scores: np.ndarray  # (S + 16, 16)
    dscores: np.ndarray  # (S + 16, 16)
    shift: np.ndarray  # (H, S + 16), log of the sum of weights
    total: np.ndarray  # (H, S + 16), what is taken from the gradients of a query's weights


def trace_buffers(num_tokens: int, num_heads: int, num_kv_heads: int, head_dim: int, backward: bool) -> TraceBuffers:
    """Allocate buffers for rows of `num_tokens` tokens, for the forward pass alone or for both."""
    depth, padded = 2 * round_up(head_dim // 2, LANES), num_tokens + LANES
    size, kv_size = num_heads * padded * depth, num_kv_heads * padded * depth
    more, more_kv = (size, kv_size) if backward else (0, 0)
    sizes = [size, kv_size, kv_size, size, more, more_kv, more_kv]
    sizes += 2 * [LANES * depth] + 2 * [padded * LANES] + 2 * [num_heads * padded]
    return TraceBuffers(*(np.empty(num, np.float32) for num in sizes))
