"""A batch in pieces of whole rows, what they work in, and the sum of their gradients.

How a batch is cut, and in which order gradients are summed, does not depend on the number of threads.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from itertools import accumulate, pairwise
from threading import Lock
from typing import Any

import torch
from torch import Tensor

from sos.model.cpu.layers import round_up
from sos.model.cpu.vectors import LANES

TOKENS = 512  # of a piece, about: products of so many rows run as fast as those of more, and a small batch has 4 pieces


def pieces_of(num_rows: int, num_tokens: int) -> list[slice]:
    """Return the rows of each piece of a batch."""
    num = max(1, min(num_rows, round(num_rows * num_tokens / TOKENS)))
    return [slice(*ends) for ends in pairwise(num_rows * i // num for i in range(num + 1))]


MOST_SIZES = 16  # of which buffers are kept: rows of ever other lengths would fill the memory


class Pool:
    """Buffers that are used again. Several threads may take and give."""

    def __init__(self) -> None:
        self._free: dict[Hashable, list[Any]] = defaultdict(list)

    def take(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """Return a buffer that was given under `key`, or else what `make` returns."""
        try:
            return self._free[key].pop()
        except IndexError:
            return make()

    def give(self, key: Hashable, buffer: Any) -> None:
        """Keep a buffer for the next who takes."""
        if len(self._free) >= MOST_SIZES and key not in self._free:
            self._free.clear()
        self._free[key].append(buffer)


def places_of(shapes: Sequence[torch.Size]) -> list[int]:
    """Return where tensors of these shapes begin in one flat buffer, and its length."""
    return list(accumulate((round_up(math.prod(shape), LANES) for shape in shapes), initial=0))


def views_of(flat: Tensor, shapes: Sequence[torch.Size]) -> list[Tensor]:
    """Return tensors of these shapes in a flat buffer, at their `places_of`."""
    starts = places_of(shapes)
    return [flat[at : at + math.prod(shape)].view(shape) for at, shape in zip(starts, shapes, strict=False)]


class OrderedSum:
    """Sums tensors in the order of their numbers, from 0 on, in whatever order they come.

    The first one becomes the sum, and the others are handed to `release` once they were added.
    """

    def __init__(self, release: Callable[[Tensor], None]) -> None:
        self.release = release
        self.total: Tensor | None = None
        self._next, self._waiting, self._lock = 0, dict[int, Tensor](), Lock()

    def add(self, number: int, values: Tensor) -> None:
        """Add a tensor as soon as all before it were added."""
        self._waiting[number] = values
        while self._lock.acquire(blocking=False):  # else the one that holds it adds these, too
            try:
                while (found := self._waiting.pop(self._next, None)) is not None:
                    if self.total is None:
                        self.total = found
                    else:
                        self.total.add_(found)
                        self.release(found)
                    self._next += 1
            finally:
                self._lock.release()
            if self._next not in self._waiting:
                return
