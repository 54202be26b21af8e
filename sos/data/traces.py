"""Whole searches, before any view or dialect: problem i -> search -> trace, for any range of i, in any order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from sos.data.splits import SPLITS, Splits, sample
from sos.errors import UserError
from sos.kernels import inlined, inner, kernel
from sos.rng import fold, permute, stream_key
from sos.search.protocol import choose, search_chosen
from sos.search.work import new_work
from sos.trace import ACTION, EVENT_COLUMNS, Status, Trace, TraceBuffer

OK = int(Status.OK)
FIRST_ROOM = 64  # rows per visit that the arrays have room for at first
STRATEGY_DRAW = -1  # the element of a problem stream that seeds the draws of strategies; problems are numbered from 0


class TraceRows(NamedTuple):
    """Traces of consecutive visits, behind each other, and room for more. N = traces; all int32 but `offsets` and `visits`."""

    problems: np.ndarray  # (N, P)
    events: np.ndarray  # (E, 5)
    nodes: np.ndarray  # (M, 2 + A)
    states: np.ndarray  # (S, W)
    offsets: np.ndarray  # int64 (N + 1, 3): where the events, nodes and states of each trace start
    visits: np.ndarray  # int64 (N,)
    strategies: np.ndarray  # (N,) which strategy of a mixture searched

    def grown(self) -> TraceRows:
        """Return a copy with room for twice the events, nodes and states."""
        more = {
            name: np.concatenate([rows, np.zeros_like(rows)])
            for name, rows in self._asdict().items()
            if name in GROWING
        }
        return self._replace(**more)


GROWING = ("events", "nodes", "states")


@inner
def max_events(max_nodes):
    """Return a bound of the events of a trace of `max_nodes` nodes."""
    return 4 * max_nodes + 8


def new_rows(env: Any, num: int, room: int, max_nodes: int) -> TraceRows:
    """Allocate for `num` traces with `room` events, nodes and states together, and behind them for one of `max_nodes` nodes."""
    room += max_events(max_nodes)
    return TraceRows(
        np.zeros((num, env.problem_width), np.int32),
        np.zeros((room, EVENT_COLUMNS), np.int32),
        np.zeros((room, ACTION + env.action_width), np.int32),
        np.zeros((room, env.state_width), np.int32),
        np.zeros((num + 1, 3), np.int64),
        np.zeros(num, np.int64),
        np.zeros(num, np.int32),
    )


class TraceChunk(NamedTuple):
    """The used part of TraceRows, see there."""

    problems: np.ndarray
    events: np.ndarray
    nodes: np.ndarray
    states: np.ndarray
    offsets: np.ndarray
    visits: np.ndarray
    strategies: np.ndarray
    num_dropped: int  # visits whose search generates more nodes than a trace may have

    def traces(self) -> Iterator[Trace]:
        """Yield the traces, as views of the arrays where those are int32."""
        for problem, (e, n, s), (e2, n2, s2) in zip(self.problems, self.offsets, self.offsets[1:], strict=False):
            rows = (problem, self.events[e:e2], self.nodes[n:n2], self.states[s:s2])
            yield Trace(*(np.asarray(row, np.int32) for row in rows))


@kernel
def strategy_of(strategy, key, index):
    """Return which strategy of a mixture searches problem `index` of the stream `key`; a pure function of both."""
    return choose(strategy, fold(key, STRATEGY_DRAW), index)


@inner
def index_of(visit, num_problems, order_key):
    """Return the problem of a visit: itself, or in a fixed data set the image under the permutation of its epoch."""
    if num_problems <= 0:
        return np.int64(visit)
    return permute(fold(order_key, visit // num_problems), visit % num_problems, num_problems)


@inlined
def room_for_trace(rows, num, max_nodes, counts):
    """Return a TraceBuffer, counted by `counts`, of what `rows` holds behind trace `num` - 1, and whether there is enough of it."""
    e, n, s = rows.offsets[num, 0], rows.offsets[num, 1], rows.offsets[num, 2]
    e2, n2, s2 = e + max_events(max_nodes), n + max_nodes, s + max_nodes
    fits = e2 <= len(rows.events) and n2 <= len(rows.nodes) and s2 <= len(rows.states)
    return TraceBuffer(rows.events[e:e2], rows.nodes[n:n2], rows.states[s:s2], counts), fits


@inlined
def close_trace(rows, num, problem, counts, visit, strategy):
    """Make what was written into `room_for_trace` trace `num` of `rows`."""
    for k in range(len(problem)):
        rows.problems[num, k] = problem[k]
    for k in range(3):
        rows.offsets[num + 1, k] = rows.offsets[num, k] + counts[k]
    rows.visits[num] = visit
    rows.strategies[num] = strategy


# Two kernels, not one: what one kernel calls is compiled again within it.
@kernel
def _sample_visits(env, splits, split, key, num_problems, order_key, start, problems, indices, proof):
    """Draw the problems of the visits from `start` on and the numbers of the problems; return how many there are."""
    for k in range(len(indices)):
        indices[k] = index_of(start + k, num_problems, order_key)
        if sample(env, splits, split, 1, key, indices[k], problems[k], proof) < 0:
            return k
    return len(indices)


@kernel
def _search_problems(env, strategy, key, problems, indices, first, start, stop, max_nodes, work, counts, rows, num):
    """Append the traces of problems `start` to `stop`, of the visits from `first` on, each with its strategy of a mixture.

    Returns (traces, dropped, problem reached, whether there was room). A search of more than `max_nodes` nodes is dropped.
    """
    dropped = 0
    for k in range(start, stop):
        problem = problems[k]
        choice = strategy_of(strategy, key, indices[k])
        trace, fits = room_for_trace(rows, num, max_nodes, counts)
        if not fits:
            return num, dropped, k, False
        if search_chosen(strategy, choice, env, problem, work, trace) != OK:
            dropped += 1
            continue
        close_trace(rows, num, problem, counts, first + k, choice)
        num += 1
    return num, dropped, stop, True


@dataclass
class TraceSource:
    """Traces of one configuration: visit v -> trace, the search that `StreamSource` shows for the same visit."""

    env: Any
    strategy: Any
    splits: Splits
    seed: int
    split: str = "train"
    num_problems: int = 0
    max_nodes: int = 20_000

    def __post_init__(self) -> None:
        self._work = new_work(self.env, self.max_nodes)
        self._counts = np.zeros(3, np.int64)
        self._proof = self.env.proof_work()
        self._rows = new_rows(self.env, 0, 0, 0)
        self._problems, self._indices = self._rows.problems, self._rows.visits

    def fill(self, start: int, stop: int) -> tuple[TraceRows, int, int]:
        """Return (rows, number of traces, number dropped) of visits `start` to `stop`, in arrays that the next call reuses.

        Raises ValueError where the environment has no problem to sample.
        """
        self.sample(start, stop)
        return self.search(start, stop)

    def sample(self, start: int, stop: int) -> None:
        """Draw the problems of visits `start` to `stop`, the first half of `fill`; without a visit it only compiles."""
        size = stop - start
        if len(self._rows.visits) < size:
            self._rows = new_rows(self.env, size, FIRST_ROOM * size, self.max_nodes)
            self._problems, self._indices = self._rows.problems.copy(), np.zeros(size, np.int64)
        found = _sample_visits(
            self.env, self.splits, SPLITS.index(self.split), stream_key(self.seed, self.split), self.num_problems,
            stream_key(self.seed, "order"), start, self._problems[:size], self._indices[:size], self._proof,
        )  # fmt: skip
        if found < size:
            target = int(self._problems[found, 0])
            raise UserError(f"env: split {self.split} has no solvable problem with target {target}")

    def search(self, start: int, stop: int) -> tuple[TraceRows, int, int]:
        """Search the problems that `sample` drew, the second half of `fill`; without a visit it only compiles."""
        num, dropped, reached, size = 0, 0, 0, stop - start
        while True:
            num, more, reached, fits = _search_problems(
                self.env, self.strategy, stream_key(self.seed, self.split), self._problems[:size], self._indices[:size], start,
                reached, size, self.max_nodes, self._work, self._counts, self._rows, num,
            )  # fmt: skip
            dropped += more
            if fits:
                return self._rows, num, dropped
            self._rows = self._rows.grown()

    def chunk(self, start: int, stop: int) -> TraceChunk:
        """Return the traces of visits `start` to `stop`. Raises ValueError where the environment has no problem to sample."""
        rows, num, dropped = self.fill(start, stop)
        e, n, s = rows.offsets[num]
        lengths = (num, e, n, s, num + 1, num, num)
        used = (array[:length].copy() for array, length in zip(rows, lengths, strict=True))
        return TraceChunk(*used, dropped)  # type: ignore[call-arg, arg-type]

    def problems(self, start: int, stop: int) -> np.ndarray:
        """Return the problems of visits `start` to `stop`, int32 (N, P). Raises ValueError where there is none to sample."""
        self.sample(start, stop)
        return self._problems[: stop - start].copy()
