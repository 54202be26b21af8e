"""Reads numbers, and lists of them or of records, at a position of a token array; total over token arrays."""

from __future__ import annotations

import numpy as np

from sos.kernels import inlined, inner
from sos.stream.dialect.program import LIST_COLUMN, LIST_COUNT, LIST_SIZE, LIST_SYMBOLS, LIST_WIDTH
from sos.stream.dialect.vocab import FIRST_NUMBER

INT32_MAX = 2**31 - 1
# Scalars of a reading: what the fields of the form at hand said.
DEPTH_SLOT, VALUE_SLOT, STATED, PATH_SLOT, HISTORY_SLOT, ACTION_SEEN, QUOTES, FURTHEST, LEVEL_SLOT = range(9)
HEADING_QUOTES = 9  # whether what stands in front of the form repeats something wrongly


@inner
def read_number(whole_max, runs, tokens, pos):
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
def fail(scalars, pos):
    """Note how far the best attempt came; return the mark of failure."""
    if pos > scalars[FURTHEST]:
        scalars[FURTHEST] = pos
    return -1


@inner
def matches(separator, tokens, pos, scalars):
    for k in range(len(separator)):
        if pos + k >= len(tokens) or tokens[pos + k] != separator[k]:
            fail(scalars, pos + k)
            return False
    return True


@inlined
def find_symbol(program, row, tokens, pos):
    """Return the number whose symbol, in a row of the program's, is the token at `pos`, -1 for none."""
    value = -1
    if pos < len(tokens):
        for k in range(program.symbols.shape[1]):
            if tokens[pos] == program.symbols[row, k]:
                value = k
    return value


@inner
def end_list(about, pos, num, row, scalars):
    """Count the `num` items of a list that ends at `pos`; return `pos`, or -1 where there should be more."""
    if about[LIST_COUNT] < 0:
        return pos if num == about[LIST_SIZE] else fail(scalars, pos)
    for k in range(num * about[LIST_WIDTH], about[LIST_SIZE] * about[LIST_WIDTH]):
        row[about[LIST_COLUMN] + k] = 0
    row[about[LIST_COUNT]] = num
    return pos


@inner
def _read_part(program, about, m, tokens, pos):
    """Read number `m` of an item of a list; return as `read_number` does."""
    symbols = np.int64(about[LIST_SYMBOLS])
    if symbols >= 0 and program.symbols[symbols + m, 0] >= 0:
        value = np.int64(find_symbol(program, symbols + m, tokens, pos))
        return value, (pos if value < 0 else pos + 1)
    value, after = read_number(program.whole_max, program.runs, tokens, pos)
    return np.int64(value), after


@inner
def _read_item(program, about, problem, place, tokens, pos):
    """Read an item of a list; return the position behind it and whether it is the one in `problem` at `place`, or -1
    and the offending position."""
    same = np.int64(1)
    for m in range(about[LIST_WIDTH]):
        for token in program.separator if m > 0 else program.separator[:0]:
            if pos >= len(tokens) or tokens[pos] != token:
                return np.int64(-1), np.int64(pos)
            pos += 1
        value, after = _read_part(program, about, m, tokens, pos)
        if value < 0:
            return np.int64(-1), np.int64(after)
        if value != problem[place + m]:
            same = np.int64(0)
        pos = after
    return np.int64(pos), same


@inner
def read_value_record(program, which, problem, tokens, pos, scalars):
    """Read an item of list `which` of the problem, or none, and take its number, from 1 on, for the value.

    0 stands for none, and a number that no item can have for one that is not there. Return the position behind it or
    -1. O(items)."""
    about = program.lists[which]
    num = np.int64(about[LIST_SIZE] if about[LIST_COUNT] < 0 else problem[about[LIST_COUNT]])
    place, number = np.int64(about[LIST_COLUMN]), np.int64(0)
    if _read_part(program, about, 0, tokens, pos)[0] >= 0:
        after, where = _read_item(program, about, problem, place, tokens, pos)
        if after < 0:
            return np.int64(fail(scalars, where))
        number = np.int64(about[LIST_SIZE] + 1)
        for k in range(num):
            if _read_item(program, about, problem, place, tokens, pos)[1] > 0:
                number = np.int64(k + 1)
                break
            place += np.int64(about[LIST_WIDTH])
        pos = after
    if scalars[VALUE_SLOT] >= 0 and scalars[VALUE_SLOT] != number:
        scalars[QUOTES] = 1
    else:
        scalars[VALUE_SLOT] = number
    return np.int64(pos)


@inner
def read_records(program, which, tokens, pos, row, scalars):
    """Read list `which` of the program, of numbers or of records, into `row`; return the position behind it or -1. An
    empty one, and one of more items than the row holds, do not match."""
    about = program.lists[which]
    column, width = np.int64(about[LIST_COLUMN]), np.int64(about[LIST_WIDTH])
    between = program.record_separator if width > 1 else program.separator
    num = np.int64(0)
    while True:
        for m in range(width):
            if m > 0:
                if not matches(program.separator, tokens, pos, scalars):
                    return -1
                pos += len(program.separator)
            value, after = _read_part(program, about, m, tokens, pos)
            if value < 0:
                if m == 0 and num > 0 and len(between) == 0:
                    return end_list(about, pos, num, row, scalars)
                return fail(scalars, after)
            if num >= about[LIST_SIZE]:
                return fail(scalars, pos)
            row[column + num * width + m] = value
            pos = after
        num += 1
        if not matches(between, tokens, pos, scalars):
            return end_list(about, pos, num, row, scalars)
        pos += len(between)
