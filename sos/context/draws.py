"""Which context a stream has: a pure function of (seed, name of the stream, number of the stream)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sos.rng import below, fold, stream_key, uniform
from sos.schema.slot import FILLER, FOREIGN, OWN, WHOLE_PLANS, WRONG


class SlotPlan(NamedTuple):
    """What streams are given: the shares of those without a context, and, among the others, of the controls."""

    doses: tuple[str, ...]
    dropout: float = 0.0
    irrelevant: float = 0.0  # foreign
    misleading: float = 0.0  # wrong
    filler: float = 0.0
    follow: float = 0.0  # of the hints of whole plans, those whose stream goes straight along the plan


class Asked(NamedTuple):
    """A context to be made: its dose, and whose hint it is."""

    dose: str
    whose: str = OWN  # or one of the controls
    followed: bool = False  # the stream behind it is the solution path


def draw_key(seed: int, stream: str) -> np.uint64:
    """Return the key of the contexts of a stream of streams, such as "train"."""
    return stream_key(seed, f"context {stream}")


def asked_at(plan: SlotPlan, key: np.uint64, index: int) -> Asked | None:
    """Return the context of stream `index`, or None."""
    own = np.uint64(fold(key, index))
    if uniform(own, 0) < plan.dropout:
        return None
    dose = plan.doses[below(own, 1, len(plan.doses))]
    share = float(uniform(own, 2))
    for whose, part in ((WRONG, plan.misleading), (FOREIGN, plan.irrelevant), (FILLER, plan.filler)):
        if share < part:
            return Asked(dose, whose)
        share -= part
    return Asked(dose, followed=dose in WHOLE_PLANS and float(uniform(own, 3)) < plan.follow)
