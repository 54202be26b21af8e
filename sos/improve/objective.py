"""What a minibatch of rollouts is trained on: the losses of `sos.improve.losses` on packed rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

from torch import Tensor

from sos.improve.losses import kl_estimates, policy_loss, weighted_nll
from sos.improve.losses_options import PolicyLoss
from sos.model.gpt import GPT
from sos.schema.improve import NLL, ImproveConfig

# (model, batch) -> the loss, the loss of each target (B, C), and what is worth logging: scalars without gradients.
Objective = Callable[[GPT, dict[str, Any]], tuple[Tensor, Tensor, dict[str, Tensor]]]


def objective_of(options: ImproveConfig, context: int) -> Objective:
    """Return what is trained on, with these options, in rows of `context` positions."""
    if options.loss == NLL:
        return imitation
    loss = policy_options(options, context)
    return lambda model, batch: policy_gradient(model, batch, loss)


def policy_options(options: ImproveConfig, context: int) -> PolicyLoss:
    """Return the options of `policy_loss`; keys of one name say one thing."""
    shared = {field.name for field in fields(PolicyLoss)} & {field.name for field in fields(ImproveConfig)}
    values = {name: getattr(options, name) for name in shared}
    if options.aggregation == "constant":
        values["max_tokens"] = context
    return PolicyLoss(kind=options.loss, **values)


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
