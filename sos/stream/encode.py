"""The encoder's kernel: writes a trace as tokens in one pass over a compiled dialect's program."""

from __future__ import annotations

import numpy as np
from numba import njit

from sos.stream import dialect as d
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


@njit(cache=True, nogil=True, inline="always")
def _put_number(value, whole_max, tokens, t):
    """Write `value` >= 0; return the position behind it."""
    if value <= whole_max:
        tokens[t] = FIRST_NUMBER + value
        return t + 1
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


@njit(cache=True, nogil=True, inline="always")
def _depth(nodes, node):
    depth = 0
    ancestor = nodes[node, PARENT]
    while ancestor >= 0:
        ancestor = nodes[ancestor, PARENT]
        depth += 1
    return depth


@njit(cache=True, nogil=True, inline="always")
def _ancestor(nodes, node, steps):
    for _ in range(steps):
        node = np.int64(nodes[node, PARENT])
    return node


@njit(cache=True, nogil=True)
def _put_history(program, nodes, node, tokens, t):
    """Write the actions from the root to `node`."""
    steps = program.steps
    depth = _depth(nodes, node)
    for step in range(depth - 1, -1, -1):
        if step < depth - 1:
            for token in program.operation_separator:
                tokens[t] = token
                t += 1
        action = nodes[_ancestor(nodes, node, step), ACTION:]
        for pc in range(program.step_start[OPERATION], program.step_start[OPERATION + 1]):
            kind = steps[pc, 0]
            argument = steps[pc, 1]
            if kind == LITERAL:
                for m in range(steps[pc, 2]):
                    tokens[t + m] = program.literals[argument + m]
                t += steps[pc, 2]
            elif kind == SYMBOL:
                tokens[t] = program.symbols[action[argument]]
                t += 1
            else:
                t = _put_number(np.int64(action[argument]), program.whole_max, tokens, t)
    return t


@njit(cache=True, nogil=True)
def _has(program, form, kind):
    for pc in range(program.start[form], program.start[form + 1]):
        if program.code[pc, 0] == kind:
            return True
    return False


@njit(cache=True, nogil=True)
def _is_ancestor(nodes, ancestor, node):
    """Say whether `ancestor` lies on the way from the root to `node`."""
    while node >= 0 and node != ancestor:
        node = np.int64(nodes[node, PARENT])
    return node >= 0


@njit(cache=True, nogil=True)
def encode_kernel(program, problem, events, nodes, states, tokens, align):
    """Write the stream of a trace into `tokens` (uint16 or int32) and the event of each token into `align` int32.

    Returns (number of tokens, prompt tokens), or (a negative key of `ENCODE_ERRORS`, event). O(tokens); mutates `tokens` and `align`.
    `tokens` must hold `program.max_event_tokens` more than the longest stream that is to fit.
    """
    t = np.int64(0)  # a literal would compile everything it is passed to twice
    prompt = np.int64(0)
    current = np.int64(0)
    limit = len(tokens) - program.max_event_tokens
    steps, starts, symbols, whole_max = program.steps, program.step_start, program.symbols, program.whole_max
    literals = program.literals
    separator, path_separator = program.separator, program.path_separator
    returns_by_depth = _has(program, FORM_BACKTRACK, DEPTH)
    names_expanded = _has(program, FORM_EXPAND, PATH)
    labels = program.present[FORM_LABEL]
    jumps = program.present[FORM_JUMP]
    for e in range(len(events)):
        if t > limit:
            return BUFFER_FULL, e
        begin = t
        kind = events[e, KIND]
        node = max(np.int64(events[e, NODE]), 0)
        state = max(np.int64(events[e, STATE]), 0)
        form = np.int64(FORM_OF_KIND[kind])
        if kind == EXPAND:
            if e == 0:
                form = np.int64(FORM_ROOT)
            elif not names_expanded and (events[e - 1, KIND] != GENERATE or events[e - 1, NODE] != node):
                form = np.int64(FORM_JUMP)
                if not jumps:
                    return NOT_JUST_GENERATED, e
            current = node
        elif kind == BACKTRACK:
            if returns_by_depth and not _is_ancestor(nodes, node, current):
                form = np.int64(FORM_JUMP)
                if not jumps:
                    return NOT_AN_ANCESTOR, e
            current = node
        elif kind == END:
            form += events[e, VALUE]
            if not program.present[form]:
                return NO_END, e
        elif kind == GENERATE:
            current = np.int64(nodes[node, PARENT])
        # An inner node has a second form where the dialect labels nodes.
        num_forms = 2 if kind == GENERATE and labels and states[state, 0] > 1 else 1
        for _ in range(num_forms):
            for pc in range(starts[form], starts[form + 1]):
                piece = steps[pc, 0]
                argument = np.int64(steps[pc, 1])
                if piece == LITERAL:
                    count = np.int64(steps[pc, 2])
                    for m in range(count):
                        tokens[t + m] = literals[argument + m]
                    t += count
                elif piece == SYMBOL:
                    tokens[t] = symbols[nodes[node, ACTION + argument]]
                    t += 1
                elif piece == NUMBERS:
                    for k in range(1, states[state, 0] + 1):
                        if k > 1:
                            for m in range(len(separator)):
                                tokens[t] = separator[m]
                                t += 1
                        t = _put_number(np.int64(states[state, k]), whole_max, tokens, t)
                elif piece == PATH:
                    tokens[t] = FIRST_NUMBER
                    t += 1
                    for step in range(_depth(nodes, node) - 1, -1, -1):
                        for m in range(len(path_separator)):
                            tokens[t] = path_separator[m]
                            t += 1
                        rank = np.int64(nodes[_ancestor(nodes, node, step), RANK])
                        if step == 0 and program.unnamed_leaves and states[state, 0] <= 1:
                            rank = 0
                        t = _put_number(rank, whole_max, tokens, t)
                elif piece == HISTORY:
                    t = _put_history(program, nodes, node, tokens, t)
                else:
                    if piece == ACTION_NUMBER:
                        value = np.int64(nodes[node, ACTION + argument])
                    elif piece == PROBLEM_NUMBER:
                        value = np.int64(problem[argument])
                    elif piece == VALUE_NUMBER:
                        value = np.int64(events[e, VALUE])
                    else:
                        value = np.int64(_depth(nodes, node))
                    t = _put_number(value, whole_max, tokens, t)
            form = np.int64(FORM_LABEL)
        if e == 0:
            prompt = t
        for k in range(begin, t):
            align[k] = e
    return t, prompt
