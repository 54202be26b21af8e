"""Policy losses against the published implementations, a slow oracle, and what must hold whatever the batch."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import naive.losses as naive
import numpy as np
import pytest
import torch
from drivers import read_jsonl
from loss_records import near, tensor_of
from torch import Tensor

from sos.errors import UserError
from sos.improve.losses import aggregate, kl_estimates, policy_loss, weighted_nll
from sos.improve.losses_options import AGGREGATIONS, KINDS, KL_ESTIMATORS, PolicyLoss
from sos.improve.losses_published import VERL_KL, Published, trl, verl, verl_aggregation

# Names of the published logs -> ours. verl's kl_cov logs another mean, and its gmpo counts one side alone.
METRICS = {
    "clip_ratio/low_mean": "clip_low",
    "clip_ratio/high_mean": "clip_high",
    "clip_ratio/region_mean": "clip",
    "clip_ratio/low_min": "clip_low_min",
    "clip_ratio/high_max": "clip_high_max",
    "cispo_clip_ratio": "clip_high",
    "vespo/phi_seq_mean": "phi",
    "entropy": "entropy",
    "kl": "kl",
    "policy_loss": "loss_policy",
    "actor/ppo_kl": "old_kl",
    "actor/pg_clipfrac": "clipped",
    "actor/pg_clipfrac_lower": "dual_clipped",
}
OTHER_METRICS = ("kl_cov", "geo_mean")


class Row:
    """A batch of the records."""

    def __init__(self, record: dict[str, Any]) -> None:
        self.id, self.runs = record["id"], record["runs"]
        self.record = record
        columns = {name: None if record[name] is None else self.tensor(record[name]) for name in ("old", "ref")}
        self.old, self.ref = columns["old"], columns["ref"]
        self.mask, self.advantages = self.tensor(record["mask"]), self.tensor(record["advantages"])
        self.new = self.tensor(record["new"]).requires_grad_()
        self.entropies = self.tensor(record["entropies"]).requires_grad_()

    def tensor(self, values: Any) -> Tensor:
        return tensor_of(self.record, values)

    def loss(self, run: dict[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        options = dict(run["options"])
        weights = self.tensor(run["rollout_is_weights"]) if options.pop("rollout_is_weights", False) else None
        if "kl" in options:
            how, denominator, scale = verl_aggregation(options["loss_agg_mode"])
            values = kl_estimates(self.new, self.ref, VERL_KL.get(options["kl"], options["kl"]))
            loss = aggregate(values, self.mask, options=PolicyLoss(**how), denominator=denominator)
            return loss * scale, {}
        said: Published = {"trl": trl, "verl": verl}[run["impl"]](**options)
        return policy_loss(
            self.new,
            self.old,
            self.advantages,
            self.mask,
            options=said.options,
            denominator=said.denominator,
            scale=said.scale,
            ref_BT=self.ref,
            entropies_BT=self.entropies,
            weights_BT=weights,
        )

    def near(self, found: Tensor, expected: Any) -> bool:
        return near(self.record, found, expected)


def test_losses_and_gradients_are_those_of_the_published_code(reference: Path) -> None:
    looked_at = logged = 0
    for record in read_jsonl(reference / "losses" / "policy.jsonl"):
        row = Row(record)
        for run in row.runs:
            what = f"{row.id} {run['impl']} {run['options']}"
            loss, metrics = row.loss(run)
            row.new.grad = row.entropies.grad = None
            loss.backward()
            assert row.near(loss, run["loss"]), what
            assert row.near(row.new.grad, run["grad"]), what
            if "grad_entropies" in run:
                assert row.near(row.entropies.grad, run["grad_entropies"]), what
            looked_at += 1
            # Completions of length 1: TRL's means count sequences that are masked out.
            if row.mask.shape[1] == 1 or run["options"].get("loss_mode") in OTHER_METRICS:
                continue
            for name, value in (run.get("metrics") or {}).items():
                if METRICS.get(name) in metrics:
                    assert float(metrics[METRICS[name]]) == pytest.approx(float(value), abs=1e-6, rel=1e-6), (
                        what,
                        name,
                    )
                    logged += 1
    assert looked_at >= 322
    assert logged >= 1000


def batch(seed: int = 0, num: int = 5, width: int = 4, apart: float = 0.3) -> dict[str, Tensor]:
    """A random batch in float64; the last sequence is empty, and another one has a hole."""
    rng = torch.Generator().manual_seed(seed)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=rng, dtype=torch.float64)

    old = -3 * uniform(num, width) - 0.01
    mask = torch.arange(width) < torch.randint(1, width + 1, (num, 1), generator=rng)
    mask[-1] = False
    mask[0] = True
    mask[0, 1] = False
    return {
        "new_BT": (old + apart * (2 * uniform(num, width) - 1)).requires_grad_(),
        "old_BT": old,
        "advantages_BT": 2 * uniform(num) - 1,
        "mask_BT": mask,
    }


EXTRA = {"kl_cov": {"covariance_ratio": 0.3}, "clip_cov": {"covariance_ratio": 1.0, "covariance_low": 0.0}}


def options_of(kind: str, **others: Any) -> PolicyLoss:
    aggregation = {"aggregation": "sequence"} if kind == "gmpo" else {}
    return PolicyLoss(**{"kind": kind, **aggregation, **EXTRA.get(kind, {}), **others})


@pytest.mark.parametrize("level", ["token", "sequence"])
@pytest.mark.parametrize("aggregation", ["token_mean", "sequence_mean", "sequence_sum", "constant"])
def test_the_clipped_loss_is_that_of_a_loop_over_tokens(level: str, aggregation: str) -> None:
    plain = naive.clip_loss if level == "token" else naive.sequence_clip_loss
    clipped = 0
    for seed in range(10):
        given = batch(seed)
        options = PolicyLoss(ratio=level, clip_low=0.05, clip_high=0.08, aggregation=aggregation)
        loss, metrics = policy_loss(**given, options=options)
        loss.backward()
        rows = {name: value.tolist() for name, value in given.items()}

        def slow(new: naive.Rows, rows: dict[str, Any] = rows) -> float:
            return plain(new, rows["old_BT"], rows["advantages_BT"], rows["mask_BT"], 0.05, 0.08, aggregation)

        assert loss.item() == pytest.approx(slow(rows["new_BT"]), abs=1e-12)
        np.testing.assert_allclose(given["new_BT"].grad, naive.gradient(slow, rows["new_BT"]), atol=1e-8)
        clipped += float(metrics["clip"]) > 0
    assert clipped >= 5


def test_on_policy_every_ratio_is_1_and_the_gradient_that_of_reinforce() -> None:
    given = batch(3)
    wanted = None
    for kind in ("reinforce", "clip", "cispo", "sapo", "vespo", "kl_cov"):
        given["new_BT"].grad = None
        arguments = given | {"old_BT": None}
        loss, metrics = policy_loss(**arguments, options=options_of(kind))
        loss.backward()
        wanted = given["new_BT"].grad.clone() if wanted is None else wanted
        assert float(metrics["ratio_max"]) == 1
        torch.testing.assert_close(given["new_BT"].grad, wanted, rtol=1e-12, atol=1e-15, msg=kind)
    assert wanted is not None
    assert wanted.abs().max() > 0


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_masked_is_never_read(kind: str) -> None:
    given = batch(1)
    extra = {"ref_BT": given["old_BT"] - 0.1, "entropies_BT": -given["old_BT"], "weights_BT": 1 + given["old_BT"].abs()}
    options = options_of(kind, kl_weight=0.1, entropy_weight=0.1, off_policy_max=0.05)
    loss, _ = policy_loss(**given, **extra, options=options)
    loss.backward()
    gradient = given["new_BT"].grad
    assert not gradient[~given["mask_BT"]].any()
    spoiled = {}
    for name, value in (given | extra).items():
        if value.shape == given["mask_BT"].shape and name != "mask_BT":
            value = value.detach().masked_fill(~given["mask_BT"], float("nan"))
        spoiled[name] = value
    spoiled["new_BT"].requires_grad_()
    again, metrics = policy_loss(**spoiled, options=options)
    again.backward()
    assert again.item() == loss.item()
    assert torch.equal(spoiled["new_BT"].grad[given["mask_BT"]], gradient[given["mask_BT"]])
    assert all(torch.isfinite(value) for value in metrics.values())


@pytest.mark.parametrize("kind", KINDS)
def test_the_order_of_the_sequences_does_not_matter(kind: str) -> None:
    given = batch(2, num=6)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    loss, _ = policy_loss(**given, options=options_of(kind))
    moved, _ = policy_loss(**{name: value[order] for name, value in given.items()}, options=options_of(kind))
    assert moved.item() == pytest.approx(loss.item(), abs=1e-14)


@pytest.mark.parametrize("kind", KINDS)
def test_without_advantages_nothing_is_learned(kind: str) -> None:
    given = batch(4)
    given["advantages_BT"] = torch.zeros(len(given["advantages_BT"]), dtype=torch.float64)
    options = options_of(kind, **{"kl_cov_weight": 0.0} if kind == "kl_cov" else {})
    loss, _ = policy_loss(**given, options=options)
    loss.backward()
    assert loss.item() == 0
    assert not given["new_BT"].grad.any()


@pytest.mark.parametrize("aggregation", [name for name in AGGREGATIONS if name != "sequence"])
def test_parts_of_a_batch_come_to_the_whole(aggregation: str) -> None:
    """With the denominator of the whole batch, or, where a constant divides, the part's share."""
    given = batch(5, num=6)
    options = PolicyLoss(aggregation=aggregation, clip_high=0.28)
    whole, _ = policy_loss(**given, options=options)
    denominator = {"token_mean": given["mask_BT"].sum(), "sequence_mean": 6, "sequence_sum": 6}.get(aggregation)
    scale = 1 / 3 if aggregation == "constant" else 1.0
    parts = []
    for start in range(0, 6, 2):
        part = {name: value[start : start + 2] for name, value in given.items()}
        parts.append(policy_loss(**part, options=options, denominator=denominator, scale=scale)[0].item())
    assert sum(parts) == pytest.approx(whole.item(), abs=1e-14)


def test_an_empty_batch_has_no_loss() -> None:
    for aggregation in AGGREGATIONS:
        given = batch(6)
        given["mask_BT"] = torch.zeros_like(given["mask_BT"])
        ratio = "sequence" if aggregation == "sequence" else "token"
        options = PolicyLoss(aggregation=aggregation, ratio=ratio, count_empty=False)
        loss, metrics = policy_loss(**given, options=options)
        loss.backward()
        assert loss.item() == 0
        assert not given["new_BT"].grad.any()
        assert all(torch.isfinite(value) for value in metrics.values())


def test_a_weight_of_1_is_the_mean_nll() -> None:
    new = torch.tensor([[-1.0, -2.0, -4.0], [-0.5, float("nan"), -0.25]], dtype=torch.float64)
    weights = torch.tensor([[1.0, 1.0, 0.0], [1.0, 0.0, 1.0]], dtype=torch.float64)
    assert weighted_nll(new, weights).item() == pytest.approx((1 + 2 + 0.5 + 0.25) / 4)
    assert weighted_nll(new, 2 * weights).item() == pytest.approx(2 * (1 + 2 + 0.5 + 0.25) / 4)
    assert weighted_nll(new, -weights, denominator=2).item() == pytest.approx(-(1 + 2 + 0.5 + 0.25) / 2)
    assert weighted_nll(new, 0 * weights).item() == 0


def test_weights_of_advantages_are_reinforce() -> None:
    given = batch(7)
    weights = given["advantages_BT"][:, None] * given["mask_BT"]
    loss, _ = policy_loss(**given, options=PolicyLoss(kind="reinforce"))
    assert weighted_nll(given["new_BT"], weights).item() == pytest.approx(loss.item(), abs=1e-15)


def test_estimates_of_the_divergence() -> None:
    """Their means come to the divergence, and the gradients of k2, k1+ and k3+ to its gradient."""
    logits = torch.tensor([0.3, -0.2, 0.9, 0.1], dtype=torch.float64, requires_grad=True)
    ref = torch.tensor([0.1, 0.4, -0.3, 0.2], dtype=torch.float64).log_softmax(-1)
    chances = logits.log_softmax(-1).exp().detach()
    new = logits.log_softmax(-1)
    exact = (new.exp() * (new - ref)).sum()
    (wanted,) = torch.autograd.grad(exact, logits, retain_graph=True)
    for kl in ("k1", "k3", "k3_clamped", "k1+", "k3+"):
        found = (chances * kl_estimates(new, ref, kl)).sum()
        assert found.item() == pytest.approx(exact.item(), abs=1e-12), kl
    for kl in ("k2", "k1+", "k3+"):
        (found,) = torch.autograd.grad((chances * kl_estimates(new, ref, kl)).sum(), logits, retain_graph=True)
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12, msg=kl)
    assert (kl_estimates(new, ref, "abs") - (new - ref).abs()).abs().max() == 0
    assert len(KL_ESTIMATORS) == 7


def test_clip_cov_draws_by_its_key() -> None:
    given = batch(8, num=8, width=6)
    options = PolicyLoss(kind="clip_cov", covariance_ratio=0.1, covariance_low=-9.0, covariance_high=9.0)
    losses = {policy_loss(**given, options=options, key=np.uint64(k))[0].item() for k in range(20)}
    again = policy_loss(**given, options=options, key=np.uint64(3))[0].item()
    assert len(losses) > 5
    assert again in losses
    with pytest.raises(UserError, match="needs a key"):
        policy_loss(**given, options=options)


def test_the_two_published_defaults_differ_where_they_are_said_to() -> None:
    assert trl(loss_type="cispo").options.clip_high == pytest.approx(-0.8)  # a cap of 0.2
    assert verl().options.dual_clip == 3
    assert verl(clip_ratio=0.4).options == verl().options
    assert verl(loss_mode="gspo", loss_agg_mode="token-mean").options.aggregation == "sequence_mean"
    assert trl(loss_type="grpo").options.count_empty
    assert not verl(loss_mode="sapo").options.count_empty


@pytest.mark.parametrize(
    ("said", "wrong"),
    [
        (lambda: PolicyLoss(kind="ppo"), "loss.kind must be one of clip"),
        (lambda: PolicyLoss(clip_low=-0.1), "loss.clip_low must be at least 0, got -0.1"),
        (lambda: PolicyLoss(dual_clip=1.0), "loss.dual_clip must be above 1"),
        (lambda: PolicyLoss(kind="sapo", dual_clip=3.0), "loss.dual_clip=3.0 has no use with loss.kind=sapo"),
        (lambda: PolicyLoss(kl="k1"), "loss.kl=k1 needs loss.kl_weight"),
        (lambda: PolicyLoss(aggregation="sequence"), "loss.aggregation=sequence needs losses per sequence"),
        (lambda: PolicyLoss(kind="gmpo"), "loss.kind=gmpo has one loss per sequence"),
        (lambda: PolicyLoss(max_tokens=5), "loss.max_tokens=5 has no use with loss.aggregation=token_mean"),
        (lambda: trl(los_type="grpo"), "TRL has no option 'los_type' that changes its loss .did you mean loss_type.."),
        (lambda: trl(loss_type="ppo"), "loss_type must be one of TRL's"),
        (lambda: verl(loss_mode="ppo"), "loss_mode must be one of vanilla"),
        (lambda: verl(loss_agg_mode="mean"), "loss_agg_mode must be one of token-mean"),
        (lambda: policy_loss(**batch(), options=PolicyLoss(kl_weight=0.1)), "loss.kl_weight=0.1 needs log-prob"),
        (lambda: policy_loss(**batch(), options=PolicyLoss(entropy_weight=0.1)), "loss.entropy_weight=0.1 needs"),
        (lambda: policy_loss(**batch(), options=PolicyLoss(entropy_quantile=0.2)), "loss.entropy_quantile=0.2 needs"),
        (
            lambda: policy_loss(**batch() | {"mask_BT": torch.ones(5, 3)}),
            r"mask must have the shape \(5, 4\), got \(5, 3\)",
        ),
        (
            lambda: aggregate(
                torch.ones(2, 2), torch.ones(2, 2), options=PolicyLoss(aggregation="constant"), denominator=1
            ),
            "a denominator has no use with loss.aggregation=constant",
        ),
    ],
)
def test_what_cannot_be_is_refused_by_name(said: Any, wrong: str) -> None:
    with pytest.raises(UserError, match=wrong):
        said()


def test_every_option_changes_a_loss() -> None:
    """No option is there without an effect: each, changed, gives another gradient on some batch where it has a use."""
    changes: dict[str, tuple[dict[str, Any], Any]] = {
        "kind": ({}, "cispo"),
        "ratio": ({}, "sequence"),
        "clip_low": ({}, 0.01),
        "clip_high": ({}, 0.01),
        "ratio_max": ({}, 0.5),
        "dual_clip": ({}, 1.01),
        "log_ratio_max": ({}, 0.01),
        "temperature_positive": ({"kind": "sapo"}, 3.0),
        "temperature_negative": ({"kind": "sapo"}, 3.0),
        "k_positive": ({"kind": "vespo"}, 9.0),
        "lambda_positive": ({"kind": "vespo"}, 9.0),
        "k_negative": ({"kind": "vespo"}, 9.0),
        "lambda_negative": ({"kind": "vespo"}, 9.0),
        "covariance_ratio": ({"kind": "kl_cov"}, 0.5),
        "kl_cov_weight": ({"kind": "kl_cov"}, 0.7),
        "covariance_low": ({"kind": "clip_cov", "covariance_ratio": 1.0}, -9.0),
        "covariance_high": ({"kind": "clip_cov", "covariance_ratio": 1.0, "covariance_low": -2.0}, 0.0),
        "aggregation": ({}, "sequence_mean"),
        "max_tokens": ({"aggregation": "constant"}, 100),
        "count_empty": ({"aggregation": "sequence_mean"}, False),
        "length_epsilon": ({"aggregation": "sequence_mean"}, 0.5),
        "kl_weight": ({}, 0.3),
        "kl": ({"kl_weight": 0.3}, "k2"),
        "kl_by_ratio": ({"kl_weight": 0.3}, True),
        "entropy_weight": ({}, 0.3),
        "entropy_quantile": ({}, 0.3),
        "off_policy_max": ({}, 0.0),
    }
    assert set(changes) == {field.name for field in dataclasses.fields(PolicyLoss)}
    given = batch(9, num=12, width=6, apart=0.9)
    entropies = (-given["old_BT"]).requires_grad_()

    def gradients(**options: Any) -> Tensor:
        given["new_BT"].grad = entropies.grad = None
        loss, _ = policy_loss(
            **given, options=PolicyLoss(**options), ref_BT=given["old_BT"] - 0.2, entropies_BT=entropies
        )
        loss.backward()
        bonus = torch.zeros_like(entropies) if entropies.grad is None else entropies.grad
        return torch.stack([given["new_BT"].grad, bonus])

    for name, (others, value) in changes.items():
        assert not torch.equal(gradients(**others), gradients(**others, **{name: value})), name
