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
from sos.trace import (
    ACTION,
    BACKTRACK,
    DEAD_END,
    END,
    EXPAND,
    FLAGS,
    GENERATE,
    GOAL,
    KIND,
    LABEL_FLAG,
    NODE,
    PARENT,
    QUOTE_FLAG,
    SOLVED,
    STATE,
    UNANNOUNCED_FLAG,
    VALUE,
    Trace,
)


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


# The same as plain ints, for the kernels.
NO_ERROR, BAD_ORDER, BAD_JUMP, BAD_OPERAND, BAD_ACTION, BAD_RESULT, BAD_STATE = (
    int(error) for error in Error if error < 7
)
FALSE_GOAL, FALSE_DEAD_END, BAD_VALUE, BAD_OUTCOME, BAD_QUOTE, BAD_LABEL, UNANNOUNCED = (
    int(error) for error in Error if error >= 7
)


class Verdict(NamedTuple):
    """What verification found."""

    solved: bool
    errors: np.ndarray  # int8 (E,): an Error for each event
    goal_event: int  # index of the event that solves the problem, or -1
    status: DecodeStatus  # how the tokens ended; OK for a trace that was not decoded


class Replay(NamedTuple):
    """What is known of each node so far. N = nodes."""

    true_states: np.ndarray  # int32 (N, W): what its actions lead to by the rules, where it is sound
    sound: np.ndarray  # bool (N,)
    expanded: np.ndarray  # bool (N,)
    dead: np.ndarray  # bool (N,): called a dead end
    state_of: np.ndarray  # int32 (N,): row of the state stated last, -1 before the first
    work: np.ndarray  # int32 (3, W)


@inner
def _same(a, b):
    for k in range(len(a)):
        if a[k] != b[k]:
            return False
    return True


@inlined
def _differ(env, problem, stated, expected, work):
    """Say whether two states have different futures."""
    environment.canonical(env, problem, stated, work[1])
    environment.canonical(env, problem, expected, work[2])
    return not _same(work[1], work[2])


@inlined
def _generation_error(env, trace, e, replay):
    node = trace.events[e, NODE]
    parent = trace.nodes[node, PARENT]
    if parent < 0 or not replay.expanded[parent]:
        return BAD_JUMP
    state, action = trace.states[replay.state_of[parent]], trace.nodes[node, ACTION:]
    judged = environment.judge(env, trace.problem, state, action, replay.work[0])
    if judged == environment.NOT_HELD:
        return BAD_OPERAND
    if judged == environment.ILLEGAL:
        return BAD_ACTION
    if judged == environment.WRONG_RESULT:
        return BAD_RESULT
    stated = trace.states[trace.events[e, STATE]]
    return BAD_STATE if _differ(env, trace.problem, stated, replay.work[0], replay.work) else NO_ERROR


@inlined
def _visit_error(env, trace, e, replay):
    kind, node = trace.events[e, KIND], trace.events[e, NODE]
    if node < 0 or replay.state_of[node] < 0:
        return BAD_JUMP
    state = trace.states[replay.state_of[node]]
    is_open = environment.status(env, trace.problem, state) == environment.OPEN
    if not is_open and (kind == BACKTRACK or not replay.dead[node]):
        return BAD_ORDER
    if kind == EXPAND and replay.expanded[node] and e > 0:
        return BAD_JUMP
    if kind == BACKTRACK and not replay.expanded[node]:
        return BAD_JUMP
    stated = trace.states[trace.events[e, STATE]]
    return BAD_STATE if _differ(env, trace.problem, stated, state, replay.work) else NO_ERROR


@inlined
def _leaf_error(env, trace, e, replay):
    kind, node = trace.events[e, KIND], trace.events[e, NODE]
    if node < 0 or replay.state_of[node] < 0:
        return BAD_JUMP
    problem, state = trace.problem, trace.states[replay.state_of[node]]
    if kind == GOAL:
        reached = replay.sound[node]
        if not reached or environment.status(env, problem, replay.true_states[node]) != environment.GOAL:
            return FALSE_GOAL
    status = environment.status(env, problem, state)
    if status == environment.OPEN:
        return BAD_ORDER
    if kind == DEAD_END and status == environment.GOAL:
        return FALSE_DEAD_END
    return BAD_VALUE if trace.events[e, VALUE] != environment.witness(env, problem, state) else NO_ERROR


@inlined
def _error(env, trace, e, replay, goal_seen):
    """Return the error code of event `e`, given the replay so far."""
    kind = trace.events[e, KIND]
    if goal_seen and kind != END:
        return BAD_ORDER
    error = NO_ERROR
    if kind == GENERATE:
        error = _generation_error(env, trace, e, replay)
    elif kind == EXPAND or kind == BACKTRACK:
        error = _visit_error(env, trace, e, replay)
    elif kind == GOAL or kind == DEAD_END:
        error = _leaf_error(env, trace, e, replay)
    elif (trace.events[e, VALUE] == SOLVED) != goal_seen:
        error = BAD_OUTCOME
    if error != NO_ERROR:
        return error
    flags = trace.events[e, FLAGS]
    if flags & QUOTE_FLAG:
        return BAD_QUOTE
    if flags & LABEL_FLAG:
        return BAD_LABEL
    return UNANNOUNCED if flags & UNANNOUNCED_FLAG else NO_ERROR


@inlined
def _derive(env, trace, e, replay):
    """Note whether the node that event `e` generates is sound, and its true state if it is."""
    node = trace.events[e, NODE]
    parent = trace.nodes[node, PARENT]
    if parent >= 0 and replay.sound[parent]:
        action, reached = trace.nodes[node, ACTION:], replay.true_states[node]
        judged = environment.judge(env, trace.problem, replay.true_states[parent], action, reached)
        replay.sound[node] = judged == environment.HOLDS


@inlined
def _replay(env, trace, errors, replay):
    goal_seen = False
    goal_event = -1
    for e in range(len(trace.events)):
        kind, node = trace.events[e, KIND], trace.events[e, NODE]
        if e == 0:
            environment.root_state(env, trace.problem, replay.true_states[0])
            replay.sound[0] = True
            replay.state_of[0] = trace.events[0, STATE]
        elif kind == GENERATE:
            _derive(env, trace, e, replay)
        errors[e] = _error(env, trace, e, replay, goal_seen)
        if kind == GENERATE:
            replay.state_of[node] = trace.events[e, STATE]
        elif kind == EXPAND or kind == BACKTRACK:
            if node >= 0:
                replay.expanded[node] = True
                replay.state_of[node] = trace.events[e, STATE]
        elif kind == DEAD_END:
            if node >= 0:
                replay.dead[node] = True
        elif kind == GOAL:
            if not goal_seen and errors[e] != BAD_JUMP and errors[e] != FALSE_GOAL:
                goal_event = e
            goal_seen = True
    return goal_event


@allocating
def verify_kernel(env, problem, events, nodes, states, errors):
    """Replay a trace into `errors` int8 (E,); return the index of the event that solves the problem, or -1. O(E)."""
    num = len(nodes)
    replay = Replay(
        np.zeros((num, states.shape[1]), np.int32),
        np.zeros(num, np.bool_),
        np.zeros(num, np.bool_),
        np.zeros(num, np.bool_),
        np.full(num, -1, np.int32),
        np.zeros((3, states.shape[1]), np.int32),
    )
    return _replay(env, Trace(problem, events, nodes, states), errors, replay)


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
