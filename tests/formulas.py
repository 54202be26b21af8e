"""Formulas for tests: sizes, searches, and rows to and from clauses."""

from __future__ import annotations

from typing import Any

import numpy as np

from sos.data.splits import EITHER, POSED, make_splits, sample_problems
from sos.envs.sat.rules import HEURISTICS, Sat
from sos.search import DepthFirst

SIZES = [Sat(), Sat(3, 4, 2.0, 9, -1.0), Sat(4, 4, 5.0, 4, -1.0), Sat(8, 9, 4.3, 12), Sat(7, 7, 3.0, 7, 1.0)]
DIALECTS = ("compact", "checked")
WHOLE_MAX = 40


def search_of(kind: str | int, max_nodes: int = 5000) -> DepthFirst:
    index = HEURISTICS.index(kind) if isinstance(kind, str) else kind
    return DepthFirst(index, use_threshold=False, skip_seen=True, announce_leaves=False, max_nodes=max_nodes)


def problems_of(env: Sat, num: int, split: str = "train", solvable: int | None = POSED) -> np.ndarray:
    if env.satisfiable < 0:
        solvable = EITHER
    return sample_problems(env, make_splits(env, 0.2, 0.0), split, num, seed=3, solvable=solvable)


def literals_of(state: Any) -> frozenset[int]:
    true, false = int(state[0]), int(state[1])
    return frozenset([v for v in range(31) if true >> v & 1] + [-v for v in range(31) if false >> v & 1])


def state_of(literals: Any) -> np.ndarray:
    sets = [sum(1 << one for one in literals if one > 0), sum(1 << -one for one in literals if one < 0)]
    return np.array(sets, np.int32)
