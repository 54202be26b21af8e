"""Sudoku: fill a grid so that every row, column and box holds each digit once.

Grids of 4x4 (boxes of 2x2), 6x6 (2 rows x 3 columns) and 9x9. Every drawn puzzle has one solution. What a search is
told to deduce is its heuristic: `none` fills the cells row by row; `fewest` takes the cell with the fewest candidates;
`naked` first fills cells with one candidate, and `naked` and `hidden` alike call what they deduce forced; `hidden` also
fills the only place of a digit in a unit, and sees that a digit has none. So far as they do not deduce, they guess, the
lowest digit first.

Rows: problem = digits row by row, 0 for an empty cell; state = the digits, 7 to a number, 4 bits each; action = [cell,
digit], a cell being 10 x row + column, both from 1.

The witness of a dead end is a number: a cell that is empty and has no candidate, or a unit in which a digit that is
missing has no place: 10 x row; the column alone; or a box, counted from 1, as if it were a column of one more row.
"""

from __future__ import annotations

from importlib import resources
from importlib.resources.abc import Traversable
from typing import NamedTuple

import numpy as np

from sos.envs import problems, protocol
from sos.envs.memory import memory
from sos.envs.protocol import Field, implements
from sos.envs.sudoku.grid import (
    CANDIDATES,
    DIGITS,
    WORD_CELLS,
    candidates,
    clashes,
    deduce,
    digit_at,
    first_empty,
    first_with_fewest,
    hidden_digit,
    is_hidden,
    load,
    load_problem,
    lowest,
    num_digits,
    put_digit,
    without_place,
)
from sos.envs.sudoku.solver import FIRST, SOLUTION, count_solutions, draw_puzzle
from sos.envs.sudoku.symmetry import grid_hash, puzzle_form
from sos.kernels import inner
from sos.rng import fold

SIZES = (4, 6, 9)
CELL, DIGIT = range(2)  # columns of an action
NONE, FEWEST, NAKED, HIDDEN = range(4)
HEURISTICS = ("none", "fewest", "naked", "hidden")
DEDUCED = 1 << 12  # in a move, beside 16 x number of the cell + digit


@problems.ungrouped
class Sudoku(NamedTuple):
    """The size of the grid, and the range from which the number of clues is drawn: where it is less than a proper
    puzzle can have, no further clue can go."""

    size: int = 4
    min_clues: int = 4
    max_clues: int = 6

    @property
    def num_cells(self) -> int:
        return self.size * self.size

    @property
    def box_rows(self) -> int:
        """The rows of a box."""
        return 3 if self.size == 9 else 2

    @property
    def problem_width(self) -> int:
        return self.num_cells

    @property
    def state_width(self) -> int:
        return -(-self.num_cells // WORD_CELLS)

    @property
    def action_width(self) -> int:
        return 2

    @property
    def max_children(self) -> int:
        return self.size

    @property
    def max_depth(self) -> int:
        return self.num_cells

    @property
    def scratch_size(self) -> int:
        return 1

    @property
    def largest_number(self) -> int:
        """The last box, as a witness names it."""
        return 10 * (self.size + 1) + self.size

    @property
    def heuristics(self) -> tuple[str, ...]:
        return HEURISTICS

    @property
    def measures(self) -> tuple[str, ...]:
        """The heuristics that value states: none; these are ways to deduce."""
        return ()

    @property
    def heuristic_scale(self) -> int:
        return 1

    @property
    def fields(self) -> dict[str, tuple[Field, ...]]:
        """Template field -> what it stands for, in each row that has it."""
        return {
            "grid": (Field("problem", 0, size=self.num_cells),),
            "cell": (Field("action", CELL),),
            "digit": (Field("action", DIGIT),),
        }

    @property
    def dialects(self) -> Traversable:
        """The folder of the dialects that are shipped for it."""
        return resources.files("sos") / "stream" / "dialect" / "yaml" / "sudoku"

    @property
    def tree_nodes(self) -> int:
        """Every way to fill the empty cells with digits, one after the other: no number of use."""
        return int(self.size ** (self.num_cells + 1))

    def describe(self) -> str:
        """Return what problems are drawn from, in words."""
        return f"{self.size}x{self.size} grids with one solution and {self.min_clues} to {self.max_clues} clues"

    def longest_problem(self) -> list[int]:
        """Return a problem whose statement is as long as any; it need not be one."""
        return [self.size] * self.num_cells

    def proof_work(self) -> np.ndarray:
        """Allocate the work space of `solvable`, which needs none."""
        return np.zeros(1, np.int64)


@inner
def _cell_of(size, name):
    """Return the number of the cell that an action or a witness names, -1 for none."""
    row, column = name // 10 - 1, name % 10 - 1
    if row < 0 or row >= size or column < 0 or column >= size:
        return np.int64(-1)
    return np.int64(row * size + column)


@inner
def _unit_of(size, name):
    """Return the number of the unit that a witness names, -1 for none."""
    row, column = name // 10, name % 10
    if column == 0:
        return np.int64(row - 1 if 1 <= row <= size else -1)
    if column > size or (row != 0 and row != size + 1):
        return np.int64(-1)
    return np.int64(column - 1 + (size if row == 0 else 2 * size))


@inner
def _name_of_unit(size, unit):
    if unit < size:
        return 10 * (unit + 1)
    return unit - size + 1 if unit < 2 * size else 10 * (size + 1) + unit - 2 * size + 1


@inner
def _name_of_cell(size, cell):
    return 10 * (cell // size + 1) + cell % size + 1


@implements(protocol.root_state, Sudoku)
def _root_state(env, problem, state):
    for k in range(len(state)):
        state[k] = 0
    for cell in range(env.size * env.size):
        put_digit(state, cell, np.int64(problem[cell]))


@implements(protocol.status, Sudoku)
def _status(env, problem, state):
    """A goal is full, keeps the givens and has each digit in each unit; what is full and none, is dead."""
    for cell in range(env.size * env.size):
        if digit_at(state, cell) == 0:
            return protocol.OPEN
    work = memory()
    load(env.size, state, work)
    deduce(env.size, work)
    for unit in range(3 * env.size):
        if without_place(env.size, work, unit) != 0:
            return protocol.DEAD
    for cell in range(env.size * env.size):
        if problem[cell] != 0 and problem[cell] != work[DIGITS + cell]:
            return protocol.DEAD
    return protocol.GOAL


@implements(protocol.status_by, Sudoku)
def _status_by(env, kind, problem, state):
    work = memory()
    size = env.size
    if load(size, state, work) == 0:
        return protocol.status(env, problem, state)
    if kind == NONE:
        return protocol.DEAD if candidates(size, work, first_empty(size, work)) == 0 else protocol.OPEN
    deduce(size, work)
    for cell in range(size * size):
        if work[DIGITS + cell] == 0 and work[CANDIDATES + cell] == 0:
            return protocol.DEAD
    for unit in range(3 * size if kind == HIDDEN else 0):
        if without_place(size, work, unit) != 0:
            return protocol.DEAD
    return protocol.OPEN


@implements(protocol.witness, Sudoku)
def _witness(env, problem, state):
    """The first cell without a candidate, row by row, or else the first unit in which a digit has no place, or 0."""
    work = memory()
    load(env.size, state, work)
    for cell in range(env.size * env.size):
        if work[DIGITS + cell] == 0 and candidates(env.size, work, cell) == 0:
            return np.int64(_name_of_cell(env.size, cell))
    deduce(env.size, work)
    for unit in range(3 * env.size):
        if without_place(env.size, work, unit) != 0:
            return np.int64(_name_of_unit(env.size, unit))
    return np.int64(0)


@implements(protocol.proves_dead, Sudoku)
def _proves_dead(env, problem, state, value):
    work = memory()
    load(env.size, state, work)
    deduce(env.size, work)
    cell, unit = _cell_of(env.size, value), _unit_of(env.size, value)
    if cell >= 0:
        return work[DIGITS + cell] == 0 and work[CANDIDATES + cell] == 0
    return unit >= 0 and without_place(env.size, work, unit) != 0


@inner
def _deduced_move(size, kind, work):
    """Return the move of the first cell that deduction fills, row by row, or -1."""
    for cell in range(size * size):
        if work[DIGITS + cell] != 0:
            continue
        found = hidden_digit(size, work, cell) if kind == HIDDEN else np.int64(0)
        if found == 0 and num_digits(work[CANDIDATES + cell]) == 1:
            found = work[CANDIDATES + cell]
        if found != 0:
            return np.int64(16 * cell + lowest(found) + DEDUCED)
    return np.int64(-1)


@implements(protocol.successors, Sudoku)
def _successors(env, kind, problem, scratch, state, moves, values):
    work = memory()
    load(env.size, state, work)
    if kind != NONE:
        deduce(env.size, work)
    if kind == NAKED or kind == HIDDEN:
        move = _deduced_move(env.size, kind, work)
        if move >= 0:
            moves[0] = move
            values[0] = 0
            return 1
    cell = first_empty(env.size, work) if kind == NONE else first_with_fewest(env.size, work)
    num = 0
    if cell >= 0:
        left = candidates(env.size, work, cell)
        for digit in range(1, env.size + 1):
            if left >> digit & 1:
                moves[num] = 16 * cell + digit
                values[num] = 0
                num += 1
    return num


@implements(protocol.deduced, Sudoku)
def _deduced(env, move):
    return move >= DEDUCED


@implements(protocol.make_child, Sudoku)
def _make_child(env, problem, state, move, action, child):
    cell, digit = (move & (DEDUCED - 1)) >> 4, move & 15
    action[CELL] = _name_of_cell(env.size, cell)
    action[DIGIT] = digit
    for k in range(len(state)):
        child[k] = state[k]
    put_digit(child, cell, digit)


@implements(protocol.judge, Sudoku)
def _judge(env, problem, state, action, child):
    """A cell that is full, or none, is not held; a digit that its row, column or box has, or none, is illegal."""
    for k in range(len(state)):
        child[k] = state[k]
    cell, digit = _cell_of(env.size, action[CELL]), np.int64(action[DIGIT])
    if cell < 0:
        return protocol.NOT_HELD
    is_digit = 1 <= digit <= env.size
    if is_digit:
        put_digit(child, cell, digit)
    if digit_at(state, cell) != 0:
        return protocol.NOT_HELD
    if not is_digit:
        return protocol.ILLEGAL
    work = memory()
    load(env.size, state, work)
    return protocol.HOLDS if candidates(env.size, work, cell) >> digit & 1 else protocol.ILLEGAL


@implements(protocol.forced, Sudoku)
def _forced(env, problem, state, action):
    cell = _cell_of(env.size, action[CELL])
    if cell < 0 or action[DIGIT] < 1 or action[DIGIT] > env.size:
        return False
    work = memory()
    load(env.size, state, work)
    deduce(env.size, work)
    bit = np.int64(1) << np.int64(action[DIGIT])
    if work[CANDIDATES + cell] == bit:
        return True
    return work[DIGITS + cell] == 0 and is_hidden(env.size, work, cell, bit)


@implements(protocol.canonical, Sudoku)
def _canonical(env, problem, state, out):
    for k in range(len(state)):
        out[k] = state[k]


@implements(protocol.can_pose, Sudoku)
def _can_pose(env, problem):
    """Digits that do not clash, and a cell that is empty; how many solutions there are is not asked."""
    work = memory()
    for cell in range(env.size * env.size):
        if problem[cell] < 0 or problem[cell] > env.size:
            return False
    num_clues = env.size * env.size - load_problem(env.size, problem, work)
    for cell in range(env.size * env.size):
        if problem[cell] > 0 and clashes(env.size, work, cell):
            return False
    return num_clues < env.size * env.size


@implements(protocol.draw, Sudoku)
def _draw(env, key, group, attempt, problem):
    draw_puzzle(env.size, env.min_clues, env.max_clues, fold(key, attempt), problem)


@implements(protocol.hash_key, Sudoku)
def _hash_key(env, key, problem):
    if env.size == 4:
        return fold(key, puzzle_form(problem))
    work = memory()
    if count_solutions(env.size, problem, FIRST, 1, -1, work) == 0:
        return fold(key, 0)
    return grid_hash(env.size, key, work[SOLUTION : SOLUTION + env.size * env.size])


@implements(protocol.solvable, Sudoku)
def _solvable(env, problem, work):
    return count_solutions(env.size, problem, FIRST, 1, -1, memory()) > 0
