"""What the encoder works with for one dialect, and how it writes a number."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sos.kernels import inlined, inner
from sos.stream.dialect.program import Program
from sos.stream.dialect.vocab import FIRST_NUMBER
from sos.stream.write.spans import SHORT, SLACK, copy_short
from sos.stream.write.steps import number_tables, steps_of

# Columns of `Writing.told`: spans of tokens, from 0 on where nothing was written, and the state's row + 1 of the last
# visit.
STATE_TOLD, VISIT_START, VISIT_STOP, HISTORY_START, HISTORY_STOP, PHRASE_START, PHRASE_STOP, PATH_START, PATH_STOP = (
    range(9)
)
IS_LEAF = 9  # whether the node's generation was followed by a verdict on it
LEVEL_TOLD = 10  # see `sos.stream.dialect.compile`
TOLD_COLUMNS = 11


class Writing(NamedTuple):
    """What the encoder works with for one dialect, reused from trace to trace. Room for E events, N nodes, S states."""

    stops: np.ndarray  # int32 (E,): the position behind each event's tokens
    told: np.ndarray  # int32 (N, 11): where the tokens that a node needs again stand
    lists: np.ndarray  # int32 (S, 2): the same for the numbers of each state
    # Those of `Steps`; the sizes in `steps` and the contents of `literals` change with the problem.
    steps: np.ndarray
    step_start: np.ndarray
    pieces: np.ndarray
    changing: np.ndarray
    phrase: np.ndarray
    literals: np.ndarray
    number_tokens: np.ndarray
    number_sizes: np.ndarray


def new_writing(program: Program, max_events: int, max_nodes: int, max_states: int) -> Writing:
    """Allocate for traces of `program`'s dialect of up to so many events, nodes and states."""
    steps, step_start, pieces, changing, phrase, literals = (array.copy() for array in steps_of(program))
    number_tokens, number_sizes = number_tables(program.whole_max)
    return Writing(
        np.zeros(max_events, np.int32),
        np.zeros((max_nodes, TOLD_COLUMNS), np.int32),
        np.zeros((max_states, 2), np.int32),
        steps,
        step_start,
        pieces,
        changing,
        phrase,
        literals,
        number_tokens,
        number_sizes,
    )


def tokens_size(program: Program, num: int) -> int:
    """Return the length of an array of tokens, or of their kinds, into which any stream of up to `num` tokens can be
    written."""
    return num + program.max_event_tokens + SLACK


@inner
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


@inner
def _put_large(value, whole_max, tokens, t):
    if value <= whole_max:
        tokens[t] = FIRST_NUMBER + value
        return t + 1
    return _put_digits(value, tokens, t)


@inlined
def put_number(value, program, writing, tokens, t):
    """Write `value` >= 0; return the position behind it."""
    if value < len(writing.number_sizes):
        copy_short(writing.number_tokens, SHORT * value, tokens, t)
        return t + np.int64(writing.number_sizes[value])
    return _put_large(value, program.whole_max, tokens, t)
