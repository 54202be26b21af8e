"""What other problems left, before training streams: lessons, demonstrations and transcripts; and the search behind
them.

Lessons are true ones of this problem, from its own search, or controls in their place:

- own: prefer the class of the branch in which this problem's search finds the goal, or avoid that of its costliest
  branch in vain. The condition is one of the problem's features, drawn.
- wrong: a condition that the problem has too, and the contrary: prefer another class, or avoid the right one.
- foreign: a lesson that is true of another problem; its condition may hold here or not.
- filler: as many tokens that say nothing.

Or they are what a memory of other problems holds for this one (retrieved): lessons of the problems that are nearest by
their features, of each the class that solved it, and the class of its costliest branch in vain as one to avoid. Nothing
of them comes from this problem's own search.

A demonstration is the stream of the solution path of another problem, a transcript that of its whole search. `own`
shares the condition and the solving class with this problem, `wrong` the condition alone, `foreign` neither. Others are
a fixed number of training problems, drawn by the seed and the name of the stream.

The search behind such a context is told by it what to try first (`sos.search.told`), whether it is true or not: it
leaves nothing out, and comes to the right branch later where it was told wrong. So a model can learn what lessons
mean, and that they need not be right. A problem whose search finds no goal has no context.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from sos.context.draws import Asked, AskedOfOthers, SlotPlan, asked_of_others, draw_key
from sos.context.forms import write_context
from sos.context.items import Item, lesson_item, no_actions
from sos.context.lessons import (
    NO_CLASS,
    Branch,
    Lesson,
    condition_of,
    costliest_class,
    nearest,
    root_branches,
    solving_class,
    votes_of,
)
from sos.data.chunks import Chunk
from sos.data.contexts import NOTHING
from sos.data.splits import Splits, sample_problems
from sos.data.streams import Writer
from sos.envs.lessons import features_of
from sos.errors import UserError
from sos.rng import below, fold, uniform
from sos.schema.slot import DEMONSTRATION, FILLER, FOREIGN, LESSON, OWN, RETRIEVED, WRONG
from sos.search.guided import Guided
from sos.search.rows import Drawn, Searcher, trace_of
from sos.search.told import Told
from sos.stream.dialect.compile import Dialect
from sos.stream.viewing import view_trace
from sos.stream.views import SOLUTION_PATH, View
from sos.trace import Trace, TraceRows

NUM_OTHERS = 512
BLOCK = 64
# What a context takes from its key, and each of its items from the key folded with its number.
CONDITION, SIGN, CLASS, OTHER = range(4)


class Known(NamedTuple):
    """A problem whose search is known."""

    problem: np.ndarray
    features: np.ndarray  # int8 (F,)
    branches: list[Branch]
    solving: int  # the class of the branch with the goal; `NO_CLASS` where there is none


@dataclass(frozen=True)
class Others:
    """Other problems, those that were solved."""

    known: list[Known]
    searches: list[Trace]
    features: np.ndarray  # int8 (N, F)
    conditions: np.ndarray  # int64 (N,): of the lessons that each leaves, its first feature
    problems: np.ndarray  # int32 (N, P)
    solving: np.ndarray  # int64 (N,): the class that solved each


class Shown(NamedTuple):
    """A trace of another problem as an item."""

    trace: Trace  # which is kept, so that no other one has its place in memory
    tokens: np.ndarray  # int64 (T,): of the context with this item alone
    lessons: list[Lesson]  # what it is worth: one at most


class LessonSource:
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
        writer: Writer | None = None,
    ) -> None:
        """`plan` is that of training streams, whose searches `writer` writes where they are told what to try first. It
        says, too, how many lessons a memory holds for a problem."""
        if isinstance(strategy, Guided):
            raise UserError("search.heuristic: one of a package orders all nodes, and goes without slot.kinds=[lesson]")
        self.env, self.strategy, self.dialect, self.splits, self.plan = env, strategy, dialect, splits, plan
        self._key, self._max_nodes, self._writer = draw_key(seed, stream), max_nodes, writer
        self._told: Searcher | None = None
        self._others: Others | None = None
        # Of the few hundred others that are shown again and again: solution paths by number, and what a trace says.
        self._paths: dict[int, Trace] = {}
        self._shown: dict[tuple[str, int], Shown] = {}

    def put(self, chunk: Chunk, rows: TraceRows, num: int) -> Chunk:
        """Return the streams of `chunk`, which are those of the first `num` traces of `rows`, with contexts drawn as
        the plan says, and the searches behind them as these tell."""
        assert self.plan is not None
        votes = np.zeros((num, len(self.env.lesson_classes)), np.int64)
        before, followed = {}, []
        for k, visit in enumerate(rows.visits[:num].tolist()):
            asked = asked_of_others(self.plan, self._key, visit)
            items = [] if asked is None else self._items_of(rows, k, asked)
            before[visit] = self._written(items, asked)
            if asked is not None and asked.followed:
                votes[k] = self.votes(items, rows.problems[k])
                followed += [k] if votes[k].any() else []
        if followed and self._writer is not None:
            told = self._told_streams(rows.problems[followed], votes[followed], rows.visits[followed])
            chunk = chunk.exchanged(told, set(told.visits.tolist()))
        return chunk.prefixed([before[visit] for visit in chunk.visits.tolist()])

    def of_problems(self, problems: np.ndarray, asked: Asked) -> list[np.ndarray]:
        """Return the tokens of one lesson for `problems` (int32 (N, P)), int64 (T,) each: `asked.whose` says whether it
        is true, and it prefers a class. None for a problem without a solution, or whose search is too long.

        Those that a memory holds for a problem, as many as training streams have at most, need no search of it.
        """
        assert asked.dose == LESSON
        if asked.whose == RETRIEVED:
            assert self.plan is not None
            return [write_context(self.dialect, self._retrieved(problem, self.plan.lessons)) for problem in problems]
        found = [NOTHING] * len(problems)
        for number, known in self.known(problems).items():
            lesson = AskedOfOthers(LESSON, (asked.whose,), False, np.uint64(fold(self._key, number)))
            found[number] = self._written(self.items(known, lesson, prefer=True), lesson)
        return found

    def known(self, problems: np.ndarray) -> dict[int, Known]:
        """Search problems (int32 (N, P)); return what is known of each that was not left out, by its number."""
        return {number: self._known(trace) for number, trace in self.searches(problems).items()}

    def searches(self, problems: np.ndarray) -> dict[int, Trace]:
        """Return the searches of problems (int32 (N, P)) by their number, without those that are too long."""
        searcher = Searcher(self.env, self.strategy, self._max_nodes)
        found: dict[int, Trace] = {}
        for first in range(0, len(problems), BLOCK):
            part = problems[first : first + BLOCK]
            none = np.zeros(len(part), np.int32)
            rows, num, _ = searcher.search(Drawn(first, part, np.arange(first, first + len(part)), none))
            found |= {int(rows.visits[k]): trace_of(rows, k) for k in range(num)}
        return found

    def items(self, known: Known, asked: AskedOfOthers, *, prefer: bool | None = None) -> list[Item]:
        """Return the items of a context of a problem; `prefer` fixes what else is drawn for each lesson."""
        if known.solving == NO_CLASS:
            return []
        if asked.kind == LESSON:
            keys = [np.uint64(fold(asked.key, k)) for k in range(len(asked.whose))]
            lessons = [self._lesson(known, whose, key, prefer) for whose, key in zip(asked.whose, keys, strict=True)]
            fillers = (whose == FILLER for whose in asked.whose)
            return [
                Item(LESSON, no_actions(self.env), filler=3) if filler else lesson_item(self.env, lesson)
                for lesson, filler in zip(lessons, fillers, strict=True)
            ]
        other = self._other(known, asked.whose[0], asked.key)
        if other is None:
            return []
        trace = self.others.searches[other]
        if asked.kind == DEMONSTRATION:
            trace = self._paths.get(other) or self._paths.setdefault(other, self.path(trace))
        return [Item(asked.kind, no_actions(self.env), trace)]

    def _items_of(self, rows: TraceRows, k: int, asked: AskedOfOthers) -> list[Item]:
        """Return the items of the context of trace `k` of `rows`."""
        if asked.whose[0] == RETRIEVED:
            return self._retrieved(rows.problems[k], len(asked.whose))
        return self.items(self._known(trace_of(rows, k)), asked)

    def _retrieved(self, problem: np.ndarray, num: int) -> list[Item]:
        """Return `num` lessons of the other problems that are nearest to this one, fewer where there are no more."""
        features, others = features_of(self.env, problem), self.others
        found: list[Item] = []
        for number in nearest(features[others.conditions] > 0, (others.features == features).sum(1)):
            if len(found) >= num:
                break
            if not np.array_equal(others.known[number].problem, problem):
                found += [lesson_item(self.env, lesson) for lesson in _left_by(self.env, others.known[number])]
        return found[:num]

    def votes(self, items: Sequence[Item], problem: np.ndarray) -> np.ndarray:
        """Return what items say of the classes of actions on a problem, int64 (C,): see `votes_of`. A demonstration and
        a transcript are a vote for the class that solved them, where the problem has the condition of theirs."""
        lessons = [item.lesson for item in items if item.lesson is not None]
        for item in items:
            lessons += self._of(item).lessons if item.trace is not None else []
        return votes_of(self.env, lessons, problem)

    def _of(self, item: Item) -> Shown:
        """Return what is known of an item that shows a trace."""
        assert item.trace is not None
        key = item.name, id(item.trace)
        if key not in self._shown:
            solving = solving_class(root_branches(self.env, item.trace))
            lesson = Lesson(condition_of(self.env, item.trace.problem), True, solving)
            tokens = write_context(self.dialect, [item])
            self._shown[key] = Shown(item.trace, tokens, [lesson] if solving != NO_CLASS else [])
        return self._shown[key]

    @property
    def others(self) -> Others:
        """The other problems; they are searched when they are first asked for."""
        if self._others is None:
            seed = int(np.uint64(fold(self._key, OTHER)) >> np.uint64(1))
            problems = sample_problems(self.env, self.splits, "train", NUM_OTHERS, seed=seed, solvable=True)
            traces = [trace for _, trace in sorted(self.searches(problems).items())]
            known = [(self._known(trace), trace) for trace in traces]
            solved = [(one, trace) for one, trace in known if one.solving != NO_CLASS]
            features = np.array([one.features for one, _ in solved], np.int8).reshape(len(solved), -1)
            conditions = np.array([condition_of(self.env, one.problem) for one, _ in solved], np.int64)
            self._others = Others(
                [one for one, _ in solved],
                [trace for _, trace in solved],
                features,
                conditions,
                np.array([one.problem for one, _ in solved], np.int32).reshape(len(solved), -1),
                np.array([one.solving for one, _ in solved], np.int64),
            )
        return self._others

    def _known(self, trace: Trace) -> Known:
        branches = root_branches(self.env, trace, claimed=False)
        return Known(trace.problem, features_of(self.env, trace.problem), branches, solving_class(branches))

    def path(self, trace: Trace) -> Trace:
        """Return the solution path of a search that found one."""
        return view_trace(View(SOLUTION_PATH), self.env, trace, max_nodes=len(trace.nodes) + 1)

    def _lesson(self, known: Known, whose: str, key: np.uint64, prefer: bool | None) -> Lesson:
        if whose == FOREIGN and self.others.known:
            known = self.others.known[below(key, OTHER, len(self.others.known))]
        prefer = float(uniform(key, SIGN)) < 0.5 if prefer is None else prefer
        conditions = np.flatnonzero(known.features)
        condition = int(conditions[below(key, CONDITION, len(conditions))])
        if whose == WRONG:
            num = len(self.env.lesson_classes)
            another = (known.solving + 1 + below(key, CLASS, num - 1)) % num if num > 1 else known.solving
            return Lesson(condition, prefer, another if prefer else known.solving)
        worst = costliest_class(known.branches, known.solving)
        if prefer or worst == NO_CLASS:
            return Lesson(condition, True, known.solving)
        return Lesson(condition, False, worst)

    def _other(self, known: Known, whose: str, key: np.uint64) -> int | None:
        """Return the number of another problem to show before this one, None where there is none such."""
        others = self.others
        if not others.known:
            return None
        fits = (others.problems != known.problem).any(1)
        if whose not in (FOREIGN, FILLER):
            fits &= others.conditions == np.flatnonzero(known.features)[0]
            fits &= (others.solving == known.solving) == (whose == OWN)
        numbers = np.flatnonzero(fits)
        return int(numbers[below(key, OTHER, len(numbers))]) if len(numbers) else None

    def _written(self, items: Sequence[Item], asked: AskedOfOthers | None) -> np.ndarray:
        shows = len(items) == 1 and items[0].trace is not None
        tokens = self._of(items[0]).tokens if shows else write_context(self.dialect, items)
        if asked is None or asked.kind == LESSON or asked.whose != (FILLER,) or not items:
            return tokens
        return write_context(self.dialect, [items[0]._replace(trace=None, filler=len(tokens) - 3)])

    def _told_streams(self, problems: np.ndarray, votes: np.ndarray, visits: np.ndarray) -> Chunk:
        """Return the streams of problems whose searches take the branches of the root by votes; those that are too long
        are missing."""
        assert self._writer is not None
        if self._told is None:
            self._told = Searcher(self.env, Told(self.strategy, votes), self._max_nodes)
        self._told.strategy = Told(self.strategy, np.ascontiguousarray(votes))
        numbers = np.arange(len(problems))
        rows, num, _ = self._told.search(Drawn(0, np.ascontiguousarray(problems), numbers, numbers.astype(np.int32)))
        chunk, _ = self._writer.write(rows, num, 0)
        return chunk._replace(visits=visits[chunk.visits])


def _left_by(env: Any, known: Known) -> list[Lesson]:
    """Return the lessons that the search of a problem leaves: of its success, and of its costliest failure."""
    condition, worst = condition_of(env, known.problem), costliest_class(known.branches, known.solving)
    failure = [] if worst == NO_CLASS else [Lesson(condition, False, worst)]
    return [Lesson(condition, True, known.solving), *failure]
