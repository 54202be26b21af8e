"""What lessons in SAT are about: the signs of the literals, and whether the first variable is set true or false."""

from __future__ import annotations

import numpy as np

from sos.envs.sat.formula import LITERALS, PLUS, num_clauses, sign_of
from sos.kernels import inner

# The rarest first.
FEATURES = (
    "clause_all_positive",
    "clause_all_negative",
    "mostly_positive",
    "mostly_negative",  # or as many of both
)
ALL_POSITIVE, ALL_NEGATIVE, POSITIVE, NEGATIVE = range(len(FEATURES))
CLASSES = ("set_true", "set_false")


@inner
def find_features(env, problem, out):
    """See `sos.envs.lessons`."""
    for k in range(len(out)):
        out[k] = 0
    num, positive = num_clauses(problem), np.int64(0)
    for clause in range(num):
        own = np.int64(0)
        for k in range(LITERALS):
            own += sign_of(problem[LITERALS * clause + k]) == PLUS
        positive += own
        if own == LITERALS:
            out[ALL_POSITIVE] = 1
        if own == 0:
            out[ALL_NEGATIVE] = 1
    mostly = 2 * positive > LITERALS * num
    out[POSITIVE] = mostly
    out[NEGATIVE] = not mostly


@inner
def action_class(env, problem, state, action):
    """The sign of the literal. See `sos.envs.lessons`."""
    return sign_of(action[0])
