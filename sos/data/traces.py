"""Whole searches, before any view or dialect: problem i -> search -> trace, for any range of i, in any order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from sos.data.splits import POSED, SPLITS, Splits, draw_many, kind_asked, with_group
from sos.errors import UserError
from sos.kernels import inner, kernel
from sos.rng import fold, permute, stream_key
from sos.search.protocol import choose
from sos.search.rows import Drawn, Searcher
from sos.trace import Trace, TraceRows

# The element of a problem stream that seeds the draws of strategies: the last one; problems are numbered from 0.
STRATEGY_DRAW = np.uint64(2**64 - 1)


class Order(NamedTuple):
    """Which problem a visit is of: itself, or in a fixed data set the image under the permutation of its epoch."""

    num_problems: int  # 0 for an endless stream
    key: np.uint64


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


@inner
def index_of(order, visit):
    """Return the problem of a visit, see `Order`."""
    if order.num_problems <= 0:
        return np.int64(visit)
    return permute(fold(order.key, visit // order.num_problems), visit % order.num_problems, order.num_problems)


@kernel
def _number(order, first, indices):
    """Write the problems of consecutive visits from `first` on into `indices` int64 (K,)."""
    for k in range(len(indices)):
        indices[k] = index_of(order, first + k)


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
        _number(self.order, start, drawn.indices)
        split = SPLITS.index(self.split)
        found = draw_many(self.env, self.splits, split, POSED, key, drawn.indices, drawn.problems, self._proof)
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
