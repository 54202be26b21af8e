"""Advantages: how much better a rollout was than what is expected of its group (numpy, float64).

N rollouts; those with the same number in `groups_N` answer one problem. Rewards that are all equal tell nothing: such
a group's advantages are exactly 0, found by comparing rewards. A standard deviation of equal rewards is not always 0
in floating point, and dividing by it makes advantages out of rounding (up to 0.03 in float32 with a published code).
A shaped reward varies where the outcome does not; with `outcomes_N` such groups have no advantage either, unless asked.

Sources: Shao et al. 2024 (GRPO), Ahmadian et al. 2024 (RLOO), Liu et al. 2025 (Dr. GRPO), Hao et al. 2025 (OPO), Chu et
al. 2025 (GPG), Hu 2025 (REINFORCE++), Li et al. 2023 (ReMax), Walder and Karkhanis 2025 (pass@k). Advantages by values
(GAE) are in `sos.improve.losses`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sos.errors import UserError

Floats = npt.NDArray[np.float64]
BASELINES = ("mean", "leave_one_out", "length_weighted", "none")
SCALES = ("group", "batch", "none")
WHITEN_EPSILON = 1e-8


class GroupCounts(NamedTuple):
    """Groups by their outcomes."""

    all_right: int
    all_wrong: int
    mixed: int


class Grouping(NamedTuple):
    """Groups in the order in which each first occurs."""

    of: npt.NDArray[np.int64]  # (N,): the group of each rollout, from 0
    sizes: npt.NDArray[np.int64]  # (G,)

    def sums(self, values_N: npt.ArrayLike) -> Floats:
        """Return the sum over each group, float64 (G,)."""
        return np.bincount(self.of, np.asarray(values_N, np.float64), len(self.sizes)).astype(np.float64)

    def uniform(self, values_N: npt.NDArray) -> npt.NDArray[np.bool_]:
        """Return whether all values of a group are equal, bool (G,); NaN are left out."""
        known = values_N == values_N
        low, high = np.full(len(self.sizes), np.inf), np.full(len(self.sizes), -np.inf)
        np.minimum.at(low, self.of[known], values_N[known])
        np.maximum.at(high, self.of[known], values_N[known])
        return low >= high


def grouping(groups_N: npt.ArrayLike) -> Grouping:
    """Return the groups of rollouts, which are named by any integers or texts."""
    _, of, sizes = np.unique(np.asarray(groups_N), return_inverse=True, return_counts=True)
    return Grouping(of.reshape(-1).astype(np.int64), sizes.astype(np.int64))


def group_counts(outcomes_N: npt.ArrayLike, groups_N: npt.ArrayLike) -> GroupCounts:
    """Count the groups whose rollouts are all right, all wrong, or both, by bool outcomes."""
    outcomes, grouped = np.asarray(outcomes_N, bool), grouping(groups_N)
    _check_lengths(outcomes, grouped.of, "outcomes")
    right = grouped.sums(outcomes)
    all_right, all_wrong = int((right == grouped.sizes).sum()), int((right == 0).sum())
    return GroupCounts(all_right, all_wrong, len(grouped.sizes) - all_right - all_wrong)


def group_advantages(
    rewards_N: npt.ArrayLike,
    groups_N: npt.ArrayLike,
    *,
    baseline: str = "mean",
    scale: str = "group",
    epsilon: float = 1e-4,
    least_variance: float = 0.0,
    keep_single: bool = False,
    outcomes_N: npt.ArrayLike | None = None,
    uniform_outcomes: bool = False,
    lengths_N: npt.ArrayLike | None = None,
) -> Floats:
    """Return (reward - baseline) / (standard deviation + epsilon), float64 (N,).

    Args:
        rewards_N: NaN for what could not be scored: left out of all statistics, its advantage is 0.
        groups_N: (N,), the group of each.
        baseline: of the group: mean, leave_one_out (the mean of the others), length_weighted (the mean weighted by
            `lengths_N`, OPO), or none.
        scale: what divides: the standard deviation (n - 1) of the group, of the whole batch, or nothing (none; Dr.
            GRPO).
        epsilon: added to the standard deviation (TRL 1e-4, verl 1e-6).
        least_variance: the variance counts as at least this much (verl's vectorized form: 1e-6).
        keep_single: a group of one keeps its reward, undivided by its own deviation (verl), in place of 0 (TRL).
        outcomes_N: bool, right or wrong. A group whose outcomes are all equal gets 0 however its rewards vary, unless
            `uniform_outcomes`.

    Raises UserError for unknown names, for shapes that do not fit and for rewards that are infinite.
    """
    rewards, grouped = np.asarray(rewards_N, np.float64), grouping(groups_N)
    _check_lengths(rewards, grouped.of, "rewards")
    _check_choice("baseline", baseline, BASELINES)
    _check_choice("scale", scale, SCALES)
    if np.isinf(rewards).any():
        raise UserError(f"rewards must be finite, or NaN where there is none, got {rewards[np.isinf(rewards)][0]}")
    known = rewards == rewards
    filled = np.where(known, rewards, 0.0)
    counts = grouped.sums(known)
    means = grouped.sums(filled) / np.maximum(counts, 1)
    centred = filled - _baselines(baseline, filled, known, grouped, lengths_N)
    if baseline == "leave_one_out":
        centred = (filled - means[grouped.of]) * (counts / np.maximum(counts - 1, 1))[grouped.of]
    deviations = _deviations(scale, filled, known, grouped, least_variance)
    flat = grouped.uniform(rewards) if baseline != "none" else np.zeros(len(grouped.sizes), bool)
    single = counts == 1
    if keep_single:
        centred = np.where(single[grouped.of], filled, centred)
        flat &= ~single
        if scale == "group":
            deviations = np.where(single[grouped.of], 1.0, deviations)
    else:
        flat |= single
    if outcomes_N is not None and not uniform_outcomes:
        outcomes = np.asarray(outcomes_N, bool)
        _check_lengths(outcomes, grouped.of, "outcomes")
        flat |= grouped.uniform(outcomes)
    advantages = centred if scale == "none" else centred / (deviations + epsilon)
    return np.where(flat[grouped.of] | ~known, 0.0, advantages)


def objectives_advantages(
    rewards_NK: npt.ArrayLike,
    groups_N: npt.ArrayLike,
    weights_K: npt.ArrayLike,
    *,
    normalize_first: bool = False,
    scale: str = "group",
    epsilon: float = 1e-4,
) -> Floats:
    """Return the advantages of a weighted sum of K rewards, float64 (N,).

    The sum is taken of the rewards, which are then normalized as one; or, with `normalize_first`, of each reward
    normalized by its group, and normalized over the batch once more (TRL's normalize_then_sum, after GDPO). A NaN
    reward counts as 0 in a sum; rollouts without any have the advantage 0.
    """
    rewards, weights = np.asarray(rewards_NK, np.float64), np.asarray(weights_K, np.float64)
    if rewards.ndim != 2 or weights.shape != rewards.shape[1:]:
        raise UserError(f"rewards {rewards.shape} must be (N, K) and weights {weights.shape} (K,)")
    unknown = np.isnan(rewards).all(1)
    if not normalize_first:
        summed = np.where(unknown, np.nan, np.nansum(rewards * weights, 1))
        return group_advantages(summed, groups_N, scale=scale, epsilon=epsilon)
    parts = [group_advantages(rewards[:, k], groups_N, epsilon=epsilon) for k in range(len(weights))]
    summed = np.where(unknown, np.nan, np.stack(parts, 1) @ weights)
    # One group of everything.
    return group_advantages(summed, np.zeros(len(summed), np.int64), epsilon=epsilon)


def best_advantages(
    rewards_N: npt.ArrayLike, groups_N: npt.ArrayLike, *, scale: str = "group", epsilon: float = 1e-6
) -> Floats:
    """Return advantages for pass@k, float64 (N,): the best of a group has its lead over the second, the others 0.

    Of several best ones there is no lead. Raises UserError for a group of one.
    """
    rewards, grouped = np.asarray(rewards_N, np.float64), grouping(groups_N)
    _check_lengths(rewards, grouped.of, "rewards")
    _check_choice("scale", scale, SCALES)
    if len(grouped.sizes) and grouped.sizes.min() < 2:
        raise UserError("the best of a group has a lead over the second: a group of one has none")
    order = np.lexsort((-rewards, grouped.of))
    first = np.cumsum(grouped.sizes) - grouped.sizes
    best, second = order[first], order[first + 1]
    advantages = np.zeros(len(rewards))
    advantages[best] = rewards[best] - rewards[second]
    if scale == "none":
        return advantages
    return advantages / (_deviations(scale, rewards, np.ones(len(rewards), bool), grouped, 0.0) + epsilon)


def gpg_advantages(rewards_N: npt.ArrayLike, groups_N: npt.ArrayLike, *, keep_single: bool = True) -> Floats:
    """Return centred rewards times N / (number of rewards that are not 0), float64 (N,): GPG."""
    rewards = np.asarray(rewards_N, np.float64)
    centred = group_advantages(rewards, groups_N, scale="none", keep_single=keep_single)
    return centred * (len(rewards) / max(1, int(np.count_nonzero(rewards))))


def reinforce_plus_plus(
    rewards_NT: npt.ArrayLike, mask_NT: npt.ArrayLike, *, gamma: float = 1.0, count_epsilon: float = 0.0
) -> tuple[Floats, Floats]:
    """Return advantages and returns per token, float64 (N, T) each: discounted returns, whitened over all tokens."""
    rewards, mask = np.asarray(rewards_NT, np.float64), np.asarray(mask_NT, np.float64)
    returns = np.zeros_like(rewards)
    running = np.zeros(len(rewards))
    for t in reversed(range(rewards.shape[1])):
        running = rewards[:, t] + gamma * running
        returns[:, t] = running
        running = running * mask[:, t]
    return whitened(returns, mask, count_epsilon) * mask, returns


def reinforce_plus_plus_baseline(
    rewards_N: npt.ArrayLike,
    groups_N: npt.ArrayLike,
    mask_NT: npt.ArrayLike,
    *,
    keep_single: bool = True,
    count_epsilon: float = 0.0,
) -> Floats:
    """Return centred rewards whitened over all tokens of the batch, float64 (N, T), 0 where the mask is."""
    mask = np.asarray(mask_NT, np.float64)
    centred = group_advantages(rewards_N, groups_N, scale="none", keep_single=keep_single)
    return whitened(centred[:, None] * mask, mask, count_epsilon) * mask


def remax(rewards_NT: npt.ArrayLike, baselines_N: npt.ArrayLike, mask_NT: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Return advantages and returns per token, float64 (N, T): what is still to come, minus the greedy reward."""
    mask = np.asarray(mask_NT, np.float64)
    returns = np.flip(np.flip(np.asarray(rewards_NT, np.float64) * mask, -1).cumsum(-1), -1)
    return returns - np.asarray(baselines_N, np.float64)[:, None] * mask, returns


def whitened(values: Floats, mask: Floats, count_epsilon: float = 0.0) -> Floats:
    """Return (values - mean) / sqrt(variance + 1e-8), mean and variance (n - 1) over the places of the mask.

    `count_epsilon` is added to the number of places where it divides (verl: 1e-8). Raises UserError for fewer than two.
    """
    num = mask.sum()
    if num < 2:
        raise UserError(f"whitening needs two tokens or more, got {int(num)}")
    mean = (values * mask).sum() / (num + count_epsilon)
    variance = (((values - mean) ** 2) * mask).sum() / (num + count_epsilon) * (num / (num - 1))
    return (values - mean) / np.sqrt(variance + WHITEN_EPSILON)


def last_rewards(rewards_N: npt.ArrayLike, mask_NT: npt.ArrayLike) -> Floats:
    """Return rewards per token, float64 (N, T): each rollout's stands at its last token, where it has one."""
    mask = np.asarray(mask_NT, bool)
    placed = np.zeros(mask.shape)
    rows = np.flatnonzero(mask.any(1))
    last = mask.shape[1] - 1 - mask[rows, ::-1].argmax(1)
    placed[rows, last] = np.asarray(rewards_N, np.float64)[rows]
    return placed


def _baselines(
    baseline: str, filled: Floats, known: npt.NDArray[np.bool_], grouped: Grouping, lengths_N: npt.ArrayLike | None
) -> Floats:
    """Return the baseline of each rollout, (N,)."""
    if baseline == "none":
        return np.zeros(len(filled))
    weights = known.astype(np.float64)
    if baseline == "length_weighted":
        if lengths_N is None:
            raise UserError("baseline=length_weighted needs the lengths")
        lengths = np.asarray(lengths_N, np.float64)
        _check_lengths(lengths, grouped.of, "lengths")
        weights = weights * lengths
    total = grouped.sums(weights)
    return (grouped.sums(weights * filled) / np.where(total == 0, 1.0, total))[grouped.of]


def _deviations(
    scale: str, filled: Floats, known: npt.NDArray[np.bool_], grouped: Grouping, least_variance: float
) -> Floats:
    """Return the standard deviation (n - 1) that divides each rollout, (N,)."""
    if scale == "none":
        return np.ones(len(filled))
    if scale == "batch":
        values = filled[known]
        variance = values.var(ddof=1) if len(values) > 1 else 0.0
        return np.full(len(filled), np.sqrt(max(variance, least_variance)))
    counts = grouped.sums(known)
    means = (grouped.sums(filled) / np.maximum(counts, 1))[grouped.of]
    squares = grouped.sums(np.where(known, (filled - means) ** 2, 0.0))
    return np.sqrt(np.maximum(squares / np.maximum(counts - 1, 1), least_variance))[grouped.of]


def _check_lengths(values: npt.NDArray, of: npt.NDArray[np.int64], name: str) -> None:
    if values.shape != of.shape:
        raise UserError(f"{name} must have the shape {of.shape}, one a rollout, got {values.shape}")


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UserError(f"{name} must be one of {', '.join(choices)}, got {value!r}")
