"""Distillation against five published implementations, sums over the vocabulary, and what must hold."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from drivers import read_jsonl
from loss_records import near, tensor_of
from torch import Tensor

from sos.errors import UserError
from sos.improve.losses_distillation import distillation_loss
from sos.improve.losses_options import SUPPORTS, Distillation


def published(row: dict[str, Any], run: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments with which ours is the run of published code."""
    said, name = run["options"], run["name"]
    beta = said.get("beta", said.get("alpha", said.get("distillation_alpha")))
    sizes = len(row["student"]), len(row["student"][0]), len(row["student"][0][0])
    chosen: dict[str, Any] = {"beta": beta, "temperature": said.get("temperature", 1.0)}
    others: dict[str, Any] = {}
    top_k = said.get("top_k", said.get("distillation_topk"))
    if top_k is not None and name in ("jsd", "sdpo", "self_distillation", "iw_opd_jsd"):
        by_beta = {0.0: "teacher", 1.0: "student"}.get(beta, "both")
        chosen["support"] = {"jsd": "teacher", "iw_opd_jsd": by_beta}.get(name, "student")
        chosen |= {"top_k": top_k, "tail": said.get("add_tail", said.get("distillation_add_tail", False))}
    if said.get("distillation_mode") == "sampled_token" or said.get("full_logit_distillation") is False:
        chosen["support"] = "sampled"
    chosen["ratio_max"] = said.get("distillation_is_clip", said.get("is_clip"))
    if name == "sdpo":
        chosen["aggregation"] = "sequence_mean"
    how = said.get("loss_agg_mode", "token-mean")
    if how != "token-mean":
        chosen |= {"aggregation": how.replace("seq-", "").replace("mean-token-", "sequence_"), "count_empty": False}
        chosen["length_epsilon"] = 1e-8 if how == "seq-mean-token-mean" else 0.0
    if said.get("reduction") == "sum":
        chosen |= {"aggregation": "constant_sum", "max_tokens": 1}
    if said.get("reduction") == "mean":
        others["scale"] = 1 / sizes[2]
    if name == "gkd_without_labels":
        chosen |= {"aggregation": "sequence_sum"}
        others["mask_BT"] = torch.ones(sizes[:2])
    if "num_items_in_batch" in said:
        others["denominator"] = said["num_items_in_batch"]
    return {"options": Distillation(**chosen)} | others


def test_the_published_losses(reference: Path) -> None:
    looked_at: dict[str, int] = {}
    for row in read_jsonl(reference / "losses" / "distill.jsonl"):
        given = {"mask_BT": tensor_of(row, row["mask"]), "old_BT": tensor_of(row, row["old"])}
        given |= {"teacher_BTV": tensor_of(row, row["teacher"]), "ids_BT": torch.tensor(row["ids"])}
        for run in row["runs"]:
            student = tensor_of(row, row["student"]).requires_grad_()
            loss, _ = distillation_loss(student, **given | published(row, run))
            loss.backward()
            # TRL's tiled one computes in float32 whatever it is given.
            single = row | {"dtype": "float32"} if run["name"] == "distillation" else row
            what = f"{row['id']} {run['impl']} {run['name']} {run['options']}"
            assert near(single, loss, run["loss"]), what
            assert near(single, student.grad, run["grad"]), what
            looked_at[run["name"]] = looked_at.get(run["name"], 0) + 1
    assert sum(looked_at.values()) >= 145
    assert min(looked_at.values()) >= 5
    assert len(looked_at) == 7


def logits(seed: int = 0, num: int = 3, width: int = 4, vocabulary: int = 6) -> dict[str, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    student, teacher = (2 * torch.randn(num, width, vocabulary, generator=rng, dtype=torch.float64) for _ in range(2))
    mask = torch.arange(width) < torch.tensor([[4], [2], [0]])
    ids = torch.randint(0, vocabulary, (num, width), generator=rng)
    old = student.log_softmax(-1).gather(-1, ids[..., None])[..., 0] - 0.1
    return {
        "student_BTV": student.requires_grad_(),
        "teacher_BTV": teacher,
        "mask_BT": mask,
        "ids_BT": ids,
        "old_BT": old,
    }


@pytest.mark.parametrize("beta", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_the_divergence_is_a_sum_over_the_vocabulary(beta: float) -> None:
    given = logits()
    loss, metrics = distillation_loss(**given, options=Distillation(beta, temperature=1.3))
    total = tokens = 0.0
    for student, teacher, mask in zip(given["student_BTV"], given["teacher_BTV"], given["mask_BT"], strict=True):
        for s, u, counted in zip(student, teacher, mask, strict=True):
            if counted:
                tokens += 1
                for p, q in zip((s / 1.3).softmax(-1).tolist(), (u / 1.3).softmax(-1).tolist(), strict=True):
                    m = (1 - beta) * p + beta * q
                    if beta == 0:
                        total += q * math.log(q / p)
                    elif beta == 1:
                        total += p * math.log(p / q)
                    else:
                        total += beta * q * math.log(q / m) + (1 - beta) * p * math.log(p / m)
    assert loss.item() == pytest.approx(total / tokens, abs=1e-12)
    assert float(metrics["divergence"]) == pytest.approx(loss.item())


def options_of(support: str, **others: Any) -> Distillation:
    some = {"top_k": 2} if support in ("student", "teacher", "both") else {}
    return Distillation(**{"beta": 1.0 if support == "sampled" else 0.5, "support": support} | some | others)


@pytest.mark.parametrize("support", SUPPORTS)
@pytest.mark.parametrize("tail", [False, True])
def test_a_student_like_its_teacher_has_nothing_to_learn(support: str, tail: bool) -> None:
    given = logits(1)
    given["teacher_BTV"] = given["student_BTV"].detach() + 3.0
    wanted = {"tail": tail} if tail and support in ("student", "teacher", "both") else {}
    loss, metrics = distillation_loss(**given, options=options_of(support, **wanted))
    loss.backward()
    assert abs(loss.item()) < 1e-12
    assert given["student_BTV"].grad.abs().max() < 1e-12
    assert abs(float(metrics["divergence"])) < 1e-12


@pytest.mark.parametrize("support", SUPPORTS)
def test_what_is_masked_is_never_read(support: str) -> None:
    given = logits(2)
    options = options_of(support, ratio_max=2.0, token_max=0.5)
    loss, _ = distillation_loss(**given, options=options)
    loss.backward()
    blank = ~given["mask_BT"]
    assert not given["student_BTV"].grad[blank].any()
    assert given["student_BTV"].grad[~blank].any()
    spoiled = {name: value.detach().clone() for name, value in given.items()}
    for name in ("student_BTV", "teacher_BTV", "old_BT"):
        spoiled[name][blank] = float("nan")
    spoiled["ids_BT"][blank] = -100
    spoiled["student_BTV"].requires_grad_()
    again, _ = distillation_loss(**spoiled, options=options)
    again.backward()
    assert again.item() == loss.item()
    assert torch.equal(spoiled["student_BTV"].grad[~blank], given["student_BTV"].grad[~blank])
    assert torch.isfinite(spoiled["student_BTV"].grad).all()


def test_the_whole_vocabulary_as_a_support_is_all_of_it() -> None:
    given = logits(3)
    whole, _ = distillation_loss(**given)
    for support in ("student", "teacher", "both"):
        for tail in (False, True):
            some, _ = distillation_loss(**given, options=Distillation(support=support, top_k=6, tail=tail))
            assert some.item() == pytest.approx(whole.item(), abs=1e-14)


def test_the_written_token_has_the_gradient_of_the_reverse_divergence_on_average() -> None:
    student = torch.tensor([[[0.3, -0.2, 0.9, 0.1]]], dtype=torch.float64, requires_grad=True)
    teacher = torch.tensor([[[0.1, 0.4, -0.3, 0.2]]], dtype=torch.float64)
    mask = torch.ones(1, 1)
    loss, _ = distillation_loss(student, teacher, mask, options=Distillation(1.0))
    (wanted,) = torch.autograd.grad(loss, student)
    chances, mean, found = student.detach().softmax(-1)[0, 0], 0.0, torch.zeros_like(student)
    for token in range(4):
        one, metrics = distillation_loss(
            student, teacher, mask, options=Distillation(1.0, support="sampled"), ids_BT=torch.tensor([[token]])
        )
        found += chances[token] * torch.autograd.grad(one, student)[0]
        mean += float(chances[token] * metrics["divergence"])
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-14)
    assert mean == pytest.approx(loss.item())


def test_every_option_changes_the_loss() -> None:
    changes: dict[str, tuple[dict[str, Any], Any]] = {
        "beta": ({}, 0.0),
        "temperature": ({}, 2.0),
        "support": ({"top_k": 2}, "student"),
        "top_k": ({"support": "teacher", "top_k": 2}, 3),
        "tail": ({"support": "teacher", "top_k": 2}, True),
        "token_max": ({}, 0.1),
        "ratio_max": ({}, 1.05),
        "aggregation": ({}, "sequence_mean"),
        "max_tokens": ({"aggregation": "constant"}, 9),
        "count_empty": ({"aggregation": "sequence_mean"}, False),
        "length_epsilon": ({"aggregation": "sequence_mean"}, 0.5),
    }
    assert set(changes) == {field.name for field in dataclasses.fields(Distillation)}
    given = logits(4)
    for name, (others, value) in changes.items():
        before = {key: found for key, found in others.items() if key != "top_k" or "support" in others}
        loss, _ = distillation_loss(**given, options=Distillation(**before))
        other, _ = distillation_loss(**given, options=Distillation(**others | {name: value}))
        assert loss.item() != other.item(), name


@pytest.mark.parametrize(
    ("said", "wrong"),
    [
        (lambda: Distillation(beta=1.5), "distillation.beta must be at most 1, got 1.5"),
        (lambda: Distillation(support="sampled"), "distillation.support=sampled has the gradient of beta=1 alone"),
        (lambda: Distillation(top_k=3), "distillation.top_k=3 has no use with distillation.support=all"),
        (lambda: Distillation(aggregation="sequence"), "distillation.aggregation must be one of token_mean"),
        (
            lambda: distillation_loss(**logits() | {"old_BT": None}, options=Distillation(ratio_max=2.0)),
            "distillation.ratio_max=2 needs the old log-probabilities",
        ),
        (
            lambda: distillation_loss(**logits() | {"ids_BT": None}, options=Distillation(1.0, support="sampled")),
            "the tokens that were written are needed",
        ),
        (lambda: distillation_loss(torch.ones(2, 3), torch.ones(2, 3), torch.ones(2, 3)), r"must be \(B, T, V\)"),
    ],
)
def test_what_cannot_be_is_refused_by_name(said: Any, wrong: str) -> None:
    with pytest.raises(UserError, match=wrong):
        said()
