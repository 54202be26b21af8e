"""Attention over packed rows on the CPU, forward and backward, with the norm and the rotary turn of queries and keys.

SDPA computes packed rows as dense T x T squares under a mask. These kernels compute the pairs that exist: causal, inside
each trace. `tests/bench/train_speed.py` measures what that is worth.

Shape suffixes as in `sos.model.gpt`, F = D / 2, and G = H + 2 K vectors per token: queries, keys, values.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from sos.errors import UserError
from sos.model.cpu.attention_kernels import attend_rows, attend_rows_backward
from sos.model.cpu.operators import differentiable


@functools.cache
def _pool(num_threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(num_threads, thread_name_prefix="rows")


def over_rows(kernel: Callable[..., None], num_rows: int, *arrays: np.ndarray) -> None:
    """Call `kernel(begin, end, *arrays)` over all rows, in as many parts at a time as torch has threads."""
    num_parts = max(1, min(torch.get_num_threads(), num_rows))
    if num_parts == 1:
        return kernel(0, num_rows, *arrays)
    ends = [num_rows * i // num_parts for i in range(num_parts + 1)]
    for future in [_pool(num_parts).submit(kernel, *part, *arrays) for part in pairwise(ends)]:
        future.result()


def as_arrays(*tensors: Tensor) -> list[np.ndarray]:
    """Return contiguous arrays, of the memory of the tensors where these are contiguous."""
    return [tensor.detach().contiguous().numpy() for tensor in tensors]


def _forward(
    qkv_BTGD: Tensor, gains_2D: Tensor, heads_H: Tensor, cos_BTF: Tensor, sin_BTF: Tensor, doc_ids_BT: Tensor
) -> tuple[Tensor, Tensor]:
    out_BTHD, lse_BHT = _outputs(qkv_BTGD, gains_2D, heads_H)
    inputs = as_arrays(qkv_BTGD, gains_2D, cos_BTF, sin_BTF, doc_ids_BT)
    over_rows(attend_rows, len(out_BTHD), *inputs, *as_arrays(out_BTHD, lse_BHT))
    return out_BTHD, lse_BHT


def _outputs(qkv_BTGD: Tensor, gains_2D: Tensor, heads_H: Tensor, *_: Tensor) -> tuple[Tensor, Tensor]:
    rows, num_tokens, _num_vectors, head_dim = qkv_BTGD.shape
    out_BTHD = qkv_BTGD.new_empty(rows, num_tokens, len(heads_H), head_dim)
    return out_BTHD, qkv_BTGD.new_empty(rows, len(heads_H), num_tokens)


def _backward(
    grad_BTHD: Tensor,
    qkv_BTGD: Tensor,
    gains_2D: Tensor,
    heads_H: Tensor,
    cos_BTF: Tensor,
    sin_BTF: Tensor,
    doc_ids_BT: Tensor,
    out_BTHD: Tensor,
    lse_BHT: Tensor,
) -> tuple[Tensor, Tensor]:
    dqkv_BTGD, dgains_B2D = torch.empty(qkv_BTGD.shape), torch.empty(len(qkv_BTGD), *gains_2D.shape)
    saved = as_arrays(grad_BTHD, qkv_BTGD, gains_2D, cos_BTF, sin_BTF, doc_ids_BT, out_BTHD, lse_BHT)
    over_rows(attend_rows_backward, len(qkv_BTGD), *saved, *as_arrays(dqkv_BTGD, dgains_B2D))
    return dqkv_BTGD, dgains_B2D.sum(0)


_attend = differentiable("packed_attention", _forward, _backward, _outputs, num_gradients=2)


def packed_attention(
    qkv_BTGD: Tensor, num_heads: int, gains_2D: Tensor, cos: Tensor, sin: Tensor, doc_ids_BT: Tensor
) -> Tensor:
    """Return softmax(q k^T / sqrt(D)) v of turned queries and keys, causal inside each trace, (B, T, H, D).

    All float32 on the CPU. num_heads: H, a multiple of K; H / K queries in a row share a head of keys and values. gains_2D: queries and
    keys are RMS-normed per head and multiplied by these; (0, D): they are not. cos, sin: (B or 1, T, 1, F), see
    `sos.model.attention.rotary`. doc_ids_BT: ints; a trace is a run of equal ids >= 0; negative ids are padding, whose output and
    gradient are 0. Differentiable once, in vectors and gains. O(H * D * sum of squared lengths); buffers of about
    32 (T + 16) (H D + 4) bytes per thread. Raises ValueError for another device or dtype.
    """
    if qkv_BTGD.device.type != "cpu" or qkv_BTGD.dtype != torch.float32:
        raise UserError(f"model.attention=numba takes float32 on the CPU, got {qkv_BTGD.dtype} on {qkv_BTGD.device}")
    shape = (*qkv_BTGD.shape[:2], -1)
    heads_H = qkv_BTGD.new_empty(num_heads)  # operators take tensors: only its length counts
    return _attend(qkv_BTGD, gains_2D, heads_H, cos[:, :, 0].expand(shape), sin[:, :, 0].expand(shape), doc_ids_BT)
