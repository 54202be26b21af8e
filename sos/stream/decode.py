"""The decoder's kernels: a greedy reader of a compiled dialect that is total over token arrays."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from sos.envs import protocol as environment
from sos.stream import dialect as d
from sos.stream.vocab import FIRST_NUMBER
from sos.trace import ACTION, FLAGS, KIND, NODE, PARENT, RANK, Event, Flag, Outcome, add_event

LITERAL, PROBLEM_NUMBER, ACTION_NUMBER, VALUE_NUMBER, SYMBOL, NUMBERS, PATH, DEPTH, HISTORY = range(9)
EXPAND, GENERATE, DEAD_END, GOAL, BACKTRACK, END = (int(e) for e in Event)
QUOTE, LABEL_FLAG, UNANNOUNCED = (int(f) for f in Flag)
SOLVED, EXHAUSTED = int(Outcome.SOLVED), int(Outcome.EXHAUSTED)
FORM_ROOT, FORM_EXPAND, FORM_GENERATE, FORM_LABEL, FORM_DEAD_END, FORM_GOAL, FORM_BACKTRACK = range(7)
FORM_END, FORM_LAST_END, OPERATION = d.END_SOLVED, d.END_BUDGET, d.OPERATION
OK, TRUNCATED, MALFORMED, NO_PROMPT, BUFFER_FULL = range(5)
INT32_MAX = 2**31 - 1
PATH_CAPACITY = 16
# Scalars of a reading: what the fields of the form at hand said.
DEPTH_SLOT, VALUE_SLOT, COUNT_SLOT, PATH_SLOT, HISTORY_SLOT, ACTION_SEEN, QUOTES, FURTHEST = range(8)


class Reading(NamedTuple):
    """Registers of the form being read (int64): scalars (8,), the state, path, action and history it stated."""

    scalars: np.ndarray
    state: np.ndarray  # (W,): count and numbers
    path: np.ndarray  # (16,)
    problem: np.ndarray  # (P,)
    action: np.ndarray  # (A,)
    history: np.ndarray  # (16, A)


@njit(cache=True, nogil=True)
def _read_number(program, tokens, pos):
    """Read the number at `pos`; return (value, position behind it), or (-1, offending position)."""
    whole_max = program.whole_max
    if pos >= len(tokens):
        return -1, pos
    first = tokens[pos] - FIRST_NUMBER
    if first < 0 or first > whole_max:
        return -1, pos
    if not program.runs or first > 9 or first == 0 or pos + 1 >= len(tokens):
        return first, pos + 1
    second = tokens[pos + 1] - FIRST_NUMBER
    if second < 0 or second > 9:
        return first, pos + 1
    value = first
    start = pos
    pos += 1
    while pos < len(tokens):
        digit = tokens[pos] - FIRST_NUMBER
        if digit < 0 or digit > 9:
            break
        value = value * 10 + digit
        if value > INT32_MAX:
            return -1, pos
        pos += 1
    if value <= whole_max:
        return -1, start + 1  # a number that has a token of its own is not written as digits
    return value, pos


@njit(cache=True, nogil=True)
def _fail(reading, pos):
    """Note how far the best attempt came; return the mark of failure."""
    if pos > reading.scalars[FURTHEST]:
        reading.scalars[FURTHEST] = pos
    return -1


@njit(cache=True, nogil=True)
def _matches(separator, tokens, pos, reading):
    for k in range(len(separator)):
        if pos + k >= len(tokens) or tokens[pos + k] != separator[k]:
            _fail(reading, pos + k)
            return False
    return True


@njit(cache=True, nogil=True)
def _read_action_piece(program, kind, column, tokens, pos, action, seen, reading):
    """Read one number or operator of an action into `action`; the second reading of a column is compared."""
    if kind == SYMBOL:
        value = -1
        if pos < len(tokens):
            for k in range(len(program.symbols)):
                if tokens[pos] == program.symbols[k]:
                    value = k
        if value < 0:
            return _fail(reading, pos), seen
        after = pos + 1
    else:
        value, after = _read_number(program, tokens, pos)
        if value < 0:
            return _fail(reading, after), seen
    if seen & (1 << column):
        if action[column] != value:
            reading.scalars[QUOTES] = 1
    else:
        action[column] = value
    return after, seen | (1 << column)


@njit(cache=True, nogil=True)
def _read_operation(program, tokens, pos, action, reading):
    """Read one item of a history into `action`; return the position behind it or -1."""
    seen = 0
    for pc in range(program.start[OPERATION], program.start[OPERATION + 1]):
        kind = program.code[pc, 0]
        if kind == LITERAL:
            if pos >= len(tokens) or tokens[pos] != program.code[pc, 1]:
                return _fail(reading, pos)
            pos += 1
        else:
            pos, seen = _read_action_piece(program, kind, program.code[pc, 1], tokens, pos, action, seen, reading)
            if pos < 0:
                return -1
    return pos


@njit(cache=True, nogil=True)
def _read_history(program, tokens, pos, reading):
    """Read a list of operations, which may be empty; return the position behind it or -1."""
    count = 0
    while True:
        row = min(count, len(reading.history) - 1)
        after = _read_operation(program, tokens, pos, reading.history[row], reading)
        if after < 0:
            if count == 0:
                break
            return -1
        count += 1
        pos = after
        if not _matches(program.operation_separator, tokens, pos, reading):
            break
        pos += len(program.operation_separator)
    reading.scalars[HISTORY_SLOT] = count
    return pos


@njit(cache=True, nogil=True)
def _read_numbers(program, tokens, pos, reading):
    """Read the stated numbers; return the position behind them or -1. More than a state holds do not match."""
    count = 0
    while True:
        value, after = _read_number(program, tokens, pos)
        if value < 0:
            if count > 0 and len(program.separator) == 0:
                break
            return _fail(reading, after)
        if count + 1 >= len(reading.state):
            return _fail(reading, pos)
        count += 1
        reading.state[count] = value
        pos = after
        if not _matches(program.separator, tokens, pos, reading):
            break
        pos += len(program.separator)
    for k in range(count + 1, len(reading.state)):
        reading.state[k] = 0
    reading.state[0] = count
    reading.scalars[COUNT_SLOT] = count
    return pos


@njit(cache=True, nogil=True)
def _read_path(program, tokens, pos, reading):
    """Read child indices, the root's 0 first; return the position behind them or -1."""
    count = 0
    while True:
        value, after = _read_number(program, tokens, pos)
        if value < 0:
            return _fail(reading, after)
        if count < PATH_CAPACITY:
            reading.path[count] = value
        count += 1
        pos = after
        if not _matches(program.path_separator, tokens, pos, reading):
            break
        pos += len(program.path_separator)
    reading.scalars[PATH_SLOT] = count
    return pos


@njit(cache=True, nogil=True)
def _read_form(program, form, problem, tokens, pos, reading):
    """Try to read `form` at `pos` into the registers; return the position behind it or -1."""
    scalars = reading.scalars
    scalars[DEPTH_SLOT] = -1
    scalars[VALUE_SLOT] = -1
    scalars[COUNT_SLOT] = 0
    scalars[PATH_SLOT] = 0
    scalars[HISTORY_SLOT] = -1
    scalars[ACTION_SEEN] = 0
    scalars[QUOTES] = 0
    if program.start[form] == program.start[form + 1]:
        return -1
    for pc in range(program.start[form], program.start[form + 1]):
        kind = program.code[pc, 0]
        argument = program.code[pc, 1]
        if kind == LITERAL:
            if pos >= len(tokens) or tokens[pos] != argument:
                return _fail(reading, pos)
            pos += 1
        elif kind == ACTION_NUMBER or kind == SYMBOL:
            pos, seen = _read_action_piece(
                program, kind, argument, tokens, pos, reading.action, scalars[ACTION_SEEN], reading
            )
            scalars[ACTION_SEEN] = seen
        elif kind == NUMBERS:
            pos = _read_numbers(program, tokens, pos, reading)
        elif kind == PATH:
            pos = _read_path(program, tokens, pos, reading)
        elif kind == HISTORY:
            pos = _read_history(program, tokens, pos, reading)
        else:
            value, after = _read_number(program, tokens, pos)
            if value < 0:
                return _fail(reading, after)
            pos = after
            if kind == DEPTH:
                scalars[DEPTH_SLOT] = value
            elif kind == VALUE_NUMBER:
                scalars[VALUE_SLOT] = value
            elif form == FORM_ROOT:
                reading.problem[argument] = value
            elif value != problem[argument]:
                scalars[QUOTES] = 1
        if pos < 0:
            return -1
    return pos


@njit(cache=True, nogil=True)
def _child(nodes, count, parent, rank):
    """Return the first child of `parent` with `rank`, or -1. O(nodes)."""
    for node in range(parent + 1, count):
        if nodes[node, PARENT] == parent and nodes[node, RANK] == rank:
            return node
    return -1


@njit(cache=True, nogil=True)
def _resolve(nodes, count, current, reading):
    """Return the node that the stated path or depth names, -1 where there is none, -2 where the form names none."""
    length = reading.scalars[PATH_SLOT]
    if length > 0:
        if length > PATH_CAPACITY or reading.path[0] != 0:
            return -1
        node = 0
        for k in range(1, length):
            node = _child(nodes, count, node, reading.path[k])
            if node < 0:
                return -1
        return node
    wanted = reading.scalars[DEPTH_SLOT]
    if wanted < 0:
        return -2
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


@njit(cache=True, nogil=True)
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


@njit(cache=True, nogil=True)
def _state_differs(states, row, reading):
    for k in range(states.shape[1]):
        if states[row, k] != reading.state[k]:
            return True
    return False


@njit(cache=True, nogil=True)
def _same_rows(rows):
    for k in range(rows.shape[1]):
        if rows[0, k] != rows[1, k]:
            return False
    return True


@njit(cache=True, nogil=True)
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


@njit(cache=True, nogil=True)
def decode_kernel(program, env, tokens, problem, buffer, align):
    """Read `tokens` (int64 (T,)) into `buffer`, `problem` (int32 (P,)) and `align` (int32 (T,)).

    Returns (status, position) as in `DecodeStatus`. Total: any token array is read, and the claims up to the position are kept.
    `buffer` must hold T + 2 events and nodes. O(T x forms), and O(nodes) for each path that is looked up.
    """
    events, nodes, states, counts = buffer
    counts[:] = 0
    width = nodes.shape[1] - ACTION
    reading = Reading(
        np.zeros(8, np.int64),
        np.zeros(states.shape[1], np.int64),
        np.zeros(PATH_CAPACITY, np.int64),
        np.zeros(len(problem), np.int64),
        np.zeros(width, np.int64),
        np.zeros((16, width), np.int64),
    )
    scalars = reading.scalars
    pos = _read_form(program, FORM_ROOT, problem, tokens, 0, reading)
    if pos < 0 or scalars[COUNT_SLOT] != states.shape[1] - 1:
        return NO_PROMPT, scalars[FURTHEST]
    problem[0] = reading.problem[0]
    for k in range(states.shape[1]):
        problem[k + 1] = reading.state[k]
        states[0, k] = reading.state[k]
    nodes[0, :] = 0
    nodes[0, PARENT] = -1
    counts[1] = 1
    counts[2] = 1
    add_event(buffer, EXPAND, 0, 0, 0, QUOTE if scalars[HISTORY_SLOT] > 0 else 0)
    for k in range(pos):
        align[k] = 0
    state_of = np.zeros(len(nodes), np.int32)
    next_rank = np.zeros(len(nodes), np.int32)
    expanded = np.zeros(len(nodes), np.bool_)
    expanded[0] = True
    canonical_rows = np.zeros((2, states.shape[1]), np.int32)
    current = 0
    label_due = False
    while True:
        if pos >= len(tokens):
            return TRUNCATED, pos
        if counts[0] >= len(events) or counts[1] >= len(nodes) or counts[2] >= len(states):
            return BUFFER_FULL, pos
        scalars[FURTHEST] = pos
        after = -1
        form = 0
        for candidate in range(FORM_EXPAND, FORM_LAST_END + 1):
            after = _read_form(program, candidate, problem, tokens, pos, reading)
            if after >= 0:
                form = candidate
                break
        last = counts[0] - 1
        if after < 0 or (form == FORM_LABEL and not label_due):
            if label_due:
                events[last, FLAGS] |= LABEL_FLAG
            furthest = max(scalars[FURTHEST], pos)
            return (TRUNCATED if furthest >= len(tokens) else MALFORMED), (pos if after >= 0 else furthest)
        if label_due and form != FORM_LABEL:
            events[last, FLAGS] |= LABEL_FLAG
        label_due = False
        e = counts[0]
        flags = QUOTE if scalars[QUOTES] else 0
        just_generated = events[last, NODE] if events[last, KIND] == GENERATE else -1
        if form == FORM_LABEL:
            e = last
            node = just_generated
            if _state_differs(states, state_of[node], reading) and scalars[COUNT_SLOT] > 0:
                flags |= QUOTE
            for k in range(width):
                if scalars[ACTION_SEEN] & (1 << k) and reading.action[k] != nodes[node, ACTION + k]:
                    flags |= QUOTE
            if not _label_is_true(nodes, node, reading):
                flags |= LABEL_FLAG
                length = scalars[PATH_SLOT]
                if length <= PATH_CAPACITY:
                    nodes[node, RANK] = reading.path[length - 1]
            events[e, FLAGS] |= flags
        elif form == FORM_GENERATE:
            node = counts[1]
            for k in range(width):
                nodes[node, ACTION + k] = reading.action[k]
            parent = current
            if parent >= 0 and not environment.apply_action(
                env, states[state_of[parent]], nodes[node, ACTION:], states[counts[2]]
            ):
                # An unannounced return: the nearest ancestor that holds the operands, if there is one.
                ancestor = nodes[parent, PARENT]
                while ancestor >= 0:
                    if environment.apply_action(
                        env, states[state_of[ancestor]], nodes[node, ACTION:], states[counts[2]]
                    ):
                        parent = ancestor
                        flags |= UNANNOUNCED
                        break
                    ancestor = nodes[ancestor, PARENT]
            nodes[node, PARENT] = parent
            row = counts[2]
            if parent >= 0:
                nodes[node, RANK] = next_rank[parent]
                next_rank[parent] += 1
                environment.apply_action(env, states[state_of[parent]], nodes[node, ACTION:], states[row])
            else:
                nodes[node, RANK] = 0
                states[row, :] = 0
                states[row, 0] = 1
                states[row, 1] = reading.action[width - 1]
            if scalars[COUNT_SLOT] > 0:
                for k in range(states.shape[1]):
                    states[row, k] = reading.state[k]
            state_of[node] = row
            counts[1] += 1
            counts[2] += 1
            current = parent
            label_due = program.present[FORM_LABEL] and states[row, 0] > 1
            add_event(buffer, GENERATE, node, row, 0, flags)
        elif form == FORM_DEAD_END or form == FORM_GOAL:
            node = just_generated if just_generated >= 0 else current
            row = state_of[node] if node >= 0 else -1
            value = scalars[VALUE_SLOT]
            if value < 0:
                value = environment.leaf_value(env, states[row]) if row >= 0 else 0
            add_event(buffer, DEAD_END if form == FORM_DEAD_END else GOAL, node, row, value, flags)
        elif form == FORM_EXPAND or form == FORM_BACKTRACK:
            node = _resolve(nodes, counts[1], current, reading)
            if node == -2:
                node = just_generated
            kind = EXPAND if form == FORM_EXPAND else BACKTRACK
            if program.shared_visit and node >= 0 and expanded[node]:
                kind = BACKTRACK
            if scalars[HISTORY_SLOT] >= 0 and not _history_is_true(nodes, node, reading):
                flags |= QUOTE
            row = state_of[node] if node >= 0 else -1
            if scalars[COUNT_SLOT] > 0 and (row < 0 or _state_differs(states, row, reading)):
                # An unstated state was derived; of equal numbers it cannot know which was taken, so the first statement
                # may reorder it. Any other difference is a claim of its own.
                for k in range(states.shape[1]):
                    states[counts[2], k] = reading.state[k]
                reorders = False
                if node >= 0 and not expanded[node]:
                    environment.canonical(env, states[row], canonical_rows[0])
                    environment.canonical(env, states[counts[2]], canonical_rows[1])
                    reorders = _same_rows(canonical_rows)
                if reorders:
                    for k in range(states.shape[1]):
                        states[row, k] = reading.state[k]
                else:
                    row = counts[2]
                    counts[2] += 1
                    if node >= 0:
                        state_of[node] = row
            if node >= 0:
                expanded[node] = True
            current = node
            add_event(buffer, kind, node, row, 0, flags)
        else:
            outcome = form - FORM_END
            if program.shared_end and outcome == SOLVED and events[last, KIND] != GOAL:
                outcome = EXHAUSTED
            add_event(buffer, END, -1, -1, outcome, flags)
        for k in range(pos, after):
            align[k] = e
        pos = after
        if form >= FORM_END:
            return OK, pos
