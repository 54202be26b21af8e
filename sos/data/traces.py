"""Whole searches, before any view or dialect: problem i -> search -> trace, for any range of i, in any order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from sos.data.splits import SPLITS, Splits
from sos.data.streams import NO_PROBLEM, NO_ROOM, TOO_LONG, index_of, make_trace, strategy_of
from sos.kernels import kernel
from sos.rng import stream_key
from sos.search.frontier import new_work
from sos.trace import ACTION, EVENT_COLUMNS, Trace, new_buffer

FIRST_ROOM = 64  # rows per visit that the arrays have room for at first


class TraceChunk(NamedTuple):
    """Traces of consecutive visits, behind each other. N = traces kept; all int32 but `offsets` and `visits`."""

    problems: np.ndarray  # (N, P)
    events: np.ndarray  # (E, 5)
    nodes: np.ndarray  # (M, 2 + A)
    states: np.ndarray  # (S, W)
    offsets: np.ndarray  # int64 (N + 1, 3): where the events, nodes and states of each trace start
    visits: np.ndarray  # int64 (N,)
    strategies: np.ndarray  # (N,) which strategy of a mixture searched
    num_dropped: int  # visits whose search generates more nodes than a trace may have

    def traces(self) -> Iterator[Trace]:
        """Yield the traces, as views of the arrays where those are int32."""
        for problem, (e, n, s), (e2, n2, s2) in zip(self.problems, self.offsets, self.offsets[1:], strict=False):
            rows = (problem, self.events[e:e2], self.nodes[n:n2], self.states[s:s2])
            yield Trace(*(np.asarray(row, np.int32) for row in rows))


@kernel
def _append(rows, target, start, count):
    for r in range(count):
        for c in range(rows.shape[1]):
            target[start + r, c] = rows[r, c]


@kernel
def _fill_traces(
    env, strategy, splits, split, key, num_problems, order_key, start, stop, problem, proof, work, trace, num,
    problems, events, nodes, states, offsets, visits, strategies,
):  # fmt: skip
    """Append the traces of the visits; return (traces, dropped, visit reached, status)."""
    dropped = 0
    counts = trace.counts
    for visit in range(start, stop):
        index = index_of(visit, num_problems, order_key)
        status = make_trace(env, strategy, splits, split, key, index, problem, proof, work, trace)
        if status == TOO_LONG:
            dropped += 1
            continue
        if status != 0:
            return num, dropped, visit, status
        e, n, s = offsets[num]
        if e + counts[0] > len(events) or n + counts[1] > len(nodes) or s + counts[2] > len(states):
            return num, dropped, visit, NO_ROOM
        _append(trace.events, events, e, counts[0])
        _append(trace.nodes, nodes, n, counts[1])
        _append(trace.states, states, s, counts[2])
        for k in range(len(problem)):
            problems[num, k] = problem[k]
        for k in range(3):
            offsets[num + 1, k] = offsets[num, k] + counts[k]
        visits[num] = visit
        strategies[num] = strategy_of(strategy, key, index)
        num += 1
    return num, dropped, stop, 0


def _grown(rows: np.ndarray) -> np.ndarray:
    return np.concatenate([rows, np.zeros_like(rows)])


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
        self._trace = new_buffer(
            4 * self.max_nodes + 8, self.max_nodes, ACTION + self.env.action_width, self.env.state_width
        )
        self._problem = np.zeros(self.env.problem_width, np.int32)

    def chunk(self, start: int, stop: int) -> TraceChunk:
        """Return the traces of visits `start` to `stop`. Raises ValueError where the environment has no problem to sample."""
        size = stop - start
        problems = np.zeros((size, self.env.problem_width), np.int32)
        events, nodes, states = (
            np.zeros((FIRST_ROOM * max(size, 1), width), np.int32)
            for width in (EVENT_COLUMNS, ACTION + self.env.action_width, self.env.state_width)
        )
        offsets, visits, strategies = (
            np.zeros((size + 1, 3), np.int64),
            np.zeros(size, np.int64),
            np.zeros(size, np.int32),
        )
        num, dropped, visit = 0, 0, start
        while True:
            num, more, visit, status = _fill_traces(
                self.env, self.strategy, self.splits, SPLITS.index(self.split), stream_key(self.seed, self.split),
                self.num_problems, stream_key(self.seed, "order"), visit, stop, self._problem, self.env.proof_work(), self._work,
                self._trace, num, problems, events, nodes, states, offsets, visits, strategies,
            )  # fmt: skip
            dropped += more
            if status == NO_PROBLEM:
                raise ValueError(f"env: split {self.split} has no solvable problem with target {int(self._problem[0])}")
            if status != NO_ROOM:
                break
            events, nodes, states = _grown(events), _grown(nodes), _grown(states)
        e, n, s = offsets[num]
        return TraceChunk(
            problems[:num],
            events[:e],
            nodes[:n],
            states[:s],
            offsets[: num + 1],
            visits[:num],
            strategies[:num],
            dropped,
        )
