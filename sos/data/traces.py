"""Whole searches, before any view or dialect: problem i -> search -> trace, for any range of i, in any order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from sos.data.splits import POSED, SPLITS, Splits, kind_asked, sample, with_group
from sos.errors import UserError
from sos.kernels import inlined, inner, kernel
from sos.rng import fold, permute, stream_key
from sos.search.protocol import choose, search_chosen
from sos.search.work import new_work
from sos.trace import (
    ACTION,
    BUFFER_FULL,
    EVENT_COLUMNS,
    LEFT_OUT,
    OK,
    REACHED,
    WRITTEN,
    Trace,
    TraceBuffer,
    TraceRows,
    max_events,
)

FIRST_ROOM = 64  # rows per visit that the arrays have room for at first
# The element of a problem stream that seeds the draws of strategies: the last one; problems are numbered from 0.
STRATEGY_DRAW = np.uint64(2**64 - 1)


class Order(NamedTuple):
    """Which problem a visit is of: itself, or in a fixed data set the image under the permutation of its epoch."""

    num_problems: int  # 0 for an endless stream
    key: np.uint64


class Drawn(NamedTuple):
    """Problems of consecutive visits. K = visits."""

    first: int  # visit
    problems: np.ndarray  # int32 (K, P)
    indices: np.ndarray  # int64 (K,): their numbers in the problem stream
    choices: np.ndarray  # int32 (K,): which strategy of a mixture searches each


class Room(NamedTuple):
    """What the writing of one trace behind others works with."""

    max_nodes: int  # of a trace
    counts: np.ndarray  # int64 (3,): events, nodes, states of the trace that is being written
    source_counts: np.ndarray  # int64 (3,): of the trace that is being read


def new_room(max_nodes: int) -> Room:
    """Allocate for traces of up to `max_nodes` nodes."""
    return Room(max_nodes, np.zeros(3, np.int64), np.zeros(3, np.int64))


def new_rows(env: Any, num: int, room: int, max_nodes: int) -> TraceRows:
    """Allocate for `num` traces with `room` events, nodes and states together, and behind them for one of `max_nodes`
    nodes."""
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


@kernel
def choose_strategies(strategy, key, indices, choices):
    """Write which strategy of a mixture searches each of the problems `indices` of the stream `key`."""
    for k in range(len(indices)):
        choices[k] = choose(strategy, key, indices[k])


@inlined
def trace_at(rows, k, counts):
    """Return trace `k` of TraceRows as a TraceBuffer, counted by `counts`."""
    e, n, s = rows.offsets[k, 0], rows.offsets[k, 1], rows.offsets[k, 2]
    e2, n2, s2 = rows.offsets[k + 1, 0], rows.offsets[k + 1, 1], rows.offsets[k + 1, 2]
    counts[0], counts[1], counts[2] = e2 - e, n2 - n, s2 - s
    return TraceBuffer(rows.events[e:e2], rows.nodes[n:n2], rows.states[s:s2], counts)


@inner
def index_of(order, visit):
    """Return the problem of a visit, see `Order`."""
    if order.num_problems <= 0:
        return np.int64(visit)
    return permute(fold(order.key, visit // order.num_problems), visit % order.num_problems, order.num_problems)


@inlined
def room_for_trace(rows, num, max_nodes, counts):
    """Return a TraceBuffer, counted by `counts`, of what `rows` holds behind trace `num` - 1, and whether there is
    enough of it."""
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
def _sample_visits(env, splits, split, order, key, drawn, proof):
    """Draw the problems of consecutive visits of the stream `key`, and their numbers, into `drawn`; return how many
    there are."""
    for k in range(len(drawn.indices)):
        drawn.indices[k] = index_of(order, drawn.first + k)
        if sample(env, splits, split, POSED, key, drawn.indices[k], drawn.problems[k], proof) < 0:
            return k
    return len(drawn.indices)


@kernel
def _search_problems(env, strategy, drawn, work, room, rows, progress):
    """Append the traces of `drawn`, each with its strategy of a mixture, from where `progress` says on; return OK or
    BUFFER_FULL.

    A search of more than `room.max_nodes` nodes is left out.
    """
    while progress[REACHED] < len(drawn.indices):
        k, num = progress[REACHED], progress[WRITTEN]
        trace, fits = room_for_trace(rows, num, room.max_nodes, room.counts)
        if not fits:
            return BUFFER_FULL
        progress[REACHED] = k + 1
        choice = np.int64(drawn.choices[k])
        if search_chosen(strategy, choice, env, drawn.problems[k], work, trace) != OK:
            progress[LEFT_OUT] += 1
            continue
        close_trace(rows, num, drawn.problems[k], room.counts, drawn.first + k, choice)
        progress[WRITTEN] = num + 1
    return OK


class Searcher:
    """Searches problems; the arrays of their traces are reused from call to call."""

    def __init__(self, env: Any, strategy: Any, max_nodes: int) -> None:
        self.env, self.strategy, self.max_nodes = env, strategy, max_nodes
        self._work = new_work(env, max_nodes)
        self._room = new_room(max_nodes)
        self._rows = new_rows(env, 0, 0, 0)

    def search(self, drawn: Drawn) -> tuple[TraceRows, int, int]:
        """Return (rows, number of traces, number of searches of more than `max_nodes` nodes, which are left out) of
        the problems of `drawn`. The rows are those of the next call, too."""
        size = len(drawn.problems)
        if len(self._rows.visits) < size:
            self._rows = new_rows(self.env, size, FIRST_ROOM * size, self.max_nodes)
        progress = np.zeros(4, np.int64)
        while _search_problems(self.env, self.strategy, drawn, self._work, self._room, self._rows, progress) != OK:
            self._rows = self._rows.grown()
        return self._rows, int(progress[WRITTEN]), int(progress[LEFT_OUT])


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
        self._searcher = Searcher(self.env, self.strategy, self.max_nodes)
        self._proof = self.env.proof_work()
        self._drawn = self.room_for(0)

    @property
    def order(self) -> Order:
        """Which problem each visit is of."""
        return Order(self.num_problems, stream_key(self.seed, "order"))

    def room_for(self, size: int) -> Drawn:
        """Return room for the problems of `size` visits; to `search` none of them only compiles."""
        return Drawn(
            0, np.zeros((size, self.env.problem_width), np.int32), np.zeros(size, np.int64), np.zeros(size, np.int32)
        )

    def fill(self, start: int, stop: int) -> tuple[TraceRows, int, int]:
        """Return (rows, number of traces, number dropped) of visits `start` to `stop`, in arrays that the next call
        reuses.

        Raises ValueError where the environment has no problem to sample.
        """
        return self.search(self.sample(start, stop))

    def sample(self, start: int, stop: int) -> Drawn:
        """Draw the problems of visits `start` to `stop`, the first half of `fill`, into arrays that the next call
        reuses; without a visit it only compiles."""
        size = stop - start
        if len(self._drawn.problems) < size:
            self._drawn = self.room_for(size)
        _, problems, indices, choices = self._drawn
        drawn = Drawn(start, problems[:size], indices[:size], choices[:size])
        key = stream_key(self.seed, self.split)
        found = _sample_visits(self.env, self.splits, SPLITS.index(self.split), self.order, key, drawn, self._proof)
        if found < size:
            kind = kind_asked(self.env, POSED, fold(key, indices[found]))
            raise UserError(f"env: split {self.split} has no {kind}problem{with_group(self.env, problems[found])}")
        choose_strategies(self.strategy, np.uint64(fold(key, STRATEGY_DRAW)), drawn.indices, drawn.choices)
        return drawn

    def search(self, drawn: Drawn) -> tuple[TraceRows, int, int]:
        """Search the problems that `sample` drew, the second half of `fill`."""
        return self._searcher.search(drawn)

    def chunk(self, start: int, stop: int) -> TraceChunk:
        """Return the traces of visits `start` to `stop`. Raises ValueError where the environment has no problem to
        sample."""
        rows, num, dropped = self.fill(start, stop)
        e, n, s = rows.offsets[num]
        lengths = (num, e, n, s, num + 1, num, num)
        used = (array[:length].copy() for array, length in zip(rows, lengths, strict=True))
        return TraceChunk(*used, dropped)  # type: ignore[call-arg, arg-type]

    def problems(self, start: int, stop: int) -> np.ndarray:
        """Return the problems of visits `start` to `stop`, int32 (N, P). Raises ValueError where there is none to
        sample."""
        return self.sample(start, stop).problems.copy()
