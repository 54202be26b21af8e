"""The kernel of refutations: whether the search that was replayed leaves no way to a goal, as `verify` asks it.

A node is closed if it is sound (see `sos.stream.verify`) and either

- a dead end was called at it, and what it quotes proves this of the node's true state; or
- it was visited, and no goal follows from it because none follows from its closed children: one of them is forced, as
  the proof that was quoted says (where it was not called forced, any proof will do), or the environment says so of all
  of them together, such as for both values of a variable.

A trace that ends exhausted refutes its problem if the root is closed.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sos.envs import protocol as environment
from sos.kernels import inner
from sos.trace import (
    ACTION,
    DEAD_END,
    END,
    EXHAUSTED,
    FLAGS,
    FORCED_FLAG,
    GENERATE,
    KIND,
    NODE,
    PARENT,
    VALUE,
)


class Closing(NamedTuple):
    """Work space. N = nodes, A = width of an action."""

    closed: np.ndarray  # bool (N,)
    generation: np.ndarray  # int32 (N,): the event that generated each node, -1 for none
    first_child: np.ndarray  # int32 (N,): its closed child with the least number, -1 for none
    next_child: np.ndarray  # int32 (N,): the next closed child of its parent
    actions: np.ndarray  # int32 (N, A): those of the closed children of the node at hand


@inner
def _ends_exhausted(trace):
    last = len(trace.events) - 1
    return last > 0 and trace.events[last, KIND] == END and trace.events[last, VALUE] == EXHAUSTED


@inner
def _note_events(env, trace, true_states, sound, closing):
    """Note which event generates each node, and close those that a dead end is proven of."""
    for node in range(len(trace.nodes)):
        closing.closed[node] = False
        closing.generation[node] = -1
        closing.first_child[node] = -1
    for e in range(len(trace.events)):
        kind, node = trace.events[e, KIND], np.int64(trace.events[e, NODE])
        if node < 0 or not sound[node]:
            continue
        if kind == GENERATE:
            closing.generation[node] = e
        elif kind == DEAD_END and environment.proves_dead(
            env, trace.problem, true_states[node], trace.events[e, VALUE]
        ):
            closing.closed[node] = True


@inner
def _is_forced(env, trace, state, child, closing):
    event, action = trace.events[closing.generation[child]], trace.nodes[child, ACTION:]
    if event[FLAGS] & FORCED_FLAG:
        return environment.proves_forced(env, trace.problem, state, action, event[VALUE])
    return environment.forced(env, trace.problem, state, action)


@inner
def _closes(env, trace, state, node, closing):
    """Say whether the closed children of `node` leave no way to a goal."""
    num, child = np.int64(0), np.int64(closing.first_child[node])
    while child >= 0:
        if _is_forced(env, trace, state, child, closing):
            return True
        for k in range(closing.actions.shape[1]):
            closing.actions[num, k] = trace.nodes[child, ACTION + k]
        num += 1
        child = np.int64(closing.next_child[child])
    return environment.refuted(env, trace.problem, state, closing.actions, num)


@inner
def is_refuted(env, trace, true_states, sound, expanded, closing):
    """Say whether a replayed trace, which claims no goal, refutes its problem. O(events)."""
    if not _ends_exhausted(trace):
        return False
    _note_events(env, trace, true_states, sound, closing)
    for node in range(len(trace.nodes) - 1, -1, -1):
        if not closing.closed[node] and sound[node] and expanded[node]:
            closing.closed[node] = _closes(env, trace, true_states[node], node, closing)
        parent = np.int64(trace.nodes[node, PARENT])
        if closing.closed[node] and closing.generation[node] >= 0 and 0 <= parent < node:
            closing.next_child[node] = closing.first_child[parent]
            closing.first_child[parent] = node
    return closing.closed[0]
