"""Work in pieces, shared out over this package's own threads.

Threads wait where they block: those of OpenMP and of numba's parallel loops spin, and crawl on a busy machine. What a
piece computes, and how results are summed, must not depend on the thread that takes it, so that any number of threads
gives the same bits. Hence torch works with one thread inside a piece.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from sos.model.cpu.cores import usable_cores

Piece = TypeVar("Piece")

_asked = 0  # threads; 0 takes the cores


def set_num_threads(num: int) -> None:
    """Have work shared out over so many threads from now on; 0 takes the physical cores that the process may use."""
    global _asked
    _asked = num


def num_threads() -> int:
    """Return over how many threads work is shared out."""
    return _asked or _cores()


_cores = functools.cache(usable_cores)


@functools.cache
def _pool(num: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(num, "sos", initializer=lambda: torch.set_num_threads(1))


# A process that was forked has none of the threads.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Have torch work with one thread inside."""
    before = torch.get_num_threads()
    if before == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def share_out(work: Callable[[Piece], Any], pieces: Sequence[Piece]) -> None:
    """Call `work` on every piece, on as many threads as there are, this one among them; pieces begin in their order.

    The work is done in torch's inference mode. What a piece raises is raised here, with its traceback; then no other
    piece is begun.
    """
    num_others = min(num_threads(), len(pieces)) - 1
    queue = iter(pieces)

    @torch.inference_mode()
    def some() -> None:
        try:
            for piece in queue:
                work(piece)
        except BaseException:
            for _ in queue:
                pass
            raise

    with one_torch_thread():
        if num_others < 1:
            some()
            return
        pool = _pool(num_threads() - 1)
        others = [pool.submit(some) for _ in range(num_others)]
        try:
            some()
        finally:
            # A thread that has not come to begin has nothing to do any more.
            begun = [other for other in others if not other.cancel()]
            errors = [error for other in begun if (error := other.exception())]
        for error in errors:
            raise error


def as_arrays(*tensors: Tensor) -> list[np.ndarray]:
    """Return contiguous arrays, of the memory of the tensors where these are contiguous."""
    return [tensor.detach().contiguous().numpy() for tensor in tensors]
