"""Replay a trace of claims exactly: one error code for each event, and whether the problem is solved.

Solved means: the first `GOAL` event names a node that is *sound* and whose true state is a goal. A node is sound if
it is the root, or if its parent is sound, both operands are held by the parent's true state (a multiset: each number
is used once), the operation is legal and its result true. Nothing is evaluated as text.

Errors are local: operands are judged against the state last *stated* for the parent, so that one slip is counted once.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np

from sos.envs import protocol as environment
from sos.kernels import allocating, inlined, inner
from sos.stream.codec import DecodeStatus, decode
from sos.stream.dialect.compile import Dialect
from sos.trace import ACTION, FLAGS, KIND, NODE, PARENT, STATE, VALUE, Event, Flag, Outcome, Trace

EXPAND, GENERATE, DEAD_END, GOAL, BACKTRACK, END = (int(e) for e in Event)
QUOTE_FLAG, LABEL_FLAG, UNANNOUNCED_FLAG = (int(f) for f in Flag)
SOLVED = int(Outcome.SOLVED)


class Error(IntEnum):
    """What is wrong with an event; the first that applies, in this order of precedence (after `NONE`).

    Two exceptions: nothing is said of a node that does not exist but `JUMP`, and a goal is `FALSE_GOAL` before `ORDER`.
    """

    NONE = 0
    # An event where it makes no sense: after the goal, a dead end of an inner node, a visit of a leaf. But a leaf
    # that was called a dead end may be visited once: the published beam search takes leaves from its heap like other
    # nodes.
    ORDER = 1
    JUMP = 2  # to a node that does not exist (yet), was expanded before (expand) or was not (backtrack)
    OPERAND = 3  # an operand that the parent's stated state does not hold
    ILLEGAL = 4  # an operation outside the rules: inexact or zero division, negative difference, too large a result
    ARITHMETIC = 5  # a wrong result
    STATE = 6  # a stated state that is not what the claimed action or the earlier statement gives
    FALSE_GOAL = 7  # a goal that is none, or that no sound path reaches
    FALSE_DEAD_END = 8  # a dead end whose number is the target
    VALUE = 9  # a dead end or goal that quotes another number than the node's
    OUTCOME = 10  # an end that says solved without a goal, or otherwise with one
    QUOTE = 11  # a repeated target, operation or history that differs from what was said before
    LABEL = 12  # a missing or wrong node label
    UNANNOUNCED = 13  # a return to an ancestor that no event announced


class Verdict(NamedTuple):
    """What verification found."""

    solved: bool
    errors: np.ndarray  # int8 (E,): an Error for each event
    goal_event: int  # index of the event that solves the problem, or -1
    status: DecodeStatus  # how the tokens ended; OK for a trace that was not decoded


@inner
def _same(a, b):
    for k in range(len(a)):
        if a[k] != b[k]:
            return False
    return True


@inlined
def _error(env, problem, events, nodes, states, e, state_of, expanded, dead, sound, true_states, work, goal_seen):
    """Return the error code of event `e`, given the replay so far."""
    kind = events[e, KIND]
    node = events[e, NODE]
    flags = events[e, FLAGS]
    if goal_seen and kind != END:
        return 1
    if kind == GENERATE:
        parent = nodes[node, PARENT]
        if parent < 0 or not expanded[parent]:
            return 2
        action = nodes[node, ACTION:]
        if not environment.apply_action(env, states[state_of[parent]], action, work[0]):
            return 3
        legal = environment.check_action(env, action)
        if legal == 2:
            return 4
        if legal == 1:
            return 5
        environment.canonical(env, work[0], work[1])
        environment.canonical(env, states[events[e, STATE]], work[2])
        if not _same(work[1], work[2]):
            return 6
    elif kind == EXPAND or kind == BACKTRACK:
        if node < 0 or state_of[node] < 0:
            return 2
        if environment.is_leaf(env, states[state_of[node]]) and (kind == BACKTRACK or not dead[node]):
            return 1
        if kind == EXPAND and expanded[node] and e > 0:
            return 2
        if kind == BACKTRACK and not expanded[node]:
            return 2
        environment.canonical(env, states[events[e, STATE]], work[1])
        environment.canonical(env, states[state_of[node]], work[2])
        if not _same(work[1], work[2]):
            return 6
    elif kind == GOAL or kind == DEAD_END:
        if node < 0 or state_of[node] < 0:
            return 2
        state = states[state_of[node]]
        if kind == GOAL and not (sound[node] and environment.is_goal(env, problem, true_states[node])):
            return 7
        if not environment.is_leaf(env, state):
            return 1
        if kind == DEAD_END and environment.is_goal(env, problem, state):
            return 8
        if events[e, VALUE] != environment.leaf_value(env, state):
            return 9
    elif (events[e, VALUE] == SOLVED) != goal_seen:
        return 10
    if flags & QUOTE_FLAG:
        return 11
    if flags & LABEL_FLAG:
        return 12
    if flags & UNANNOUNCED_FLAG:
        return 13
    return 0


@inner
def _replay(env, problem, events, nodes, states, errors, state_of, expanded, dead, sound, true_states, work):
    goal_seen = False
    goal_event = -1
    for e in range(len(events)):
        kind = events[e, KIND]
        node = events[e, NODE]
        if e == 0:
            environment.root_state(env, problem, true_states[0])
            sound[0] = True
            state_of[0] = events[0, STATE]
        elif kind == GENERATE:
            parent = nodes[node, PARENT]
            if parent >= 0 and sound[parent]:
                held = environment.apply_action(env, true_states[parent], nodes[node, ACTION:], true_states[node])
                sound[node] = held and environment.check_action(env, nodes[node, ACTION:]) == 0
        errors[e] = _error(
            env, problem, events, nodes, states, e, state_of, expanded, dead, sound, true_states, work, goal_seen
        )
        if kind == GENERATE:
            state_of[node] = events[e, STATE]
        elif kind == EXPAND or kind == BACKTRACK:
            if node >= 0:
                expanded[node] = True
                state_of[node] = events[e, STATE]
        elif kind == DEAD_END:
            if node >= 0:
                dead[node] = True
        elif kind == GOAL:
            if not goal_seen and errors[e] != 2 and errors[e] != 7:
                goal_event = e
            goal_seen = True
    return goal_event


@allocating
def verify_kernel(env, problem, events, nodes, states, errors):
    """Replay a trace into `errors` int8 (E,); return the index of the event that solves the problem, or -1. O(E)."""
    num_nodes = len(nodes)
    true_states = np.zeros((num_nodes, states.shape[1]), np.int32)
    sound = np.zeros(num_nodes, np.bool_)
    expanded = np.zeros(num_nodes, np.bool_)
    dead = np.zeros(num_nodes, np.bool_)
    state_of = np.full(num_nodes, -1, np.int32)
    work = np.zeros((3, states.shape[1]), np.int32)
    return _replay(env, problem, events, nodes, states, errors, state_of, expanded, dead, sound, true_states, work)


def verify(env: Any, trace: Trace) -> Verdict:
    """Verify a trace against its own problem."""
    errors = np.zeros(len(trace.events), np.int8)
    goal = verify_kernel(env, trace.problem, trace.events, trace.nodes, trace.states, errors) if len(errors) else -1
    return Verdict(goal >= 0, errors, int(goal), DecodeStatus.OK)


def verify_tokens(dialect: Dialect, env: Any, problem: np.ndarray, tokens: Any) -> tuple[Verdict, Trace, np.ndarray]:
    """Decode `tokens` and verify them as an answer to `problem` (int32 (P,)).

    Returns (verdict, decoded trace, align). A stream that states another problem is not solved. The problem counts as
    solved at its first goal, whatever the stream does afterwards; that it never ends shows in the verdict's status.
    """
    decoded = decode(dialect, env, tokens)
    verdict = verify(env, decoded.trace)
    if not np.array_equal(decoded.trace.problem, problem):
        verdict = verdict._replace(solved=False, goal_event=-1)
    return verdict._replace(status=decoded.status), decoded.trace, decoded.align
