"""What a minibatch of rollouts is trained on: the losses of `sos.improve.losses` on packed rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

from torch import Tensor

from sos.improve.critic import Critic
from sos.improve.losses import kl_estimates, policy_loss, weighted_nll
from sos.improve.losses_apa import apa_loss
from sos.improve.losses_options import APALoss, PolicyLoss
from sos.model.gpt import GPT
from sos.schema.improve import APA, NLL, ImproveConfig

# (model, batch) -> the loss, the loss of each target (B, C), and what is worth logging: scalars without gradients.
Objective = Callable[[GPT, dict[str, Any]], tuple[Tensor, Tensor, dict[str, Tensor]]]


def objective_of(options: ImproveConfig, context: int, critic: Critic | None = None) -> Objective:
    """Return what is trained on, with these options, in rows of `context` positions; apa has a critic."""
    if options.loss == NLL:
        return imitation
    if options.loss == APA:
        assert critic is not None
        aligned, values = alignment_options(options), critic
        return lambda model, batch: alignment(model, values, batch, aligned)
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


def _shared(options: ImproveConfig, schema: type) -> dict[str, Any]:
    names = {field.name for field in fields(schema)} & {field.name for field in fields(ImproveConfig)}
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
    loss, found = policy_loss(new_ST, batch.get("old"), batch["sequence_weights"], mask, options=options, ref_BT=ref_ST)
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
