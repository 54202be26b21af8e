"""The header of a .npy file, read before anything is allocated for its array."""

from __future__ import annotations

import re
from typing import IO

import numpy as np

_HEADER = re.compile(
    r"\{'descr': '([<>|]?[a-zA-Z][0-9]{1,9})', 'fortran_order': (True|False), 'shape': \(([0-9, ]*)\), \}[ \n]*"
)


def npy_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Return (shape, whether in Fortran order, dtype) of an array of plain numbers; the data come next in `file`.

    Reads the header that `numpy.save` writes. Numpy's own reader evaluates it as Python. Raises
    ValueError, and TypeError for a type that numpy does not know.
    """
    start = file.read(10)
    text = file.read(int.from_bytes(start[8:], "little")).decode("latin1")
    match = _HEADER.fullmatch(text)
    if start[:8] != b"\x93NUMPY\x01\x00" or match is None:
        raise ValueError("no .npy file of plain numbers")
    shape = tuple(int(size) for size in match[3].split(",") if size.strip())
    return shape, match[2] == "True", np.dtype(match[1])
