"""Encode traces into tokens, and decode any token array at all into a trace of claims."""

from __future__ import annotations

from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from sos.stream import dialect as d
from sos.stream.decode import decode_kernel
from sos.stream.dialect import Dialect
from sos.stream.vocab import BOS, FIRST_NUMBER
from sos.trace import ACTION, KIND, NODE, PARENT, RANK, STATE, VALUE, Event, Outcome, Trace, new_buffer, to_trace

LITERAL, PROBLEM_NUMBER, ACTION_NUMBER, VALUE_NUMBER, SYMBOL, NUMBERS, PATH, DEPTH, HISTORY = range(9)
EXPAND, GENERATE, DEAD_END, GOAL, BACKTRACK, END = (int(e) for e in Event)
SOLVED, EXHAUSTED, BUDGET = (int(o) for o in Outcome)
FORM_ROOT, FORM_EXPAND, FORM_LABEL, FORM_BACKTRACK, OPERATION = d.ROOT, d.EXPAND, d.LABEL, d.BACKTRACK, d.OPERATION
FORM_OF_KIND = (d.EXPAND, d.GENERATE, d.DEAD_END, d.GOAL, d.BACKTRACK, d.END_SOLVED)

BUFFER_FULL, NOT_AN_ANCESTOR, NOT_JUST_GENERATED = -1, -2, -3
ENCODE_ERRORS = {
    BUFFER_FULL: "the token buffer is full",
    NOT_AN_ANCESTOR: "it writes a return as a depth, and the trace returns to a node that is no ancestor of the current one",
    NOT_JUST_GENERATED: "it expands the node generated last without naming it, and the trace expands another one",
}


class Decoded(NamedTuple):
    """What `decode` returns: the trace so far, the status, and where reading stopped."""

    trace: Trace
    status: DecodeStatus
    position: int  # index of the first token that was not understood, or the number of tokens read
    align: np.ndarray  # int32 (position,): the event that each token belongs to


class DecodeStatus(IntEnum):
    """How reading a token array ended."""

    OK = 0  # read up to `<eos>`
    TRUNCATED = 1  # the tokens end before `<eos>`
    MALFORMED = 2  # no form of the dialect goes on with the token at the position
    NO_PROMPT = 3  # the tokens do not start with a problem statement
    BUFFER_FULL = 4  # more events or nodes than the caller's buffer holds


@njit(cache=True, nogil=True, inline="always")
def _put_number(value, whole_max, tokens, t):
    if value <= whole_max:
        tokens[t] = FIRST_NUMBER + value
        return t + 1
    divisor = 10
    while divisor * 10 <= value:
        divisor *= 10
    while divisor > 0:
        tokens[t] = FIRST_NUMBER + value // divisor % 10
        t += 1
        divisor //= 10
    return t


@njit(cache=True, nogil=True)
def _depth(nodes, node):
    depth = 0
    while nodes[node, PARENT] >= 0:
        node = nodes[node, PARENT]
        depth += 1
    return depth


@njit(cache=True, nogil=True)
def _ancestor(nodes, node, steps):
    for _ in range(steps):
        node = nodes[node, PARENT]
    return node


@njit(cache=True, nogil=True)
def _put_operation(program, nodes, node, tokens, t):
    code = program.code
    for pc in range(program.start[OPERATION], program.start[OPERATION + 1]):
        kind = code[pc, 0]
        if kind == LITERAL:
            tokens[t] = code[pc, 1]
            t += 1
        elif kind == SYMBOL:
            tokens[t] = program.symbols[nodes[node, ACTION + code[pc, 1]]]
            t += 1
        else:
            t = _put_number(nodes[node, ACTION + code[pc, 1]], program.whole_max, tokens, t)
    return t


@njit(cache=True, nogil=True)
def _put_form(program, form, problem, nodes, states, node, state, value, tokens, t):
    """Write one form; the caller has made sure of room for `max_event_tokens`."""
    code = program.code
    for pc in range(program.start[form], program.start[form + 1]):
        kind = code[pc, 0]
        if kind == LITERAL:
            tokens[t] = code[pc, 1]
            t += 1
        elif kind == ACTION_NUMBER:
            t = _put_number(nodes[node, ACTION + code[pc, 1]], program.whole_max, tokens, t)
        elif kind == SYMBOL:
            tokens[t] = program.symbols[nodes[node, ACTION + code[pc, 1]]]
            t += 1
        elif kind == NUMBERS:
            count = states[state, 0]
            for k in range(1, count + 1):
                if k > 1:
                    for token in program.separator:
                        tokens[t] = token
                        t += 1
                t = _put_number(states[state, k], program.whole_max, tokens, t)
        elif kind == PROBLEM_NUMBER:
            t = _put_number(problem[code[pc, 1]], program.whole_max, tokens, t)
        elif kind == VALUE_NUMBER:
            t = _put_number(value, program.whole_max, tokens, t)
        elif kind == DEPTH:
            t = _put_number(_depth(nodes, node), program.whole_max, tokens, t)
        elif kind == PATH:
            depth = _depth(nodes, node)
            tokens[t] = FIRST_NUMBER
            t += 1
            for step in range(depth - 1, -1, -1):
                for token in program.path_separator:
                    tokens[t] = token
                    t += 1
                t = _put_number(nodes[_ancestor(nodes, node, step), RANK], program.whole_max, tokens, t)
        else:
            depth = _depth(nodes, node)
            for step in range(depth - 1, -1, -1):
                if step < depth - 1:
                    for token in program.operation_separator:
                        tokens[t] = token
                        t += 1
                t = _put_operation(program, nodes, _ancestor(nodes, node, step), tokens, t)
    return t


@njit(cache=True, nogil=True)
def _has(program, form, kind):
    for pc in range(program.start[form], program.start[form + 1]):
        if program.code[pc, 0] == kind:
            return True
    return False


@njit(cache=True, nogil=True)
def encode_kernel(program, problem, events, nodes, states, tokens, align):
    """Write the stream of a trace into `tokens` (uint16 or int32) and the event of each token into `align` int32.

    Returns (number of tokens, prompt tokens), or (a negative key of `ENCODE_ERRORS`, event). O(tokens); mutates `tokens` and `align`.
    `tokens` must hold `program.max_event_tokens` more than the longest stream that is to fit.
    """
    t = 0
    prompt = 0
    current = np.int64(0)
    limit = len(tokens) - program.max_event_tokens
    returns_by_depth = _has(program, FORM_BACKTRACK, DEPTH)
    names_expanded = _has(program, FORM_EXPAND, PATH) or _has(program, FORM_EXPAND, DEPTH)
    labels = program.present[FORM_LABEL]
    for e in range(len(events)):
        if t > limit:
            return BUFFER_FULL, e
        start = t
        kind = events[e, KIND]
        node = max(np.int64(events[e, NODE]), 0)
        state = max(np.int64(events[e, STATE]), 0)
        form = np.int64(FORM_OF_KIND[kind])
        if kind == EXPAND:
            if e == 0:
                form = FORM_ROOT
            elif not names_expanded and (events[e - 1, KIND] != GENERATE or events[e - 1, NODE] != node):
                return NOT_JUST_GENERATED, e
            current = node
        elif kind == BACKTRACK:
            if returns_by_depth:
                ancestor = current
                while ancestor >= 0 and ancestor != node:
                    ancestor = nodes[ancestor, PARENT]
                if ancestor < 0:
                    return NOT_AN_ANCESTOR, e
            current = node
        elif kind == END:
            form += events[e, VALUE]
        # An inner node has a second form where the dialect labels nodes. One call site: numba compiles each on its own.
        num_forms = 2 if kind == GENERATE and labels and states[state, 0] > 1 else 1
        for _ in range(num_forms):
            t = _put_form(program, form, problem, nodes, states, node, state, events[e, VALUE], tokens, t)
            form = FORM_LABEL
        if e == 0:
            prompt = t
        for k in range(start, t):
            align[k] = e
    return t, prompt


def encode(dialect: Dialect, trace: Trace) -> tuple[np.ndarray, np.ndarray, int]:
    """Return (tokens uint16 (T,), align int32 (T,), number of prompt tokens) of a whole trace.

    Raises ValueError where the dialect cannot express the trace (a jump that its forms do not name).
    """
    size = 256 + dialect.program.max_event_tokens
    while True:
        tokens, align = np.zeros(size, np.uint16), np.zeros(size, np.int32)
        count, prompt = encode_kernel(
            dialect.program, trace.problem, trace.events, trace.nodes, trace.states, tokens, align
        )
        if count >= 0:
            return tokens[:count].copy(), align[:count].copy(), prompt
        if count != BUFFER_FULL:
            raise ValueError(f"dialect {dialect.name} cannot write event {prompt} of the trace: {ENCODE_ERRORS[count]}")
        size *= 4


def encode_prompt(dialect: Dialect, problem: np.ndarray) -> list[int]:
    """Return the prompt ids of `problem`: `<bos>` and the root form."""
    problem = np.asarray(problem, np.int32)
    events = np.zeros((1, 5), np.int32)
    nodes = np.full((1, 7), -1, np.int32)
    tokens, _, _ = encode(dialect, Trace(problem, events, nodes, problem[None, 1:].copy()))
    return tokens.tolist()


def decode(dialect: Dialect, env: Any, tokens: Any) -> Decoded:
    """Read any integer array as a stream; never raises for its contents.

    What follows the first `<eos>` is ignored. The trace holds what was claimed up to the position where reading stopped.
    """
    tokens = np.ascontiguousarray(tokens, np.int64).reshape(-1)
    # Every event takes at least one token, and a node takes an event.
    size = len(tokens) + 2
    buffer = new_buffer(size, size, ACTION + env.action_width, env.state_width)
    align = np.full(len(tokens), -1, np.int32)
    problem = np.zeros(env.problem_width, np.int32)
    status, position = decode_kernel(dialect.program, env, tokens, problem, buffer, align)
    return Decoded(to_trace(problem, buffer), DecodeStatus(status), int(position), align[: int(position)])


assert BOS == 1  # the root form starts with it
