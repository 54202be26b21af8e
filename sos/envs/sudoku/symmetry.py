"""Hashes that are equal for twins: grids and puzzles that relabelled digits and moved rows and columns turn into each
other.

Rows may change places within their band of boxes, bands as wholes, and so may columns and stacks; where boxes are
square, rows may become columns. A grid's hash is an invariant: how the digits of one row are permuted in another has
cycles of the same lengths in every twin. Grids that are no twins may share it, which is no harm to a split. 4x4 has but
two grids that are no twins, so that there the puzzle's own canonical form is hashed.
"""

from __future__ import annotations

import numpy as np

from sos.envs.sudoku.grid import box_rows
from sos.kernels import inner
from sos.rng import fold, mix64

ROWS, COLUMNS = range(2)


@inner
def _line_cell(size, line, k, way):
    """Return cell `k` of a row, or of a column."""
    return line * size + k if way == ROWS else k * size + line


@inner
def _cycles(size, grid, first, second, way):
    """Return a hash of the lengths of the cycles in which the digits of one line lead to those beside them in another
    one. `grid` has each digit once in a line."""
    h, seen = np.uint64(0), 0
    for start in range(size):
        place, length = start, 0
        while not seen >> place & 1:
            seen |= 1 << place
            length += 1
            digit = grid[_line_cell(size, second, place, way)]
            for k in range(size):
                if grid[_line_cell(size, first, k, way)] == digit:
                    place = k
                    break
        if length > 0:
            h += mix64(np.uint64(length))
    return h


@inner
def _lines_hash(size, grid, way):
    """Return what rows, or columns, say of a full grid: of each line with each other, of each in its band, of the
    bands."""
    deep = box_rows(size) if way == ROWS else size // box_rows(size)
    total = np.uint64(0)
    for band in range(size // deep):
        in_band = np.uint64(0)
        for first in range(band * deep, band * deep + deep):
            line = np.uint64(0)
            for second in range(size):
                if second != first:
                    line += fold(_cycles(size, grid, first, second, way), second // deep == band)
            in_band += mix64(line)
        total += mix64(in_band)
    return total


@inner
def grid_hash(size, key, grid):
    """Return a uint64 hash of a full valid grid, `grid[cell]`; equal for twins. O(size**4)."""
    rows, columns = _lines_hash(size, grid, ROWS), _lines_hash(size, grid, COLUMNS)
    if box_rows(size) == size // box_rows(size):
        return fold(key, mix64(rows) + mix64(columns))
    return fold(fold(key, rows), columns)


@inner
def _moved(k, way):
    """Return the row or column, 0 to 3, that comes to `k` where the three low bits of `way` say what changes places:
    the two bands, the rows of the first one, those of the second."""
    k ^= (way & 1) << 1
    return k ^ (way >> (1 + (k >> 1)) & 1)


@inner
def puzzle_form(problem):
    """Return the least of all twins of a 4x4 puzzle as one number, the digits relabelled in the order in which they
    come. O(128 x 16), but most twins are seen to be greater after a few cells."""
    least = np.int64(2**48)  # above 16 digits of 3 bits
    for way in range(128):
        labels, next_label, form = 0, 1, np.int64(0)
        for cell in range(16):
            row, column = _moved(cell >> 2, way), _moved(cell & 3, way >> 3)
            digit = np.int64(problem[4 * row + column] if way < 64 else problem[4 * column + row])
            if digit > 0:
                if labels >> (4 * digit) & 15 == 0:
                    labels |= next_label << (4 * digit)
                    next_label += 1
                digit = labels >> (4 * digit) & 15
            form = form << 3 | digit
            if form > least >> (3 * (15 - cell)):
                break
        else:
            least = form
    return least
