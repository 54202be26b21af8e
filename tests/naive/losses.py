"""Policy losses and advantages token by token in plain Python: slow and obvious. Gradients by differences."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

Rows = Sequence[Sequence[float]]


def clip_loss(
    new: Rows, old: Rows, advantages: Sequence[float], mask: Rows, low: float, high: float, aggregation: str
) -> float:
    """PPO's clipped loss with one ratio per token, summed up in one of four ways."""
    per_sequence = []
    for n, o, advantage, counts in zip(new, old, advantages, mask, strict=True):
        losses = []
        for a, b, counted in zip(n, o, counts, strict=True):
            if counted:
                ratio = math.exp(a - b)
                clipped = min(max(ratio, 1 - low), 1 + high)
                losses.append(-min(ratio * advantage, clipped * advantage))
        per_sequence.append(losses)
    return summed(per_sequence, len(new[0]), aggregation)


def sequence_clip_loss(
    new: Rows, old: Rows, advantages: Sequence[float], mask: Rows, low: float, high: float, aggregation: str
) -> float:
    """The same with one ratio per sequence: the geometric mean of its tokens' ratios."""
    per_sequence = []
    for n, o, advantage, counts in zip(new, old, advantages, mask, strict=True):
        steps = [a - b for a, b, counted in zip(n, o, counts, strict=True) if counted]
        ratio = math.exp(sum(steps) / len(steps)) if steps else 1.0
        clipped = min(max(ratio, 1 - low), 1 + high)
        per_sequence.append([-min(ratio * advantage, clipped * advantage)] * len(steps))
    return summed(per_sequence, len(new[0]), aggregation)


def summed(per_sequence: Sequence[Sequence[float]], width: int, aggregation: str) -> float:
    num = len(per_sequence)
    if aggregation == "token_mean":
        return sum(map(sum, per_sequence)) / max(1, sum(map(len, per_sequence)))
    if aggregation == "sequence_mean":
        return sum(sum(losses) / max(1, len(losses)) for losses in per_sequence) / num
    if aggregation == "sequence_sum":
        return sum(map(sum, per_sequence)) / num
    if aggregation == "constant":
        return sum(map(sum, per_sequence)) / (num * width)
    raise KeyError(aggregation)


def gradient(loss: Callable[[Rows], float], new: Rows, step: float = 1e-6) -> list[list[float]]:
    """Central differences of a loss by each log-probability."""
    found = []
    for i, row in enumerate(new):
        found.append([])
        for t in range(len(row)):
            sides = []
            for change in (step, -step):
                moved = [list(other) for other in new]
                moved[i][t] += change
                sides.append(loss(moved))
            found[-1].append((sides[0] - sides[1]) / (2 * step))
    return found


def group_advantages(rewards: Sequence[float], groups: Sequence[int], scale: bool, epsilon: float) -> list[float]:
    """Reward minus the group's mean, over its standard deviation (n - 1) plus epsilon; 0 where rewards are equal."""
    found = []
    for reward, group in zip(rewards, groups, strict=True):
        own = [r for r, g in zip(rewards, groups, strict=True) if g == group]
        if min(own) == max(own):
            found.append(0.0)
            continue
        mean = sum(own) / len(own)
        deviation = math.sqrt(sum((r - mean) ** 2 for r in own) / (len(own) - 1))
        found.append((reward - mean) / (deviation + epsilon if scale else 1.0))
    return found


def leave_one_out(rewards: Sequence[float], groups: Sequence[int]) -> list[float]:
    """Reward minus the mean of the others of its group; 0 for a group of one or of equal rewards."""
    found = []
    for i, (reward, group) in enumerate(zip(rewards, groups, strict=True)):
        others = [r for j, (r, g) in enumerate(zip(rewards, groups, strict=True)) if g == group and j != i]
        equal = all(other == reward for other in others)
        found.append(0.0 if equal else reward - sum(others) / len(others))
    return found
