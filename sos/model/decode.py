"""Attention of one new token per row over a key/value cache, on the CPU.

Batched attention pads every row to the longest one. While decoding, rows are at all lengths, and on a CPU the time goes
into reading the cache: this kernel reads each row up to its own position, about half as much.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from sos.kernels import COMPILED, compiled

ROWS_PER_THREAD = 16  # below this, handing work to a thread costs more than it saves


def append_and_attend(
    q_BHD: Tensor, k_BKD: Tensor, v_BKD: Tensor, k_BKSD: Tensor, v_BKSD: Tensor, positions_B: Tensor
) -> Tensor:
    """Store a key and a value per row at its position; return attention over 0..position, float32 (B, H, D).

    All tensors are float32 on the CPU (positions int64); the caches k_BKSD and v_BKSD are changed in place. H is a
    multiple of K: as many queries in a row share a head of keys and values. Uses as
    many threads as torch (plain ones: numba's parallel loops spin, and crawl on a busy machine).
    O(H * D * sum of positions).
    """
    out_BHD = torch.empty(q_BHD.shape)
    arrays = [x.contiguous().numpy() for x in (q_BHD, k_BKD, v_BKD)]
    arrays += [k_BKSD.numpy(), v_BKSD.numpy(), positions_B.contiguous().numpy(), out_BHD.numpy()]
    in_parts(_append_and_attend, len(out_BHD), *arrays)
    return out_BHD


def in_parts(kernel: Callable[..., None], num_rows: int, *arguments: np.ndarray) -> None:
    """Call `kernel(begin, end, *arguments)` over all rows, in as many parts at a time as torch has threads."""
    num_parts = max(1, min(torch.get_num_threads(), num_rows // ROWS_PER_THREAD))
    ends = [num_rows * i // num_parts for i in range(num_parts + 1)]
    waiting = [_pool(num_parts - 1).submit(kernel, *part, *arguments) for part in list(pairwise(ends))[1:]]
    kernel(0, ends[1], *arguments)
    for future in waiting:
        future.result()


@functools.cache
def _pool(num_threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(num_threads, thread_name_prefix="decode")


@compiled(**COMPILED, fastmath={"reassoc", "contract", "nsz"})
def _append_and_attend(begin, end, q_BHD, k_BKD, v_BKD, k_BKSD, v_BKSD, positions_B, out_BHD):
    num_heads, head_dim = q_BHD.shape[1:]
    queries_each = num_heads // k_BKD.shape[1]
    scale = np.float32(1.0 / math.sqrt(head_dim))
    for i in range(begin * num_heads, end * num_heads):
        b, h = i // num_heads, i % num_heads
        k = h // queries_each
        q, keys, values, out = q_BHD[b, h], k_BKSD[b, k], v_BKSD[b, k], out_BHD[b, h]
        position = positions_B[b]
        for d in range(head_dim):
            keys[position, d] = k_BKD[b, k, d]
            values[position, d] = v_BKD[b, k, d]
            out[d] = 0.0

        weights = np.empty(position + 1, np.float32)
        largest = np.float32(-np.inf)
        for s in range(position + 1):
            dot = np.float32(0.0)
            for d in range(head_dim):
                dot += q[d] * keys[s, d]
            weights[s] = dot * scale
            largest = max(largest, weights[s])

        total = np.float32(0.0)
        for s in range(position + 1):
            weight = np.exp(weights[s] - largest)
            total += weight
            for d in range(head_dim):
                out[d] += weight * values[s, d]
        for d in range(head_dim):
            out[d] /= total
