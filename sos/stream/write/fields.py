"""Writes one field of a form: a path, a list, an action or a history. What was written before is copied."""

from __future__ import annotations

import numpy as np

from sos.kernels import inlined, inner
from sos.stream.dialect.program import (
    ACTION_NUMBER,
    LIST_COLUMN,
    LIST_COUNT,
    LIST_SIZE,
    LIST_SYMBOLS,
    LIST_WIDTH,
    LITERAL,
    OPERATION,
)
from sos.stream.dialect.vocab import FIRST_NUMBER
from sos.stream.write.space import (
    HISTORY_START,
    HISTORY_STOP,
    PATH_START,
    PATH_STOP,
    PHRASE_START,
    PHRASE_STOP,
    put_number,
)
from sos.stream.write.spans import copy_run
from sos.stream.write.steps import ARGUMENT, COLUMN, COUNT, ITEMS, NOTHING, PHRASE, PIECE, PLACE, SIZE, STEP
from sos.trace import ACTION, PARENT, RANK


@inlined
def depth(nodes, node):
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
def _put_again(row, start, tokens, t):
    """Copy the span of tokens in columns `start` and `start` + 1 of `row`."""
    return copy_run(tokens, np.int64(row[start]), np.int64(row[start + 1] - row[start]), tokens, t)


@inlined
def _put_separator(separator, tokens, t):
    for m in range(len(separator)):
        tokens[t] = separator[m]
        t += 1
    return t


@inlined
def put_path(program, nodes, node, leaf, writing, tokens, t):
    """Write the child indices from the root to `node`, a `leaf` perhaps without its own."""
    told = writing.told
    unnamed = leaf and program.unnamed_leaves
    start = t
    top = node
    depth = 0
    while nodes[top, PARENT] >= 0 and (told[top, PATH_START] == 0 or (unnamed and depth == 0)):
        top = np.int64(nodes[top, PARENT])
        depth += 1
    if told[top, PATH_START] > 0:
        t = _put_again(told[top], PATH_START, tokens, t)
    else:
        tokens[t] = FIRST_NUMBER
        t += 1
    for step in range(depth - 1, -1, -1):
        t = _put_separator(program.path_separator, tokens, t)
        rank = np.int64(0)
        if step > 0 or not unnamed:
            rank = np.int64(nodes[_ancestor(nodes, node, step), RANK])
        t = put_number(rank, program, writing, tokens, t)
    if not unnamed:
        told[node, PATH_START] = start
        told[node, PATH_STOP] = t
    return t


@inner
def _put_item(program, about, row, place, writing, tokens, t):
    """Write an item of a list, whose numbers stand in `row` from `place` on."""
    symbols = np.int64(about[LIST_SYMBOLS])
    for m in range(about[LIST_WIDTH]):
        if m > 0:
            t = _put_separator(program.separator, tokens, t)
        number = np.int64(row[place + m])
        if symbols >= 0 and program.symbols[symbols + m, 0] >= 0:
            tokens[t] = program.symbols[symbols + m, number]
            t += 1
        else:
            t = put_number(number, program, writing, tokens, t)
    return t


@inner
def put_record(program, which, problem, number, writing, tokens, t):
    """Write item `number`, from 1 on, of list `which` of the problem; nothing for another number."""
    about = program.lists[which]
    num = np.int64(about[LIST_SIZE] if about[LIST_COUNT] < 0 else problem[about[LIST_COUNT]])
    if number < 1 or number > num:
        return np.int64(t)
    place = np.int64(about[LIST_COLUMN]) + (number - 1) * np.int64(about[LIST_WIDTH])
    return np.int64(_put_item(program, about, problem, place, writing, tokens, t))


@inner
def put_records(program, which, row, writing, tokens, t):
    """Write list `which` of the program, of numbers or of records, from the row that holds it."""
    about = program.lists[which]
    num = np.int64(about[LIST_SIZE] if about[LIST_COUNT] < 0 else row[about[LIST_COUNT]])
    place, width = np.int64(about[LIST_COLUMN]), np.int64(about[LIST_WIDTH])
    for k in range(num):
        if k > 0:
            t = _put_separator(program.record_separator if width > 1 else program.separator, tokens, t)
        t = _put_item(program, about, row, place, writing, tokens, t)
        place += width
    return t


@inlined
def put_state(program, m, states, state, writing, tokens, t):
    """Write the list of numbers of a state, the field of step `m`, which says what `Program.lists` does."""
    span = writing.lists[state]
    if span[0] > 0:
        return _put_again(span, 0, tokens, t)
    span[0] = t
    steps = writing.steps
    first, count = np.int64(steps[STEP * m + COLUMN]), np.int64(steps[STEP * m + COUNT])
    num = np.int64(steps[STEP * m + ITEMS] if count < 0 else states[state, count])
    for k in range(first, first + num):
        if k > first:
            t = _put_separator(program.separator, tokens, t)
        t = put_number(np.int64(states[state, k]), program, writing, tokens, t)
    span[1] = t
    return t


@inlined
def put_phrase(program, nodes, node, writing, tokens, t):
    """Write what a generation says of the action that generated `node`."""
    row = writing.told[node]
    if row[PHRASE_START] > 0:
        return _put_again(row, PHRASE_START, tokens, t)
    row[PHRASE_START] = t
    phrase = writing.phrase
    for k in range(len(phrase)):
        t = put_action(program, phrase[k, 0], np.int64(phrase[k, 1]), nodes, node, writing, tokens, t)
    row[PHRASE_STOP] = t
    return t


@inlined
def put_action(program, piece, argument, nodes, node, writing, tokens, t):
    """Write a literal, or one column of the action that generated `node`."""
    if piece == ACTION_NUMBER:
        return put_number(np.int64(nodes[node, ACTION + argument]), program, writing, tokens, t)
    tokens[t] = argument if piece == LITERAL else program.symbols[argument, nodes[node, ACTION + argument]]
    return t + 1


@inlined
def _put_operation(program, nodes, node, writing, tokens, t):
    """Write the action that generated `node`, as in a history."""
    steps = writing.steps
    for m in range(writing.step_start[OPERATION], writing.step_start[OPERATION + 1]):
        t = copy_run(writing.literals, np.int64(steps[STEP * m + PLACE]), np.int64(steps[STEP * m + SIZE]), tokens, t)
        field = steps[STEP * m + PIECE]
        if field == PHRASE:
            t = put_phrase(program, nodes, node, writing, tokens, t)
        elif field != NOTHING:
            t = put_action(program, field, np.int64(steps[STEP * m + ARGUMENT]), nodes, node, writing, tokens, t)
    return t


@inlined
def put_history(program, nodes, node, writing, tokens, t):
    """Write the actions from the root to `node`."""
    told = writing.told
    start = t
    top = node
    depth = 0
    while nodes[top, PARENT] >= 0 and told[top, HISTORY_START] == 0:
        top = np.int64(nodes[top, PARENT])
        depth += 1
    if told[top, HISTORY_STOP] > told[top, HISTORY_START]:
        t = _put_again(told[top], HISTORY_START, tokens, t)
    for step in range(depth - 1, -1, -1):
        if t > start:
            t = _put_separator(program.operation_separator, tokens, t)
        t = _put_operation(program, nodes, _ancestor(nodes, node, step), writing, tokens, t)
    told[node, HISTORY_START] = start
    told[node, HISTORY_STOP] = t
    return t
