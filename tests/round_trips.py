"""One combination of task, search, view, dialect and number coding: what is written reads back, and is judged as its teacher."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from drivers import DIALECTS, all_searches, reads_back, run_search

from sos.data.splits import make_splits, sample_problems
from sos.envs.countdown.rules import Countdown
from sos.stream.codec import DecodeStatus, decode, encode
from sos.stream.dialect.compile import Dialect, load_dialect
from sos.stream.verify import Error, verify_tokens
from sos.stream.viewing import view_trace
from sos.stream.views import DOSE, FULL, NO_BACKTRACK, REDUNDANT, SOLUTION_PATH, View
from sos.trace import KIND, PARENT, Outcome, Trace

TASKS = {
    "3 numbers": Countdown(num_numbers=3, max_number=20, max_value=120),
    "4 numbers to 99": Countdown(num_numbers=4, max_number=99, max_value=300),
    "4 numbers, descending": Countdown(num_numbers=4, max_number=20, max_value=120, descending=True),
    "5 small numbers": Countdown(num_numbers=5, max_number=9, max_value=100),
}
VIEWS = {
    "full": View(FULL),
    "solution_path": View(SOLUTION_PATH),
    "dose 0.3": View(DOSE, 0.3),
    "dose 0.8": View(DOSE, 0.8),
    "no_backtrack": View(NO_BACKTRACK),
    "redundant": View(REDUNDANT),
}
CODINGS = (9, 99, 400)
SEARCHES = dict(all_searches())


class Combination(NamedTuple):
    """What one case is made of, by name."""

    task: str
    search: str
    view: str
    dialect: str
    whole_max: int


def all_combinations() -> Iterator[Combination]:
    """Yield every combination."""
    for names in product(TASKS, SEARCHES, VIEWS, DIALECTS, CODINGS):
        yield Combination(*names)


@cache
def problems_of(task: str, num: int) -> np.ndarray:
    """Return solvable problems of a task, int32 (num, P)."""
    env = TASKS[task]
    return sample_problems(env, make_splits(env, 0.1, 0.1), "train", num, seed=11)


@cache
def trace_of(task: str, search: str, number: int, num: int) -> Trace:
    """Return the search of one of `num` problems."""
    return run_search(SEARCHES[search], TASKS[task], problems_of(task, num)[number])


@cache
def dialect_of(name: str, task: str, whole_max: int) -> Dialect:
    """Return a compiled dialect."""
    return load_dialect(name, TASKS[task], whole_max)


def check(case: Combination, number: int, num: int) -> Trace:
    """Try one problem of a combination; return the view. Raises AssertionError where it does not read back."""
    env, dialect = TASKS[case.task], dialect_of(case.dialect, case.task, case.whole_max)
    search = trace_of(case.task, case.search, number, num)
    view = view_trace(VIEWS[case.view], env, search, key=number, max_nodes=20_000)
    tokens, align, _ = encode(dialect, view)
    back = decode(dialect, env, tokens)
    where: Any = (case, search.problem.tolist())
    assert (back.status, back.position) == (DecodeStatus.OK, len(tokens)), where
    assert np.array_equal(back.align, align), where
    assert np.array_equal(back.trace.nodes[:, PARENT], view.nodes[:, PARENT]), where
    assert reads_back(dialect, back.trace, view), where
    verdict, _, _ = verify_tokens(dialect, env, search.problem, tokens)
    allowed = {int(Error.NONE), int(Error.UNANNOUNCED)} if case.view == "no_backtrack" else {int(Error.NONE)}
    assert set(verdict.errors.tolist()) <= allowed, where
    assert verdict.solved == (view.outcome == Outcome.SOLVED), where
    if case.view in ("full", "no_backtrack"):
        assert view.outcome == search.outcome, where
        assert len(view.nodes) == len(search.nodes), where
    assert int(view.events[0, KIND]) == 0
    return view
