"""The check of arrays from files: every number in its range."""

from __future__ import annotations

import numpy as np


def check_range(name: str, array: np.ndarray, least: float, most: float) -> None:
    """Raise ValueError with the first value that is not from `least` to `most`."""
    fine = (array >= least) & (array <= most)  # not the other way round: NaN is neither
    if not fine.all():
        row = int(np.argmin(fine.reshape(len(array), -1).all(1)))
        value = array[row][~fine[row]][0] if array.ndim == 2 else array[row]
        raise ValueError(f"{name} must be {least} to {most}, got {value} in row {row}")
