"""Kernels over the rows of a batch, on as many threads as torch has.

Threads are plain ones: numba's parallel loops spin, and crawl on a busy machine.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor


@functools.cache
def _pool(num_threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(num_threads, thread_name_prefix="rows")


def num_parts(num_rows: int) -> int:
    """Return in how many parts `over_rows` handles so many rows at a time."""
    return max(1, min(torch.get_num_threads(), num_rows))


def over_rows(kernel: Callable[..., None], num_rows: int, *arguments: Any, buffers: Sequence[Any] = ()) -> None:
    """Call `kernel(begin, end, *arguments)` over all rows, in as many parts at a time as torch has threads.

    buffers: one for each part, its last argument; none: there is no such argument.
    """
    num = num_parts(num_rows)
    own: list[tuple[Any, ...]] = [(buffer,) for buffer in buffers] or [()] * num
    if num == 1:
        kernel(0, num_rows, *arguments, *own[0])
        return
    parts = pairwise(num_rows * i // num for i in range(num + 1))
    pool = _pool(num)
    waiting = [pool.submit(kernel, *part, *arguments, *last) for part, last in zip(parts, own, strict=False)]
    for future in waiting:
        future.result()


def as_arrays(*tensors: Tensor) -> list[np.ndarray]:
    """Return contiguous arrays, of the memory of the tensors where these are contiguous."""
    return [tensor.detach().contiguous().numpy() for tensor in tensors]
