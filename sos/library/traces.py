"""Searches from files as training data: our lines of traces, published records, data sets of traces."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from sos.config import Config
from sos.data.chunks import Chunk, LeftOut
from sos.data.splits import in_val, sample_problems
from sos.data.streams import Writer
from sos.data.traces import Order
from sos.datasets.files import parse_trace
from sos.datasets.read import read_traces
from sos.errors import UserError
from sos.files import read_json_lines
from sos.published.records import from_record
from sos.rng import fold, permute, stream_key
from sos.search.rows import new_rows
from sos.stream.verify import Error, verify
from sos.stream.views import SWAPPED
from sos.system import System
from sos.trace import Trace


def read_any(path: str) -> Iterator[tuple[str, Trace]]:
    """Yield (place, trace) of a folder of traces, or of a file of our lines or of published records, mixed as they may
    be. Raises UserError that names the file and the line."""
    if not Path(path).exists():
        raise UserError(f"no such file or folder of traces: {path}")
    if Path(path).is_dir():
        for shard, chunk in read_traces(path):
            yield from ((f"{path}, shard {shard}, trace {k}", trace) for k, trace in enumerate(chunk.traces()))
        return
    for line, value in read_json_lines(path):
        place = f"{path}:{line}"
        if isinstance(value, ValueError):
            raise value
        try:
            published = isinstance(value, dict) and "search_path" in value
            yield place, from_record(value).trace if published else parse_trace(value)[0]
        except ValueError as error:
            raise UserError(f"{place}: {error}") from error


class TraceFileSource:
    """Streams of traces that are given, with the interface of `sos.data.streams.StreamSource`.

    Visit v is a trace of epoch v // N, where N of the traces belong to the split; every epoch has an order of its own.
    """

    def __init__(self, path: str, config: Config, system: System, split: str) -> None:
        if system.view.kind == SWAPPED:
            raise UserError("stream.view=swapped needs searches that are made here, not traces")
        if system.slot is not None:
            raise UserError("slot.kinds needs searches that are made here, not traces: slot=none reads these")
        self.seed, self.context = config.seed, system.context
        traces = list(_kept(path, system, split))
        if not traces:
            raise UserError(f"{path} holds no trace of a problem of {split}")
        self.num_traces = len(traces)
        self._order = stream_key(config.seed, "order")
        self._chunk = _written(traces, config, system)
        self._row_of = np.full(len(traces), -1, np.int64)
        self._row_of[self._chunk.visits] = np.arange(len(self._chunk.visits))

    def chunk(self, start: int, stop: int) -> Chunk:
        """Return the streams of visits `start` to `stop`."""
        visits = np.arange(start, stop)
        rows = self._row_of[[self._trace_of(visit) for visit in range(start, stop)]]
        visits, rows = visits[rows >= 0], rows[rows >= 0]
        whole, lengths = self._chunk, np.diff(self._chunk.offsets)[rows]
        spans = [np.arange(whole.offsets[row], whole.offsets[row + 1]) for row in rows]
        taken = np.concatenate(spans) if spans else np.zeros(0, np.int64)
        num_dropped = stop - start - len(rows)
        return Chunk(
            whole.tokens[taken],
            whole.kinds[taken],
            np.concatenate([[0], np.cumsum(lengths)]),
            whole.prompts[rows],
            visits,
            num_dropped,
            np.zeros(len(rows), np.int32),
            LeftOut(streams=num_dropped),
        )

    fill = chunk  # of `StreamSource`

    def _trace_of(self, visit: int) -> int:
        epoch, number = divmod(visit, self.num_traces)
        return int(permute(np.uint64(fold(self._order, epoch)), number, self.num_traces))


def _kept(path: str, system: System, split: str) -> Iterator[Trace]:
    """Yield the traces of a split, each verified by the rules of the environment."""
    env, held_out = system.env, _held_out(system)
    for place, trace in read_any(path):
        try:
            env.check_problems(trace.problem[None])
        except ValueError as error:
            row = f"{trace.problem.tolist()!s:.80}"
            raise UserError(f"{place}: problem {row} is none of {env.describe()}: {error}") from error
        wrong = np.flatnonzero(verify(env, trace).errors)
        if len(wrong):
            name = Error(int(verify(env, trace).errors[wrong[0]])).name.lower()
            raise UserError(f"{place}: events[{wrong[0]}] is a mistake by the rules of {env.describe()} ({name})")
        target = env.describe_group(trace.problem) in held_out
        val = bool(in_val(env, system.splits, trace.problem))
        if split == "all" or split == ("val_target" if target else "val" if val else "train"):
            yield trace


def _held_out(system: System) -> set[str]:
    """Return the groups of problems that are held out, in words."""
    found = set()
    for group in system.splits.held_out:
        alone = system.splits._replace(held_out=np.array([group]))
        found.add(system.env.describe_group(sample_problems(system.env, alone, "val_target", 1)[0]))
    return found


def _written(traces: list[Trace], config: Config, system: System) -> Chunk:
    """Return the streams of traces; the visit of each is its number. Raises UserError where the dialect cannot write
    one."""
    most = max(max(len(trace.nodes), len(trace.states)) for trace in traces)
    rows = new_rows(system.env, len(traces), sum(len(trace.events) + len(trace.states) for trace in traces), most)
    for k, trace in enumerate(traces):
        rows.problems[k] = trace.problem
        parts = (trace.events, trace.nodes, trace.states)
        rows.offsets[k + 1] = rows.offsets[k] + [len(part) for part in parts]
        for whole, part, first in zip((rows.events, rows.nodes, rows.states), parts, rows.offsets[k], strict=True):
            whole[first : first + len(part)] = part
        rows.visits[k] = k
    writer = Writer(
        system.env,
        system.view,
        system.dialect,
        context=system.context,
        max_nodes=most,
        seed=config.seed,
        order=Order(0, np.uint64(0)),
        marker_places=system.marker_places,
    )
    chunk, _ = writer.write(rows, len(traces), 0)
    return chunk._replace(tokens=chunk.tokens.copy(), kinds=chunk.kinds.copy())
