"""Reads one form of a compiled dialect at a position of a token array, into registers; total over token arrays."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sos.kernels import allocating, inlined, inner
from sos.stream.dialect.program import (
    ACTION_NUMBER,
    DEPTH,
    HISTORY,
    LEVEL,
    LIST_COLUMN,
    LIST_COUNT,
    LIST_SIZE,
    LIST_WIDTH,
    LITERAL,
    OPERATION,
    PATH,
    PROBLEM_LIST,
    ROOT,
    STATE_LIST,
    STATE_NUMBER,
    STATE_RECORDS,
    STATE_SYMBOL,
    SYMBOL,
    VALUE_NUMBER,
)
from sos.stream.dialect.vocab import FIRST_NUMBER

INT32_MAX = 2**31 - 1
# Scalars of a reading: what the fields of the form at hand said.
DEPTH_SLOT, VALUE_SLOT, STATED, PATH_SLOT, HISTORY_SLOT, ACTION_SEEN, QUOTES, FURTHEST, LEVEL_SLOT = range(9)
HEADING_QUOTES = 9  # whether what stands in front of the form repeats something wrongly


class Reading(NamedTuple):
    """Registers of the form being read (int64): scalars (10,), the state, path, action and history it stated."""

    scalars: np.ndarray
    state: np.ndarray  # (W,)
    path: np.ndarray  # (`Program.path_capacity`,)
    problem: np.ndarray  # (P,)
    action: np.ndarray  # (A,)
    history: np.ndarray  # (`Program.path_capacity`, A)


@allocating
def new_reading(path_capacity, problem_width, state_width, action_width):
    """Allocate registers."""
    return Reading(
        np.zeros(10, np.int64),
        np.zeros(state_width, np.int64),
        np.zeros(path_capacity, np.int64),
        np.zeros(problem_width, np.int64),
        np.zeros(action_width, np.int64),
        np.zeros((path_capacity, action_width), np.int64),
    )


@inner
def _read_number(whole_max, runs, tokens, pos):
    """Read the number at `pos`; return (value, position behind it), or (-1, offending position)."""
    if pos >= len(tokens):
        return -1, pos
    first = tokens[pos] - FIRST_NUMBER
    if first < 0 or first > whole_max:
        return -1, pos
    if not runs or first > 9 or first == 0 or pos + 1 >= len(tokens):
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


@inner
def _fail(scalars, pos):
    """Note how far the best attempt came; return the mark of failure."""
    if pos > scalars[FURTHEST]:
        scalars[FURTHEST] = pos
    return -1


@inner
def _matches(separator, tokens, pos, scalars):
    for k in range(len(separator)):
        if pos + k >= len(tokens) or tokens[pos + k] != separator[k]:
            _fail(scalars, pos + k)
            return False
    return True


@inlined
def _find_symbol(program, row, tokens, pos):
    """Return the number whose symbol, in a row of the program's, is the token at `pos`, -1 for none."""
    value = -1
    if pos < len(tokens):
        for k in range(program.symbols.shape[1]):
            if tokens[pos] == program.symbols[row, k]:
                value = k
    return value


@inner
def _read_action_piece(program, piece, tokens, pos, action, seen, scalars):
    """Read one number or operator of an action, `piece` of the program's code, into `action`; the second reading of a
    column is compared."""
    kind, column = piece[0], piece[1]
    if kind == SYMBOL:
        value = _find_symbol(program, column, tokens, pos)
        if value < 0:
            return _fail(scalars, pos), seen
        after = pos + 1
    else:
        value, after = _read_number(program.whole_max, program.runs, tokens, pos)
        if value < 0:
            return _fail(scalars, after), seen
    if seen & (1 << column):
        if action[column] != value:
            scalars[QUOTES] = 1
    else:
        action[column] = value
    return after, seen | (1 << column)


@inlined
def _read_operation(program, tokens, pos, action, reading):
    """Read one item of a history into `action`; return the position behind it or -1."""
    seen = 0
    for pc in range(program.start[OPERATION], program.start[OPERATION + 1]):
        kind = program.code[pc, 0]
        if kind == LITERAL:
            if pos >= len(tokens) or tokens[pos] != program.code[pc, 1]:
                return _fail(reading.scalars, pos)
            pos += 1
        else:
            pos, seen = _read_action_piece(program, program.code[pc], tokens, pos, action, seen, reading.scalars)
            if pos < 0:
                return -1
    return pos


@inlined
def _read_history(program, tokens, pos, reading):
    """Read a list of operations, which may be empty; return the position behind it or -1."""
    count = 0
    while True:
        row = min(count, len(reading.history) - 1)
        after = _read_operation(program, tokens, pos, reading.history[row], reading)
        if after < 0:
            # It may be empty; and where nothing separates operations, the list ends where no other one begins.
            if count == 0 or len(program.operation_separator) == 0:
                break
            return -1
        count += 1
        pos = after
        if not _matches(program.operation_separator, tokens, pos, reading.scalars):
            break
        pos += len(program.operation_separator)
    reading.scalars[HISTORY_SLOT] = count
    return pos


@inner
def _end_list(about, pos, num, row, scalars):
    """Count the `num` items of a list that ends at `pos`; return `pos`, or -1 where there should be more."""
    if about[LIST_COUNT] < 0:
        return pos if num == about[LIST_SIZE] else _fail(scalars, pos)
    for k in range(num * about[LIST_WIDTH], about[LIST_SIZE] * about[LIST_WIDTH]):
        row[about[LIST_COLUMN] + k] = 0
    row[about[LIST_COUNT]] = num
    return pos


@inner
def _read_records(program, which, tokens, pos, row, scalars):
    """Read list `which` of the program, of numbers or of records, into `row`; return the position behind it or -1. An
    empty one, and one of more items than the row holds, do not match."""
    about = program.lists[which]
    column, width = np.int64(about[LIST_COLUMN]), np.int64(about[LIST_WIDTH])
    between = program.record_separator if width > 1 else program.separator
    num = np.int64(0)
    while True:
        for m in range(width):
            if m > 0:
                if not _matches(program.separator, tokens, pos, scalars):
                    return -1
                pos += len(program.separator)
            value, after = _read_number(program.whole_max, program.runs, tokens, pos)
            if value < 0:
                if m == 0 and num > 0 and len(between) == 0:
                    return _end_list(about, pos, num, row, scalars)
                return _fail(scalars, after)
            if num >= about[LIST_SIZE]:
                return _fail(scalars, pos)
            row[column + num * width + m] = value
            pos = after
        num += 1
        if not _matches(between, tokens, pos, scalars):
            return _end_list(about, pos, num, row, scalars)
        pos += len(between)


@inlined
def _read_state(program, which, tokens, pos, reading):
    """Read list `which` of the program, of numbers, into the state; return as `_read_records` does."""
    about, row = program.lists[which], reading.state
    column, size = np.int64(about[LIST_COLUMN]), np.int64(about[LIST_SIZE])
    num = np.int64(0)
    while True:
        value, after = _read_number(program.whole_max, program.runs, tokens, pos)
        if value < 0:
            if num > 0 and len(program.separator) == 0:
                break
            return _fail(reading.scalars, after)
        if num >= size:
            return _fail(reading.scalars, pos)
        row[column + num] = value
        num += 1
        pos = after
        if not _matches(program.separator, tokens, pos, reading.scalars):
            break
        pos += len(program.separator)
    return _end_list(about, pos, num, row, reading.scalars)


@inlined
def _read_path(program, tokens, pos, reading):
    """Read child indices, the root's 0 first; return the position behind them or -1."""
    count = 0
    while True:
        value, after = _read_number(program.whole_max, program.runs, tokens, pos)
        if value < 0:
            if count > 0 and len(program.path_separator) == 0:
                break
            return _fail(reading.scalars, after)
        if count < len(reading.path):
            reading.path[count] = value
        count += 1
        pos = after
        if not _matches(program.path_separator, tokens, pos, reading.scalars):
            break
        pos += len(program.path_separator)
    reading.scalars[PATH_SLOT] = count
    return pos


@inner
def _read_state_symbol(program, row, tokens, pos, reading):
    """Read a number of the state that has a text; return the position behind it or -1."""
    value = _find_symbol(program, row, tokens, pos)
    if value < 0:
        return _fail(reading.scalars, pos)
    reading.state[program.columns[row]] = value
    reading.scalars[STATED] = 1
    return pos + 1


@inner
def read_heading(program, form, root, problem, tokens, pos, reading):
    """Read what a search or a plan begins with; return the position behind it or -1, and whether it repeats a number of
    the problem, or of the `root` state, wrongly."""
    misquotes = False
    if program.start[form] == program.start[form + 1]:
        return np.int64(-1), misquotes
    for pc in range(program.start[form], program.start[form + 1]):
        kind, argument = program.code[pc, 0], program.code[pc, 1]
        if kind == LITERAL:
            if pos >= len(tokens) or tokens[pos] != argument:
                return np.int64(_fail(reading.scalars, pos)), misquotes
            pos += 1
            continue
        if kind == STATE_SYMBOL:
            value, after = np.int64(_find_symbol(program, argument, tokens, pos)), pos + 1
            expected = root[program.columns[argument]]
        else:
            value, after = _read_number(program.whole_max, program.runs, tokens, pos)
            expected = root[argument] if kind == STATE_NUMBER else problem[argument]
        if value < 0:
            return np.int64(_fail(reading.scalars, pos if kind == STATE_SYMBOL else after)), misquotes
        misquotes |= value != expected
        pos = after
    return np.int64(pos), misquotes


@inlined
def read_form(program, form, problem, tokens, pos, reading):
    """Try to read `form` at `pos` into the registers; return the position behind it or -1."""
    scalars = reading.scalars
    scalars[DEPTH_SLOT] = -1
    scalars[LEVEL_SLOT] = -1
    scalars[VALUE_SLOT] = -1
    scalars[STATED] = 0
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
                return _fail(reading.scalars, pos)
            pos += 1
        elif kind == ACTION_NUMBER or kind == SYMBOL:
            seen = scalars[ACTION_SEEN]
            pos, seen = _read_action_piece(program, program.code[pc], tokens, pos, reading.action, seen, scalars)
            scalars[ACTION_SEEN] = seen
        elif kind == STATE_LIST:
            pos = _read_state(program, argument, tokens, pos, reading)
            scalars[STATED] = 1
        elif kind == PROBLEM_LIST or kind == STATE_RECORDS:
            row = reading.problem if kind == PROBLEM_LIST else reading.state
            pos = _read_records(program, argument, tokens, pos, row, scalars)
            scalars[STATED] = 1
        elif kind == PATH:
            pos = _read_path(program, tokens, pos, reading)
        elif kind == HISTORY:
            pos = _read_history(program, tokens, pos, reading)
        elif kind == STATE_SYMBOL:
            pos = _read_state_symbol(program, argument, tokens, pos, reading)
        else:
            value, after = _read_number(program.whole_max, program.runs, tokens, pos)
            if value < 0:
                return _fail(reading.scalars, after)
            pos = after
            if kind == DEPTH:
                scalars[DEPTH_SLOT] = value
            elif kind == VALUE_NUMBER:
                scalars[VALUE_SLOT] = value
            elif kind == STATE_NUMBER:
                reading.state[argument] = value
                scalars[STATED] = 1
            elif kind == LEVEL:
                scalars[LEVEL_SLOT] = value
            elif form == ROOT:
                reading.problem[argument] = value
            elif value != problem[argument]:
                scalars[QUOTES] = 1
        if pos < 0:
            return -1
    return pos
