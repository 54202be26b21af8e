"""The cheapest node of every state that a search over path costs has reached, in the arrays of its work."""

from __future__ import annotations

import numpy as np

from sos.envs import protocol as environment
from sos.kernels import inlined
from sos.search.work import add_seen_at


@inlined
def improves(env, problem, work, slot, states):
    """Say whether the state in `work.child`, whose canonical form belongs to `slot`, is new, or cheaper than every node
    in it."""
    known = np.int64(work.seen[slot]) - 1
    if known < 0:
        return True
    other = states[work.cheapest[known]]
    return environment.path_cost(env, problem, work.child) < environment.path_cost(env, problem, other)


@inlined
def hold(work, slot, node):
    """Make `node` the cheapest of the state whose canonical form is `work.row` and belongs to `slot`."""
    add_seen_at(work, slot)
    row = work.seen[slot] - 1
    work.cheapest[row] = node
    work.row_of[node] = row
