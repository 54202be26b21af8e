"""The plan behind a search: the actions from the root to the goal, each with a node of its own (see `sos.trace`)."""

from __future__ import annotations

import numpy as np

from sos.envs import protocol as environment
from sos.kernels import inner
from sos.trace import (
    ACTION,
    BUFFER_FULL,
    END,
    EXPAND,
    GOAL,
    KIND,
    NODE,
    OK,
    PARENT,
    PLAN,
    RANK,
    SOLVED,
    VALUE,
    add_event,
)


@inner
def _depth(nodes, node):
    depth = 0
    while nodes[node, PARENT] >= 0:
        node = np.int64(nodes[node, PARENT])
        depth += 1
    return depth


@inner
def put_plan(env, problem, source, goal, out):
    """Append the plan to the nodes, states and events of `out`: the actions from the root of `source` to `goal`.
    O(nodes)."""
    depth = _depth(source.nodes, goal)
    first, row = out.counts[1], out.counts[2]
    if out.counts[0] + depth >= len(out.events) or first + depth > len(out.nodes) or row + depth > len(out.states):
        return BUFFER_FULL
    rank = 0
    for node in range(1, first):
        rank += out.nodes[node, PARENT] == 0
    node = goal
    for k in range(depth - 1, -1, -1):
        for c in range(source.nodes.shape[1]):
            out.nodes[first + k, c] = source.nodes[node, c]
        out.nodes[first + k, PARENT] = first + k - 1 if k > 0 else 0
        out.nodes[first + k, RANK] = 0 if k > 0 else rank
        node = np.int64(source.nodes[node, PARENT])
    out.counts[1] = first + depth
    out.counts[2] = row + depth
    for k in range(depth):
        # A reader has nothing but the actions, so that the order of a state's parts is theirs, not the search's.
        before = row + k - 1 if k > 0 else 0
        environment.judge(env, problem, out.states[before], out.nodes[first + k, ACTION:], out.states[row + k])
        add_event(out, PLAN, first + k, row + k, 0, 0)
    return OK


@inner
def only_plan(env, problem, source, out):
    """Write the root and the end of a solved trace; the plan is put between them."""
    goal = np.int64(source.events[source.counts[0] - 2, NODE])
    for c in range(source.nodes.shape[1]):
        out.nodes[0, c] = source.nodes[0, c]
    for c in range(source.states.shape[1]):
        out.states[0, c] = source.states[0, c]
    out.counts[0] = 0
    out.counts[1] = 1
    out.counts[2] = 1
    add_event(out, EXPAND, 0, 0, 0, 0)
    status = put_plan(env, problem, source, goal, out)
    add_event(out, END, -1, -1, SOLVED, 0)
    return status


@inner
def add_plan(env, problem, out):
    """Put the plan between the goal and the end of a solved trace."""
    last = out.counts[0] - 1
    if out.events[last, VALUE] != SOLVED or out.events[last - 1, KIND] != GOAL:
        return OK
    out.counts[0] = last
    status = put_plan(env, problem, out, np.int64(out.events[last - 1, NODE]), out)
    add_event(out, END, -1, -1, SOLVED, 0)
    return status
