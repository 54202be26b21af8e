"""Sketches: searches that are told without their visits, and it may be without costs (Su et al. 2024, arXiv
2410.09918).

Whose child a node is, a sketch does not say. A reader finds it: the current node, that is the parent of the node
before, if the action holds there with all its facts, or else the node that was told first of those where it does, goals
left out. Where facts are left out, too, they are what follows there. Where it holds nowhere, it is a mistake: of the
first of these nodes that has what the action takes, or else of the current one.

A visit that no words say, of the parent that was found, stands in the trace and has the flag `UNTOLD`, as the root's
visit has; a node without facts has the flag `BARE`. So a sketch is a tree of claims like any other, and verified like
one: each node has to follow from one that was told before.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba.extending import overload

from sos.envs import protocol as environment
from sos.envs.protocol import has
from sos.kernels import INNER, inner
from sos.trace import ACTION, BACKTRACK, EXPAND, UNTOLD_FLAG, add_event


class ToldAction(NamedTuple):
    """What was said of an action."""

    numbers: np.ndarray  # (A,) of any whole type
    seen: int  # the bits of the columns that were said


class Nodes(NamedTuple):
    """The nodes that were told so far: node n of `num` is in the state `states[rows[n]]`."""

    states: np.ndarray  # int32 (S, W)
    rows: np.ndarray  # int32 (N,)
    num: int
    current: int


@inner
def complete_action(env, problem, state, told, action):
    """Write what was `told` of an action (a ToldAction) into `action`, and the facts that were not."""
    for k in range(len(action)):
        action[k] = told.numbers[k]
    if told.seen + 1 < 1 << len(action):
        environment.complete(env, problem, state, action)
        for k in range(len(action)):
            if told.seen & (1 << k):
                action[k] = told.numbers[k]


def _find(env, problem, nodes, told, action, child):
    first = max(np.int64(nodes.current), np.int64(0))
    holder = np.int64(-1)  # the first that has what the action takes
    # The current node, then all in their order, and what is left for a mistake.
    for k in range(nodes.num + 2):
        node = first if k == 0 else np.int64(k - 1)
        if k > nodes.num:
            node = holder if holder >= 0 else first
        state = nodes.states[nodes.rows[node]]
        complete_action(env, problem, state, told, action)
        judged = environment.judge(env, problem, state, action, child)
        if k > nodes.num:
            break
        if environment.status(env, problem, state) != environment.OPEN:
            continue
        if judged == environment.HOLDS:
            break
        if judged != environment.NOT_HELD and holder < 0:
            holder = node
    return node


def _current(env, problem, nodes, told, action, child):
    return np.int64(nodes.current)


def find_parent(env: Any, problem: Any, nodes: Any, told: Any, action: Any, child: Any) -> Any:
    """Return the parent, one of `nodes`, of the node that an action of a sketch makes, and write the action with its
    facts and the `child` that it claims.

    An environment without facts has no sketches: there it is the current node. O(nodes).
    """
    return (_find if has("complete", type(env)) else _current)(env, problem, nodes, told, action, child)


@overload(find_parent, strict=False, jit_options=INNER)
def _choose_find_parent(env, problem, nodes, told, action, child):
    kind = getattr(env, "instance_class", None)
    return None if kind is None else _find if has("complete", kind) else _current


@inner
def visit_parent(env, problem, buffer, told, current, action_told):
    """Find the parent of the next node of a TraceBuffer, and go there without a word; return it. `told` is what the
    reader knows of the nodes."""
    nodes, states, counts = buffer.nodes, buffer.states, buffer.counts
    known = Nodes(states, told.state_of, counts[1], current)
    parent = find_parent(env, problem, known, action_told, nodes[counts[1], ACTION:], states[counts[2]])
    if parent != current or not told.visited[parent]:
        kind = BACKTRACK if told.visited[parent] else EXPAND
        add_event(buffer, kind, parent, told.state_of[parent], 0, UNTOLD_FLAG)
        told.visited[parent] = True
    return parent
