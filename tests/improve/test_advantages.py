"""Advantages against the published implementations, exact fractions, slow loops, and what must hold."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import naive.losses as naive
import numpy as np
import pytest
from drivers import read_jsonl
from hypothesis import given
from hypothesis import strategies as st
from loss_records import numbers

from sos.errors import UserError
from sos.improve.advantages import (
    best_advantages,
    gpg_advantages,
    group_advantages,
    group_counts,
    last_rewards,
    objectives_advantages,
    reinforce_plus_plus,
    reinforce_plus_plus_baseline,
    remax,
    whitened,
)
from sos.judge.intervals import pass_at_k

Run = dict[str, Any]
# verl's vectorized GRPO computes a variance as a difference of sums in float32, which cancels where rewards are near
# one another: up to 1e-4.
CANCELS = "grpo_vectorized"


def published(row: Run, run: Run) -> tuple[Any, Any]:
    """Return our advantages, and returns where there are any, for a run of published code."""
    rewards, groups, mask = numbers(row["rewards"]), row["uid"], np.array(row["mask"], float)
    options, name = run["options"], run["name"]
    scale = "group" if options.get("norm_adv_by_std_in_grpo", True) else "none"
    if "reward_weights" in options:
        first = options["multi_objective_aggregation"] == "normalize_then_sum"
        parts = numbers(run["rewards_per_func"])
        return objectives_advantages(parts, groups, options["reward_weights"], normalize_first=first), None
    if run["impl"] == "trl":
        return group_advantages(rewards, groups, scale=options["scale_rewards"]), None
    keep = {"keep_single": True}
    of_group: dict[str, Callable[[], Any]] = {
        "grpo": lambda: group_advantages(rewards, groups, scale=scale, epsilon=1e-6, **keep),
        CANCELS: lambda: group_advantages(rewards, groups, scale=scale, epsilon=1e-6, least_variance=1e-6, **keep),
        "grpo_passk": lambda: best_advantages(rewards, groups, scale=scale),
        "rloo": lambda: group_advantages(rewards, groups, baseline="leave_one_out", scale="none", **keep),
        "rloo_vectorized": lambda: group_advantages(rewards, groups, baseline="leave_one_out", scale="none"),
        "opo": lambda: group_advantages(
            rewards, groups, baseline="length_weighted", scale="none", lengths_N=mask.sum(1), **keep
        ),
        "gpg": lambda: gpg_advantages(rewards, groups),
        "reinforce_plus_plus_baseline": lambda: reinforce_plus_plus_baseline(rewards, groups, mask, count_epsilon=1e-8)[
            np.arange(len(mask)), mask.argmax(1)
        ],
    }
    if name in of_group:
        return of_group[name](), None
    by_token = last_rewards(rewards, mask)
    if name == "reinforce_plus_plus":
        return reinforce_plus_plus(by_token, mask, gamma=options["gamma"], count_epsilon=1e-8)
    assert name == "remax"
    return remax(by_token, numbers(run["reward_baselines"]), mask)


def error(found: Any, expected: Any) -> float:
    wanted = np.array(numbers(expected))
    return float((np.abs(found - wanted) / np.maximum(1, np.abs(wanted))).max())


def test_advantages_are_those_of_the_published_code(reference: Path) -> None:
    looked_at = 0
    for row in read_jsonl(reference / "losses" / "advantages.jsonl"):
        for run in row["runs"]:
            if run["name"] == "gae":  # in test_losses_apa
                continue
            found, returns = published(row, run)
            tolerance = 1e-9 if row["dtype"] == "float64" else 2e-6
            if run["name"] == CANCELS:
                tolerance = 1e-4 if row["kind"] in ("tiny", "shaped") else 1e-6
            what = f"{row['id']} {row['kind']} {run['impl']} {run['name']} {run['options']}"
            assert error(found, run["advantages"]) < tolerance, what
            if "returns" in run:
                assert error(returns, run["returns"]) < tolerance, what
            looked_at += 1
    assert looked_at >= 316


def test_leave_one_out_is_exact(reference: Path) -> None:
    looked_at = 0
    for row in read_jsonl(reference / "losses" / "rloo.jsonl"):
        groups = np.arange(len(row["rewards"])) // row["num_generations"]
        found = group_advantages(row["rewards"], groups, baseline="leave_one_out", scale="none")
        assert np.abs(found - [float(Fraction(exact)) for exact in row["exact"]]).max() < 1e-12
        looked_at += 1
    assert looked_at >= 7


def test_pass_at_k_is_exact(reference: Path) -> None:
    looked_at = 0
    for row in read_jsonl(reference / "losses" / "pass_at_k.jsonl"):
        found = pass_at_k(row["n"], row["c"], row["k"])
        assert error(np.atleast_1d(found), np.atleast_1d(row["exact"]).tolist()) < 1e-12
        looked_at += 1
    assert looked_at >= 13


batches = st.lists(st.tuples(st.integers(0, 3), st.sampled_from([0.0, 1.0, -0.3, 0.1, 0.7])), min_size=1, max_size=20)


@given(batches)
def test_advantages_are_those_of_a_loop(rollouts: list[tuple[int, float]]) -> None:
    groups, rewards = [group for group, _ in rollouts], [reward for _, reward in rollouts]
    for scale in (True, False):
        found = group_advantages(rewards, groups, scale="group" if scale else "none", epsilon=1e-4)
        np.testing.assert_allclose(found, naive.group_advantages(rewards, groups, scale, 1e-4), atol=1e-9)
    found = group_advantages(rewards, groups, baseline="leave_one_out", scale="none")
    np.testing.assert_allclose(found, naive.leave_one_out(rewards, groups), atol=1e-12)


@given(batches, st.randoms())
def test_the_order_of_rollouts_and_the_names_of_groups_do_not_matter(
    rollouts: list[tuple[int, float]], random: Any
) -> None:
    groups, rewards = np.array([group for group, _ in rollouts]), np.array([reward for _, reward in rollouts])
    order = list(range(len(rollouts)))
    random.shuffle(order)
    names = np.array([7, 1, 900, 3])
    for baseline in ("mean", "leave_one_out"):
        for scale in ("group", "batch", "none"):
            found = group_advantages(rewards, groups, baseline=baseline, scale=scale)
            moved = group_advantages(rewards[order], names[groups[order]], baseline=baseline, scale=scale)
            np.testing.assert_allclose(moved, found[order], atol=1e-10)


@pytest.mark.parametrize("reward", [-0.3, 0.1, 0.7, 1 / 3, 1e-300, 0.0])
@pytest.mark.parametrize("scale", ["group", "batch", "none"])
def test_equal_rewards_give_exactly_nothing(reward: float, scale: str) -> None:
    """Also where the mean of equal numbers is another number in floating point, for which a deviation is not 0."""
    rewards, groups = [reward] * 7 + [0.0, 1.0], [0] * 7 + [1, 1]
    for options in ({"baseline": "mean"}, {"baseline": "leave_one_out"}, {"least_variance": 1e-6}):
        for keep in (True, False):
            found = group_advantages(rewards, groups, scale=scale, keep_single=keep, **options)
            assert not found[:7].any()
            assert found[7] < 0 < found[8]
    assert np.mean([-0.3] * 7) != -0.3 or np.std([0.1] * 7) > 0  # or this test shows nothing


def test_shaped_rewards_give_nothing_where_the_outcome_is_one() -> None:
    rewards, groups = [0.1, 0.3, 0.2, 1.0, 0.1, 0.2, 1.1, 1.0, 1.2], [0, 0, 0, 1, 1, 1, 2, 2, 2]
    outcomes = [False, False, False, True, False, False, True, True, True]
    found = group_advantages(rewards, groups, outcomes_N=outcomes)
    assert not found[:3].any()
    assert not found[6:].any()
    assert found[3] > 1
    asked = group_advantages(rewards, groups, outcomes_N=outcomes, uniform_outcomes=True)
    assert (asked == group_advantages(rewards, groups)).all()
    assert asked[1] > 0.9
    assert group_counts(outcomes, groups) == (1, 1, 1)


def test_a_lone_success() -> None:
    """The figures of arXiv 2605.28388: with division by the deviation and without."""
    for size, divided, centred in ((8, 2.65, 0.88), (16, 3.87, 0.94), (32, 5.57, 0.97)):
        rewards = [1.0] + [0.0] * (size - 1)
        deviation = np.std(rewards)  # theirs divides by n
        assert group_advantages(rewards, [0] * size, scale="none")[0] == pytest.approx(centred, abs=0.006)
        assert (1 - 1 / size) / deviation == pytest.approx(divided, abs=0.006)
        ours = group_advantages(rewards, [0] * size, epsilon=0)[0]
        assert ours == pytest.approx(divided * np.sqrt(1 - 1 / size), abs=0.01)


def test_rewards_that_are_missing_are_left_out() -> None:
    found = group_advantages([1.0, 0.0, np.nan, np.nan, 1.0], [0, 0, 0, 1, 1], scale="none")
    assert found.tolist() == [0.5, -0.5, 0, 0, 0]
    parts = [[1.0, np.nan], [0.0, np.nan], [np.nan, np.nan]]
    assert objectives_advantages(parts, [0, 0, 0], [1.0, 0.5], scale="none").tolist() == [0.5, -0.5, 0]
    normalized = objectives_advantages(parts, [0, 0, 0], [1.0, 0.5], normalize_first=True)
    assert normalized[2] == 0
    assert normalized[0] == -normalized[1] > 0.5


def test_a_group_of_one() -> None:
    for scale in ("group", "none"):
        assert group_advantages([0.5, 1.0, 0.0], [0, 1, 1], scale=scale)[0] == 0
        kept = group_advantages([0.5, 1.0, 0.0], [0, 1, 1], scale=scale, keep_single=True, epsilon=0)
        assert kept[0] == 0.5
    with pytest.raises(UserError, match="a group of one has none"):
        best_advantages([0.5, 1.0, 0.0], [0, 1, 1])


def test_the_best_of_a_group_has_its_lead() -> None:
    found = best_advantages([0.2, 0.9, 0.4, 1.0, 1.0], [0, 0, 0, 1, 1], scale="none")
    assert found.tolist() == pytest.approx([0, 0.5, 0, 0, 0])


def test_whitened_values_have_mean_0_and_deviation_1() -> None:
    values, mask = np.random.default_rng(0).normal(3, 2, (5, 6)), np.tri(5, 6)
    found = whitened(values, mask)[mask > 0]
    assert found.mean() == pytest.approx(0, abs=1e-12)
    assert found.std(ddof=1) == pytest.approx(1, abs=1e-6)
    with pytest.raises(UserError, match="two tokens or more, got 1"):
        whitened(values, np.eye(5, 6)[:1].repeat(5, 0) * np.eye(5, 6))


def test_rewards_stand_at_the_last_token() -> None:
    mask = [[1, 1, 0], [0, 0, 0], [1, 0, 1]]
    assert last_rewards([1.0, 2.0, 3.0], mask).tolist() == [[0, 1, 0], [0, 0, 0], [0, 0, 3]]


@pytest.mark.parametrize(
    ("said", "wrong"),
    [
        (lambda: group_advantages([1.0], [0], baseline="median"), "baseline must be one of mean, leave_one_out"),
        (lambda: group_advantages([1.0], [0], scale="max"), "scale must be one of group, batch, none, got 'max'"),
        (lambda: group_advantages([1.0, 2.0], [0]), r"rewards must have the shape \(1,\), one a rollout, got \(2,\)"),
        (lambda: group_advantages([np.inf], [0]), "rewards must be finite, or NaN where there is none, got inf"),
        (lambda: group_advantages([1.0], [0], baseline="length_weighted"), "needs the lengths"),
        (lambda: objectives_advantages([[1.0]], [0], [1.0, 2.0]), r"weights \(2,\) \(K,\)"),
    ],
)
def test_what_cannot_be_is_refused_by_name(said: Any, wrong: str) -> None:
    with pytest.raises(UserError, match=wrong):
        said()
