"""The problems of a split by name: the held-out splits, two hard parts of `val`, and a list.

- `difficult`: problems of `val` that none of the published twelve strategies solves (registered by `sos.published`).
- `unsolved`: problems of `val` that the run's own teacher does not solve when it searches them; of a mixture the
  strategy is drawn as for training data. A teacher that solves everything leaves none.
- `listed`: those of the file `eval.problems`, in its order, each once.

The hard parts are about whole searches, whatever their streams' length, and are distinct problems in the order of the
`val` stream.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from sos.data.coverage import is_answer, outcomes
from sos.data.listed import distinct
from sos.data.splits import SPLITS, evaluation_problems, sample_problems
from sos.errors import UserError
from sos.judge.registry import UNSOLVED_BY, registered
from sos.rng import stream_key
from sos.system import MAX_TRACE_NODES, System

UNSOLVED_BY["unsolved"] = lambda system: [system.strategy]
BLOCK = 1_000  # problems searched at a time, or as many as are wanted
FIRST_BLOCKS, MOST_BLOCKS = 10, 300  # searched before giving up without any, and with too few


def split_problems(system: System, split: str, num: int, *, seed: int = 0) -> np.ndarray:
    """Return `num` distinct problems of a split, int32 (num, P), or fewer where it seems to hold no more.

    Raises ValueError where the environment has no problem to sample, or is too large for whole searches.
    """
    if split in SPLITS:
        return evaluation_problems(system.env, system.splits, split, num, seed=seed)
    if split == "listed":
        return distinct(system.env, system.listed)[:num]
    strategies = registered(UNSOLVED_BY, split)(system)
    max_nodes = system.env.tree_nodes
    if max_nodes > MAX_TRACE_NODES:
        raise UserError(
            f"split {split} needs whole searches, which can have {max_nodes} nodes (at most {MAX_TRACE_NODES})"
        )
    key = stream_key(seed, "val")

    def unsolved_by_all(problems: np.ndarray, start: int) -> np.ndarray:
        left = np.ones(len(problems), bool)
        for strategy in strategies:
            found = outcomes(system.env, strategy, problems, key=key, start=start, max_nodes=max_nodes)
            left &= ~is_answer(system.env, found)
        return left

    return _filter(system, num, seed, unsolved_by_all)


def _filter(system: System, num: int, seed: int, keep: Callable[[np.ndarray, int], np.ndarray]) -> np.ndarray:
    """Return the first `num` distinct problems of the `val` stream that `keep(problems, number of the first)` marks."""
    found: dict[tuple[int, ...], np.ndarray] = {}
    size = max(BLOCK, num)
    for block in range(MOST_BLOCKS):
        if len(found) >= num or (not found and block == FIRST_BLOCKS):
            break
        rows = sample_problems(system.env, system.splits, "val", size, seed=seed, start=block * size)
        for row in rows[keep(rows, block * size)]:
            found.setdefault(system.env.problem_key(row), row)
    return np.array(list(found.values())[:num], np.int32).reshape(-1, system.env.problem_width)
