"""The cheapest node of every state that a search over path costs has reached, in the arrays of its work."""

from __future__ import annotations

import numpy as np

from sos.envs import protocol as environment
from sos.kernels import inlined
from sos.search.work import add_seen, find_seen


@inlined
def improves(env, problem, work, states):
    """Say whether the state in `work.child` is new, or cheaper than every node in it; its row is then `work.row`."""
    environment.canonical(env, problem, work.child, work.row)
    known = np.int64(work.seen[find_seen(work)]) - 1
    if known < 0:
        return True
    other = states[work.cheapest[known]]
    return environment.path_cost(env, problem, work.child) < environment.path_cost(env, problem, other)


@inlined
def hold(work, node):
    """Make `node` the cheapest of the state whose canonical form is `work.row`."""
    add_seen(work)
    row = work.seen[find_seen(work)] - 1
    work.cheapest[row] = node
    work.row_of[node] = row
