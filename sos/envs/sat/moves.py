"""What DPLL does next: the unit clause it follows, the pure literal it sets, or the variable it branches on.

`masks` are the clauses as in `sos.envs.sat.formula.load_masks`, `num` of them.
"""

from __future__ import annotations

import numpy as np

from sos.envs.sat.formula import LITERALS, MINUS, PLUS, bit, free_sets, literal_of, lowest, size
from sos.kernels import inner

DEDUCED = 1 << 8  # in a move, beside its literal


@inner
def unit_move(num, masks, true, false):
    """Return the move that the first unit clause forces, -1 for none."""
    for clause in range(num):
        satisfied, positive, negative = free_sets(masks[2 * clause], masks[2 * clause + 1], true, false)
        free = positive | negative
        if not satisfied and free != 0 and free & (free - 1) == 0:
            return literal_of(PLUS if positive != 0 else MINUS, lowest(free)) + DEDUCED
    return np.int64(-1)


@inner
def variables_left(num, masks, true, false):
    """Return the positive and negative variables that clauses which are not satisfied leave, and those of the shortest
    ones."""
    plus, minus, shortest, least = np.int64(0), np.int64(0), np.int64(0), LITERALS + 1
    for clause in range(num):
        satisfied, positive, negative = free_sets(masks[2 * clause], masks[2 * clause + 1], true, false)
        if satisfied:
            continue
        plus, minus = plus | positive, minus | negative
        num_left = size(positive | negative)
        if num_left < least:
            least, shortest = num_left, np.int64(0)
        if num_left == least:
            shortest |= positive | negative
    return plus, minus, shortest, least


@inner
def _count(num, masks, true, false, variable, length):
    """Return how often a variable occurs with each sign in the clauses of a length that are not satisfied."""
    plus, minus = 0, 0
    for clause in range(num):
        satisfied, positive, negative = free_sets(masks[2 * clause], masks[2 * clause + 1], true, false)
        if not satisfied and size(positive | negative) == length:
            plus += (positive & bit(variable)) != 0
            minus += (negative & bit(variable)) != 0
    return plus, minus


@inner
def most_frequent(num, masks, true, false, shortest, length):
    """Return the most frequent variable in the shortest clauses, the lowest of equal ones, and its more frequent
    sign."""
    best, found, sign = -1, np.int64(0), PLUS
    while shortest:
        variable = lowest(shortest)
        shortest &= shortest - 1
        plus, minus = _count(num, masks, true, false, variable, length)
        if plus + minus > best:
            best, found, sign = plus + minus, variable, PLUS if plus >= minus else MINUS
    return found, sign
