"""An exact count of a grid's solutions, and puzzles that have one: random full grids from which cells are removed.

A puzzle is proper by proof: a cell goes only where no solution has another digit there.
"""

from __future__ import annotations

import numpy as np

from sos.envs.memory import memory
from sos.envs.sudoku.grid import (
    DIGITS,
    USED,
    all_digits,
    box_of,
    load_problem,
    lowest,
    num_digits,
)
from sos.kernels import inner
from sos.rng import below, fold, permute

# Parts of the memory behind those of a loaded grid: the empty cells, in front those that are filled by the search, and
# for each of these the candidates that are left to try and the one that is in.
CELLS, LEFT, IN, SOLUTION = 108, 189, 270, 351
FIRST = np.uint64(0)  # in place of a key: digits are tried in order
GRID, CLUES, ORDER = range(3)  # what a draw takes from its key


@inner
def _cell(size, cell):
    """Return an empty cell with its three units, as one number."""
    row, column = cell // size, cell % size
    return cell | row << 8 | (size + column) << 16 | (2 * size + box_of(size, row, column)) << 24


@inner
def _used(work, packed):
    return work[USED + (packed >> 8 & 255)] | work[USED + (packed >> 16 & 255)] | work[USED + (packed >> 24)]


@inner
def _flip(work, packed, bit):
    """Put a digit, bit `bit`, into the units of a cell, or take it out."""
    work[USED + (packed >> 8 & 255)] ^= bit
    work[USED + (packed >> 16 & 255)] ^= bit
    work[USED + (packed >> 24)] ^= bit


@inner
def _choose(size, work, depth, num):
    """Move the empty cell with the fewest candidates to place `depth` of the list; return its candidates."""
    best, least, found = depth, np.int64(size + 1), np.int64(0)
    for k in range(depth, num):
        left = all_digits(size) & ~_used(work, work[CELLS + k])
        count = num_digits(left)
        if count < least:
            best, least, found = k, count, left
            if count < 2:
                break
    work[CELLS + depth], work[CELLS + best] = work[CELLS + best], work[CELLS + depth]
    return found


@inner
def _pick(left, key, turn):
    """Return one of the digits left to try, as a bit: the lowest, or with a key a random one."""
    if key == FIRST:
        return left & -left
    for _ in range(below(key, turn, num_digits(left))):
        left &= left - 1
    return left & -left


@inner
def count_solutions(size, problem, key, limit, barred, work):
    """Return the number of solutions of the grid `problem` int32 (P,), `limit` at most; the last one found is in
    `work[SOLUTION:]`.

    With a `key` (uint64) other than FIRST digits are tried in random order. Of an empty cell `barred` >= 0 the digit in
    `work[SOLUTION + barred]` is none. Givens may not clash.
    """
    barred_bit = np.int64(1) << work[SOLUTION + barred] if barred >= 0 else np.int64(0)
    load_problem(size, problem, work)
    num = 0
    for cell in range(size * size):
        if work[DIGITS + cell] == 0:
            work[CELLS + num] = _cell(size, cell)
            if cell == barred:
                work[CELLS], work[CELLS + num] = work[CELLS + num], work[CELLS]
            num += 1
    found, turn, depth = 0, 0, 0
    descends = True
    while True:
        if descends:
            if depth == num:
                found += 1
                for k in range(num):
                    work[DIGITS + (work[CELLS + k] & 255)] = lowest(work[IN + k])
                for cell in range(size * size):
                    work[SOLUTION + cell] = work[DIGITS + cell]
                if found >= limit:
                    return found
                depth -= 1
            elif depth == 0 and barred >= 0:
                work[LEFT] = all_digits(size) & ~_used(work, work[CELLS]) & ~barred_bit
                work[IN] = 0
            else:
                work[LEFT + depth] = _choose(size, work, depth, num)
                work[IN + depth] = 0
            descends = False
        if depth < 0:
            return found
        _flip(work, work[CELLS + depth], work[IN + depth])
        work[IN + depth] = 0
        if work[LEFT + depth] == 0:
            depth -= 1
            continue
        bit = _pick(work[LEFT + depth], key, turn)
        turn += 1
        work[LEFT + depth] ^= bit
        work[IN + depth] = bit
        _flip(work, work[CELLS + depth], bit)
        depth += 1
        descends = True


@inner
def _is_only_place(size, problem, cell, digit):
    """Say whether a unit of the empty `cell` has no other cell for `digit`: then it has no other digit either."""
    work = memory()
    load_problem(size, problem, work)
    row, column = cell // size, cell % size
    box = box_of(size, row, column)
    in_row, in_column, in_box = True, True, True
    for other in range(size * size):
        if other == cell or work[DIGITS + other] != 0 or _used(work, _cell(size, other)) >> digit & 1:
            continue
        r, c = other // size, other % size
        in_row &= r != row
        in_column &= c != column
        in_box &= box_of(size, r, c) != box
    return in_row or in_column or in_box


@inner
def _draw_grid(size, key, problem, work):
    """Write a random full grid into `problem` and into `work[SOLUTION:]`."""
    for cell in range(size * size):
        problem[cell] = 0
    # A key of 0 would be none.
    count_solutions(size, problem, key | np.uint64(1), 1, -1, work)
    for cell in range(size * size):
        problem[cell] = work[SOLUTION + cell]


@inner
def draw_puzzle(size, least, most, key, problem):
    """Write a proper puzzle into `problem` int32 (P,): with as many clues as a number drawn from `least` to `most`
    says, or, where no further cell can go, with more."""
    work = memory()
    _draw_grid(size, fold(key, GRID), problem, work)
    num, wanted = np.int64(size * size), least + below(fold(key, CLUES), 0, most - least + 1)
    order = fold(key, ORDER)
    for k in range(size * size):
        if num <= wanted:
            return
        cell = permute(order, k, size * size)
        digit = problem[cell]
        problem[cell] = 0
        work[SOLUTION + cell] = digit
        if _is_only_place(size, problem, cell, digit) or count_solutions(size, problem, FIRST, 1, cell, work) == 0:
            num -= 1
        else:
            problem[cell] = digit
