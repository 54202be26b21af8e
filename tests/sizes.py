"""How much a test does: all of it where kernels are compiled, a part where they are plain Python, hundreds of times slower."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import numpy as np
from numba import config

INTERPRETED = bool(config.DISABLE_JIT)

T = TypeVar("T")


def plain(full: T, few: T) -> T:
    """Return `full` where kernels are compiled, and `few` where they are plain Python."""
    return few if INTERPRETED else full


def some(cases: Iterable[T], few: int) -> list[T]:
    """Return all cases where kernels are compiled, and `few` drawn ones in their order where they are plain Python."""
    every = list(cases)
    if not INTERPRETED or few >= len(every):
        return every
    return [every[k] for k in sorted(np.random.default_rng(0).permutation(len(every))[:few])]
