"""The contexts of streams: hints taken from the search of each problem, and what stands in their place.

The plan is the solution path of the search, or, where the search found none, of the exhaustive one that views fall back
to. A problem without a plan, as one without a solution, has no context. Searches for a context alone, in evaluations
and of foreign problems, are those of the first strategy of a mixture.

- own: the hint of this problem.
- wrong: the path to another node of this problem's search, as deep as the plan or, where there is none, the deepest,
  that says something else; where the search has none, another problem's.
- foreign: the hint of another training problem, whose plan is cut where it is longer.
- filler: as many tokens as the hint of this problem has.

A failed attempt is the path to a node of the problem's search that is dead, drawn among those that are as deep as the
plan or, where there is none, the deepest; a critique goes by the plan. A search that met no dead node has neither. The
`foreign` one is another problem's, and no failed attempt is `wrong`: another problem's stands there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from sos.context.draws import Asked, SlotPlan, asked_at, draw_key
from sos.context.forms import write_context
from sos.context.items import TRACE, Item, attempt, hint, said
from sos.data.chunks import Chunk
from sos.data.splits import Splits, sample_problems
from sos.data.streams import Writer
from sos.data.traces import Order
from sos.envs import protocol as environment
from sos.rng import fold, permute, stream_key
from sos.schema.slot import ATTEMPT_DOSES, CRITIQUE, FILLER, FOREIGN, WRONG
from sos.search.rows import Drawn, Searcher, trace_of
from sos.stream.dialect.compile import Dialect
from sos.stream.views import SOLUTION_PATH, View
from sos.trace import ACTION, PARENT, Trace, TraceRows

NOTHING = np.zeros(0, np.int64)
MOST_WRONG = 64  # other nodes of a search that are looked at
_FOREIGN_DRAWS = 4  # problems drawn, one after the other, until one has a plan


class ContextSource:
    """Makes contexts; which one stream `i` has is a pure function of (seed, name of the stream, i)."""

    def __init__(
        self,
        env: Any,
        strategy: Any,
        dialect: Dialect,
        splits: Splits,
        *,
        max_nodes: int,
        seed: int,
        stream: str,
        plan: SlotPlan | None = None,
        followed: Writer | None = None,
    ) -> None:
        """`plan` is that of training streams, and `followed` what writes those that go straight along a plan."""
        self.env, self.strategy, self.dialect, self.splits, self.plan = env, strategy, dialect, splits, plan
        self._followed = followed
        self._key = draw_key(seed, stream)
        self._wrong_key, self._foreign_seed = stream_key(seed, f"wrong {stream}"), int(self._key)
        self._max_nodes = max_nodes
        self._searcher: Searcher | None = None  # of problems that no rows of traces come with
        order = Order(0, np.uint64(0))
        self._viewer = Writer(env, View(SOLUTION_PATH), dialect, context=1, max_nodes=max_nodes, seed=0, order=order)

    def put(self, chunk: Chunk, rows: TraceRows, num: int) -> Chunk:
        """Return the streams of `chunk`, which are those of the first `num` traces of `rows`, with contexts drawn as
        the plan says; in the place of a stream that follows its hint, the solution path."""
        assert self.plan is not None
        asked = {visit: asked_at(self.plan, self._key, visit) for visit in rows.visits[:num].tolist()}
        before = self._tokens(rows, num, list(asked.values()))
        followed = {visit for visit, what in asked.items() if what is not None and what.followed and len(before[visit])}
        if followed and self._followed is not None:
            chunk = chunk.exchanged(self._followed.write(rows, num, 0)[0], followed)
        return chunk.prefixed([before[visit] for visit in chunk.visits.tolist()])

    def of_problems(self, problems: np.ndarray, asked: Asked) -> list[np.ndarray]:
        """Return the tokens of this context for `problems` (int32 (N, P)), int64 (T,) each; none for a problem without
        a plan, or whose search needs more nodes than a trace may have."""
        found: dict[int, np.ndarray] = {}
        for first in range(0, len(problems), 64):
            rows, num = self._searched(problems[first : first + 64], first)
            found |= self._tokens(rows, num, [asked] * num)
        return [found.get(k, NOTHING) for k in range(len(problems))]

    def _searched(self, problems: np.ndarray, first: int = 0) -> tuple[TraceRows, int]:
        if self._searcher is None:
            self._searcher = Searcher(self.env, self.strategy, self._max_nodes)
        size = len(problems)
        drawn = Drawn(first, problems, np.arange(first, first + size), np.zeros(size, np.int32))
        return self._searcher.search(drawn)[:2]

    def _tokens(self, rows: TraceRows, num: int, asked: Sequence[Asked | None]) -> dict[int, np.ndarray]:
        plans = self.plans(rows, num)
        traces = {visit: k for k, visit in enumerate(rows.visits[:num].tolist())}
        items: dict[int, list[Item]] = {}
        abroad: dict[int, tuple[str, int]] = {}  # visit -> dose and length of the plan, of what is to be another's
        filled: set[int] = set()
        for (visit, k), what in zip(traces.items(), asked, strict=True):
            plan = plans.get(visit)
            if what is None or plan is None:
                continue
            found: list[Item] | None = None
            if what.whose == WRONG:
                found = self._wrong(what.dose, trace_of(rows, k), plan, visit)
            elif what.whose != FOREIGN:
                found = self._said(what.dose, rows, k, plan, visit)
            if found is None:
                abroad[visit] = (what.dose, len(plan))
            else:
                items[visit] = found
            if what.whose == FILLER:
                filled.add(visit)
        items |= self._foreign(abroad)  # it may search, and reuse the rows
        return {visit: self._written(items.get(visit, []), visit in filled) for visit in traces}

    def _said(self, dose: str, rows: TraceRows, k: int, plan: np.ndarray, number: int) -> list[Item]:
        """Return what a dose says of the plan of trace `k` of `rows`; nothing of an attempt that did not fail."""
        if dose not in ATTEMPT_DOSES:
            return [hint(self.env, dose, plan, trace_of(rows, k) if dose == TRACE else _NO_TRACE)]
        path = self._failed(trace_of(rows, k), len(plan), number)
        return [] if path is None else attempt(self.env, path, plan, critique=dose == CRITIQUE)

    def _written(self, items: Sequence[Item], is_filler: bool) -> np.ndarray:
        tokens = write_context(self.dialect, items)
        if not is_filler or not items:
            return tokens
        blank = items[0]._replace(actions=items[0].actions[:0], trace=None, filler=len(tokens) - 3)
        return write_context(self.dialect, [blank])

    def plans(self, rows: TraceRows, num: int) -> dict[int, np.ndarray]:
        """Return the plan, int32 (K, A) with K > 0, of each visit among the first `num` traces of `rows` that has
        one."""
        viewed, count, _ = self._viewer.shown(rows, num)
        found = {}
        for k in range(count):
            first, stop = viewed.offsets[k, 1] + 1, viewed.offsets[k + 1, 1]  # without the root
            if stop > first:
                found[int(viewed.visits[k])] = viewed.nodes[first:stop, ACTION:].copy()
        return found

    def _wrong(self, dose: str, trace: Trace, plan: np.ndarray, number: int) -> list[Item] | None:
        """Return a hint of a dose that leads to no goal, or None where the search has no mistake to take it from."""
        if dose in (TRACE, *ATTEMPT_DOSES):
            return None
        name = hint(self.env, dose, plan, trace).name
        right = said(self.env, name, plan)
        for status, path in self._paths(trace, len(plan), number):
            actions = said(self.env, name, path)
            if status != environment.GOAL and not np.array_equal(actions, right):
                return [Item(name, actions)]
        return None

    def _failed(self, trace: Trace, depth: int, number: int) -> np.ndarray | None:
        """Return the path to a dead node of a search, int32 (K, A), or None where none is looked at."""
        paths = self._paths(trace, depth, number)
        return next((path for status, path in paths if status == environment.DEAD), None)

    def _paths(self, trace: Trace, depth: int, number: int) -> Iterator[tuple[int, np.ndarray]]:
        """Yield the status of other nodes than the root, from `depth` upwards, and the path to each, int32 (K, A)."""
        parents = trace.nodes[:, PARENT].tolist()
        depths = [0]
        for parent in parents[1:]:
            depths.append(depths[parent] + 1)
        for node in self._mixed(depths, depth, number)[:MOST_WRONG]:
            path = []
            at = node
            while at > 0:
                path.append(at)
                at = parents[at]
            yield environment.status(self.env, trace.problem, trace.states[node]), trace.nodes[path[::-1], ACTION:]

    def _mixed(self, depths: Sequence[int], depth: int, number: int) -> list[int]:
        """Return the nodes from `depth` up to the root, without it, those of one depth in an order of their own."""
        key, found = np.uint64(fold(self._wrong_key, number)), []
        for level in range(min(depth, max(depths)), 0, -1):
            nodes = [node for node, its in enumerate(depths) if its == level]
            found += [nodes[permute(key, k, len(nodes))] for k in range(len(nodes))]
        return found

    def _foreign(self, wanted: dict[int, tuple[str, int]]) -> dict[int, list[Item]]:
        """Return hints of other training problems, for each visit a dose and the most actions of the plan."""
        found: dict[int, list[Item]] = {}
        for draw in range(_FOREIGN_DRAWS):
            left = [visit for visit in wanted if visit not in found]
            if not left:
                break
            seed = self._foreign_seed + draw
            drawn = [
                sample_problems(self.env, self.splits, "train", 1, seed=seed, start=visit, solvable=True)[0]
                for visit in left
            ]
            rows, num = self._searched(np.array(drawn, np.int32))
            for number, plan in self.plans(rows, num).items():
                dose, most = wanted[left[number]]
                k = rows.visits[:num].tolist().index(number)
                whole = plan if dose in ATTEMPT_DOSES else plan[:most]
                if said_of := self._said(dose, rows, k, whole, left[number]):
                    found[left[number]] = said_of
        return found


_NO_TRACE = Trace(*(np.zeros((0,), np.int32),) * 4)
