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
    LIST_SIZE,
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
    VALUE_RECORD,
)
from sos.stream.read.lists import (
    ACTION_SEEN,
    DEPTH_SLOT,
    HISTORY_SLOT,
    LEVEL_SLOT,
    PATH_SLOT,
    QUOTES,
    STATED,
    VALUE_SLOT,
    end_list,
    fail,
    find_symbol,
    matches,
    read_number,
    read_records,
    read_value_record,
)


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
def _read_action_piece(program, piece, tokens, pos, action, seen, scalars):
    """Read one number or operator of an action, `piece` of the program's code, into `action`; the second reading of a
    column is compared."""
    kind, column = piece[0], piece[1]
    if kind == SYMBOL:
        value = find_symbol(program, column, tokens, pos)
        if value < 0:
            return fail(scalars, pos), seen
        after = pos + 1
    else:
        value, after = read_number(program.whole_max, program.runs, tokens, pos)
        if value < 0:
            return fail(scalars, after), seen
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
                return fail(reading.scalars, pos)
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
        if not matches(program.operation_separator, tokens, pos, reading.scalars):
            break
        pos += len(program.operation_separator)
    reading.scalars[HISTORY_SLOT] = count
    return pos


@inlined
def _read_state(program, which, tokens, pos, reading):
    """Read list `which` of the program, of numbers, into the state; return as `read_records` does."""
    about, row = program.lists[which], reading.state
    column, size = np.int64(about[LIST_COLUMN]), np.int64(about[LIST_SIZE])
    num = np.int64(0)
    while True:
        value, after = read_number(program.whole_max, program.runs, tokens, pos)
        if value < 0:
            if num > 0 and len(program.separator) == 0:
                break
            return fail(reading.scalars, after)
        if num >= size:
            return fail(reading.scalars, pos)
        row[column + num] = value
        num += 1
        pos = after
        if not matches(program.separator, tokens, pos, reading.scalars):
            break
        pos += len(program.separator)
    return end_list(about, pos, num, row, reading.scalars)


@inlined
def _read_path(program, tokens, pos, reading):
    """Read child indices, the root's 0 first; return the position behind them or -1."""
    count = 0
    while True:
        value, after = read_number(program.whole_max, program.runs, tokens, pos)
        if value < 0:
            if count > 0 and len(program.path_separator) == 0:
                break
            return fail(reading.scalars, after)
        if count < len(reading.path):
            reading.path[count] = value
        count += 1
        pos = after
        if not matches(program.path_separator, tokens, pos, reading.scalars):
            break
        pos += len(program.path_separator)
    reading.scalars[PATH_SLOT] = count
    return pos


@inner
def _read_state_symbol(program, row, tokens, pos, reading):
    """Read a number of the state that has a text; return the position behind it or -1."""
    value = find_symbol(program, row, tokens, pos)
    if value < 0:
        return fail(reading.scalars, pos)
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
                return np.int64(fail(reading.scalars, pos)), misquotes
            pos += 1
            continue
        if kind == STATE_SYMBOL:
            value, after = np.int64(find_symbol(program, argument, tokens, pos)), pos + 1
            expected = root[program.columns[argument]]
        else:
            value, after = read_number(program.whole_max, program.runs, tokens, pos)
            expected = root[argument] if kind == STATE_NUMBER else problem[argument]
        if value < 0:
            return np.int64(fail(reading.scalars, pos if kind == STATE_SYMBOL else after)), misquotes
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
                return fail(reading.scalars, pos)
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
            pos = read_records(program, argument, tokens, pos, row, scalars)
            scalars[STATED] = 1
        elif kind == PATH:
            pos = _read_path(program, tokens, pos, reading)
        elif kind == HISTORY:
            pos = _read_history(program, tokens, pos, reading)
        elif kind == STATE_SYMBOL:
            pos = _read_state_symbol(program, argument, tokens, pos, reading)
        elif kind == VALUE_RECORD:
            pos = read_value_record(program, argument, problem, tokens, pos, scalars)
        else:
            value, after = read_number(program.whole_max, program.runs, tokens, pos)
            if value < 0:
                return fail(reading.scalars, after)
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
