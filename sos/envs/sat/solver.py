"""Whether a formula has a solution, exactly, and the drawing of formulas."""

from __future__ import annotations

import numpy as np

from sos.envs.memory import memory
from sos.envs.sat.formula import LITERALS, bit, clause_sets, free_sets, literal_of, load_masks, lowest, size
from sos.kernels import inner
from sos.rng import below, fold

# What a draw takes from its key: the number of variables, their names and the clauses.
SIZE, NAMES, CLAUSES = range(3)
LEVEL_WIDTH = 3


@inner
def propagate(num, masks, true, false):
    """Follow unit clauses until there is none; return the sets, and a set to branch on: the free variables of a
    shortest clause, 0 where all clauses are satisfied, -1 where one is falsified. O(clauses) for each variable."""
    while True:
        found, least, shortest = False, LITERALS + 1, np.int64(0)
        for clause in range(num):
            satisfied, positive, negative = free_sets(masks[2 * clause], masks[2 * clause + 1], true, false)
            if satisfied:
                continue
            free = positive | negative
            if free == 0:
                return true, false, np.int64(-1)
            if free & (free - 1) == 0:
                true, false, found = true | positive, false | negative, True
            elif size(free) < least:
                least, shortest = size(free), free
        if not found:
            return true, false, shortest


@inner
def is_satisfiable(problem, work, most_clauses):
    """Say whether a formula has a solution; `work` int64 has 2 x `most_clauses` numbers, and three for each name and
    one more. O(2**variables x clauses) at worst."""
    num = load_masks(problem, work)
    stack = work[2 * most_clauses :]
    depth = np.int64(0)
    true, false = np.int64(0), np.int64(0)
    while True:
        true, false, free = propagate(num, work, true, false)
        if free == 0:
            return True
        if free > 0:
            # The lowest variable of a shortest clause, true first; false is tried on the way back.
            variable = bit(lowest(free))
            stack[LEVEL_WIDTH * depth] = true
            stack[LEVEL_WIDTH * depth + 1] = false
            stack[LEVEL_WIDTH * depth + 2] = variable
            depth += 1
            true |= variable
            continue
        if depth == 0:
            return False
        depth -= 1
        true, false = stack[LEVEL_WIDTH * depth], stack[LEVEL_WIDTH * depth + 1]
        false |= stack[LEVEL_WIDTH * depth + 2]


@inner
def _code(problem, clause):
    """Return a number that two clauses share if they have the same literals."""
    positive, negative = clause_sets(problem, clause)
    return positive | negative << 31


@inner
def draw_formula(env, key, problem):
    """Write a formula: a number of variables, as many names, and clauses of three of them with any signs, none twice.

    Names are drawn for each problem, so that no name tells an order.
    """
    names = memory()
    variables = np.int64(env.min_variables) + below(fold(key, SIZE), 0, env.max_variables - env.min_variables + 1)
    for k in range(env.num_labels):
        names[k] = k + 1
    for k in range(variables):
        other = k + below(fold(key, NAMES), k, env.num_labels - k)
        names[k], names[other] = names[other], names[k]
    num, draws = np.int64(variables * env.ratio), np.int64(0)
    key = fold(key, CLAUSES)
    clause = np.int64(0)
    while clause < num:
        signs = below(key, draws, 8)
        draws += 1
        for k in range(LITERALS):
            at = below(key, draws, variables - k)
            draws += 1
            # The variables of this clause come first, so that none is drawn twice.
            names[k], names[k + at] = names[k + at], names[k]
            problem[LITERALS * clause + k] = literal_of(signs >> k & 1, names[k])
        clause += is_new(problem, clause)
    for k in range(LITERALS * num, len(problem) - 1):
        problem[k] = 0
    problem[len(problem) - 1] = num


@inner
def is_new(problem, clause):
    """Say whether no clause before one has the same literals. O(clauses)."""
    code = _code(problem, clause)
    for other in range(clause):
        if _code(problem, other) == code:
            return False
    return True
