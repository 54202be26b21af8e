"""The decoder's kernel: follows what a stream claims, form by form, and is total over token arrays."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sos.envs import protocol as environment
from sos.kernels import allocating, inlined, inner
from sos.stream.dialect import program as d
from sos.stream.dialect.program import PATH_CAPACITY
from sos.stream.read.forms import (
    ACTION_SEEN,
    COUNT_SLOT,
    DEPTH_SLOT,
    FURTHEST,
    HISTORY_SLOT,
    PATH_SLOT,
    QUOTES,
    VALUE_SLOT,
    new_reading,
    read_form,
)
from sos.trace import (
    ACTION,
    BACKTRACK,
    DEAD_END,
    END,
    EXHAUSTED,
    EXPAND,
    FLAGS,
    GENERATE,
    GOAL,
    KIND,
    LABEL_FLAG,
    NODE,
    PARENT,
    QUOTE_FLAG,
    RANK,
    SOLVED,
    UNANNOUNCED_FLAG,
    add_event,
)

FORM_ROOT, FORM_EXPAND, FORM_GENERATE, FORM_LABEL = d.ROOT, d.EXPAND, d.GENERATE, d.LABEL
FORM_DEAD_END, FORM_GOAL, FORM_BACKTRACK, FORM_JUMP = d.DEAD_END, d.GOAL, d.BACKTRACK, d.JUMP
FORM_END, FORM_LAST_END = d.END_SOLVED, d.END_EMPTY
OK, TRUNCATED, MALFORMED, NO_PROMPT, BUFFER_FULL = range(5)  # as `DecodeStatus`
UNNAMED = -2  # what a form names that names no node


class Told(NamedTuple):
    """What the stream told of each node so far; rows are set when their node is made. N = nodes."""

    state_of: np.ndarray  # int32 (N,): row of the last stated state
    next_rank: np.ndarray  # int32 (N,): rank of the next child
    visited: np.ndarray  # bool (N,)
    inner: np.ndarray  # bool (N,): not generated as a leaf
    rows: np.ndarray  # int32 (2, W): work space


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
    counts[1] = node + 1
    return node


@inner
def _child(unnamed_leaves, nodes, count, inner, parent, rank):
    """Return the first child of `parent` that goes by `rank`, or -1. O(nodes)."""
    for node in range(parent + 1, count):
        if nodes[node, PARENT] == parent and nodes[node, RANK] == rank and (inner[node] or not unnamed_leaves):
            return node
    return -1


@inlined
def _leaf(nodes, count, told, parent, reading):
    """Return the first leaf child of `parent` that the last stated operation generated, or -1. O(nodes)."""
    length = reading.scalars[HISTORY_SLOT]
    if length < 1 or length > len(reading.history):
        return -1
    action = reading.history[length - 1]
    for node in range(parent + 1, count):
        if nodes[node, PARENT] == parent and not told.inner[node]:
            same = True
            for k in range(len(action)):
                if nodes[node, ACTION + k] != action[k]:
                    same = False
            if same:
                return node
    return -1


@inlined
def _resolve(program, nodes, count, told, current, reading):
    """Return the node that the stated path or depth names, -1 where there is none, `UNNAMED` where the form names
    none."""
    length = reading.scalars[PATH_SLOT]
    if length > 0:
        if length > PATH_CAPACITY or reading.path[0] != 0:
            return -1
        node = 0
        for k in range(1, length):
            parent = node
            node = _child(program.unnamed_leaves, nodes, count, told.inner, parent, reading.path[k])
            if node < 0 and k == length - 1 and reading.path[k] == 0 and program.unnamed_leaves:
                node = _leaf(nodes, count, told, parent, reading)
            if node < 0:
                return -1
        return node
    wanted = reading.scalars[DEPTH_SLOT]
    if wanted < 0:
        return UNNAMED
    depth = 0
    node = current
    while node > 0:
        node = nodes[node, PARENT]
        depth += 1
    if current < 0 or node < 0 or wanted > depth:
        return -1
    node = current
    for _ in range(depth - wanted):
        node = nodes[node, PARENT]
    return node


@inlined
def _history_is_true(nodes, node, reading):
    """Compare the stated history with the actions from the root to `node`."""
    left = reading.scalars[HISTORY_SLOT]
    if left > len(reading.history):
        return False
    while node >= 0 and nodes[node, PARENT] >= 0:
        left -= 1
        if left < 0:
            return False
        for k in range(reading.history.shape[1]):
            if reading.history[left, k] != nodes[node, ACTION + k]:
                return False
        node = nodes[node, PARENT]
    return left == 0


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
def _label_is_true(nodes, node, reading):
    """Say whether the stated path is the node's own."""
    length = reading.scalars[PATH_SLOT]
    if length > PATH_CAPACITY:
        return False
    k = length - 1
    while k >= 0 and node >= 0:
        expected = nodes[node, RANK] if nodes[node, PARENT] >= 0 else 0
        if reading.path[k] != expected:
            return False
        node = nodes[node, PARENT]
        k -= 1
    return k < 0 and node < 0


@inlined
def _label(buffer, told, node, reading):
    """Take the label of `node`, whose generation is the last event."""
    events, nodes, states, counts = buffer
    scalars = reading.scalars
    flags = QUOTE_FLAG if scalars[QUOTES] else 0
    if scalars[COUNT_SLOT] > 0 and _state_differs(states, told.state_of[node], reading.state):
        flags |= QUOTE_FLAG
    for k in range(nodes.shape[1] - ACTION):
        if scalars[ACTION_SEEN] & (1 << k) and reading.action[k] != nodes[node, ACTION + k]:
            flags |= QUOTE_FLAG
    if not _label_is_true(nodes, node, reading):
        flags |= LABEL_FLAG
        length = scalars[PATH_SLOT]
        if length <= PATH_CAPACITY:
            nodes[node, RANK] = reading.path[length - 1]
    events[counts[0] - 1, FLAGS] |= flags


@inlined
def _generate(env, buffer, told, current, reading):
    """Make the node that an action generates from `current`; return its parent."""
    nodes, states, counts = buffer.nodes, buffer.states, buffer.counts
    flags = QUOTE_FLAG if reading.scalars[QUOTES] else 0
    row = counts[2]
    action = nodes[counts[1], ACTION:]
    for k in range(len(action)):
        action[k] = reading.action[k]
    parent = current
    if parent >= 0:
        held = environment.apply_action(env, states[told.state_of[parent]], action, states[row])
        if not held:
            # An unannounced return: the nearest ancestor that holds the operands, if there is one.
            ancestor = nodes[parent, PARENT]
            while ancestor >= 0 and not held:
                held = environment.apply_action(env, states[told.state_of[ancestor]], action, states[row])
                if held:
                    parent = ancestor
                    flags |= UNANNOUNCED_FLAG
                ancestor = nodes[ancestor, PARENT]
            if not held:
                environment.apply_action(env, states[told.state_of[parent]], action, states[row])
    else:
        for k in range(states.shape[1]):
            states[row, k] = 0
        states[row, 0] = 1
        states[row, 1] = action[len(action) - 1]
    if reading.scalars[COUNT_SLOT] > 0:
        _copy_state(states, row, reading.state)
    node = _add_node(buffer, told, parent, row)
    told.inner[node] = states[row, 0] > 1
    counts[2] = row + 1
    add_event(buffer, GENERATE, node, row, 0, flags)
    return parent


@inlined
def _visit(program, env, buffer, told, form, current, just_generated, reading):
    """Go to the node that the form names; return it, or -1."""
    nodes, states, counts = buffer.nodes, buffer.states, buffer.counts
    scalars = reading.scalars
    flags = QUOTE_FLAG if scalars[QUOTES] else 0
    node = _resolve(program, nodes, counts[1], told, current, reading)
    if node == UNNAMED:
        node = just_generated
    kind = BACKTRACK if form == FORM_BACKTRACK else EXPAND
    if (form == FORM_JUMP or program.shared_visit) and node >= 0 and told.visited[node]:
        kind = BACKTRACK
    if scalars[HISTORY_SLOT] >= 0 and not _history_is_true(nodes, node, reading):
        flags |= QUOTE_FLAG
    row = told.state_of[node] if node >= 0 else np.int32(-1)
    if scalars[COUNT_SLOT] > 0 and (row < 0 or _state_differs(states, row, reading.state)):
        # An unstated state was derived; of equal numbers it cannot know which was taken, so the first statement
        # may reorder it. Any other difference is a claim of its own.
        said = counts[2]
        _copy_state(states, said, reading.state)
        reorders = False
        if node >= 0 and not told.visited[node]:
            environment.canonical(env, states[row], told.rows[0])
            environment.canonical(env, states[said], told.rows[1])
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
    return node


@inner
def _decode(program, env, tokens, problem, buffer, align, told, reading):
    events, nodes, states, counts = buffer
    scalars = reading.scalars
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
            if counts[0] >= len(events) or counts[1] >= len(nodes) or counts[2] >= len(states):
                return BUFFER_FULL, pos
        scalars[FURTHEST] = pos
        after = -1
        form = 0
        # One call site, because the reader is compiled into it.
        for candidate in range(FORM_EXPAND if begun else FORM_ROOT, FORM_LAST_END + 1 if begun else FORM_ROOT + 1):
            after = read_form(program, candidate, problem, tokens, pos, reading)
            if after >= 0:
                form = candidate
                break
        if not begun:
            if after < 0 or scalars[COUNT_SLOT] != states.shape[1] - 1:
                return NO_PROMPT, scalars[FURTHEST]
            problem[0] = reading.problem[0]
            for k in range(states.shape[1]):
                problem[k + 1] = reading.state[k]
            for k in range(nodes.shape[1]):
                nodes[0, k] = 0
            _add_node(buffer, told, -1, 0)
            told.visited[0] = True
            told.inner[0] = True
            _copy_state(states, 0, reading.state)
            counts[2] = 1
            add_event(buffer, EXPAND, 0, 0, 0, QUOTE_FLAG if scalars[HISTORY_SLOT] > 0 else 0)
            for k in range(after):
                align[k] = 0
            pos = after
            continue
        last = counts[0] - 1
        if label_due and form != FORM_LABEL:
            events[last, FLAGS] |= LABEL_FLAG
        if after < 0 or (form == FORM_LABEL and not label_due):
            furthest = max(scalars[FURTHEST], pos)
            return (TRUNCATED if furthest >= len(tokens) else MALFORMED), (pos if after >= 0 else furthest)
        just_generated = np.int64(events[last, NODE]) if events[last, KIND] == GENERATE else np.int64(-1)
        e = counts[0]
        if form == FORM_LABEL:
            e = last
            label_due = False
            _label(buffer, told, just_generated, reading)
        elif form == FORM_GENERATE:
            current = np.int64(_generate(env, buffer, told, current, reading))
            label_due = program.present[FORM_LABEL] and told.inner[counts[1] - 1]
        else:
            label_due = False
            flags = QUOTE_FLAG if scalars[QUOTES] else 0
            if form == FORM_DEAD_END or form == FORM_GOAL:
                node = just_generated if just_generated >= 0 else current
                row = told.state_of[node] if node >= 0 else np.int32(-1)
                value = scalars[VALUE_SLOT]
                if value < 0:
                    value = np.int64(environment.leaf_value(env, states[row])) if row >= 0 else np.int64(0)
                add_event(buffer, DEAD_END if form == FORM_DEAD_END else GOAL, node, row, value, flags)
            elif form >= FORM_END:
                outcome = form - FORM_END
                if program.shared_end and outcome == SOLVED and events[last, KIND] != GOAL:
                    outcome = EXHAUSTED
                add_event(buffer, END, -1, -1, outcome, flags)
            else:
                current = np.int64(_visit(program, env, buffer, told, form, current, just_generated, reading))
        for k in range(pos, after):
            align[k] = e
        pos = after
        if form >= FORM_END:
            return OK, pos


@allocating
def decode_kernel(program, env, tokens, problem, buffer, align):
    """Read `tokens` (int64 (T,)) into `buffer`, `problem` (int32 (P,)) and `align` (int32 (T,)).

    Returns (status, position) as in `DecodeStatus`. Total: any token array is read, and the claims up to the position
    are kept. `buffer` must hold T + 2 events and nodes. O(T x forms), and O(nodes) for each path that is looked up.
    """
    reading = new_reading(len(problem), buffer.states.shape[1], buffer.nodes.shape[1] - ACTION)
    num = len(buffer.nodes)
    told = Told(
        np.empty(num, np.int32),
        np.empty(num, np.int32),
        np.empty(num, np.bool_),
        np.empty(num, np.bool_),
        np.zeros((2, buffer.states.shape[1]), np.int32),
    )
    return _decode(program, env, tokens, problem, buffer, align, told, reading)
