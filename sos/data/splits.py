"""Splits and the sampler: which problems belong to `train`, `val` and `val_target`, and problem i of each.

A number set (the sorted numbers) is in `val` or not by a hash, so that no set of `val` occurs in `train` with any
target. A tenth of the targets is held out: they make `val_target`, with any numbers, and occur in neither of the
others. The hash does not depend on a run's seed: all runs of one environment are evaluated on the same problems.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from sos.envs import protocol as environment
from sos.errors import UserError
from sos.kernels import kernel
from sos.rng import below, fold, permute, stream_key

SPLITS = ("train", "val", "val_target")
TRAIN, VAL, VAL_TARGET = range(3)
MAX_DRAWS = 1_000_000
SPLIT_SEED = 0


class Splits(NamedTuple):
    """The rule of the splits: int32 target arrays, and the share of number sets in `val` as a threshold of 2**32."""

    targets: np.ndarray  # of train and val
    held_out: np.ndarray  # of val_target
    val_threshold: int
    key: np.uint64


def make_splits(env: Any, val_fraction: float, held_out_fraction: float) -> Splits:
    """Choose the held-out targets (at least one if the fraction is above 0) and the share of `val`."""
    targets = np.arange(env.min_target, env.max_target + 1, dtype=np.int32)
    num = min(len(targets) - 1, max(1, round(held_out_fraction * len(targets)))) if held_out_fraction > 0 else 0
    key = stream_key(SPLIT_SEED, "held-out targets")
    held = np.array([permute(key, k, len(targets)) for k in range(num)], np.int64)
    mask = np.zeros(len(targets), bool)
    mask[held] = True
    return Splits(targets[~mask], targets[mask], round(val_fraction * 2**32), stream_key(SPLIT_SEED, "split"))


@kernel
def in_val(env, splits, problem):
    """Say whether the number set of `problem` belongs to `val`."""
    return (environment.hash_key(env, splits.key, problem) >> np.uint64(32)) < np.uint64(splits.val_threshold)


@kernel
def sample(env, splits, split, solvable, key, index, problem, work):
    """Write problem `index` of the stream `key` and the split (index into `SPLITS`) into `problem` int32 (P,).

    The target is uniform on the split's targets, then the numbers are uniform among those that belong to the split
    and are solvable (`solvable` 1), proven unsolvable (0) or either (-1): the published distribution, by rejection.
    Returns the number of draws, or -1 where `MAX_DRAWS` found none. `work` is the environment's `proof_work()`.
    """
    problem_key = fold(key, index)
    targets = splits.held_out if split == VAL_TARGET else splits.targets
    goal = targets[below(problem_key, 0, len(targets))]
    for attempt in range(1, MAX_DRAWS + 1):
        environment.draw(env, problem_key, goal, attempt, problem)
        # The test that fewer draws pass comes first.
        if split == VAL and not in_val(env, splits, problem):
            continue
        if solvable >= 0 and environment.solvable(env, problem, work) != (solvable == 1):
            continue
        if split == TRAIN and in_val(env, splits, problem):
            continue
        return attempt
    return -1


@kernel
def _sample_many(env, splits, split, solvable, key, start, problems, work):
    for k in range(len(problems)):
        if sample(env, splits, split, solvable, key, start + k, problems[k], work) < 0:
            return k
    return len(problems)


def sample_problems(
    env: Any, splits: Splits, split: str, num: int, *, seed: int = 0, start: int = 0, solvable: bool | None = True
) -> np.ndarray:
    """Return problems `start` to `start + num` of a split's stream, int32 (num, P).

    Raises ValueError where the environment has no such problem (after a million draws for one target).
    """
    problems = np.zeros((num, env.problem_width), np.int32)
    wanted = -1 if solvable is None else int(solvable)
    key = stream_key(seed, split)
    done = _sample_many(env, splits, SPLITS.index(split), wanted, key, start, problems, env.proof_work())
    if done < num:
        kind = {1: "solvable ", 0: "unsolvable ", -1: ""}[wanted]
        raise UserError(
            f"env: no {kind}problem of split {split} with target {problems[done, 0]} in {MAX_DRAWS} draws from "
            f"{env.num_numbers} numbers in {env.min_number}..{env.max_number}"
        )
    return problems


def evaluation_problems(env: Any, splits: Splits, split: str, num: int, *, seed: int = 0) -> np.ndarray:
    """Return `num` distinct problems (as sorted numbers and target) of a split, in stream order, int32 (num, P).

    Fewer are returned where the split seems to hold no more: when 50 `num` draws bring no new one.
    """
    found: dict[tuple[int, ...], np.ndarray] = {}
    start = 0
    while len(found) < num and start < 50 * num:
        for row in sample_problems(env, splits, split, num, seed=seed, start=start):
            found.setdefault((int(row[0]), *sorted(int(n) for n in row[2:])), row)
        start += num
    return np.array(list(found.values())[:num], np.int32)
