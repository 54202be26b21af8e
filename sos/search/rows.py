"""Searches of many problems, their traces behind each other in one set of arrays (`sos.trace.TraceRows`).

One kernel searches, whether it is one problem or a million: each kernel is compiled for every environment and strategy
that it meets, which takes seconds.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from sos.kernels import inlined, kernel
from sos.search.protocol import search_chosen
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


def trace_of(rows: TraceRows, k: int) -> Trace:
    """Return trace `k` of `rows`, in arrays of its own."""
    spans = (slice(a, b) for a, b in zip(rows.offsets[k], rows.offsets[k + 1], strict=True))
    parts = (array[span].copy() for array, span in zip((rows.events, rows.nodes, rows.states), spans, strict=True))
    return Trace(rows.problems[k].copy(), *parts)


@inlined
def trace_at(rows, k, counts):
    """Return trace `k` of TraceRows as a TraceBuffer, counted by `counts`."""
    e, n, s = rows.offsets[k, 0], rows.offsets[k, 1], rows.offsets[k, 2]
    e2, n2, s2 = rows.offsets[k + 1, 0], rows.offsets[k + 1, 1], rows.offsets[k + 1, 2]
    counts[0], counts[1], counts[2] = e2 - e, n2 - n, s2 - s
    return TraceBuffer(rows.events[e:e2], rows.nodes[n:n2], rows.states[s:s2], counts)


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
