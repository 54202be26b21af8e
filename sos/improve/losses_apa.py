"""Advantage-induced policy alignment with a value head, generalized advantage estimation, and an adaptive KL weight.

Zhu et al. 2023, "Fine-tuning language models with advantage-induced policy alignment"; Schulman et al. 2015, "High-
dimensional continuous control using generalized advantage estimation"; Ziegler et al. 2019 for the weight. Nothing is
clipped.

What the released code (kanishkg/RLHF-APA, c9d14bf) does otherwise than its paper, and how to ask for it: pi_old is the
reference policy (`anchor`, the caller hands it over); padding counts when advantages are whitened (no mask) and in GAE;
its mask is that of the input token, so that padded rollouts have one place more; its KL penalty is multiplied by 0, so
that the adaptive weight does nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sos.errors import UserError
from sos.improve.losses_options import APALoss

_DEFAULT = APALoss()


def apa_loss(
    new_BT: Tensor,
    old_BT: Tensor,
    advantages_BT: Tensor,
    mask_BT: Tensor,
    *,
    options: APALoss = _DEFAULT,
    values_BT: Tensor | None = None,
    returns_BT: Tensor | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the loss of the policy plus that of the values, means over tokens, and what is worth logging.

    `values_BT` are those of the value head, whose gradient flows, and `returns_BT` what they should be; without them
    there is no value loss. Metrics: loss_policy, loss_value, old_kl (mean of old minus new), square and log (the means
    of both forms). Raises UserError for shapes that do not fit.
    """
    values = torch.zeros_like(new_BT) if values_BT is None else values_BT
    returns = torch.zeros_like(new_BT) if returns_BT is None else returns_BT
    if (values_BT is None) != (returns_BT is None):
        raise UserError("values and returns come together")
    for name, found in {
        "old log-probabilities": old_BT,
        "advantages": advantages_BT,
        "mask": mask_BT,
        "values": values,
        "returns": returns,
    }.items():
        if found.shape != new_BT.shape:
            raise UserError(f"{name} must have the shape {tuple(new_BT.shape)}, got {tuple(found.shape)}")
    mask = mask_BT.bool()
    new, old, advantages = (x.masked_fill(~mask, 0) for x in (new_BT, old_BT.detach(), advantages_BT.detach()))
    tokens = mask.sum().clamp(min=1)
    shift = options.coefficient * advantages
    square = (new - old - shift).square().sum() / tokens
    log = -(new * shift.exp() * mask).sum() / tokens
    errors = (values - returns.detach()).masked_fill(~mask, 0)
    value = 0.5 * errors.square().sum() / tokens
    policy = square if options.form == "square" else log
    metrics = {"loss_policy": policy, "loss_value": value, "square": square, "log": log}
    metrics["old_kl"] = (old - new).sum() / tokens
    return policy + options.value_weight * value, {name: found.detach() for name, found in metrics.items()}


def gae(
    rewards_BT: Tensor, values_BT: Tensor, *, gamma: float = 1.0, lam: float = 0.95, mask_BT: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return advantages, not whitened, and returns (advantages plus values), (B, T) each, without gradients.

    A = delta + gamma lam A', delta = reward + gamma V' - V, with those of the next place. Places where the mask is 0
    are passed over; without a mask all places count, and padding holds reward and value 0 (the released APA).
    """
    values = values_BT.detach()
    advantages = following = values.new_zeros(len(values))
    found = []
    for t in reversed(range(rewards_BT.shape[1])):
        delta = rewards_BT[:, t] + gamma * following - values[:, t]
        here = delta + gamma * lam * advantages
        counted = torch.ones_like(here, dtype=torch.bool) if mask_BT is None else mask_BT[:, t].bool()
        advantages = torch.where(counted, here, advantages)
        following = torch.where(counted, values[:, t], following)
        found.append(advantages)
    stacked = torch.stack(found[::-1], 1) if found else torch.zeros_like(values)
    return stacked, stacked + values


def kl_penalised(rewards_BT: Tensor, old_BT: Tensor, ref_BT: Tensor, mask_BT: Tensor, weight: float) -> Tensor:
    """Return rewards minus weight (log pi_old - log pi_ref) at each token of the mask, (B, T)."""
    return rewards_BT - weight * torch.where(mask_BT.bool(), old_BT - ref_BT, 0)


def whiten(values_BT: Tensor, mask_BT: Tensor | None = None, *, count_epsilon: float = 0.0) -> Tensor:
    """Return (values - mean) / sqrt(variance + 1e-8), with the variance of n - 1.

    Mean and variance are those of the places of the mask, without one of all places. `count_epsilon` is added to the
    number of places where it divides (verl: 1e-8). Raises UserError for fewer than two places.
    """
    mask = torch.ones_like(values_BT) if mask_BT is None else mask_BT.to(values_BT.dtype)
    num = mask.sum()
    if num < 2:
        raise UserError(f"whitening needs two tokens or more, got {int(num)}")
    mean = (values_BT * mask).sum() / (num + count_epsilon)
    variance = ((values_BT - mean).square() * mask).sum() / (num + count_epsilon) * (num / (num - 1))
    return (values_BT - mean) * torch.rsqrt(variance + 1e-8)


@dataclass
class AdaptiveKL:
    """A weight of the divergence that is raised where the divergence is above its target, and lowered below it."""

    coefficient: float
    target: float
    horizon: int = 10_000

    def update(self, kl: float, num: int) -> float:
        """Note the mean divergence of `num` rollouts; return the new weight."""
        error = min(max(kl / self.target - 1, -0.2), 0.2)
        self.coefficient *= 1 + error * num / self.horizon
        return self.coefficient
