"""What a dialect is compiled to: a program of forms and pieces, which encoder, decoder and the check of ambiguity
read."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

FORMS = (
    "root",
    "expand",
    "generate",
    "label",
    "dead_end",
    "goal",
    "backtrack",
    "jump",
    "plan",
    "forced",
    "bare",
    "end_solved",
    "end_exhausted",
    "end_budget",
    "end_empty",
    "operation",
    "begin_search",
    "begin_plan",
    "begin_sketch",
    "begin_bare",
)
ROOT, EXPAND, GENERATE, LABEL, DEAD_END, GOAL, BACKTRACK, JUMP, PLAN, FORCED, BARE = range(11)
END_SOLVED, END_EXHAUSTED, END_BUDGET, END_EMPTY, OPERATION = range(11, 16)
BEGIN_SEARCH, BEGIN_PLAN, BEGIN_SKETCH, BEGIN_BARE = range(16, 20)
# Kinds of pieces. The argument is a token for a literal, a column for a number of a row and for a symbol (a number of
# the action that has a text), a row of `Program.lists` for a list, one of `Program.symbols` for a symbol of a state. A
# record of the value is the item of a list that an event's value numbers, from 1 on; none where the value is 0.
LITERAL, PROBLEM_NUMBER, ACTION_NUMBER, VALUE_NUMBER, SYMBOL, STATE_LIST, PATH, DEPTH, HISTORY = range(9)
STATE_NUMBER, PROBLEM_LIST, STATE_RECORDS, LEVEL, STATE_SYMBOL, VALUE_RECORD = range(9, 15)
NUM_KINDS = 15
# Columns of `Program.lists`, see `sos.envs.protocol.Field`; the last one is the first of the rows of `Program.symbols`
# for the numbers of an item, -1 where none has a text.
LIST_COLUMN, LIST_SIZE, LIST_COUNT, LIST_WIDTH, LIST_SYMBOLS = range(5)
LIST_COLUMNS = 5
MAX_TOKENS_PER_NUMBER = 10
LEAST_PATH = 16  # child indices of a path, and operations of a history, that the reader holds at least


class Program(NamedTuple):
    """A compiled dialect, as arrays for the kernels.

    `code` int32 (M, 2): piece kind and argument; `start` int32 (21,): form f is `code[start[f]:start[f + 1]]`;
    `present` bool (20,); `symbols` int32 (A + K, S): token id of each symbol of an action's column, then of each number
    of a state that has symbols, then of each number of an item of a list that has some, -1 behind the last; `columns`
    int32 (A + K,): the column of each; `lists` int32 (L, 5); the separators are int32 token ids.
    """

    code: np.ndarray
    start: np.ndarray
    present: np.ndarray
    symbols: np.ndarray
    columns: np.ndarray
    lists: np.ndarray
    separator: np.ndarray  # between the numbers of a list or of a record
    record_separator: np.ndarray
    path_separator: np.ndarray
    operation_separator: np.ndarray
    whole_max: int
    runs: bool  # a number may be a run of digits
    shared_visit: bool  # expand and backtrack have one wording
    shared_end: bool  # so have a solved and an exhausted end
    silent_expand: bool  # there is no form for the visit of the node generated last
    silent_goal: bool  # there is none for a goal: it is one as soon as it is visited
    headed: bool  # a search or a plan begins with a form of its own
    sketches: bool  # there are forms for searches without their visits
    unnamed_leaves: bool  # the path of a leaf ends in 0
    names_expanded: bool  # expand names its node: by a path, or as backtrack does, by the state
    returns_by_depth: bool  # backtrack has a depth
    returns_by_level: bool  # backtrack has a level, and neither a path nor a depth
    returns_by_state: bool  # backtrack has none of these
    jumps_by_state: bool  # jump has no path
    path_capacity: int  # child indices of a path, and operations of a history, that the reader holds
    max_event_tokens: int
