"""The decoder's kernel: follows what a stream claims, form by form, and is total over token arrays."""

from __future__ import annotations

import numpy as np

from sos.envs import protocol as environment
from sos.kernels import allocating, inlined, inner
from sos.stream.dialect import program as d
from sos.stream.read.forms import new_reading
from sos.stream.read.headings import next_form
from sos.stream.read.lists import (
    ACTION_SEEN,
    FURTHEST,
    HEADING_QUOTES,
    HISTORY_SLOT,
    PATH_SLOT,
    QUOTES,
    STATED,
    VALUE_SLOT,
)
from sos.stream.read.names import (
    UNNAMED,
    Told,
    history_is_true,
    in_state,
    label_is_true,
    level_is_true,
    resolve,
)
from sos.stream.sketch import ToldAction, complete_action, visit_parent
from sos.trace import (
    ACTION,
    BACKTRACK,
    BARE_FLAG,
    DEAD_END,
    END,
    EXHAUSTED,
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
    RANK,
    SOLVED,
    UNANNOUNCED_FLAG,
    UNTOLD_FLAG,
    add_event,
)

FORM_GENERATE, FORM_LABEL = d.GENERATE, d.LABEL
FORM_DEAD_END, FORM_GOAL, FORM_BACKTRACK, FORM_JUMP = d.DEAD_END, d.GOAL, d.BACKTRACK, d.JUMP
FORM_PLAN, FORM_FORCED, FORM_BARE, FORM_END = d.PLAN, d.FORCED, d.BARE, d.END_SOLVED
OK, TRUNCATED, MALFORMED, NO_PROMPT, BUFFER_FULL = range(5)  # as `DecodeStatus`


@inlined
def _add_node(buffer, told, parent, row):
    """Append a node without its action and state; return it."""
    nodes, counts = buffer.nodes, buffer.counts
    node = counts[1]
    nodes[node, PARENT] = parent
    nodes[node, RANK] = 0
    if parent >= 0:
        nodes[node, RANK] = told.next_rank[parent]
        told.next_rank[parent] += 1
    told.state_of[node] = row
    told.next_rank[node] = 0
    told.visited[node] = False
    if len(told.level) > 0:
        told.level[node] = 1 if parent < 0 else told.level[parent] + 1
    counts[1] = node + 1
    return node


@inner
def _state_differs(states, row, state):
    for k in range(states.shape[1]):
        if states[row, k] != state[k]:
            return True
    return False


@inner
def _copy_state(states, row, state):
    for k in range(states.shape[1]):
        states[row, k] = state[k]


@inlined
def _label(buffer, told, node, reading):
    """Take the label of `node`, whose generation is the last event."""
    events, nodes, states, counts = buffer
    scalars = reading.scalars
    flags = QUOTE_FLAG if scalars[QUOTES] else 0
    if scalars[STATED] and _state_differs(states, told.state_of[node], reading.state):
        flags |= QUOTE_FLAG
    for k in range(nodes.shape[1] - ACTION):
        if scalars[ACTION_SEEN] & (1 << k) and reading.action[k] != nodes[node, ACTION + k]:
            flags |= QUOTE_FLAG
    if not label_is_true(nodes, node, reading):
        flags |= LABEL_FLAG
        length = scalars[PATH_SLOT]
        if length <= len(reading.path):
            nodes[node, RANK] = reading.path[length - 1]
    events[counts[0] - 1, FLAGS] |= flags


@inlined
def _generate(env, problem, buffer, told, form, current, reading):
    """Make the node that an action generates from `current`, in a form that may call it forced; return its parent."""
    nodes, states, counts = buffer.nodes, buffer.states, buffer.counts
    flags = QUOTE_FLAG if reading.scalars[QUOTES] else 0
    row = counts[2]
    action = nodes[counts[1], ACTION:]
    for k in range(len(action)):
        action[k] = reading.action[k]
    if current < 0:
        for k in range(states.shape[1]):
            told.rows[0, k] = 0
    # An operation that the current node does not hold is taken to be an unannounced return to the nearest ancestor that
    # does; where there is none, to be the current node's. One of no node acts on a state of zeros.
    parent, given_up, held = current, current < 0, False
    sketched = form == FORM_BARE or buffer.events[0, FLAGS] & UNTOLD_FLAG != 0
    if sketched:
        action_told = ToldAction(reading.action, reading.scalars[ACTION_SEEN])
        parent = visit_parent(env, problem, buffer, told, current, action_told)
        flags |= BARE_FLAG if form == FORM_BARE else 0
    while not sketched:
        state = states[told.state_of[parent]] if parent >= 0 else told.rows[0]
        held = environment.judge(env, problem, state, action, states[row]) != environment.NOT_HELD
        if held or given_up:
            break
        parent = np.int64(nodes[parent, PARENT])
        if parent < 0:
            parent, given_up = current, True
    if held and parent != current:
        flags |= UNANNOUNCED_FLAG
    if not level_is_true(told, parent, reading):
        flags |= QUOTE_FLAG
    if reading.scalars[STATED]:
        _copy_state(states, row, reading.state)
    node = _add_node(buffer, told, parent, row)
    value = np.int64(0)
    if form == FORM_FORCED:
        flags |= FORCED_FLAG
        told.level[node] -= 1
        value = reading.scalars[VALUE_SLOT]
        if value < 0:  # a proof that is not said is the environment's own
            value = np.int64(environment.reason(env, problem, state, action))
    told.inner[node] = environment.status(env, problem, states[row]) == environment.OPEN
    counts[2] = row + 1
    add_event(buffer, GENERATE, node, row, value, flags)
    return parent


@inlined
def _plan(env, problem, buffer, told, begins_elsewhere, reading):
    """Take an action of the plan: it acts on what the one before led to, the first on the root. One that is said to
    begin elsewhere has no parent."""
    nodes, states, counts = buffer.nodes, buffer.states, buffer.counts
    last = counts[0] - 1
    parent = np.int64(buffer.events[last, NODE]) if buffer.events[last, KIND] == PLAN else np.int64(0)
    row = counts[2]
    action = nodes[counts[1], ACTION:]
    # The root's first row is the problem's own; a search may have stated it again.
    before = states[told.state_of[parent] if parent > 0 else 0]
    if begins_elsewhere:
        parent, before = np.int64(-1), told.rows[0]
        for k in range(states.shape[1]):
            before[k] = 0
    complete_action(env, problem, before, ToldAction(reading.action, reading.scalars[ACTION_SEEN]), action)
    environment.judge(env, problem, before, action, states[row])
    if reading.scalars[STATED]:
        _copy_state(states, row, reading.state)
    node = _add_node(buffer, told, parent, row)
    told.inner[node] = environment.status(env, problem, states[row]) == environment.OPEN
    counts[2] = row + 1
    add_event(buffer, PLAN, node, row, 0, QUOTE_FLAG if reading.scalars[QUOTES] else 0)


@inner
def _judge_silently(env, problem, buffer, node, row):
    """Call `node` a goal, if the state that is said of it is one: the dialect has no form that says so."""
    state = buffer.states[row]
    if environment.status(env, problem, state) == environment.GOAL:
        add_event(buffer, GOAL, node, row, environment.witness(env, problem, state), 0)


@inlined
def _visit(program, env, problem, buffer, told, form, current, reading):
    """Go to the node that the form names; return it, or -1."""
    nodes, states, counts = buffer.nodes, buffer.states, buffer.counts
    scalars = reading.scalars
    flags = QUOTE_FLAG if scalars[QUOTES] else 0
    node = resolve(program, nodes, counts[1], told, current, reading)
    if node == UNNAMED:
        back = form == FORM_BACKTRACK or program.shared_visit
        by_state = (back and program.returns_by_state) or form == FORM_JUMP
        node = in_state(env, problem, states, counts[1], told, reading.state) if by_state else _just_generated(buffer)
    kind = BACKTRACK if form == FORM_BACKTRACK else EXPAND
    if (form == FORM_JUMP or program.shared_visit) and node >= 0 and told.visited[node]:
        kind = BACKTRACK
    if scalars[HISTORY_SLOT] >= 0 and not history_is_true(nodes, node, reading):
        flags |= QUOTE_FLAG
    if node >= 0 and not level_is_true(told, node, reading):
        flags |= QUOTE_FLAG
    row = told.state_of[node] if node >= 0 else np.int32(-1)
    if scalars[STATED] and (row < 0 or _state_differs(states, row, reading.state)):
        # An unstated state was derived; of equal numbers it cannot know which was taken, so the first statement
        # may reorder it. Any other difference is a claim of its own.
        said = counts[2]
        _copy_state(states, said, reading.state)
        reorders = False
        if node >= 0 and not told.visited[node]:
            environment.statement(env, problem, states[row], told.rows[0])
            environment.statement(env, problem, states[said], told.rows[1])
            reorders = True
            for k in range(states.shape[1]):
                if told.rows[0, k] != told.rows[1, k]:
                    reorders = False
        if reorders:
            _copy_state(states, row, reading.state)
        else:
            row = said
            counts[2] += 1
            if node >= 0:
                told.state_of[node] = row
    if node >= 0:
        told.visited[node] = True
    add_event(buffer, kind, node, row, 0, flags)
    if program.silent_goal and kind == EXPAND and node >= 0:
        _judge_silently(env, problem, buffer, node, row)
    return node


@inlined
def _begin(env, buffer, told, problem, reading):
    """Take the problem statement, which `problem` holds: the root's first visit."""
    nodes, states, counts = buffer.nodes, buffer.states, buffer.counts
    for k in range(nodes.shape[1]):
        nodes[0, k] = 0
    _add_node(buffer, told, -1, 0)
    told.visited[0] = True
    told.inner[0] = True
    environment.root_state(env, problem, states[0])
    counts[2] = 1
    add_event(buffer, EXPAND, 0, 0, 0, QUOTE_FLAG if reading.scalars[HISTORY_SLOT] > 0 else 0)


@inner
def _just_generated(buffer):
    """Return the node that the last event generated, -1 if it generated none."""
    last = buffer.counts[0] - 1
    return np.int64(buffer.events[last, NODE]) if buffer.events[last, KIND] == GENERATE else np.int64(-1)


@inlined
def _leaf_event(env, problem, buffer, told, kind, node, reading):
    """Take a dead end or goal of `node`; the value that it does not state is the node's."""
    row = told.state_of[node] if node >= 0 else np.int32(-1)
    value = reading.scalars[VALUE_SLOT]
    if value < 0:
        value = np.int64(environment.witness(env, problem, buffer.states[row])) if row >= 0 else np.int64(0)
    add_event(buffer, kind, node, row, value, QUOTE_FLAG if reading.scalars[QUOTES] else 0)


@inlined
def _end(program, buffer, form, reading):
    """Take the end of the search."""
    outcome = form - FORM_END
    last = buffer.events[buffer.counts[0] - 1, KIND]
    if program.shared_end and outcome == SOLVED and last != GOAL and last != PLAN:
        outcome = EXHAUSTED
    add_event(buffer, END, -1, -1, outcome, QUOTE_FLAG if reading.scalars[QUOTES] else 0)


@inlined
def _expand_silently(buffer, told, current):
    """Visit the node that was generated last, if it is open: the dialect has no form that says so. Return the current
    node."""
    node = _just_generated(buffer)
    if node < 0 or not told.inner[node]:
        return current
    told.visited[node] = True
    add_event(buffer, EXPAND, node, told.state_of[node], 0, 0)
    return node


@inlined
def _claim(program, env, problem, buffer, told, form, current, reading):
    """Take what a form claims, with what stands in front of it; return the current node behind it."""
    misquotes = reading.scalars[HEADING_QUOTES] > 0
    if misquotes and form != FORM_PLAN:
        reading.scalars[QUOTES] = 1
    if program.silent_expand and form != FORM_DEAD_END and form != FORM_GOAL and form != FORM_LABEL:
        current = np.int64(_expand_silently(buffer, told, current))
    if form == FORM_LABEL:
        _label(buffer, told, _just_generated(buffer), reading)
    elif form == FORM_GENERATE or form == FORM_FORCED or form == FORM_BARE:
        current = np.int64(_generate(env, problem, buffer, told, form, current, reading))
    elif form == FORM_DEAD_END or form == FORM_GOAL:
        generated = _just_generated(buffer)
        kind = DEAD_END if form == FORM_DEAD_END else GOAL
        _leaf_event(env, problem, buffer, told, kind, generated if generated >= 0 else current, reading)
    elif form == FORM_PLAN:
        _plan(env, problem, buffer, told, misquotes, reading)
    elif form >= FORM_END:
        _end(program, buffer, form, reading)
    else:
        current = np.int64(_visit(program, env, problem, buffer, told, form, current, reading))
    return current


@inner
def _is_full(buffer, more_events):
    """Say whether there is no room for what a form adds: an event and `more_events`, a node and a state."""
    counts = buffer.counts
    if counts[0] + more_events >= len(buffer.events):
        return True
    return counts[1] >= len(buffer.nodes) or counts[2] >= len(buffer.states)


@inlined
def _decode(program, env, tokens, problem, buffer, align, told, reading):
    counts, scalars = buffer.counts, reading.scalars
    for k in range(3):
        counts[k] = 0
    pos = np.int64(0)
    current = np.int64(0)
    label_due = False
    while True:
        begun = counts[0] > 0
        if begun:
            if pos >= len(tokens):
                return TRUNCATED, pos
            if _is_full(buffer, program.silent_expand or program.silent_goal or program.sketches):
                return BUFFER_FULL, pos
        form, after = next_form(program, buffer, problem, tokens, pos, reading)
        if not begun:
            if after >= 0:
                environment.complete_problem(env, reading.problem)
            if after < 0 or not environment.can_pose(env, reading.problem):
                return NO_PROMPT, scalars[FURTHEST]
            for k in range(len(problem)):
                problem[k] = reading.problem[k]
            _begin(env, buffer, told, problem, reading)
        else:
            if label_due and form != FORM_LABEL:
                buffer.events[counts[0] - 1, FLAGS] |= LABEL_FLAG
            if after < 0 or (form == FORM_LABEL and not label_due):
                furthest = max(scalars[FURTHEST], pos)
                return (TRUNCATED if furthest >= len(tokens) else MALFORMED), (pos if after >= 0 else furthest)
            current = np.int64(_claim(program, env, problem, buffer, told, form, current, reading))
            generates = form == FORM_GENERATE or form == FORM_FORCED
            label_due = program.present[FORM_LABEL] and generates and told.inner[counts[1] - 1]
        event = counts[0] - 1  # not read anew for each token
        if program.silent_goal and buffer.events[event, KIND] == GOAL:
            event -= 1  # the tokens say the visit
        for k in range(pos, after):
            align[k] = event
        pos = after
        if form >= FORM_END:
            return OK, pos


@allocating
def decode_kernel(program, env, tokens, problem, buffer, align):
    """Read `tokens` (int64 (T,)) into `buffer`, `problem` (int32 (P,)) and `align` (int32 (T,)).

    Returns (status, position) as in `DecodeStatus`. Total: any token array is read, and the claims up to the position
    are kept. `buffer` must hold T + 2 events and nodes. O(T x forms), and O(nodes) for each path that is looked up.
    """
    reading = new_reading(program.path_capacity, len(problem), buffer.states.shape[1], buffer.nodes.shape[1] - ACTION)
    num = len(buffer.nodes)
    told = Told(
        np.empty(num, np.int32),
        np.empty(num, np.int32),
        np.empty(num, np.bool_),
        np.empty(num, np.bool_),
        np.empty(num if program.present[FORM_FORCED] else 0, np.int32),
        np.zeros((2, buffer.states.shape[1]), np.int32),
    )
    return _decode(program, env, tokens, problem, buffer, align, told, reading)
