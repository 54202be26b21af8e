"""The whole pipeline: problem i -> search -> view -> tokens, for any range of i, in any order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from sos.data.splits import Splits
from sos.data.traces import (
    FIRST_ROOM,
    TraceRows,
    TraceSource,
    close_trace,
    index_of,
    max_events,
    new_rows,
    room_for_trace,
)
from sos.errors import UserError
from sos.kernels import kernel
from sos.rng import fold, stream_key
from sos.search.work import SearchWork, new_work
from sos.stream.dialect.compile import Dialect
from sos.stream.views import FULL, ORACLE, View, apply_view
from sos.stream.write.encode import ENCODE_ERRORS, NO_ROOM, OK, encode_traces
from sos.stream.write.space import new_writing, tokens_size
from sos.trace import ACTION, TraceBuffer, new_buffer


class Chunk(NamedTuple):
    """Streams of consecutive visits. N = streams kept, T = their tokens together."""

    tokens: np.ndarray  # uint16 (T,)
    kinds: np.ndarray  # int8 (T,) the kind of the event that each token belongs to
    offsets: np.ndarray  # int64 (N + 1,)
    prompts: np.ndarray  # int32 (N,) prompt tokens of each stream
    visits: np.ndarray  # int64 (N,) the visit that each stream comes from
    num_dropped: int  # visits whose stream does not fit
    strategies: (
        np.ndarray
    )  # int32 (N,) which strategy of a mixture searched; an index into the source's `strategy_names`

    def up_to(self, num_tokens: int) -> Chunk:
        """Return the streams of at most `num_tokens` tokens; the others count as dropped."""
        lengths = np.diff(self.offsets)
        keep = lengths <= num_tokens
        if keep.all():
            return self
        kept = np.repeat(keep, lengths)
        return Chunk(
            self.tokens[kept],
            self.kinds[kept],
            np.concatenate([[0], np.cumsum(lengths[keep])]),
            self.prompts[keep],
            self.visits[keep],
            self.num_dropped + int((~keep).sum()),
            self.strategies[keep],
        )


class ViewSpace(NamedTuple):
    """Buffers of `_view_traces`."""

    work: SearchWork  # of the oracle
    solution: TraceBuffer
    kept: np.ndarray
    counts: np.ndarray
    viewed_counts: np.ndarray


def new_view_space(env: Any, max_nodes: int) -> ViewSpace:
    """Allocate for views of up to `max_nodes` nodes."""
    return ViewSpace(
        new_work(env, max_nodes),
        new_buffer(max_events(max_nodes), max_nodes, ACTION + env.action_width, env.state_width),
        np.zeros((2, max_nodes), np.int32),
        np.zeros(3, np.int64),
        np.zeros(3, np.int64),
    )


@kernel
def _view_traces(env, view, oracle, dose_key, num_problems, order_key, rows, start, stop, max_nodes, space, out, num):
    """Append the views of traces `start` to `stop` of `rows` to `out`; return (traces, dropped, trace reached, status)."""
    dropped = 0
    offsets, counts = rows.offsets, space.counts
    for k in range(start, stop):
        e, n, s = offsets[k, 0], offsets[k, 1], offsets[k, 2]
        e2, n2, s2 = offsets[k + 1, 0], offsets[k + 1, 1], offsets[k + 1, 2]
        counts[0], counts[1], counts[2] = e2 - e, n2 - n, s2 - s
        source = TraceBuffer(rows.events[e:e2], rows.nodes[n:n2], rows.states[s:s2], counts)
        key = fold(dose_key, index_of(rows.visits[k], num_problems, order_key))
        problem = rows.problems[k]
        viewed, fits = room_for_trace(out, num, max_nodes, space.viewed_counts)
        if not fits:
            return num, dropped, k, NO_ROOM
        status = apply_view(view, key, env, problem, oracle, space.work, source, viewed, space.kept, space.solution)
        if status != OK:
            dropped += 1
            continue
        close_trace(out, num, problem, space.viewed_counts, rows.visits[k], rows.strategies[k])
        num += 1
    return num, dropped, stop, OK


def _grown(row: np.ndarray) -> np.ndarray:
    return np.concatenate([row, np.zeros_like(row)])


@dataclass
class StreamSource:
    """Streams of one configuration: visit v -> stream, a pure function of (seed, split, v).

    With `num_problems` > 0 the data set is fixed: visit v is a problem of epoch v // num_problems, shuffled anew in every epoch by
    a permutation function. With 0 it is endless: visit v is problem v.
    """

    env: Any
    strategy: Any
    view: View
    dialect: Dialect
    splits: Splits
    context: int
    seed: int
    split: str = "train"
    num_problems: int = 0
    max_nodes: int = 20_000
    strategy_names: tuple[str, ...] = ()  # of a mixture; what `Chunk.strategies` counts

    def __post_init__(self) -> None:
        self._traces = TraceSource(
            self.env, self.strategy, self.splits, self.seed, self.split, self.num_problems, self.max_nodes
        )
        self._view_space = new_view_space(self.env, self.max_nodes) if self.view.kind != FULL else None
        self._viewed = new_rows(self.env, 0, 0, 0)
        program = self.dialect.program
        self._writing = new_writing(program, max_events(self.max_nodes), self.max_nodes, self.max_nodes)
        # Kept from chunk to chunk: touching new memory takes as long as filling it.
        size = tokens_size(program, self.context)
        self._tokens, self._kinds = np.zeros(size, np.uint16), np.zeros(size, np.int8)

    def _view(self, rows: TraceRows, num: int) -> tuple[TraceRows, int, int]:
        """Return (rows, number of traces, number dropped) of the view of the first `num` traces of `rows`."""
        if len(self._viewed.visits) < num:
            self._viewed = new_rows(self.env, num, FIRST_ROOM * num, self.max_nodes)
        count, dropped, reached = 0, 0, 0
        while True:
            count, more, reached, status = _view_traces(
                self.env, self.view, ORACLE, stream_key(self.seed, "dose"), self.num_problems, stream_key(self.seed, "order"),
                rows, reached, num, self.max_nodes, self._view_space, self._viewed, count,
            )  # fmt: skip
            dropped += more
            if status != NO_ROOM:
                return self._viewed, count, dropped
            self._viewed = self._viewed.grown()

    def fill(self, start: int, stop: int) -> Chunk:
        """Return the streams of visits `start` to `stop`, in arrays that the next call reuses.

        Raises ValueError where the environment has no problem to sample or the dialect cannot write a trace.
        """
        rows, num, dropped = self._traces.fill(start, stop)
        if self.view.kind != FULL:
            rows, num, more = self._view(rows, num)
            dropped += more
        offsets, prompts, kept = np.zeros(num + 1, np.int64), np.zeros(num, np.int32), np.zeros(num, np.int64)
        count, reached = 0, 0
        while True:
            count, more, reached, status, _ = encode_traces(
                self.dialect.program, self.context, rows.problems, rows.events, rows.nodes, rows.states, rows.offsets, reached,
                num, self._writing, self._tokens, self._kinds, offsets, prompts, kept, count,
            )  # fmt: skip
            dropped += more
            if status != NO_ROOM:
                break
            self._tokens, self._kinds = _grown(self._tokens), _grown(self._kinds)
        if status != OK:
            visit, message = int(rows.visits[reached]), ENCODE_ERRORS[status]
            raise UserError(f"stream.dialect={self.dialect.name} cannot write the trace of visit {visit}: {message}")
        used, kept = offsets[count], kept[:count]
        return Chunk(
            self._tokens[:used],
            self._kinds[:used],
            offsets[: count + 1],
            prompts[:count],
            rows.visits[kept],
            dropped,
            rows.strategies[kept],
        )

    def chunk(self, start: int, stop: int) -> Chunk:
        """Return the streams of visits `start` to `stop` like `fill`, in arrays of their own."""
        filled = self.fill(start, stop)
        return filled._replace(tokens=filled.tokens.copy(), kinds=filled.kinds.copy())
