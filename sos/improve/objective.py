"""What a minibatch of rollouts is trained on: the losses of `sos.improve.losses` on packed rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from sos.improve.critic import Critic
from sos.improve.losses import kl_estimates, policy_loss, weighted_nll
from sos.improve.losses_apa import apa_loss
from sos.improve.losses_distillation import distillation_loss, divergences
from sos.improve.losses_options import APALoss, Distillation, PolicyLoss
from sos.improve.teacher import Teacher
from sos.model.gpt import GPT
from sos.schema.improve import ImproveConfig
from sos.schema.improve_words import APA, DISTILLATION, NLL

# (model, batch) -> the loss, the loss of each target (B, C), and what is worth logging: scalars without gradients.
Objective = Callable[[GPT, dict[str, Any]], tuple[Tensor, Tensor, dict[str, Tensor]]]


def objective_of(
    options: ImproveConfig, context: int, critic: Critic | None = None, teacher: Teacher | None = None
) -> Objective:
    """Return what is trained on, with these options, in rows of `context` positions; apa has a critic, distillation a
    teacher."""
    if options.loss == NLL:
        return imitation
    if options.loss == APA:
        assert critic is not None
        aligned, values = alignment_options(options), critic
        return lambda model, batch: alignment(model, values, batch, aligned)
    if options.loss == DISTILLATION:
        assert teacher is not None
        read, behind = distillation_options(options, context), teacher
        return lambda model, batch: distillation(model, behind, batch, read)
    loss = policy_options(options, context)
    return lambda model, batch: policy_gradient(model, batch, loss)


def policy_options(options: ImproveConfig, context: int) -> PolicyLoss:
    """Return the options of `policy_loss`; keys of one name say one thing."""
    values = _shared(options, PolicyLoss)
    if options.aggregation == "constant":
        values["max_tokens"] = context
    return PolicyLoss(kind=options.loss, **values)


def alignment_options(options: ImproveConfig) -> APALoss:
    """Return the options of `apa_loss`; keys of one name say one thing."""
    return APALoss(**_shared(options, APALoss))


def distillation_options(options: ImproveConfig, context: int) -> Distillation:
    """Return the options of `distillation_loss`; keys of one name say one thing, but for the temperature, which is that
    of the rollouts."""
    values = _shared(options, Distillation) | {"temperature": 1.0}
    if options.aggregation == "constant":
        values["max_tokens"] = context
    return Distillation(**values)


def _shared(options: ImproveConfig, schema: type) -> dict[str, Any]:
    """Return the values of the keys that both have and that say the same; `max_tokens` says two things: how long a
    rollout may be, and the constant of a loss."""
    names = {field.name for field in fields(schema)} & {field.name for field in fields(ImproveConfig)} - {"max_tokens"}
    return {name: getattr(options, name) for name in names}


def imitation(model: GPT, batch: dict[str, Any]) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Return the weighted mean over the targets of a batch; with weights of 1 it is pretraining's, bit for bit."""
    losses_BC = model(batch["tokens"], batch["positions"], batch["doc_ids"], batch["targets"])
    loss = weighted_nll(-losses_BC, batch["weights"], denominator=1.0) * (1 / max(1, batch["num_targets"]))
    return loss, losses_BC, {}


def policy_gradient(model: GPT, batch: dict[str, Any], options: PolicyLoss) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Return the loss over rollouts, whose tokens lie in rows; without `old` the model itself is what wrote them."""
    losses_BC = model(batch["tokens"], batch["positions"], batch["doc_ids"], batch["targets"])
    new_ST = -losses_BC.flatten()[batch["places"]]
    mask, ref_ST = batch["mask"], batch.get("ref")
    advantages = batch.get("advantages", batch["sequence_weights"])
    loss, found = policy_loss(new_ST, batch.get("old"), advantages, mask, options=options, ref_BT=ref_ST)
    if ref_ST is not None:
        divergence = kl_estimates(new_ST.detach(), ref_ST, "k3")
        found["kl_start"] = divergence[mask].mean()
    return loss, losses_BC, found


def alignment(
    model: GPT, critic: Critic, batch: dict[str, Any], options: APALoss
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Return the loss of advantage-induced policy alignment, and that of the values beside it."""
    losses_BC = model(batch["tokens"], batch["positions"], batch["doc_ids"], batch["targets"])
    places = batch["places"]
    new_ST, values_ST = -losses_BC.flatten()[places], critic(model, batch).flatten()[places]
    columns = (batch["old"], batch["advantages"], batch["mask"])
    loss, found = apa_loss(new_ST, *columns, options=options, values_BT=values_ST, returns_BT=batch["returns"])
    return loss, losses_BC, found


def distillation(
    model: GPT, teacher: Teacher, batch: dict[str, Any], options: Distillation
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Return the divergence of the student's next tokens from those of the teacher, which reads the same rollouts
    behind their contexts.

    Beside what `distillation_loss` tells: divergence_first, that of all tokens up to the end of a rollout's first
    action together, and teacher_nll, what a written token costs the teacher in nats.
    """
    teacher.follow(model)
    places, mask = batch["places"], batch["mask"]
    rows_BCV = model(batch["tokens"], batch["positions"], batch["doc_ids"])
    told_BCV = teacher.logits(model, batch["teacher_tokens"], batch["teacher_positions"], batch["teacher_doc_ids"])
    student_STV = rows_BCV.flatten(0, 1)[places].float()
    teacher_STV = told_BCV.flatten(0, 1)[batch["teacher_places"]].float()
    ids_ST = batch["targets"].flatten()[places]
    loss, found = distillation_loss(
        student_STV, teacher_STV, mask, options=options, ids_BT=ids_ST, old_BT=batch.get("old")
    )
    with torch.no_grad():
        told = teacher_STV.log_softmax(-1)
        whole = Distillation(beta=options.beta)  # over all tokens, whatever counts in the loss
        divergence = divergences(student_STV.log_softmax(-1), told, whole) * mask
        first = (torch.arange(mask.shape[1], device=mask.device) < batch["firsts"][:, None]) & mask
        found["divergence_first"] = (divergence * first).sum() / first[:, 0].sum().clamp(min=1)
        costs = -told.gather(-1, ids_ST.masked_fill(~mask, 0)[..., None])[..., 0]
        found["teacher_nll"] = costs[mask].mean()
        losses_BC = divergence.new_zeros(rows_BCV.shape[:2])
        losses_BC.view(-1)[places[mask]] = divergence[mask]
    return loss, losses_BC, found
