"""The whole pipeline: problem i -> search -> view -> tokens, for any range of i, in any order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from sos.data.chunks import Chunk, LeftOut
from sos.data.splits import Splits
from sos.data.swapped import GROUP, swap_searches
from sos.data.traces import (
    Order,
    TraceSource,
    index_of,
)
from sos.errors import UserError
from sos.kernels import kernel
from sos.rng import fold, stream_key
from sos.schema.stream import OBSERVED
from sos.stream.added import AddedView
from sos.stream.dialect.compile import Dialect
from sos.stream.markers import Markers, Put, find_marks, put_marks
from sos.stream.measure import new_measure_work
from sos.stream.viewing import Viewer
from sos.stream.views import FULL, RETURNS_DROPPED, RETURNS_KEPT, SWAPPED, View
from sos.stream.write.encode import TokenRows, encode_traces
from sos.stream.write.refusals import ENCODE_ERRORS, NO_ROOM, OK
from sos.stream.write.space import new_writing, tokens_size
from sos.trace import Trace, TraceRows, max_events


@kernel
def _view_keys(key, order, visits, keys):
    """Write the keys of the draws of views into `keys` uint64 (N,): for a problem of a data set folded with the
    problem's number."""
    for k in range(len(keys)):
        keys[k] = fold(key, index_of(order, visits[k]))


class Marking:
    """Where the markers of streams go, if a dialect has some."""

    def __init__(self, markers: Markers | None, places: str, key: np.uint64, order: Order, max_nodes: int) -> None:
        self._markers, self._places, self._key, self._order = markers, places, key, order
        measure = None if markers is None else markers.measure
        self._work = None if measure is None else new_measure_work(measure.env, max_nodes)

    def put(self, rows: TraceRows, k: int, stops: np.ndarray) -> Put:
        """Return where markers stand in the stream of trace `k` of `rows`, whose events' tokens end at `stops`."""
        assert self._markers is not None
        (e, n, s), (e2, n2, s2) = rows.offsets[k], rows.offsets[k + 1]
        trace = Trace(rows.problems[k], rows.events[e:e2], rows.nodes[n:n2], rows.states[s:s2])
        marks = find_marks(self._markers, trace, self._work)
        starts = np.concatenate([[0], stops[: e2 - e - 1]])
        drawn = np.uint64(fold(self._key, index_of(self._order, rows.visits[k])))
        return put_marks(self._markers, marks, starts, self._places, drawn)


class Contexts(Protocol):
    """What writes the contexts of training streams."""

    def put(self, chunk: Chunk, rows: TraceRows, num: int) -> Chunk:
        """Return the streams of `chunk`, those of the first `num` traces of `rows` that have one, in the same order,
        with their contexts, and what follows these."""
        ...


def _grown(row: np.ndarray) -> np.ndarray:
    return np.concatenate([row, np.zeros_like(row)])


class Writer:
    """Shows traces as streams: their view, then its tokens, in arrays that are reused from call to call."""

    def __init__(
        self,
        env: Any,
        view: View | AddedView,
        dialect: Dialect,
        *,
        context: int,
        max_nodes: int,
        seed: int,
        order: Order,
        marker_places: str = OBSERVED,
    ) -> None:
        """`marker_places` is where the markers of a dialect that has some stand, one of `sos.schema.stream.PLACES`."""
        self.env, self.view, self.dialect, self.context, self.max_nodes = env, view, dialect, context, max_nodes
        self._marking = Marking(dialect.markers, marker_places, stream_key(seed, "markers"), order, max_nodes)
        self._order, self._view_key = order, stream_key(seed, "dose")
        as_it_is = view.kind == FULL and not view.plan
        self._viewer = None if as_it_is else Viewer(env, view, max_nodes)
        program = dialect.program
        self._writing = new_writing(program, max_events(max_nodes), max_nodes, max_nodes)
        # Kept from chunk to chunk: touching new memory takes as long as filling it.
        size = tokens_size(program, context)
        self._tokens, self._kinds = np.zeros(size, np.uint16), np.zeros(size, np.int8)

    def as_told(self, rows: TraceRows, num: int) -> tuple[TraceRows, int]:
        """Return (rows, number of traces) as the streams of the first `num` traces of `rows` tell them."""
        return (rows, num) if self._viewer is None else self.shown(rows, num)[:2]

    def shown(self, rows: TraceRows, num: int) -> tuple[TraceRows, int, int]:
        """Return (rows, number of traces, number dropped) of the view of the first `num` traces of `rows`, in arrays
        that the next call reuses."""
        assert self._viewer is not None
        keys = np.zeros(num, np.uint64)
        _view_keys(self._view_key, self._order, rows.visits, keys)
        return self._viewer.show(rows, num, keys)[:3]

    def write(self, rows: TraceRows, num: int, searches: int) -> tuple[Chunk, np.ndarray]:
        """Return the streams of the first `num` traces of `rows`, beside `searches` that were left out, and their
        problems, int32 (N, P). Raises UserError where the dialect cannot write a trace."""
        views, returns = 0, (0, 0)
        if self._viewer is not None:
            counts = self._viewer.work.returns
            counts[:] = 0
            rows, num, views = self.shown(rows, num)
            returns = (int(counts[RETURNS_DROPPED]), int(counts[RETURNS_KEPT]))
        if self.dialect.markers is not None:
            written, kept, streams = self._write_marked(rows, num)
            left_out = LeftOut(searches, views, streams, 0, *returns)
            return written._replace(num_dropped=left_out.visits, left_out=left_out), rows.problems[kept]
        offsets, prompts, kept = np.zeros(num + 1, np.int64), np.zeros(num, np.int32), np.zeros(num, np.int64)
        count, reached, streams = 0, 0, 0
        while True:
            sink = TokenRows(self._tokens, self._kinds, offsets, prompts, kept)
            count, more, reached, status, _ = encode_traces(
                self.dialect.program, self.context, rows, reached, num, self._writing, sink, count
            )
            streams += more
            if status != NO_ROOM:
                break
            self._tokens, self._kinds = _grown(self._tokens), _grown(self._kinds)
        if status != OK:
            raise self._refusal(rows, reached, status)
        used, kept = offsets[count], kept[:count]
        chunk = Chunk(
            self._tokens[:used],
            self._kinds[:used],
            offsets[: count + 1],
            prompts[:count],
            rows.visits[kept],
            searches + views + streams,
            rows.strategies[kept],
            LeftOut(searches, views, streams, 0, *returns),
        )
        return chunk, rows.problems[kept]

    def _refusal(self, rows: TraceRows, trace: int, status: int) -> UserError:
        visit, row = int(rows.visits[trace]), rows.problems[trace].tolist()
        return UserError(
            f"stream.dialect={self.dialect.name} cannot write the trace of visit {visit}, problem {row}: "
            f"{ENCODE_ERRORS[status]}"
        )

    def _write_marked(self, rows: TraceRows, num: int) -> tuple[Chunk, np.ndarray, int]:
        """Return the streams of the first `num` traces of `rows` with markers, which traces they are of, int64 (N,),
        and how many are longer than the context. One at a time: of the last one the encoder tells where its events
        end. About 0.1 ms each."""
        stops = np.zeros(2, np.int64), np.zeros(1, np.int32), np.zeros(1, np.int64)
        sink = TokenRows(self._tokens, self._kinds, *stops)
        tokens, kinds, prompts, kept = [], [], [], []
        for k in range(num):
            count, _, _, status, _ = encode_traces(
                self.dialect.program, self.context, rows, k, k + 1, self._writing, sink, 0
            )
            if status != OK:
                raise self._refusal(rows, k, status)
            length = int(sink.stops[1])
            if not count:
                continue
            put = self._marking.put(rows, k, self._writing.stops)
            if length + len(put.ids) > self.context:
                continue
            tokens.append(np.insert(self._tokens[:length], put.positions, put.ids))
            kinds.append(np.insert(self._kinds[:length], put.positions, self._kinds[put.positions]))
            prompts.append(int(sink.prompts[0]))
            kept.append(k)
        of_traces = np.array(kept, np.int64)
        chunk = Chunk(
            np.concatenate([np.zeros(0, np.uint16), *tokens]),
            np.concatenate([np.zeros(0, np.int8), *kinds]),
            np.cumsum([0, *map(len, tokens)], dtype=np.int64),
            np.array(prompts, np.int32),
            rows.visits[of_traces],
            0,
            rows.strategies[of_traces],
        )
        return chunk, of_traces, num - len(kept)


@dataclass
class StreamSource:
    """Streams of one configuration: visit v -> stream, a pure function of (seed, split, v).

    With `num_problems` > 0 the data set is fixed: visit v is a problem of epoch v // num_problems, shuffled anew in
    every epoch by a permutation function. With 0 it is endless: visit v is problem v.
    """

    env: Any
    strategy: Any
    view: View | AddedView
    dialect: Dialect
    splits: Splits
    context: int
    seed: int
    split: str = "train"
    num_problems: int = 0
    max_nodes: int = 20_000
    strategy_names: tuple[str, ...] = ()  # of a mixture; what `Chunk.strategies` counts
    contexts: Contexts | None = None  # what stands before the problems
    marker_places: str = OBSERVED  # see `Writer`

    def __post_init__(self) -> None:
        self._traces = TraceSource(
            self.env, self.strategy, self.splits, self.seed, self.split, self.num_problems, self.max_nodes
        )
        self._writer = Writer(
            self.env,
            self.view,
            self.dialect,
            context=self.context,
            max_nodes=self.max_nodes,
            seed=self.seed,
            order=self._traces.order,
            marker_places=self.marker_places,
        )

    def fill(self, start: int, stop: int) -> Chunk:
        """Return the streams of visits `start` to `stop`, in arrays that the next call reuses.

        Raises ValueError where the environment has no problem to sample or the dialect cannot write a trace.
        """
        return self._fill_swapped(start, stop) if self.view.kind == SWAPPED else self._fill(start, stop)[0]

    def _fill_swapped(self, start: int, stop: int) -> Chunk:
        """Swap searches within whole groups of visits: a stream does not depend on what was asked for with it."""
        first, last = start - start % GROUP, stop + -stop % GROUP
        chunk, problems = self._fill(first, last)
        keys = [self.env.problem_key(problem) for problem in problems]
        swapped = swap_searches(chunk, keys, stream_key(self.seed, "swapped"))
        alone = (start <= chunk.visits) & (chunk.visits < stop) & ~np.isin(chunk.visits, swapped.visits)
        left_out = chunk.left_out if (first, last) == (start, stop) else self._fill(start, stop)[0].left_out
        left_out = left_out._replace(alone=int(alone.sum()))
        swapped = swapped.within(start, stop)._replace(num_dropped=left_out.visits, left_out=left_out)
        return swapped.up_to(self.context)

    def _fill(self, start: int, stop: int) -> tuple[Chunk, np.ndarray]:
        """Return the streams before any swap, and their problems, int32 (N, P)."""
        rows, num, dropped = self._traces.fill(start, stop)
        chunk, problems = self._writer.write(rows, num, dropped)
        if self.contexts is None:
            return chunk, problems
        chunk = self.contexts.put(chunk, rows, num)
        keep = chunk.fitting(self.context)
        return chunk.up_to(self.context), problems[keep]

    def chunk(self, start: int, stop: int) -> Chunk:
        """Return the streams of visits `start` to `stop` like `fill`, in arrays of their own."""
        filled = self.fill(start, stop)
        return filled._replace(tokens=filled.tokens.copy(), kinds=filled.kinds.copy())
