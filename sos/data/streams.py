"""The whole pipeline in one kernel: problem i -> search -> view -> tokens, for any range of i, in any order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from sos.data.splits import SPLITS, Splits, sample
from sos.kernels import kernel
from sos.rng import fold, permute, stream_key
from sos.search.frontier import SearchWork, new_work
from sos.search.protocol import choose, search_chosen
from sos.stream.dialect import Dialect
from sos.stream.encode import ENCODE_ERRORS, Writing, encode_kernel, new_writing, tokens_size
from sos.stream.runs import SLACK
from sos.stream.views import FULL, NEEDS_SOLUTION, ORACLE, VIEWS, View, apply_view
from sos.trace import ACTION, KIND, Status, TraceBuffer, new_buffer

OK, BUFFER_FULL = (int(s) for s in Status)
TOO_LONG, NO_PROBLEM, NO_ROOM, ENCODE_ERROR = -1, -2, -3, -10
STRATEGY_DRAW = -1  # the element of a problem stream that seeds the draws of strategies; problems are numbered from 0


class Workspace(NamedTuple):
    """Buffers of one worker, reused for every stream it makes."""

    work: SearchWork
    trace: TraceBuffer
    viewed: TraceBuffer
    solution: TraceBuffer
    kept: np.ndarray
    proof: Any
    writing: Writing


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


def new_workspace(env: Any, max_nodes: int) -> Workspace:
    """Allocate for traces of up to `max_nodes` nodes."""

    def buffer() -> TraceBuffer:
        return new_buffer(4 * max_nodes + 8, max_nodes, ACTION + env.action_width, env.state_width)

    return Workspace(
        new_work(env, max_nodes),
        buffer(),
        buffer(),
        buffer(),
        np.zeros((2, max_nodes), np.int32),
        env.proof_work(),
        new_writing(4 * max_nodes + 8, max_nodes),
    )


@kernel
def strategy_of(strategy, key, index):
    """Return which strategy of a mixture searches problem `index` of the stream `key`; a pure function of both."""
    return choose(strategy, fold(key, STRATEGY_DRAW), index)


@kernel
def index_of(visit, num_problems, order_key):
    """Return the problem of a visit: itself, or in a fixed data set the image under the permutation of its epoch."""
    if num_problems <= 0:
        return np.int64(visit)
    return permute(fold(order_key, visit // num_problems), visit % num_problems, num_problems)


@kernel
def make_trace(env, strategy, splits, split, key, index, problem, proof, work, trace):
    """Draw problem `index` and search it, with its strategy of a mixture; return OK, TOO_LONG or NO_PROBLEM.

    TOO_LONG: more nodes than the buffer holds. NO_PROBLEM: the split has none.
    """
    if sample(env, splits, split, 1, key, index, problem, proof) < 0:
        return NO_PROBLEM
    if search_chosen(strategy, strategy_of(strategy, key, index), env, problem, work, trace) != OK:
        return TOO_LONG
    return OK


@kernel
def make_stream(
    env, strategy, view, program, splits, split, key, index, dose_key, oracle, context, problem, space, tokens, kinds
):  # fmt: skip
    """Make stream `index`; return (its number of tokens, prompt tokens), or (negative status, detail).

    Its tokens come first in `tokens`, with the kind of each one's event in `kinds`: `tokens_size` of `context`. TOO_LONG: more than
    `context` tokens, or more nodes than the workspace holds. NO_PROBLEM: the split has none.
    """
    status = make_trace(env, strategy, splits, split, key, index, problem, space.proof, space.work, space.trace)
    if status != OK:
        return status, 0
    shown = space.trace
    if view.kind != FULL:
        dose = fold(dose_key, index)
        shown = space.viewed
        status = apply_view(
            view, dose, env, problem, oracle, space.work, space.trace, shown, space.kept, space.solution
        )
        if status != OK:
            return TOO_LONG, 0
    events, nodes, states, counts = shown
    count, detail = encode_kernel(
        program, problem, events[: counts[0]], nodes[: counts[1]], states[: counts[2]], tokens, space.writing
    )
    if count < -1:
        return ENCODE_ERROR + count, detail
    if count < 0 or count > context:
        return TOO_LONG, 0
    t = 0
    for e in range(counts[0]):
        kind = events[e, KIND]
        stop = space.writing.stops[e]
        while t < stop:
            kinds[t] = kind
            t += 1
    return count, detail


@kernel
def _fill_chunk(
    env, strategy, view, program, splits, split, key, dose_key, oracle, context, num_problems, order_key, start, stop, problem, space,
    tokens, kinds, num, offsets, prompts, visits, strategies,
):  # fmt: skip
    """Append the streams of the visits, as long as there is room; return (streams, dropped, visit reached, status)."""
    used = offsets[num]
    dropped = 0
    room = context + program.max_event_tokens + SLACK
    for visit in range(start, stop):
        index = index_of(visit, num_problems, order_key)
        if used + room > len(tokens):
            return num, dropped, visit, NO_ROOM
        count, prompt = make_stream(
            env, strategy, view, program, splits, split, key, index, dose_key, oracle, context, problem, space,
            tokens[used : used + room], kinds[used:],
        )  # fmt: skip
        if count == TOO_LONG:
            dropped += 1
            continue
        if count < 0:
            return num, dropped, visit, count
        used += count
        offsets[num + 1] = used
        prompts[num] = prompt
        visits[num] = visit
        strategies[num] = strategy_of(strategy, key, index)
        num += 1
    return num, dropped, stop, 0


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
        self._space = new_workspace(self.env, self.max_nodes)
        self._problem = np.zeros(self.env.problem_width, np.int32)
        # Kept from chunk to chunk: touching new memory takes as long as filling it.
        size = tokens_size(self.dialect.program, self.context)
        self._tokens, self._kinds = np.zeros(size, np.uint16), np.zeros(size, np.int8)

    def chunk(self, start: int, stop: int) -> Chunk:
        """Return the streams of visits `start` to `stop`.

        Raises ValueError where the environment has no problem to sample or the dialect cannot write a trace.
        """
        num = stop - start
        offsets, prompts, visits = np.zeros(num + 1, np.int64), np.zeros(num, np.int32), np.zeros(num, np.int64)
        strategies = np.zeros(num, np.int32)
        count, dropped, visit = 0, 0, start
        while True:
            count, more, visit, error = _fill_chunk(
                self.env, self.strategy, self.view, self.dialect.program, self.splits, SPLITS.index(self.split),
                stream_key(self.seed, self.split), stream_key(self.seed, "dose"), ORACLE, self.context, self.num_problems,
                stream_key(self.seed, "order"), visit, stop, self._problem, self._space, self._tokens, self._kinds, count, offsets,
                prompts, visits, strategies,
            )  # fmt: skip
            dropped += more
            if error != NO_ROOM:
                break
            self._tokens, self._kinds = _grown(self._tokens), _grown(self._kinds)
        if error == NO_PROBLEM:
            raise ValueError(f"env: split {self.split} has no solvable problem with target {int(self._problem[0])}")
        if error < 0:
            message = ENCODE_ERRORS[error - ENCODE_ERROR]
            raise ValueError(f"stream.dialect={self.dialect.name} cannot write the trace of visit {visit}: {message}")
        used = offsets[count]
        return Chunk(
            self._tokens[:used].copy(),
            self._kinds[:used].copy(),
            offsets[: count + 1].copy(),
            prompts[:count].copy(),
            visits[:count].copy(),
            dropped,
            strategies[:count].copy(),
        )


__all__ = [
    "NEEDS_SOLUTION",
    "VIEWS",
    "Chunk",
    "StreamSource",
    "strategy_of",
]
