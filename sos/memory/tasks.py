"""Streams of tasks: problems of an unseen split, no two alike, with a hidden regularity or without.

`regular`: a feature of problems and two classes of actions are drawn by the seed of the stream. Every task with the
feature is one that the solver solves by the first class, and every other task one that it solves by the second; tasks
of the two sorts take turns. What helps with one task therefore helps with those that share its feature. `iid`, the
negative control: problems as they are drawn, whatever solves them.
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

REGULAR, IID = "regular", "iid"
KINDS = (REGULAR, IID)
SPLIT = "val"
BLOCK = 512
MOST_BLOCKS = 40
LEAST_CHOICE = 6  # regularities to draw one from, unless the split has fewer


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
        found = _regularities(system, every, num) if kind == REGULAR else []
        if len(found) >= LEAST_CHOICE:
            break
    if not found:
        what = "different tasks" if kind == IID else "different problems, and no rule for as many tasks"
        raise UserError(f"num={num}: {MOST_BLOCKS * BLOCK} draws from split {SPLIT} brought {len(pool)} {what}")
    rule = found[permute(np.uint64(fold(stream_key(seed, "regularity"), 0)), 0, len(found))]
    sides: tuple[list[Task], list[Task]] = ([], [])
    for known in every:
        has = bool(known.features[rule.feature])
        if known.solving == (rule.within if has else rule.without):
            sides[not has].append(Task(known.problem, known.solving))
    return Tasks([sides[k % 2][k // 2] for k in range(num)], rule)


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
