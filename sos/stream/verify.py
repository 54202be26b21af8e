"""Replay a trace of claims exactly: one error code for each event, and whether the problem is solved.

Solved means: the first `GOAL` event names a node that is *sound* and whose true state is a goal. A node is sound if
it is the root, or if its parent is sound, what its action takes is held by the parent's true state, the action is
legal and its result true. Nothing is evaluated as text.

The plan is judged apart: it is valid if its actions lead, one after the other and by the rules, from the root to a
goal, whatever the search before it says. A goal that is claimed behind it does not count.

Where actions cost something, a goal may be judged when it is visited, as A* does, and what a visit states is compared
whole: a path cost that differs from what was said when the node was generated is an error of the state.

Where an environment poses problems without a solution, solved means too: the trace ends exhausted, claims no goal and
refutes its problem (`sos.stream.closed`). What a true refutation and a false one look like is the environment's to say.

Errors are local: actions are judged against the state last *stated* for the parent, so that one slip is counted once.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np

from sos.envs import protocol as environment
from sos.kernels import allocating, inlined, inner
from sos.stream.closed import Closing, is_refuted
from sos.stream.codec import DecodeStatus, decode
from sos.stream.dialect.compile import Dialect
from sos.trace import (
    ACTION,
    BACKTRACK,
    DEAD_END,
    END,
    EXPAND,
    FLAGS,
    FORCED_FLAG,
    GENERATE,
    GOAL,
    KIND,
    LABEL_FLAG,
    NODE,
    PARENT,
    PLAN,
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
    # An event where it makes no sense: a search after the goal or the plan, a second plan, a dead end of an inner node
    # that nothing proves to be one, a visit of a leaf. But a leaf that was called a dead end may be visited once: the
    # published beam search takes leaves from its heap like other nodes.
    ORDER = 1
    JUMP = 2  # to a node that does not exist (yet), was expanded before (expand) or was not (backtrack)
    OPERAND = 3  # an operand that the parent's stated state does not hold
    ILLEGAL = 4  # an operation outside the rules: inexact or zero division, negative difference, too large a result
    ARITHMETIC = 5  # a wrong result
    STATE = 6  # a stated state that is not what the claimed action or the earlier statement gives
    FALSE_GOAL = 7  # a goal that is none, or that no sound path reaches
    FALSE_DEAD_END = 8  # a dead end whose number is the target
    VALUE = 9  # a dead end or goal that quotes another number than the node's
    OUTCOME = 10  # an end that says solved without a goal or plan, or otherwise with one
    QUOTE = 11  # a repeated target, operation or history that differs from what was said before
    LABEL = 12  # a missing or wrong node label
    UNANNOUNCED = 13  # a return to an ancestor that no event announced
    NOT_FORCED = 14  # a move that is called forced where deduction from the stated state leaves others


# The same as plain ints, for the kernels.
NO_ERROR, BAD_ORDER, BAD_JUMP, BAD_OPERAND, BAD_ACTION, BAD_RESULT, BAD_STATE = (
    int(error) for error in Error if error < 7
)
FALSE_GOAL, FALSE_DEAD_END, BAD_VALUE, BAD_OUTCOME, BAD_QUOTE, BAD_LABEL, UNANNOUNCED, NOT_FORCED = (
    int(error) for error in Error if error >= 7
)


class Verdict(NamedTuple):
    """What verification found."""

    solved: bool
    errors: np.ndarray  # int8 (E,): an Error for each event
    goal_event: int  # index of the event that solves the problem, the end of one that is refuted, or -1
    status: DecodeStatus  # how the tokens ended; OK for a trace that was not decoded
    plan_event: int = -1  # index of the last event of a valid plan, or -1
    cost: int = -1  # of the path to the goal of a solved trace (0 where actions cost nothing), or -1
    plan_cost: int = -1  # of a valid plan, or -1

    refuted: bool = False  # solved by a proof that there is no solution

    @property
    def planned(self) -> bool:
        """Whether the plan solves the problem."""
        return self.plan_event >= 0


class Replay(NamedTuple):
    """What is known of each node so far. N = nodes."""

    true_states: np.ndarray  # int32 (N, W): what its actions lead to by the rules, where it is sound
    sound: np.ndarray  # bool (N,)
    expanded: np.ndarray  # bool (N,)
    dead: np.ndarray  # bool (N,): called a dead end
    state_of: np.ndarray  # int32 (N,): row of the state stated last, -1 before the first
    work: np.ndarray  # int32 (3, W)
    progress: np.ndarray  # int64 (6,): see below


# What the replay has seen: a goal, the event that solves the problem, how far the plan is, the last event of a valid
# plan (-1 for no event), and what the two paths cost.
GOAL_SEEN, GOAL_EVENT, PLAN_STAGE, PLAN_EVENT, GOAL_COST, PLAN_COST = range(6)
NO_PLAN, IN_PLAN, AFTER_PLAN = range(3)


@inner
def _same(a, b):
    for k in range(len(a)):
        if a[k] != b[k]:
            return False
    return True


@inlined
def _differ(env, problem, stated, expected, work):
    """Say whether two states have different futures, or say different facts."""
    environment.statement(env, problem, stated, work[1])
    environment.statement(env, problem, expected, work[2])
    return not _same(work[1], work[2])


@inlined
def _generation_error(env, trace, e, replay):
    node = trace.events[e, NODE]
    parent = trace.nodes[node, PARENT]
    if parent < 0 or not replay.expanded[parent]:
        return BAD_JUMP
    return _action_error(env, trace, e, trace.states[replay.state_of[parent]], replay)


@inlined
def _plan_error(env, trace, e, replay):
    """Judge an action of the plan against what the one before is said to lead to, the first against the root."""
    parent = np.int64(trace.nodes[trace.events[e, NODE], PARENT])
    if parent != (trace.events[e - 1, NODE] if e > 0 and trace.events[e - 1, KIND] == PLAN else 0):
        return BAD_JUMP
    if parent == 0:
        return _action_error(env, trace, e, replay.true_states[0], replay)
    return _action_error(env, trace, e, trace.states[replay.state_of[parent]], replay)


@inner
def _action_error(env, trace, e, state, replay):
    """Judge the action of event `e` in `state`, and the state that it is said to lead to."""
    action = trace.nodes[trace.events[e, NODE], ACTION:]
    judged = environment.judge(env, trace.problem, state, action, replay.work[0])
    if judged == environment.NOT_HELD:
        return BAD_OPERAND
    if judged == environment.ILLEGAL:
        return BAD_ACTION
    if judged == environment.WRONG_RESULT:
        return BAD_RESULT
    stated = trace.states[trace.events[e, STATE]]
    return BAD_STATE if _differ(env, trace.problem, stated, replay.work[0], replay.work) else NO_ERROR


@inner
def _may_visit(env, status, dead):
    """Say whether a leaf of a status may be visited: one that was called a dead end, or a goal that is judged late."""
    return dead or (status == environment.GOAL and environment.has_costs(env))


@inlined
def _visit_error(env, trace, e, replay):
    kind, node = trace.events[e, KIND], trace.events[e, NODE]
    if node < 0 or replay.state_of[node] < 0:
        return BAD_JUMP
    state = trace.states[replay.state_of[node]]
    status = environment.status(env, trace.problem, state)
    if status != environment.OPEN and (kind == BACKTRACK or not _may_visit(env, status, replay.dead[node])):
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
    status, value = environment.status(env, problem, state), trace.events[e, VALUE]
    if kind == GOAL:
        if status == environment.OPEN:
            return BAD_ORDER
        return BAD_VALUE if value != environment.witness(env, problem, state) else NO_ERROR
    if status == environment.GOAL:
        return FALSE_DEAD_END
    if environment.proves_dead(env, problem, state, value):
        return NO_ERROR
    if status == environment.DEAD:
        return BAD_VALUE
    # An inner node, of which another number may be a proof.
    own = environment.witness(env, problem, state)
    return BAD_VALUE if environment.proves_dead(env, problem, state, own) else BAD_ORDER


@inner
def _is_forced(env, trace, e, replay):
    """Say whether the action of event `e` is forced in the state that was last stated for its node's parent."""
    node = trace.events[e, NODE]
    parent = trace.nodes[node, PARENT]
    if trace.events[e, KIND] != GENERATE or parent < 0 or replay.state_of[parent] < 0:
        return False
    state = trace.states[replay.state_of[parent]]
    return environment.proves_forced(env, trace.problem, state, trace.nodes[node, ACTION:], trace.events[e, VALUE])


@inlined
def _error(env, trace, e, replay):
    """Return the error code of event `e`, given the replay so far."""
    kind, stage = trace.events[e, KIND], replay.progress[PLAN_STAGE]
    goal_seen = replay.progress[GOAL_SEEN] > 0
    if kind == PLAN and stage == AFTER_PLAN:
        return BAD_ORDER
    if (goal_seen or stage != NO_PLAN) and kind != END and kind != PLAN:
        return BAD_ORDER
    error = NO_ERROR
    if kind == GENERATE:
        error = _generation_error(env, trace, e, replay)
    elif kind == EXPAND or kind == BACKTRACK:
        error = _visit_error(env, trace, e, replay)
    elif kind == GOAL or kind == DEAD_END:
        error = _leaf_error(env, trace, e, replay)
    elif kind == PLAN:
        error = _plan_error(env, trace, e, replay)
    elif (trace.events[e, VALUE] == SOLVED) != (goal_seen or stage != NO_PLAN):
        error = BAD_OUTCOME
    if error != NO_ERROR:
        return error
    flags = trace.events[e, FLAGS]
    if flags & QUOTE_FLAG:
        return BAD_QUOTE
    if flags & LABEL_FLAG:
        return BAD_LABEL
    if flags & UNANNOUNCED_FLAG:
        return UNANNOUNCED
    return NOT_FORCED if flags & FORCED_FLAG and not _is_forced(env, trace, e, replay) else NO_ERROR


@inlined
def _derive(env, trace, e, replay):
    """Note whether the node that event `e` makes is sound, and its true state if it is."""
    node = trace.events[e, NODE]
    parent = trace.nodes[node, PARENT]
    if parent >= 0 and replay.sound[parent]:
        action, reached = trace.nodes[node, ACTION:], replay.true_states[node]
        judged = environment.judge(env, trace.problem, replay.true_states[parent], action, reached)
        replay.sound[node] = judged == environment.HOLDS


@inlined
def _follow_plan(env, trace, e, replay):
    """Note whether the plan leads to a goal so far."""
    progress, node = replay.progress, trace.events[e, NODE]
    if trace.events[e, KIND] != PLAN:
        if progress[PLAN_STAGE] == IN_PLAN:
            progress[PLAN_STAGE] = AFTER_PLAN
        return
    if progress[PLAN_STAGE] == AFTER_PLAN:
        return
    progress[PLAN_STAGE] = IN_PLAN
    reached = (
        replay.sound[node] and environment.status(env, trace.problem, replay.true_states[node]) == environment.GOAL
    )
    progress[PLAN_EVENT] = e if reached else -1
    progress[PLAN_COST] = environment.path_cost(env, trace.problem, replay.true_states[node]) if reached else -1


@inlined
def _replay(env, trace, errors, replay):
    progress = replay.progress
    for e in range(len(trace.events)):
        kind, node = trace.events[e, KIND], trace.events[e, NODE]
        if e == 0:
            environment.root_state(env, trace.problem, replay.true_states[0])
            replay.sound[0] = True
            replay.state_of[0] = trace.events[0, STATE]
        elif kind == GENERATE or kind == PLAN:
            _derive(env, trace, e, replay)
        errors[e] = _error(env, trace, e, replay)
        if kind == PLAN and errors[e] == BAD_JUMP:
            replay.sound[node] = False  # it does not go on from the action before
        if kind == GENERATE or kind == PLAN:
            replay.state_of[node] = trace.events[e, STATE]
        elif kind == EXPAND or kind == BACKTRACK:
            if node >= 0:
                replay.expanded[node] = True
                replay.state_of[node] = trace.events[e, STATE]
        elif kind == DEAD_END:
            if node >= 0:
                replay.dead[node] = True
        elif kind == GOAL:
            first = progress[GOAL_SEEN] == 0 and progress[PLAN_STAGE] == NO_PLAN
            if first and errors[e] != BAD_JUMP and errors[e] != FALSE_GOAL:
                progress[GOAL_EVENT] = e
                progress[GOAL_COST] = environment.path_cost(env, trace.problem, replay.true_states[node])
            progress[GOAL_SEEN] = 1
        if e > 0:
            _follow_plan(env, trace, e, replay)


@allocating
def verify_kernel(env, problem, events, nodes, states, errors):
    """Replay a trace into `errors` int8 (E,). O(E).

    Returns the index of the event that solves the problem (the end of a refutation) and that of the last event of a
    valid plan, -1 for none, and what the two paths cost.
    """
    num = len(nodes)
    replay = Replay(
        np.zeros((num, states.shape[1]), np.int32),
        np.zeros(num, np.bool_),
        np.zeros(num, np.bool_),
        np.zeros(num, np.bool_),
        np.full(num, -1, np.int32),
        np.zeros((3, states.shape[1]), np.int32),
        np.array([0, -1, NO_PLAN, -1, -1, -1]),
    )
    trace = Trace(problem, events, nodes, states)
    _replay(env, trace, errors, replay)
    progress = replay.progress
    if environment.refutable(env) and progress[GOAL_SEEN] == 0 and progress[PLAN_STAGE] == NO_PLAN:
        closing = Closing(
            np.zeros(num, np.bool_),
            np.zeros(num, np.int32),
            np.zeros(num, np.int32),
            np.zeros(num, np.int32),
            np.zeros((num, nodes.shape[1] - ACTION), np.int32),
        )
        if is_refuted(env, trace, replay.true_states, replay.sound, replay.expanded, closing):
            progress[GOAL_EVENT] = len(events) - 1
    return progress[GOAL_EVENT], progress[PLAN_EVENT], progress[GOAL_COST], progress[PLAN_COST]


def verify(env: Any, trace: Trace) -> Verdict:
    """Verify a trace against its own problem."""
    errors = np.zeros(len(trace.events), np.int8)
    goal, plan, cost, plan_cost = -1, -1, -1, -1
    if len(errors):
        goal, plan, cost, plan_cost = verify_kernel(env, trace.problem, trace.events, trace.nodes, trace.states, errors)
    refuted = bool(goal >= 0 and trace.events[goal, KIND] == END)
    return Verdict(goal >= 0, errors, int(goal), DecodeStatus.OK, int(plan), int(cost), int(plan_cost), refuted)


def verify_tokens(dialect: Dialect, env: Any, problem: np.ndarray, tokens: Any) -> tuple[Verdict, Trace, np.ndarray]:
    """Decode `tokens` and verify them as an answer to `problem` (int32 (P,)).

    Returns (verdict, decoded trace, align). A stream that states another problem is not solved. The problem counts as
    solved at its first goal, whatever the stream does afterwards; that it never ends shows in the verdict's status.
    """
    decoded = decode(dialect, env, tokens)
    verdict = verify(env, decoded.trace)
    if not np.array_equal(decoded.trace.problem, problem):
        verdict = verdict._replace(solved=False, goal_event=-1, plan_event=-1, cost=-1, plan_cost=-1, refuted=False)
    return verdict._replace(status=decoded.status), decoded.trace, decoded.align
