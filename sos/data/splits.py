"""Splits and the sampler: which problems belong to `train`, `val` and `val_target`, and problem i of each.

An environment has groups of problems, such as those of one target. A share of the groups is held out: they make
`val_target`, and occur in neither of the others. A problem without its group, such as a set of numbers, is in `val` or
not by a hash, so that none of `val` occurs in `train` in any group. The hash does not depend on a run's seed: all runs
of one environment are evaluated on the same problems. Where all problems make one group, none is held out, and
`val_target` is empty.

In place of what an environment draws, problems can be those of a list, see `sos.data.listed`; they make one group.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from sos.envs import protocol as environment
from sos.errors import UserError
from sos.kernels import inner, kernel
from sos.rng import below, fold, permute, stream_key

SPLITS = ("train", "val", "val_target")
TRAIN, VAL, VAL_TARGET = range(3)
MAX_DRAWS = 1_000_000
SPLIT_SEED = 0
EITHER, UNSOLVABLE, SOLVABLE, POSED = (
    -1,
    0,
    1,
    2,
)  # kinds of problems that are asked for; posed: as the environment does
NO_LIST = np.zeros((0, 0), np.int32)


class Splits(NamedTuple):
    """The rule of the splits: int32 arrays of groups, and the share of problems in `val` as a threshold of 2**32."""

    groups: np.ndarray  # of train and val
    held_out: np.ndarray  # of val_target
    val_threshold: int
    key: np.uint64
    listed: np.ndarray = NO_LIST  # int32 (N, P): the problems to draw from; none: those of the environment


def make_splits(env: Any, val_fraction: float, held_out_fraction: float, held_out: Sequence[int] = ()) -> Splits:
    """Choose the held-out groups and the share of `val`.

    If the fraction is above 0, at least one group is held out, but never all. Groups that `held_out` names are held
    out in place of a share. Raises UserError for one that is none, is named twice, or leaves no other.
    """
    groups = env.groups
    if held_out:
        named = _named(env, held_out)
        return Splits(groups[~named], groups[named], round(val_fraction * 2**32), stream_key(SPLIT_SEED, "split"))
    num = min(len(groups) - 1, max(1, round(held_out_fraction * len(groups)))) if held_out_fraction > 0 else 0
    key = stream_key(SPLIT_SEED, "held-out targets")
    held = np.array([permute(key, k, len(groups)) for k in range(num)], np.int64)
    mask = np.zeros(len(groups), bool)
    mask[held] = True
    return Splits(groups[~mask], groups[mask], round(val_fraction * 2**32), stream_key(SPLIT_SEED, "split"))


def _named(env: Any, held_out: Sequence[int]) -> np.ndarray:
    """Return bool (G,): which groups of problems are named."""
    groups, text = env.groups, "data.held_out=[" + ",".join(map(str, held_out)) + "]"
    for number in held_out:
        if number not in groups:
            among = (
                f"the groups of problems are {groups[0]} to {groups[-1]}" if len(groups) > 1 else "there is one group"
            )
            raise UserError(f"{text}: {number} is no group of problems that can be held out; {among}")
    if len(set(held_out)) < len(held_out):
        raise UserError(f"{text} names a group twice")
    if len(held_out) == len(groups):
        raise UserError(f"{text} leaves no group of problems to train on")
    named: np.ndarray = np.isin(groups, held_out)
    return named


@kernel
def in_val(env, splits, problem):
    """Say whether `problem`, whatever its group, belongs to `val`."""
    return (environment.hash_key(env, splits.key, problem) >> np.uint64(32)) < np.uint64(splits.val_threshold)


@inner
def _copy(listed, line, problem):
    for k in range(len(problem)):
        problem[k] = listed[line, k]


@inner
def _draw(env, splits, split, solvable, key, index, problem, work):
    """Write problem `index` of the stream `key` and the split (index into `SPLITS`) into `problem` int32 (P,).

    The group is uniform on the split's groups, then the problem is drawn from those of it that belong to the split
    and are `solvable`: `SOLVABLE`, `UNSOLVABLE` or `EITHER`, exactly and by rejection, which is the published
    distribution. `POSED` is what the environment asks for, by the problem's own key; a list is posed as it is.
    What is there for practice alone is in `train` or nowhere.
    Returns the number of draws, or -1 where `MAX_DRAWS` found none. `work` is the environment's `proof_work()`.
    """
    problem_key = fold(key, index)
    groups = splits.held_out if split == VAL_TARGET else splits.groups
    group = groups[below(problem_key, 0, len(groups))]
    num_listed = len(splits.listed)
    if solvable == POSED:
        solvable = np.int64(EITHER if num_listed > 0 else environment.posed(env, problem_key))
    for attempt in range(1, MAX_DRAWS + 1):
        if num_listed > 0:
            _copy(splits.listed, below(problem_key, attempt, num_listed), problem)
        else:
            environment.draw(env, problem_key, group, attempt, problem)
        if split != TRAIN and environment.practice(env, problem):
            continue
        # The test that fewer draws pass comes first.
        if split == VAL and not in_val(env, splits, problem):
            continue
        if solvable != EITHER and environment.solvable(env, problem, work) != (solvable == SOLVABLE):
            continue
        if split == TRAIN and in_val(env, splits, problem):
            continue
        return attempt
    return -1


@kernel
def draw_many(env, splits, split, solvable, key, indices, problems, work):
    """Write the problems `indices` int64 (K,) of a stream into `problems` int32 (K, P), each as `_draw` does; return
    how many there are before one that cannot be drawn."""
    for k in range(len(indices)):
        if _draw(env, splits, split, solvable, key, indices[k], problems[k], work) < 0:
            return k
    return len(indices)


def kind_asked(env: Any, solvable: int, problem_key: np.uint64) -> str:
    """Return a word, and a blank behind it, for the kind of problem that `draw_many` was asked for."""
    kind = int(environment.posed(env, problem_key)) if solvable == POSED else solvable
    return {SOLVABLE: "solvable ", UNSOLVABLE: "unsolvable ", EITHER: ""}[kind]


def with_group(env: Any, problem: np.ndarray) -> str:
    """Return the end of a message about a problem that names its group, where there are several."""
    group = env.describe_group(problem)
    return f" with {group}" if group else ""


def sample_problems(
    env: Any, splits: Splits, split: str, num: int, *, seed: int = 0, start: int = 0, solvable: int | None = POSED
) -> np.ndarray:
    """Return problems `start` to `start + num` of a split's stream, int32 (num, P).

    They are those that the environment poses, or solvable (True), unsolvable (False) or either (None). Raises
    ValueError where the environment has no such problem (after a million draws from one group).
    """
    problems = np.zeros((num, env.problem_width), np.int32)
    wanted = EITHER if solvable is None else int(solvable)
    key = stream_key(seed, split)
    indices = np.arange(start, start + num, dtype=np.int64)
    done = draw_many(env, splits, SPLITS.index(split), wanted, key, indices, problems, env.proof_work())
    if done < num:
        kind = kind_asked(env, wanted, fold(key, start + done))
        if len(splits.listed):
            raise UserError(f"data.problems: {MAX_DRAWS} draws brought no {kind}problem of split {split}")
        raise UserError(
            f"env: no {kind}problem of split {split}{with_group(env, problems[done])} in {MAX_DRAWS} draws from "
            f"{env.describe()}"
        )
    return problems


def evaluation_problems(env: Any, splits: Splits, split: str, num: int, *, seed: int = 0) -> np.ndarray:
    """Return `num` distinct problems (by their `problem_key`) of a split, in stream order, int32 (num, P).

    Fewer are returned where the split seems to hold no more: when 50 `num` draws bring no new one.
    """
    found: dict[tuple[int, ...], np.ndarray] = {}
    start = 0
    while len(found) < num and start < 50 * num:
        for row in sample_problems(env, splits, split, num, seed=seed, start=start):
            found.setdefault(env.problem_key(row), row)
        start += num
    return np.array(list(found.values())[:num], np.int32)
