"""Which context a stream has: a pure function of (seed, name of the stream, number of the stream)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sos.rng import below, fold, stream_key, uniform
from sos.schema.slot import FILLER, FOLLOWED, FOREIGN, HINT, LESSON, OTHERS, OWN, RETRIEVED, WRONG


class SlotPlan(NamedTuple):
    """What streams are given: the shares of those without a context, and, among the others, of the controls."""

    doses: tuple[str, ...]
    dropout: float = 0.0
    irrelevant: float = 0.0  # foreign
    misleading: float = 0.0  # wrong
    filler: float = 0.0
    follow: float = 0.0  # of the doses `FOLLOWED`, those whose stream goes straight along the plan
    kinds: tuple[str, ...] = (HINT,)
    lessons: int = 4  # at most, in a context of lessons
    lessons_from: str = OWN  # or OTHERS: those that a memory of other problems holds


class Asked(NamedTuple):
    """A context to be made: its dose, and whose hint it is."""

    dose: str
    whose: str = OWN  # or one of the controls
    followed: bool = False  # the stream behind it is the solution path


class AskedOfOthers(NamedTuple):
    """A context of what other problems left, to be made: the kind of its items, and whose each of them is."""

    kind: str
    # `OWN`: of lessons one that is true, of the other kinds one of a problem like this one; `RETRIEVED`: of a memory
    whose: tuple[str, ...]
    followed: bool  # the search behind it tries first what it says
    key: np.uint64  # of what else is drawn


def draw_key(seed: int, stream: str) -> np.uint64:
    """Return the key of the contexts of a stream of streams, such as "train"."""
    return stream_key(seed, f"context {stream}")


def asked_at(plan: SlotPlan, key: np.uint64, index: int) -> Asked | None:
    """Return the context of stream `index`, or None."""
    own = np.uint64(fold(key, index))
    if uniform(own, 0) < plan.dropout:
        return None
    dose = plan.doses[below(own, 1, len(plan.doses))]
    whose = _whose(plan, own, 2)
    if whose != OWN:
        return Asked(dose, whose)
    return Asked(dose, followed=dose in FOLLOWED and float(uniform(own, 3)) < plan.follow)


def _whose(plan: SlotPlan, key: np.uint64, number: int) -> str:
    share = float(uniform(key, number))
    for whose, part in ((WRONG, plan.misleading), (FOREIGN, plan.irrelevant), (FILLER, plan.filler)):
        if share < part:
            return whose
        share -= part
    return OWN


def asked_of_others(plan: SlotPlan, key: np.uint64, index: int) -> AskedOfOthers | None:
    """Return the context of stream `index` of a base whose slot holds what other problems left, or None.

    Half of them are lessons, where there are other kinds, too. Of lessons there are 1 to `plan.lessons`, each true or a
    control for itself; of the other kinds there is one.
    """
    own = np.uint64(fold(key, index))
    if uniform(own, 0) < plan.dropout:
        return None
    others = [kind for kind in plan.kinds if kind != LESSON]
    lessons = LESSON in plan.kinds and (not others or float(uniform(own, 2)) < 0.5)
    kind = LESSON if lessons else others[below(own, 1, len(others))]
    followed = float(uniform(own, 3)) < plan.follow
    num = 1 + below(own, 4, plan.lessons) if kind == LESSON else 1
    whose = tuple(RETRIEVED if plan.lessons_from == OTHERS else _whose(plan, own, 5 + k) for k in range(num))
    return AskedOfOthers(kind, whose, followed, np.uint64(fold(own, 2)))
