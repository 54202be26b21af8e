"""Countdown's heuristics: what a number, or a whole state, costs; exact integers.

Names: `none`, `sum` (distances to the target), `mult` (distances to its factors), `size` (the product of the numbers
plus 1), `operator` (the order / - + *).
"""

from __future__ import annotations

import numpy as np

from sos.kernels import inner

HEURISTICS = ("none", "sum", "mult", "size", "operator")
NO_HEURISTIC, SUM, MULT, SIZE, BY_OPERATOR = range(5)
MAX_SIZE = 2**40
# A mean over 1 to 6 numbers times 60 is a whole number: heuristics stay exact integers.
HEURISTIC_SCALE = 60


@inner
def cost(kind, target, scratch, value):
    """Return what one number adds to the unscaled heuristic of a state; above the target it is the distance to it."""
    below = scratch[min(value, target)] if kind == MULT else max(target - value, 0)
    return below + max(value - target, 0)


@inner
def capped_product(total, factor):
    # Both can be so large that their product would overflow.
    return total * factor if factor <= MAX_SIZE // total else MAX_SIZE


@inner
def other_sizes(state, i, j):
    """Return the product of the numbers plus 1 but those at i and j, cut at a limit."""
    total = np.int64(1)
    for k in range(1, state[0] + 1):
        if k != i and k != j:
            total = capped_product(total, np.int64(state[k]) + 1)
    return total
