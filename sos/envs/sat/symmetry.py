"""A hash that is equal for twins: formulas that turn into each other where variables are renamed, signs of a variable
flipped, and clauses and their literals put in another order.

It is an invariant, not a canonical form: a colour for each literal that is made finer, round by round, by the colours
of its negation and of the clauses that it is in. Formulas that are no twins may share it, which is no harm to a split.
"""

from __future__ import annotations

import numpy as np

from sos.envs.memory import memory
from sos.envs.sat.formula import LITERALS, num_clauses
from sos.kernels import inner
from sos.rng import fold, mix64

ROUNDS = 3
COLOURS, SUMS = 0, 64  # parts of the memory: of each literal the colour, and its clauses' sum


@inner
def _clause_colour(problem, clause, work):
    total = np.uint64(0)
    for k in range(LITERALS):
        total += mix64(np.uint64(work[COLOURS + problem[LITERALS * clause + k]]))
    return mix64(total)


@inner
def twin_hash(problem, key, num_labels):
    """Return a uint64 hash of a formula, equal for its twins. O(rounds x clauses)."""
    work = memory()
    for literal in range(2 * num_labels):
        work[COLOURS + literal] = 1
    whole = np.uint64(0)
    for _ in range(ROUNDS):
        whole = np.uint64(0)
        for literal in range(2 * num_labels):
            work[SUMS + literal] = 0
        for clause in range(num_clauses(problem)):
            colour = _clause_colour(problem, clause, work)
            whole += mix64(colour)
            for k in range(LITERALS):
                literal = SUMS + np.int64(problem[LITERALS * clause + k])
                work[literal] = np.int64(np.uint64(work[literal]) + colour)
        for variable in range(num_labels):
            a, b = 2 * variable, 2 * variable + 1
            first = fold(np.uint64(work[COLOURS + a]), np.uint64(work[SUMS + a]))
            second = fold(np.uint64(work[COLOURS + b]), np.uint64(work[SUMS + b]))
            work[COLOURS + a] = np.int64(fold(first, mix64(second)))
            work[COLOURS + b] = np.int64(fold(second, mix64(first)))
    for variable in range(num_labels):
        a, b = np.uint64(work[COLOURS + 2 * variable]), np.uint64(work[COLOURS + 2 * variable + 1])
        whole += mix64(mix64(a) + mix64(b))
    return fold(key, whole)
