"""Attention over packed rows on the CPU, forward and backward, with the norm and the rotary turn of queries and keys.

SDPA computes packed rows as dense T x T squares under a mask. These kernels compute the pairs that exist: causal, inside
each trace. `tests/bench/train_speed.py` measures what that is worth.

Shape suffixes as in `sos.model.gpt`, F = D / 2, and G = 3 H vectors per token: queries, keys, values.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from sos.model.attention_kernels import attend_rows, attend_rows_backward


@functools.cache
def _pool(num_threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(num_threads, thread_name_prefix="rows")


def over_rows(kernel: Callable[..., None], num_rows: int, *tensors: Tensor) -> None:
    """Call `kernel(begin, end, *arrays)` over all rows, in as many parts at a time as torch has threads."""
    arrays = [tensor.detach().numpy() for tensor in tensors]
    num_parts = max(1, min(torch.get_num_threads(), num_rows))
    ends = [num_rows * i // num_parts for i in range(num_parts + 1)]
    waiting = [_pool(num_parts - 1).submit(kernel, *part, *arrays) for part in list(pairwise(ends))[1:]]
    kernel(0, ends[1], *arrays)
    for future in waiting:
        future.result()


@torch.library.custom_op("sos::packed_attention", mutates_args=())
def _attend(
    qkv_BTGD: Tensor, gains_2D: Tensor, cos_BTF: Tensor, sin_BTF: Tensor, doc_ids_BT: Tensor
) -> tuple[Tensor, Tensor]:
    rows, num_tokens, num_vectors, head_dim = qkv_BTGD.shape
    num_heads = num_vectors // 3
    out_BTHD = torch.empty(rows, num_tokens, num_heads, head_dim)
    lse_BHT = torch.empty(rows, num_heads, num_tokens)
    inputs = (x.contiguous() for x in (qkv_BTGD, gains_2D, cos_BTF, sin_BTF, doc_ids_BT))
    over_rows(attend_rows, rows, *inputs, out_BTHD, lse_BHT)
    return out_BTHD, lse_BHT


@_attend.register_fake
def _(
    qkv_BTGD: Tensor, gains_2D: Tensor, cos_BTF: Tensor, sin_BTF: Tensor, doc_ids_BT: Tensor
) -> tuple[Tensor, Tensor]:
    rows, num_tokens, num_vectors, head_dim = qkv_BTGD.shape
    num_heads = num_vectors // 3
    out_BTHD = qkv_BTGD.new_empty(rows, num_tokens, num_heads, head_dim)
    return out_BTHD, qkv_BTGD.new_empty(rows, num_heads, num_tokens)


@torch.library.custom_op("sos::packed_attention_backward", mutates_args=())
def _attend_backward(
    grad_BTHD: Tensor,
    qkv_BTGD: Tensor,
    gains_2D: Tensor,
    cos_BTF: Tensor,
    sin_BTF: Tensor,
    doc_ids_BT: Tensor,
    out_BTHD: Tensor,
    lse_BHT: Tensor,
) -> tuple[Tensor, Tensor]:
    dqkv_BTGD, dgains_B2D = torch.empty(qkv_BTGD.shape), torch.empty(len(qkv_BTGD), *gains_2D.shape)
    saved = (grad_BTHD, qkv_BTGD, gains_2D, cos_BTF, sin_BTF, doc_ids_BT, out_BTHD, lse_BHT)
    over_rows(attend_rows_backward, len(qkv_BTGD), *(x.contiguous() for x in saved), dqkv_BTGD, dgains_B2D)
    return dqkv_BTGD, dgains_B2D.sum(0)


@_attend_backward.register_fake
def _(grad: Tensor, qkv_BTGD: Tensor, gains_2D: Tensor, *saved: Tensor) -> tuple[Tensor, Tensor]:
    return qkv_BTGD.new_empty(qkv_BTGD.shape), gains_2D.new_empty(gains_2D.shape)


def _save(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*inputs, *output)


def _gradients(ctx: Any, grad_BTHD: Tensor | None, _: Tensor | None) -> tuple[Tensor | None, ...]:
    if grad_BTHD is None:
        return (None,) * 5
    return (*_attend_backward(grad_BTHD, *ctx.saved_tensors), None, None, None)


_attend.register_autograd(_gradients, setup_context=_save)


def packed_attention(qkv_BTGD: Tensor, gains_2D: Tensor | None, cos: Tensor, sin: Tensor, doc_ids_BT: Tensor) -> Tensor:
    """Return softmax(q k^T / sqrt(D)) v of turned queries and keys, causal inside each trace, (B, T, H, D).

    All float32 on the CPU. gains_2D: queries and keys are RMS-normed per head and multiplied by these; None: they are not.
    cos, sin: (B or 1, T, 1, F), see `sos.model.gpt.rotary`. doc_ids_BT: ints; a trace is a run of equal ids >= 0; negative
    ids are padding, whose output and gradient are 0. Differentiable once, in vectors and gains. O(H * D * sum of squared
    lengths); buffers of about 32 (T + 16) (H D + 4) bytes per thread. Raises ValueError for another device or dtype.
    """
    if qkv_BTGD.device.type != "cpu" or qkv_BTGD.dtype != torch.float32:
        raise ValueError(f"model.attention=numba takes float32 on the CPU, got {qkv_BTGD.dtype} on {qkv_BTGD.device}")
    gains_2D = qkv_BTGD.new_empty(0, qkv_BTGD.shape[3]) if gains_2D is None else gains_2D
    shape = (*qkv_BTGD.shape[:2], -1)
    return _attend(qkv_BTGD, gains_2D, cos[:, :, 0].expand(shape), sin[:, :, 0].expand(shape), doc_ids_BT)[0]
