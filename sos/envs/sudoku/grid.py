"""What the cells of a grid leave for each other: units, candidates, cells and digits with one place or none.

Kernels work on a row of numbers, `memory()`, with the parts below. A unit is a row, column or box, numbered in this
order; a set of digits is a number with bit d for digit d. Box sizes: 2x2 of 4x4, 2 rows x 3 columns of 6x6, 3x3 of 9x9.
"""

from __future__ import annotations

import numpy as np

from sos.kernels import inlined, inner

MOST_CELLS, MOST_UNITS = 81, 27
# Parts of the memory: digit of each cell (0 empty), digits in each unit, those with a place in it at least and with
# more than one, and the candidates of each cell.
DIGITS = 0
USED = DIGITS + MOST_CELLS
PLACED = USED + MOST_UNITS
SEVERAL = PLACED + MOST_UNITS
CANDIDATES = SEVERAL + MOST_UNITS
WORD_CELLS = 7  # cells that a number of a state holds, 4 bits each, so that none is negative


@inlined
def box_rows(size):
    return 3 if size == 9 else 2


@inlined
def box_of(size, row, column):
    rows = box_rows(size)
    return row // rows * rows + column // (size // rows)


@inlined
def all_digits(size):
    return (1 << (size + 1)) - 2


@inner
def num_digits(digits):
    """Return how many digits a set has."""
    digits = digits - ((digits >> 1) & 0x5555)
    digits = (digits & 0x3333) + ((digits >> 2) & 0x3333)
    digits = (digits + (digits >> 4)) & 0x0F0F
    return (digits + (digits >> 8)) & 0x1F


@inner
def lowest(digits):
    """Return the lowest digit of a set that has one."""
    return num_digits((digits & -digits) - 1)


@inlined
def digit_at(state, cell):
    return np.int64(state[cell // WORD_CELLS] >> (4 * (cell % WORD_CELLS))) & 15


@inlined
def put_digit(state, cell, digit):
    """Write a digit, 0 to 15, into a cell of a state."""
    shift = 4 * (cell % WORD_CELLS)
    state[cell // WORD_CELLS] = (np.int64(state[cell // WORD_CELLS]) & ~(15 << shift)) | (digit << shift)


@inner
def _use(size, memory, cell, digit):
    row, column = cell // size, cell % size
    memory[USED + row] |= 1 << digit
    memory[USED + size + column] |= 1 << digit
    memory[USED + 2 * size + box_of(size, row, column)] |= 1 << digit


@inner
def load(size, state, memory):
    """Take the digits of a state; return how many cells are empty."""
    empty = 0
    for unit in range(3 * size):
        memory[USED + unit] = 0
    for cell in range(size * size):
        digit = digit_at(state, cell)
        memory[DIGITS + cell] = digit
        if digit == 0:
            empty += 1
        else:
            _use(size, memory, cell, digit)
    return empty


@inner
def load_problem(size, problem, memory):
    """Take the digits of a problem; return how many cells are empty."""
    empty = 0
    for unit in range(3 * size):
        memory[USED + unit] = 0
    for cell in range(size * size):
        digit = np.int64(problem[cell])
        memory[DIGITS + cell] = digit
        if digit == 0:
            empty += 1
        else:
            _use(size, memory, cell, digit)
    return empty


@inner
def candidates(size, memory, cell):
    """Return the digits that no unit of the cell has."""
    row, column = cell // size, cell % size
    used = memory[USED + row] | memory[USED + size + column] | memory[USED + 2 * size + box_of(size, row, column)]
    return all_digits(size) & ~used


@inner
def deduce(size, memory):
    """Find the candidates of every cell, none of a full one, and the digits with places in every unit."""
    for unit in range(3 * size):
        memory[PLACED + unit] = 0
        memory[SEVERAL + unit] = 0
    for cell in range(size * size):
        row, column = cell // size, cell % size
        left = candidates(size, memory, cell) if memory[DIGITS + cell] == 0 else np.int64(0)
        memory[CANDIDATES + cell] = left
        for unit in (row, size + column, 2 * size + box_of(size, row, column)):
            memory[SEVERAL + unit] |= memory[PLACED + unit] & left
            memory[PLACED + unit] |= left


@inlined
def without_place(size, memory, unit):
    """Return the digits that a unit neither has nor has a place for, behind `deduce`."""
    return all_digits(size) & ~memory[USED + unit] & ~memory[PLACED + unit]


@inner
def hidden_digit(size, memory, cell):
    """Return, as a bit, the candidate of a cell that has no other place in its box, else in its column, else in its
    row; 0 for none. Of two, as only a grid without a solution has them, it is the higher one, as in the published
    code."""
    row, column = cell // size, cell % size
    for unit in (2 * size + box_of(size, row, column), size + column, row):
        found = memory[CANDIDATES + cell] & ~memory[SEVERAL + unit]
        if found != 0:
            while found & (found - 1):
                found &= found - 1
            return found
    return np.int64(0)


@inner
def is_hidden(size, memory, cell, bit):
    """Say whether a candidate of a cell, as a bit, has no other place in one of the cell's units, behind `deduce`."""
    row, column = cell // size, cell % size
    for unit in (2 * size + box_of(size, row, column), size + column, row):
        if memory[CANDIDATES + cell] & ~memory[SEVERAL + unit] & bit:
            return True
    return False


@inner
def clashes(size, memory, cell):
    """Say whether a cell has the digit of another one in one of its units."""
    row, column = cell // size, cell % size
    for other in range(size * size):
        r, c = other // size, other % size
        together = r == row or c == column or box_of(size, r, c) == box_of(size, row, column)
        if together and other != cell and memory[DIGITS + other] == memory[DIGITS + cell]:
            return True
    return False


@inner
def first_with_fewest(size, memory):
    """Return the first empty cell of those with the fewest candidates, behind `deduce`; -1 where none is empty."""
    best, least = -1, size + 1
    for cell in range(size * size):
        if memory[DIGITS + cell] == 0:
            num = num_digits(memory[CANDIDATES + cell])
            if num < least:
                best, least = cell, num
    return best


@inner
def first_empty(size, memory):
    """Return the first empty cell, row by row; -1 where none is."""
    for cell in range(size * size):
        if memory[DIGITS + cell] == 0:
            return cell
    return -1
