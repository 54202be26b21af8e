"""The encoder's kernel: writes a trace as tokens in one pass over a compiled dialect's program."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sos.kernels import inlined, kernel
from sos.stream import dialect as d
from sos.stream.runs import SHORT, SLACK, copy_run, copy_short
from sos.stream.vocab import FIRST_NUMBER
from sos.trace import ACTION, KIND, NODE, PARENT, RANK, STATE, VALUE, Event

LITERAL, PROBLEM_NUMBER, ACTION_NUMBER, VALUE_NUMBER, SYMBOL, NUMBERS, PATH, DEPTH, HISTORY = range(9)
EXPAND, GENERATE, DEAD_END, GOAL, BACKTRACK, END = (int(e) for e in Event)
FORM_ROOT, FORM_EXPAND, FORM_LABEL, FORM_BACKTRACK, FORM_JUMP = d.ROOT, d.EXPAND, d.LABEL, d.BACKTRACK, d.JUMP
OPERATION, LAST_END = d.OPERATION, d.END_EMPTY
FORM_OF_KIND = (d.EXPAND, d.GENERATE, d.DEAD_END, d.GOAL, d.BACKTRACK, d.END_SOLVED)

BUFFER_FULL, NOT_AN_ANCESTOR, NOT_JUST_GENERATED, NO_END = -1, -2, -3, -4
ENCODE_ERRORS = {
    BUFFER_FULL: "the token buffer is full",
    NOT_AN_ANCESTOR: "it writes a return as a depth and has no form 'jump', and the trace returns to a node that is no ancestor of "
    "the current one",
    NOT_JUST_GENERATED: "it expands the node generated last without naming it and has no form 'jump', and the trace expands "
    "another one",
    NO_END: "it has no form 'end_empty', and the search ended with an empty frontier",
}
STATE_TOLD, VISIT_START, VISIT_STOP, HISTORY_START, HISTORY_STOP = range(5)


class Writing(NamedTuple):
    """Work space of `encode_kernel`, reused from trace to trace. E = events, N = nodes that it has room for."""

    stops: np.ndarray  # int32 (E,): the position behind each event's tokens
    # int32 (N, 5): of the last visit that was written for each node the state's row + 1 and its span of tokens, and the
    # span of the node's history. The start of a history is 0 where none was written.
    told: np.ndarray


def new_writing(max_events: int, max_nodes: int) -> Writing:
    """Allocate the work space for traces of up to `max_events` events and `max_nodes` nodes."""
    return Writing(np.zeros(max_events, np.int32), np.zeros((max_nodes, 5), np.int32))


def tokens_size(program: d.Program, num: int) -> int:
    """Return the length of a token array into which any stream of up to `num` tokens can be written."""
    return num + program.max_event_tokens + SLACK


@kernel
def _put_digits(value, tokens, t):
    """Write `value` >= 10 as digits; return the position behind it."""
    end = t + 2
    rest = value // 100
    while rest > 0:
        rest //= 10
        end += 1
    rest = value
    for k in range(end - 1, t - 1, -1):
        quotient = rest // 10
        tokens[k] = FIRST_NUMBER + rest - 10 * quotient
        rest = quotient
    return end


@inlined
def _put_number(value, program, tokens, t):
    """Write `value` >= 0; return the position behind it."""
    if value < len(program.number_sizes):
        copy_short(program.number_tokens, SHORT * value, tokens, t)
        return t + program.number_sizes[value]
    return _put_large(value, program.whole_max, tokens, t)


@kernel
def _put_large(value, whole_max, tokens, t):
    if value <= whole_max:
        tokens[t] = FIRST_NUMBER + value
        return t + 1
    return _put_digits(value, tokens, t)


@inlined
def _depth(nodes, node):
    depth = 0
    ancestor = nodes[node, PARENT]
    while ancestor >= 0:
        ancestor = nodes[ancestor, PARENT]
        depth += 1
    return depth


@inlined
def _ancestor(nodes, node, steps):
    for _ in range(steps):
        node = np.int64(nodes[node, PARENT])
    return node


@inlined
def _put_path(program, nodes, node, leaf, tokens, t):
    """Write the child indices from the root to `node`, a `leaf` perhaps without its own."""
    separator = program.path_separator
    tokens[t] = FIRST_NUMBER
    t += 1
    for step in range(_depth(nodes, node) - 1, -1, -1):
        for m in range(len(separator)):
            tokens[t] = separator[m]
            t += 1
        rank = np.int64(nodes[_ancestor(nodes, node, step), RANK])
        if step == 0 and leaf and program.unnamed_leaves:
            rank = np.int64(0)
        t = _put_number(rank, program, tokens, t)
    return t


@inlined
def _put_numbers(program, states, state, tokens, t):
    """Write the numbers of a state."""
    separator = program.separator
    for k in range(1, states[state, 0] + 1):
        if k > 1:
            for m in range(len(separator)):
                tokens[t] = separator[m]
                t += 1
        t = _put_number(np.int64(states[state, k]), program, tokens, t)
    return t


@inlined
def _put_operation(program, nodes, node, tokens, t):
    """Write the action that generated `node`, as in a history."""
    steps = program.steps
    for pc in range(program.step_start[OPERATION], program.step_start[OPERATION + 1]):
        kind = steps[pc, 0]
        argument = np.int64(steps[pc, 1])
        if kind == LITERAL:
            t = copy_run(program.padded_literals, argument, np.int64(steps[pc, 2]), tokens, t)
        elif kind == SYMBOL:
            tokens[t] = program.symbols[nodes[node, ACTION + argument]]
            t += 1
        else:
            t = _put_number(np.int64(nodes[node, ACTION + argument]), program, tokens, t)
    return t


@inlined
def _put_history(program, nodes, node, told, tokens, t):
    """Write the actions from the root to `node`, as far as they were written before by copying them."""
    start = t
    top = node
    depth = 0
    while nodes[top, PARENT] >= 0 and told[top, HISTORY_START] == 0:
        top = np.int64(nodes[top, PARENT])
        depth += 1
    count = np.int64(told[top, HISTORY_STOP] - told[top, HISTORY_START])
    if count > 0:
        t = copy_run(tokens, np.int64(told[top, HISTORY_START]), count, tokens, t)
    for step in range(depth - 1, -1, -1):
        if t > start:
            for m in range(len(program.operation_separator)):
                tokens[t] = program.operation_separator[m]
                t += 1
        t = _put_operation(program, nodes, _ancestor(nodes, node, step), tokens, t)
    told[node, HISTORY_START] = start
    told[node, HISTORY_STOP] = t
    return t


@inlined
def _has(program, form, kind):
    for pc in range(program.start[form], program.start[form + 1]):
        if program.code[pc, 0] == kind:
            return True
    return False


@kernel
def _is_ancestor(nodes, ancestor, node):
    """Say whether `ancestor` lies on the way from the root to `node`."""
    while node >= 0 and node != ancestor:
        node = np.int64(nodes[node, PARENT])
    return node >= 0


@inlined
def _put_form(program, form, problem, value, node, state, nodes, states, told, tokens, t):
    """Write one form; return the position behind it."""
    steps = program.steps
    for pc in range(program.step_start[form], program.step_start[form + 1]):
        piece = steps[pc, 0]
        argument = np.int64(steps[pc, 1])
        if piece == LITERAL:
            t = copy_run(program.padded_literals, argument, np.int64(steps[pc, 2]), tokens, t)
        elif piece == ACTION_NUMBER:
            t = _put_number(np.int64(nodes[node, ACTION + argument]), program, tokens, t)
        elif piece == SYMBOL:
            tokens[t] = program.symbols[nodes[node, ACTION + argument]]
            t += 1
        elif piece == NUMBERS:
            t = _put_numbers(program, states, state, tokens, t)
        elif piece == PROBLEM_NUMBER:
            t = _put_number(np.int64(problem[argument]), program, tokens, t)
        elif piece == PATH:
            t = _put_path(program, nodes, node, states[state, 0] <= 1, tokens, t)
        elif piece == HISTORY:
            t = _put_history(program, nodes, node, told, tokens, t)
        else:
            t = _put_number(value if piece == VALUE_NUMBER else _depth(nodes, node), program, tokens, t)
    return t


@kernel
def encode_kernel(program, problem, events, nodes, states, tokens, writing):
    """Write the stream of a trace into `tokens` uint16, and where each event's tokens stop into `writing.stops`.

    Returns (number of tokens, prompt tokens), or (a negative key of `ENCODE_ERRORS`, event). O(tokens); mutates `tokens` and
    `writing`. `tokens` must be `tokens_size` of the longest stream that is to fit.
    """
    t = np.int64(0)  # a literal would compile everything it is passed to twice
    prompt = np.int64(0)
    current = np.int64(0)
    limit = len(tokens) - program.max_event_tokens - SLACK
    returns_by_depth = _has(program, FORM_BACKTRACK, DEPTH)
    names_expanded = _has(program, FORM_EXPAND, PATH)
    labels = program.present[FORM_LABEL]
    jumps = program.present[FORM_JUMP]
    stops, told = writing
    for node in range(len(nodes)):
        told[node, STATE_TOLD] = 0
        told[node, HISTORY_START] = 0
        told[node, HISTORY_STOP] = 0
    for e in range(len(events)):
        if t > limit:
            return BUFFER_FULL, e
        kind = events[e, KIND]
        node = max(np.int64(events[e, NODE]), 0)
        state = max(np.int64(events[e, STATE]), 0)
        value = np.int64(events[e, VALUE])
        form = np.int64(FORM_OF_KIND[kind])
        if kind == EXPAND:
            if e == 0:
                form = np.int64(FORM_ROOT)
            elif not names_expanded and (events[e - 1, KIND] != GENERATE or events[e - 1, NODE] != node):
                form = np.int64(FORM_JUMP)
                if not jumps:
                    return NOT_JUST_GENERATED, e
            elif program.shared_visit:
                form = np.int64(FORM_BACKTRACK)
            current = node
        elif kind == BACKTRACK:
            if returns_by_depth and not _is_ancestor(nodes, node, current):
                form = np.int64(FORM_JUMP)
                if not jumps:
                    return NOT_AN_ANCESTOR, e
            current = node
        elif kind == END:
            form += value
            if not program.present[form]:
                return NO_END, e
        elif kind == GENERATE:
            current = np.int64(nodes[node, PARENT])
        if form == FORM_BACKTRACK and told[node, STATE_TOLD] == state + 1:
            # The same words again: a return says nothing but its node and state.
            start = np.int64(told[node, VISIT_START])
            t = copy_run(tokens, start, np.int64(told[node, VISIT_STOP]) - start, tokens, t)
        else:
            # An inner node has a second form where the dialect labels nodes.
            num_forms = 2 if kind == GENERATE and labels and states[state, 0] > 1 else 1
            start = t
            for _ in range(num_forms):
                t = _put_form(program, form, problem, value, node, state, nodes, states, told, tokens, t)
                if form == FORM_BACKTRACK:
                    told[node, STATE_TOLD] = state + 1
                    told[node, VISIT_START] = start
                    told[node, VISIT_STOP] = t
                form = np.int64(FORM_LABEL)
        if e == 0:
            prompt = t
        stops[e] = t
    return t, prompt
