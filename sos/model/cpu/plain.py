"""The operations of `sos.model.cpu.vectors` in numpy: what they compute, and what runs where numba compiles nothing.

A vector is an array of 16 float32 numbers. Indices are flat, as there.
"""

from __future__ import annotations

from typing import Any

import numpy as np

LANES = 16


def load(array: np.ndarray, at: int) -> np.ndarray:
    """Return the numbers at..at + 15 of an array."""
    return array.reshape(-1)[at : at + LANES].copy()


def store(array: np.ndarray, at: int, value: np.ndarray) -> None:
    """Write a vector to at..at + 15 of an array."""
    array.reshape(-1)[at : at + LANES] = value


def everywhere(array: np.ndarray, at: int) -> np.ndarray:
    """Return a vector of copies of the number at `at` of an array."""
    return spread(array.reshape(-1)[at])


def load_masked(array: np.ndarray, at: int, num: int) -> np.ndarray:
    """Return the first `num` < 16 numbers from `at` on, and zeros behind them."""
    vector = zeros()
    vector[:num] = array.reshape(-1)[at : at + num]
    return vector


def store_masked(array: np.ndarray, at: int, value: np.ndarray, num: int) -> None:
    """Write the first `num` < 16 numbers of a vector to an array."""
    array.reshape(-1)[at : at + num] = value[:num]


def spread(value: Any) -> np.ndarray:
    """Return a vector of copies of a float32."""
    return np.full(LANES, value, np.float32)


def zeros() -> np.ndarray:
    """Return a vector of zeros."""
    return np.zeros(LANES, np.float32)


def multiply_add(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Return x * y + z of three vectors, rounded once."""
    return (x.astype(np.float64) * y + z).astype(np.float32)


def exponential(x: np.ndarray) -> np.ndarray:
    """Return exp(x) of a vector; x is cut to -87..87."""
    return np.exp(np.clip(x, -87, 87))


def larger(a: Any, b: Any) -> Any:
    """Return the larger of two numbers, or of each pair in two vectors (one of which may be a number)."""
    return np.maximum(a, b)


def where_negative(x: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return a vector of the numbers of `a` where those of `x` are below 0, and of `b` elsewhere."""
    return np.where(x < 0, a, b)


def sum_of(x: np.ndarray) -> np.float32:
    """Return the sum of a vector, float32."""
    return x.sum()


def largest_of(x: np.ndarray) -> np.float32:
    """Return the largest number of a vector, float32."""
    return x.max()


def truncated(x: Any) -> Any:
    """Return numbers or vectors of a size below 2^31 without what is behind the point."""
    return np.trunc(x)


def power_of_two(x: Any) -> Any:
    """Return 2^x for whole -126 <= x <= 127."""
    return np.ldexp(np.float32(1), np.int32(x))
