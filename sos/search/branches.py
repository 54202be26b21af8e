"""A search over open branches, drawn by their layer (arXiv 2507.05362, riccardoalberghi/DP).

A branch is a move from a state that was reached. One is drawn in every step, with weight exp(-eta * layer), where the
layer is the depth of the state's cheapest node, and followed from that node. Where it leads to a new state, or to one
at a lower cost, that state's moves are open, those of before as well. A higher cost changes nothing, and at an equal
one the later node stands for the state, so that a stream can name it by its state. The search goes on until no branch
is open: it does not know when it has found the best.

With a large eta every layer is done before the next, and each branch is followed once; with one below 0 the search runs
ahead, and has to come back for what turns out to be cheaper. In the published code a step is told with the path that
leads there now and the cost that it had before, which are not always those of one path; here a step goes on from a
node, whose path and cost stay what they are.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from sos.envs import protocol as environment
from sos.envs.protocol import implements
from sos.errors import UserError
from sos.kernels import inlined, inner
from sos.rng import fold, stream_key, uniform
from sos.search.cheapest import hold, improves
from sos.search.protocol import search
from sos.search.work import add_verdict, add_visit, begin, count_child, find_seen
from sos.trace import ACTION, BACKTRACK, BUDGET, BUFFER_FULL, END, EXHAUSTED, GENERATE, OK, PARENT, RANK, add_event

PROBLEM_KEY = stream_key(0, "branches")
MOST_MOVES = 62  # of a state: those that are open are bits of a number


class Branches(NamedTuple):
    """Branches drawn by layer, over the environment's path costs: O(steps x states) time, memory O(nodes).

    What is drawn is a function of the problem. The cheapest goal is visited at the end, and is an optimal one, because
    nothing is left out. `max_nodes` bounds the generated nodes, the root among them.
    """

    eta: float = 5.0
    max_nodes: int = 2000

    def check(self, env: Any, prefix: str) -> None:
        """Raise UserError for an environment whose states have too many moves."""
        if env.max_children > MOST_MOVES:
            raise UserError(
                f"{prefix}.name=branches takes up to {MOST_MOVES} moves of a state; {type(env).__name__} has "
                f"{env.max_children}"
            )


@inner
def _num_bits(mask):
    num = 0
    while mask:
        mask &= mask - 1
        num += 1
    return num


@inner
def _take(mask, k):
    """Return the place of set bit number `k`, from the lowest on."""
    for _ in range(k):
        mask &= mask - 1
    return _num_bits((mask & -mask) - 1)


@inner
def _draw(strategy, work, u):
    """Return the row of the state and the number of the move of an open branch that `u`, below 1, chooses; -1, 0 where
    none is open.

    The open moves of a state are `work.heap_values` of its row, and a node's depth is in `work.batch`.
    """
    least = np.inf
    for row in range(work.num_seen[0]):
        if work.heap_values[row]:
            least = min(least, strategy.eta * work.batch[work.cheapest[row]])
    total = 0.0
    for row in range(work.num_seen[0]):
        if work.heap_values[row]:
            weight = math.exp(least - strategy.eta * work.batch[work.cheapest[row]])
            total += weight * _num_bits(work.heap_values[row])
    left, chosen, place = u * total, -1, 0
    for row in range(work.num_seen[0]):
        if work.heap_values[row]:
            weight = math.exp(least - strategy.eta * work.batch[work.cheapest[row]])
            num = _num_bits(work.heap_values[row])
            chosen, place = row, num - 1
            if left < weight * num:
                place = min(np.int64(left / weight), num - 1)
                break
            left -= weight * num
    return chosen, _take(work.heap_values[chosen], place) if chosen >= 0 else 0


@inlined
def _open(env, problem, work, node, states):
    """Open the moves of the state of `node`, which is the cheapest there."""
    row = work.row_of[node]
    num = np.int64(environment.successors(env, 0, problem, work.scratch, states[node], work.moves[0], work.values))
    work.heap_values[row] = (np.int64(1) << num) - 1


@inlined
def _follow(env, problem, work, parent, move, trace):
    """Write the child of `parent` by move number `move` behind the last node; return it."""
    nodes, states = trace.nodes, trace.states
    environment.successors(env, 0, problem, work.scratch, states[parent], work.moves[0], work.values)
    child = np.int64(trace.counts[1])
    nodes[child, PARENT] = parent
    nodes[child, RANK] = work.heap_nodes[parent]
    environment.make_child(env, problem, states[parent], work.moves[0, move], nodes[child, ACTION:], states[child])
    count_child(trace, child)
    add_event(trace, GENERATE, child, child, 0, 0)
    work.heap_nodes[parent] += 1
    work.heap_nodes[child] = 0
    work.batch[child] = work.batch[parent] + 1
    return child


@inner
def _problem_key(problem):
    key = PROBLEM_KEY
    for k in range(len(problem)):
        key = fold(key, problem[k])
    return key


@implements(search, Branches)
def _branches(strategy, env, problem, work, trace):
    events, nodes, states, counts = trace
    begin(env, 0, problem, work, trace)
    key = _problem_key(problem)
    environment.canonical(env, problem, states[0], work.row)
    hold(work, find_seen(work), np.int64(0))
    work.heap_nodes[0] = 0  # the children of a node: it was visited where it has some
    work.batch[0] = 0
    _open(env, problem, work, np.int64(0), states)
    current, best = np.int64(-1), np.int64(-1)
    while True:
        # A visit, a generation and a verdict; and behind the last a visit, a verdict and the end.
        if counts[0] + 6 > len(events) or counts[1] + 1 > len(nodes):
            return BUFFER_FULL
        row, move = _draw(strategy, work, uniform(key, counts[1]))
        if row < 0 or counts[1] >= strategy.max_nodes:
            break
        work.heap_values[row] &= ~(np.int64(1) << move)
        parent = np.int64(work.cheapest[row])
        if parent != current:
            if work.heap_nodes[parent] == 0:
                add_visit(trace, parent)
            else:
                add_event(trace, BACKTRACK, parent, parent, 0, 0)
            current = parent
        child = _follow(env, problem, work, parent, move, trace)
        for k in range(len(work.child)):
            work.child[k] = states[child, k]
        status = environment.status(env, problem, states[child])
        if status == environment.DEAD:
            add_verdict(env, problem, status, child, trace)
            continue
        environment.canonical(env, problem, work.child, work.row)
        slot = find_seen(work)
        opens = improves(env, problem, work, slot, states)
        if opens or _is_as_cheap(env, problem, work, states):
            hold(work, slot, child)
            if status == environment.GOAL:
                work.heap_values[work.row_of[child]] = 0
                best = _cheapest(env, problem, best, child, states)
            elif opens:
                _open(env, problem, work, child, states)
    if best < 0 or row >= 0:
        add_event(trace, END, -1, -1, EXHAUSTED if row < 0 else BUDGET, 0)
        return OK
    add_visit(trace, best)
    add_verdict(env, problem, environment.GOAL, best, trace)
    return OK


@inlined
def _is_as_cheap(env, problem, work, states):
    """Say whether the state in `work.child`, whose row `work.row` is known, costs what its cheapest node does."""
    other = states[work.cheapest[np.int64(work.seen[find_seen(work)]) - 1]]
    return environment.path_cost(env, problem, work.child) == environment.path_cost(env, problem, other)


@inlined
def _cheapest(env, problem, best, node, states):
    """Return the cheaper of two goals: `node` where they cost the same, and where there is none yet."""
    if best < 0:
        return node
    cost = environment.path_cost(env, problem, states[node])
    return node if cost <= environment.path_cost(env, problem, states[best]) else best
