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
MOST_BLOCKS = 60
LEAST_TASKS = 0.05  # of the problems, those of each sort of a regularity
LEAST_SHARE, MOST_SHARE = 0.2, 0.8  # of the problems, those that have the feature of a regularity


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
    first = _solved(system, source, seed, 0)
    regularity = _regularity(system, first, seed) if kind == REGULAR else None
    sides: tuple[list[Task], list[Task]] = ([], [])
    seen: set[tuple[int, ...]] = set()
    need = (num, 0) if regularity is None else (num - num // 2, num // 2)
    for block in range(MOST_BLOCKS):
        for known in first if block == 0 else _solved(system, source, seed, block):
            key = system.env.problem_key(known.problem)
            side = _side(known, regularity)
            if side >= 0 and key not in seen:
                seen.add(key)
                sides[side].append(Task(known.problem, known.solving))
        if all(len(side) >= least for side, least in zip(sides, need, strict=True)):
            break
    else:
        raise UserError(
            f"num={num}: {MOST_BLOCKS * BLOCK} draws from split {SPLIT} brought {len(sides[0]) + len(sides[1])} "
            f"different tasks of the kind {kind}"
        )
    if regularity is None:
        return Tasks(sides[0][:num], None)
    return Tasks([sides[k % 2][k // 2] for k in range(num)], regularity)


def _solved(system: System, source: LessonSource, seed: int, block: int) -> list[Known]:
    """Return what is known of the solved ones among a block of problems, in their order."""
    problems = sample_problems(system.env, system.splits, SPLIT, BLOCK, seed=seed, start=block * BLOCK, solvable=True)
    return [known for _, known in sorted(source.known(problems).items()) if known.solving != NO_CLASS]


def _side(known: Known, regularity: Regularity | None) -> int:
    """Return 0 for a task with the feature, 1 for one without, and -1 for one that breaks the regularity."""
    if regularity is None:
        return 0
    has = bool(known.features[regularity.feature])
    fits = known.solving == (regularity.within if has else regularity.without)
    return (0 if has else 1) if fits else -1


def _regularity(system: System, known: Sequence[Known], seed: int) -> Regularity:
    """Draw a regularity among those of which there are enough problems."""
    features = np.array([one.features for one in known])
    solving = np.array([one.solving for one in known])
    shares = features.mean(0)
    classes = range(len(system.env.lesson_classes))
    found = [
        Regularity(feature, within, without)
        for feature in np.flatnonzero((shares >= LEAST_SHARE) & (shares <= MOST_SHARE)).tolist()
        for within in classes
        for without in classes
        if within != without
        and (features[:, feature].astype(bool) & (solving == within)).mean() >= LEAST_TASKS
        and (~features[:, feature].astype(bool) & (solving == without)).mean() >= LEAST_TASKS
    ]
    if not found:
        raise UserError(f"tasks={REGULAR}: no feature of the problems goes with two classes that solve them")
    key = np.uint64(fold(stream_key(seed, "regularity"), 0))
    return found[permute(key, 0, len(found))]
