"""APA, GAE and the adaptive weight against the released code, verl and slow sums; and TRL's RLOO."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from drivers import read_jsonl
from loss_records import near, numbers, tensor_of

from sos.errors import UserError
from sos.improve.advantages import group_advantages, last_rewards
from sos.improve.losses import policy_loss
from sos.improve.losses_apa import AdaptiveKL, apa_loss, gae, kl_penalised, whiten
from sos.improve.losses_options import APALoss, PolicyLoss


def test_the_released_loss(reference: Path) -> None:
    looked_at = 0
    for row in read_jsonl(reference / "losses" / "apa.jsonl"):
        mask, rewards, old, old_values = (tensor_of(row, row[n]) for n in ("mask", "rewards", "old", "old_values"))
        for run in row["runs"]:
            said = run["options"]
            new, values = (tensor_of(row, row[name]).requires_grad_() for name in ("new", "values"))
            raw, returns = gae(rewards, old_values, gamma=said["gamma"], lam=said["lam"])
            advantages = whiten(raw)
            for name, found in {"advantages_raw": raw, "returns": returns, "advantages": advantages}.items():
                assert near(row, found, run[name]), (row["id"], name)
            form = {"square": "sq", "log": "log"}[said["loss_str"]]
            options = APALoss(
                said["loss_str"], coefficient=said[f"adv_coeff_{form}"], value_weight=float(said["vf_coef"])
            )
            loss, metrics = apa_loss(new, old, advantages, mask, options=options, values_BT=values, returns_BT=returns)
            loss.backward()
            assert near(row, loss, run["loss"])
            assert near(row, new.grad, run["grad_new"])
            assert near(row, values.grad, run["grad_values"])
            assert near(row, metrics["loss_value"], run["stats"]["losses/value_loss"])
            if form == "sq":
                assert near(row, metrics["square"], run["stats"]["losses/sq_loss"])
            looked_at += 1
        controlled = row["kl_controller"]
        weight = AdaptiveKL(controlled["init"], controlled["target"], controlled["horizon"])
        found = [weight.update(kl, num) for kl, num in controlled["steps"]]
        np.testing.assert_allclose(found, controlled["coef"], rtol=1e-12)
    assert looked_at >= 14


def test_gae_that_passes_over_masked_places(reference: Path) -> None:
    """verl's: whitened over the tokens of the mask."""
    looked_at = 0
    for row in read_jsonl(reference / "losses" / "advantages.jsonl"):
        mask = tensor_of(row, row["mask"])
        rewards = torch.from_numpy(last_rewards(numbers(row["rewards"]), row["mask"])).to(mask.dtype)
        for run in (run for run in row["runs"] if run["name"] == "gae"):
            values, said = tensor_of(row, run["values"]), run["options"]
            found, returns = gae(rewards, values, gamma=said["gamma"], lam=said["lam"], mask_BT=mask)
            assert near(row, returns, run["returns"], 2e-6)
            assert near(row, whiten(found, mask, count_epsilon=1e-8), run["advantages"], 2e-6)
            looked_at += 1
    assert looked_at >= 18


def test_trl_rloo(reference: Path) -> None:
    """Rewards are clipped, then lose the divergence; one ratio per sequence, the product of its tokens'."""
    looked_at = 0
    for row in read_jsonl(reference / "losses" / "rloo.jsonl"):
        groups = np.arange(len(row["rewards"])) // row["num_generations"]
        mask, old, ref = (tensor_of(row, row[name]) for name in ("mask", "old", "ref"))
        for run in row["runs"]:
            said, rewards = run["options"], np.array(numbers(row["rewards"]))
            if run["impl"] == "trl":
                rewards = np.clip(rewards, *said.get("reward_clip_range", (-np.inf, np.inf)))
                rewards = rewards - said["beta"] * ((old - ref) * mask).sum(1).numpy()
            found = group_advantages(
                rewards,
                groups,
                baseline="leave_one_out",
                scale="none",
                keep_single=said.get("adv_estimator") == "rloo",
            )
            if said.get("normalize_advantages"):
                found = group_advantages(found, np.zeros(len(found), int))
            assert near(row, torch.from_numpy(found), run["advantages"], 2e-6), (row["id"], said)
            if "loss" in run:
                new = tensor_of(row, row["new"]).requires_grad_()
                options = PolicyLoss(ratio="product", aggregation="sequence")
                loss, _ = policy_loss(new, old, tensor_of(row, run["advantages"]), mask, options=options)
                loss.backward()
                assert near(row, loss, run["loss"])
                assert near(row, new.grad, run["grad"])
                looked_at += 1
    assert looked_at >= 28


def test_gae_is_the_sum_of_discounted_errors() -> None:
    rng = np.random.default_rng(0)
    rewards, values = (torch.from_numpy(rng.normal(size=(3, 5))) for _ in range(2))
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 0, 0, 0, 0]])
    found, returns = gae(rewards, values, gamma=0.9, lam=0.8, mask_BT=mask)
    for i, length in enumerate((5, 3, 1)):
        for t in range(length):
            expected = 0.0
            for k in range(t, length):
                following = values[i, k + 1] if k + 1 < length else 0
                expected += (0.9 * 0.8) ** (k - t) * (rewards[i, k] + 0.9 * following - values[i, k])
            assert found[i, t] == pytest.approx(float(expected), abs=1e-12)
            assert returns[i, t] == pytest.approx(float(expected + values[i, t]), abs=1e-12)
    everywhere, _ = gae(rewards, values, gamma=0.9, lam=0.8)
    torch.testing.assert_close(everywhere[0], found[0])


def batch() -> dict[str, torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    new, old, advantages = (torch.randn(4, 3, generator=rng, dtype=torch.float64) for _ in range(3))
    mask = torch.tensor([[1, 1, 1], [1, 0, 1], [1, 0, 0], [0, 0, 0]])
    return {"new_BT": new.requires_grad_(), "old_BT": old, "advantages_BT": advantages, "mask_BT": mask}


@pytest.mark.parametrize("form", ["square", "log"])
def test_what_is_masked_is_never_read(form: str) -> None:
    given = batch()
    values, returns = given["old_BT"] + 1, given["old_BT"] - 1
    loss, _ = apa_loss(**given, options=APALoss(form), values_BT=values, returns_BT=returns)
    loss.backward()
    blank = ~given["mask_BT"].bool()
    assert not given["new_BT"].grad[blank].any()
    assert given["new_BT"].grad[~blank].all()
    spoiled = {
        name: value if name == "mask_BT" else value.detach().masked_fill(blank, float("nan"))
        for name, value in (given | {"values_BT": values, "returns_BT": returns}).items()
    }
    again, _ = apa_loss(**spoiled, options=APALoss(form))
    assert again.item() == loss.item()


def test_the_square_is_least_where_the_policy_has_moved_by_the_advantage() -> None:
    given = batch()
    given["new_BT"] = given["old_BT"] + 0.5 * given["advantages_BT"]
    loss, metrics = apa_loss(**given)
    assert loss.item() == pytest.approx(0, abs=1e-20)
    assert float(metrics["loss_value"]) == 0


def test_rewards_lose_the_divergence() -> None:
    rewards, mask = torch.zeros(1, 3), torch.tensor([[1, 1, 0]])
    old, ref = torch.tensor([[-1.0, -2.0, float("nan")]]), torch.tensor([[-1.5, -1.0, 0.0]])
    np.testing.assert_allclose(kl_penalised(rewards, old, ref, mask, 0.1), [[-0.05, 0.1, 0]], atol=1e-7)


@pytest.mark.parametrize(
    ("said", "wrong"),
    [
        (lambda: APALoss("cube"), "loss.form must be one of square, log, got 'cube'"),
        (lambda: APALoss("log", anchor="reference"), "loss.anchor=reference has no use with loss.form=log"),
        (lambda: APALoss(kl_target=0.1), "loss.kl_target=0.1 needs loss.kl_weight"),
        (lambda: apa_loss(**batch(), values_BT=torch.zeros(4, 3)), "values and returns come together"),
        (lambda: apa_loss(**batch() | {"old_BT": torch.zeros(4, 2)}), r"must have the shape \(4, 3\), got \(4, 2\)"),
        (lambda: whiten(torch.ones(2, 2), torch.tensor([[1, 0], [0, 0]])), "two tokens or more, got 1"),
    ],
)
def test_what_cannot_be_is_refused_by_name(said: Any, wrong: str) -> None:
    with pytest.raises(UserError, match=wrong):
        said()
