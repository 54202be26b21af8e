"""What is wrong with a puzzle that a file lists: its form, a clash, or the number of its solutions."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np

from sos.envs.memory import memory
from sos.envs.problems import wrong_rows
from sos.envs.sudoku.grid import box_of
from sos.envs.sudoku.solver import FIRST, SOLUTION, count_solutions
from sos.errors import UserError
from sos.kernels import allocating


@allocating
def _solve_all(size, puzzles, counts, solutions):
    """Write how many solutions each puzzle has, two at most, and one of them."""
    work = memory()
    for k in range(len(puzzles)):
        counts[k] = count_solutions(size, puzzles[k], FIRST, 2, -1, work)
        for cell in range(size * size):
            solutions[k, cell] = work[SOLUTION + cell]


def puzzle_row(env: Any, digits: Sequence[int]) -> np.ndarray:
    """Return the digits of a puzzle as its row, which `first_wrong` is to see. Raises UserError for another number of
    cells, and for what is no digit."""
    size = env.size
    if len(digits) != env.num_cells:
        raise UserError(f"a grid of {size}x{size} has {env.num_cells} cells, got {len(digits)}")
    for cell, digit in enumerate(digits):
        if not 0 <= digit <= size:
            raise UserError(f"{_place(size, cell)} is {digit}, which is no digit of a grid of {size}x{size}")
    return np.array(digits, np.int32)


def _place(size: int, cell: int) -> str:
    return f"r{cell // size + 1}c{cell % size + 1}"


def _clash(size: int, digits: Sequence[int]) -> str:
    """Return which two givens clash; the empty string where none do."""
    for a, b in combinations([cell for cell, digit in enumerate(digits) if digit], 2):
        together = {
            "row": a // size == b // size,
            "column": a % size == b % size,
            "box": box_of(size, a // size, a % size) == box_of(size, b // size, b % size),
        }
        shared = next((unit for unit, same in together.items() if same), None)
        if shared and digits[a] == digits[b]:
            return f"{_place(size, a)} and {_place(size, b)}, of one {shared}, are both {digits[a]}"
    return ""


def first_wrong(env: Any, puzzles: np.ndarray, solutions: Sequence[str | None]) -> tuple[int, str] | None:
    """Return the first of the puzzles (N, P) with givens that clash, or else the first one that is not proper or has
    another solution than is said, and why; None where all are right."""
    clashing = np.flatnonzero(wrong_rows(env, puzzles))
    if len(clashing):
        return int(clashing[0]), _clash(env.size, puzzles[clashing[0]].tolist()) or "no cell is empty"
    counts, found = np.zeros(len(puzzles), np.int64), np.zeros(puzzles.shape, np.int32)
    _solve_all(env.size, puzzles, counts, found)
    for k, said in enumerate(solutions):
        if counts[k] != 1:
            return k, "it has no solution" if counts[k] == 0 else "it has more than one solution"
        text = "".join(map(str, found[k])) if said else None
        if said and said != text:
            return k, f"its solution is {text}, not {said[:90]}"
    return None
