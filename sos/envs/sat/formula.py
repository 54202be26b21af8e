"""What the clauses of a formula say of an assignment.

A problem's row has three literals for each clause, zeros behind the last clause, and at its end the number of clauses.
A literal is one number: 0 and 1 are the first variable and its negation, 2 and 3 those of the second. A state
is two sets of variables, those that are true and those that are false; a set is a number with bit v for variable v.
Kernels that go over the clauses again and again take them from a row of `masks`: two sets for each clause, its positive
and its negative variables.
"""

from __future__ import annotations

import numpy as np

from sos.kernels import inlined, inner

PLUS, MINUS = range(2)
LITERALS = 3  # of a clause
TRUE, FALSE = range(2)  # columns of a state
SATISFIED = -1  # what `num_free` says of a clause with a true literal


def literal_symbols(num_labels: int) -> tuple[str, ...]:
    """Return the text of each literal of variables up to `num_labels`, by its number: "+1", "-1", "+2" and so on."""
    return tuple(f"{sign}{variable}" for variable in range(1, num_labels + 1) for sign in "+-")


@inlined
def literal_of(sign, variable):
    return np.int64(2 * variable - 2 + sign)


@inlined
def sign_of(literal):
    return np.int64(literal) & 1


@inlined
def variable_of(literal):
    return (np.int64(literal) >> 1) + 1


@inlined
def num_clauses(problem):
    return np.int64(problem[len(problem) - 1])


@inlined
def bit(variable):
    return np.int64(1) << np.int64(variable)


@inner
def size(variables):
    """Return how many variables a set has."""
    num = np.int64(0)
    while variables:
        variables &= variables - 1
        num += 1
    return num


@inner
def lowest(variables):
    """Return the lowest variable of a set that has one."""
    return size((variables & -variables) - 1)


@inner
def clause_sets(problem, clause):
    """Return the positive and the negative variables of a clause."""
    sets = (np.int64(0), np.int64(0))
    for k in range(LITERALS):
        literal = problem[LITERALS * clause + k]
        variable = bit(variable_of(literal))
        sets = (sets[0] | variable, sets[1]) if sign_of(literal) == PLUS else (sets[0], sets[1] | variable)
    return sets


@inner
def load_masks(problem, masks):
    """Write the sets of all clauses into `masks` int64; return how many clauses there are."""
    num = num_clauses(problem)
    for clause in range(num):
        masks[2 * clause], masks[2 * clause + 1] = clause_sets(problem, clause)
    return num


@inner
def variables_of(problem):
    """Return the set of the variables of a formula."""
    found = np.int64(0)
    for clause in range(num_clauses(problem)):
        positive, negative = clause_sets(problem, clause)
        found |= positive | negative
    return found


@inlined
def free_sets(positive, negative, true, false):
    """Return whether a clause has a true literal, and the positive and negative variables of it without a value."""
    assigned = true | false
    return (positive & true) | (negative & false) != 0, positive & ~assigned, negative & ~assigned


@inner
def num_free(problem, state, clause):
    """Return how many literals of a clause have no value, `SATISFIED` where one is true; 0: the clause is falsified."""
    true, false = np.int64(state[TRUE]), np.int64(state[FALSE])
    positive, negative = clause_sets(problem, clause)
    satisfied, positive, negative = free_sets(positive, negative, true, false)
    return np.int64(SATISFIED) if satisfied else size(positive | negative)


@inner
def first_falsified(problem, state):
    """Return the number of the first falsified clause, from 1; 0 for none. O(clauses)."""
    for clause in range(num_clauses(problem)):
        if num_free(problem, state, clause) == 0:
            return np.int64(clause + 1)
    return np.int64(0)


@inner
def is_unit(problem, state, clause, literal):
    """Say whether a clause leaves nothing but one literal: it has no value yet, and the others are false."""
    if num_free(problem, state, clause) != 1:
        return False
    positive, negative = clause_sets(problem, clause)
    free = ~(np.int64(state[TRUE]) | np.int64(state[FALSE])) & bit(variable_of(literal))
    return ((positive if sign_of(literal) == PLUS else negative) & free) != 0


@inner
def is_pure(problem, state, literal):
    """Say whether a literal without a value occurs in clauses that are not satisfied yet, and its negation does not."""
    sign, variable = sign_of(literal), bit(variable_of(literal))
    this, other = False, False
    true, false = np.int64(state[TRUE]), np.int64(state[FALSE])
    for clause in range(num_clauses(problem)):
        positive, negative = clause_sets(problem, clause)
        satisfied, positive, negative = free_sets(positive, negative, true, false)
        if not satisfied:
            this |= ((positive if sign == PLUS else negative) & variable) != 0
            other |= ((negative if sign == PLUS else positive) & variable) != 0
    return this and not other
