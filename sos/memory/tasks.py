"""Streams of tasks: problems of an unseen split, no two alike, with a hidden regularity or without.

`regular`: a feature of problems and two classes of actions are drawn by the seed of the stream. Every task with the
feature is one that the solver solves by the first class, and every other task one that it solves by the second; tasks
of the two sorts take turns. What helps with one task therefore helps with those that share its feature. `useless`: a
class is drawn that is of no use in any task: the solver's search tries it in vain and finds the goal by another. `iid`:
problems as they are drawn, whose features may well tell something of what solves them. `unrelated`, the negative
control, in which they tell nothing: of the tasks with the same features as many are solved by one class as by another.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sos.context.lessons import NO_CLASS
from sos.data.lessons import Known, LessonSource
from sos.data.splits import sample_problems
from sos.errors import UserError
from sos.rng import fold, permute, stream_key
from sos.system import System

REGULAR, USELESS, IID, UNRELATED = "regular", "useless", "iid", "unrelated"
SPLIT = "val"
BLOCK = 512
MOST_BLOCKS = 40
LEAST_CHOICE = 6  # regularities to draw one from, unless the split has fewer
LEAST_SHARE = 0.1  # of the problems, those that a class solves which is among the unrelated ones


class Regularity(NamedTuple):
    """What nobody tells the model: which class solves the tasks with a feature, and which the others."""

    feature: int
    within: int
    without: int


class Task(NamedTuple):
    """A problem, and what its search shows."""

    problem: np.ndarray
    solver: int  # the class by which the solver solves it


class Tasks(NamedTuple):
    """A stream."""

    tasks: list[Task]
    regularity: Regularity | None
    useless: int = NO_CLASS  # the class that solves none of them


def source_of(system: System, seed: int) -> LessonSource:
    """Return what searches the problems of a stream, and draws lessons for them."""
    return LessonSource(
        system.env,
        system.strategy,
        system.dialect,
        system.splits,
        max_nodes=system.max_nodes,
        seed=seed,
        stream="memory",
    )


def tasks_of(system: System, kind: str, num: int, seed: int) -> Tasks:
    """Return a stream of `num` tasks. Raises UserError where the split has no more that fit."""
    source = source_of(system, seed)
    pool: dict[tuple[int, ...], Known] = {}
    found: list[Regularity] = []
    for block in range(MOST_BLOCKS):
        for known in _solved(system, source, seed, block):
            pool.setdefault(system.env.problem_key(known.problem), known)
        every = list(pool.values())
        if kind == IID and len(every) >= num:
            return Tasks([Task(known.problem, known.solving) for known in every[:num]], None)
        if kind == UNRELATED and len(tasks := _unrelated(system, every, seed)) >= num:
            return Tasks(tasks[:num], None)
        if kind == USELESS and len(classes := _useless(system, every, num)) >= min(2, len(system.env.lesson_classes)):
            return _without(every, classes[_drawn(seed, len(classes))], num)
        found = _regularities(system, every, num) if kind == REGULAR else []
        if len(found) >= LEAST_CHOICE:
            break
    if not found:
        whats = {REGULAR: "different problems, and no rule for as many tasks", IID: "different tasks"}
        whats[USELESS] = "different problems, and fewer than two classes that are tried in vain in as many tasks"
        what = whats.get(kind, "different problems, and fewer tasks whose features tell nothing")
        raise UserError(f"num={num}: {MOST_BLOCKS * BLOCK} draws from split {SPLIT} brought {len(pool)} {what}")
    rule = found[_drawn(seed, len(found))]
    sides: tuple[list[Task], list[Task]] = ([], [])
    for known in every:
        has = bool(known.features[rule.feature])
        if known.solving == (rule.within if has else rule.without):
            sides[not has].append(Task(known.problem, known.solving))
    return Tasks([sides[k % 2][k // 2] for k in range(num)], rule)


def _drawn(seed: int, num: int) -> int:
    """Return which of `num` rules a stream of this seed has."""
    return int(permute(np.uint64(fold(stream_key(seed, "regularity"), 0)), 0, num))


def _in_vain(known: Known, of: int) -> bool:
    """Say whether a search tried a class of actions to its end in vain, and found the goal by another."""
    return known.solving != of and any(branch.of == of and branch.closed for branch in known.branches)


def _useless(system: System, known: Sequence[Known], num: int) -> list[int]:
    """Return the classes that as many as `num` of some searches tried in vain."""
    classes = range(len(system.env.lesson_classes))
    return [of for of in classes if sum(_in_vain(one, of) for one in known) >= num]


def _without(known: Sequence[Known], of: int, num: int) -> Tasks:
    """Return the first `num` tasks in which a class is tried in vain."""
    found = [Task(one.problem, one.solving) for one in known if _in_vain(one, of)]
    return Tasks(found[:num], None, of)


def _solved(system: System, source: LessonSource, seed: int, block: int) -> list[Known]:
    """Return what is known of the solved ones among a block of problems, in their order."""
    problems = sample_problems(system.env, system.splits, SPLIT, BLOCK, seed=seed, start=block * BLOCK, solvable=True)
    return [known for _, known in sorted(source.known(problems).items()) if known.solving != NO_CLASS]


def _regularities(system: System, known: Sequence[Known], num: int) -> list[Regularity]:
    """Return the regularities to which enough of some problems keep for a stream of `num` tasks."""
    if not known:
        return []
    features = np.array([one.features for one in known], bool)
    solving = np.array([one.solving for one in known])
    classes = range(len(system.env.lesson_classes))
    return [
        Regularity(feature, within, without)
        for feature in range(features.shape[1])
        for within in classes
        for without in classes
        if within != without
        and (features[:, feature] & (solving == within)).sum() >= num - num // 2
        and (~features[:, feature] & (solving == without)).sum() >= num // 2
    ]


def _unrelated(system: System, known: Sequence[Known], seed: int) -> list[Task]:
    """Return tasks in sets of as many as there are classes: of one set all have the same features, and each has its own
    class. The sets, and the tasks of each, stand in drawn order."""
    solving = np.bincount([one.solving for one in known], minlength=len(system.env.lesson_classes))
    classes = np.flatnonzero(solving >= LEAST_SHARE * len(known)).tolist()
    alike: dict[bytes, dict[int, list[Known]]] = {}
    for one in known:
        if one.solving in classes:
            alike.setdefault(one.features.tobytes(), {of: [] for of in classes})[one.solving].append(one)
    sets = [
        [Task(by_class[of][k].problem, of) for of in classes]
        for by_class in alike.values()
        for k in range(min(map(len, by_class.values())))
    ]
    key = stream_key(seed, "unrelated")
    found: list[Task] = []
    for k in range(len(sets)):
        of, own = sets[permute(key, k, len(sets))], np.uint64(fold(key, k))
        found += [of[permute(own, m, len(of))] for m in range(len(of))]
    return found if len(classes) > 1 else []
