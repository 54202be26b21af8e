"""The forms of a compiled dialect as the encoder takes them: each step a run of constant tokens, then one field.

Numbers of the problem are constant within a trace, so that they belong to the runs. The phrase, what the form
`generate` says of an action (`{a}{op}{b}={result}`), is one field in every form that says the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from sos.stream.dialect import program as d
from sos.stream.dialect.vocab import FIRST_NUMBER
from sos.stream.write.spans import SHORT, SLACK

PHRASE, NOTHING = d.NUM_KINDS, d.NUM_KINDS + 1  # fields beside the pieces of a program
PIECE, ARGUMENT, PLACE, SIZE, COLUMN, ITEMS, COUNT = range(7)  # the last three of a state's list, else 0
STEP = 8
CHANGING_STEP, CHANGING_START, CHANGING_STOP = range(3)


class Steps(NamedTuple):
    """What follows from a Program for the encoder. M = steps, K = pieces of runs, R = runs with numbers of the
    problem."""

    steps: np.ndarray  # int32 (STEP * M,): field, its argument, place in `literals` and size of the run before it, list
    step_start: np.ndarray  # int32 (16,): form f is `steps[step_start[f]:step_start[f + 1]]`
    pieces: np.ndarray  # int32 (K, 2): a LITERAL or PROBLEM_NUMBER and its argument
    changing: np.ndarray  # int32 (R, 3): a step whose run is written anew for each trace, and its span of `pieces`
    phrase: np.ndarray  # int32 (P, 2): the pieces of the phrase
    literals: np.ndarray  # uint16, the runs; SLACK zeros behind the last


def steps_of(program: d.Program) -> Steps:
    """Return the steps of a program; the arrays belong to all callers."""
    return _compile(program.code.tobytes(), program.start.tobytes(), program.lists.tobytes())


@cache
def _compile(code_bytes: bytes, start_bytes: bytes, lists_bytes: bytes) -> Steps:
    code, start = np.frombuffer(code_bytes, np.int32).reshape(-1, 2), np.frombuffer(start_bytes, np.int32)
    lists = np.frombuffer(lists_bytes, np.int32).reshape(-1, d.LIST_COLUMNS).tolist()
    forms = [[(int(kind), int(argument)) for kind, argument in code[a:b]] for a, b in pairwise(start)]
    phrase = _phrase(forms[d.GENERATE])
    steps: list[list[int]] = []
    step_start = [0]
    pieces: list[tuple[int, int]] = []
    changing: list[list[int]] = []
    literals: list[int] = []
    for form in forms:
        for run, (field, argument) in _split(form, phrase):
            place = len(literals)
            for kind, value in run:
                literals += [value] if kind == d.LITERAL else [0] * d.MAX_TOKENS_PER_NUMBER
            if any(kind != d.LITERAL for kind, _ in run):
                changing.append([len(steps), len(pieces), len(pieces) + len(run)])
                pieces += run
            steps.append(
                [field, argument, place, len(run), *(lists[argument][:4] if field == d.STATE_LIST else [0] * 4)]
            )
        step_start.append(len(steps))
    return Steps(
        np.array(steps, np.int32).reshape(-1),
        np.array(step_start, np.int32),
        np.array(pieces, np.int32).reshape(-1, 2),
        np.array(changing, np.int32).reshape(-1, 3),
        np.array(phrase, np.int32),
        np.array(literals + [0] * SLACK, np.uint16),
    )


def _phrase(form: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the longest part of `form` from its first field of an action on that says nothing but the action."""
    fields = (d.ACTION_NUMBER, d.SYMBOL)
    first = next(k for k, (kind, _) in enumerate(form) if kind in fields)
    last = stop = first
    while stop < len(form) and form[stop][0] in (*fields, d.LITERAL):
        if form[stop][0] in fields:
            last = stop
        stop += 1
    return form[first : last + 1]


def _split(
    form: list[tuple[int, int]], phrase: list[tuple[int, int]]
) -> Iterator[tuple[list[tuple[int, int]], tuple[int, int]]]:
    """Yield (run, field) for each field of `form`, and what is left behind the last with the field NOTHING."""
    run: list[tuple[int, int]] = []
    k = 0
    while k < len(form):
        if form[k : k + len(phrase)] == phrase:
            yield run, (PHRASE, 0)
            run, k = [], k + len(phrase)
            continue
        if form[k][0] in (d.LITERAL, d.PROBLEM_NUMBER):
            run.append(form[k])
        else:
            yield run, form[k]
            run = []
        k += 1
    if run:
        yield run, (NOTHING, 0)


@cache
def number_tables(whole_max: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers below 10**SHORT as tokens, uint16 with SHORT for each and zeros behind, and how many (uint8)
    each takes."""
    tokens, sizes = np.zeros((10**SHORT, SHORT), np.uint16), np.ones(10**SHORT, np.uint8)
    for value in range(10**SHORT):
        written = [value] if value <= whole_max else [int(digit) for digit in str(value)]
        sizes[value] = len(written)
        tokens[value, : len(written)] = [FIRST_NUMBER + number for number in written]
    return tokens.reshape(-1), sizes
