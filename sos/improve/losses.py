"""Losses of policy gradients and of weighted imitation, as pure functions of arrays (torch, float32 or float64).

B sequences of T places; `mask_BT` says which places count (tokens that the policy wrote). What stands at the other
places is never read. Sources: Schulman et al. 2017 (PPO), Shao et al. 2024 (GRPO), Yu et al. 2025 (DAPO), Liu et al.
2025 (Dr. GRPO), Zheng et al. 2025 (GSPO), MiniMax 2025 (CISPO), Zhao et al. 2025 (GMPO), Cui et al. 2025 (Clip-Cov and
KL-Cov). Each agrees with the published implementations on fixed batches; `sos.improve.losses_published` says under
which options.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from sos.errors import UserError
from sos.improve.losses_kinds import Batch, Metrics, at_level, losses_of
from sos.improve.losses_options import KL_ESTIMATORS, Aggregation, PolicyLoss

_DEFAULT = PolicyLoss()


def policy_loss(
    new_BT: Tensor,
    old_BT: Tensor | None,
    advantages_BT: Tensor,
    mask_BT: Tensor,
    *,
    options: PolicyLoss = _DEFAULT,
    ref_BT: Tensor | None = None,
    entropies_BT: Tensor | None = None,
    weights_BT: Tensor | None = None,
    denominator: float | Tensor | None = None,
    scale: float = 1.0,
    key: np.uint64 | None = None,
) -> tuple[Tensor, Metrics]:
    """Return the loss, a scalar whose gradient flows into `new_BT` (and the entropies), and what is worth logging.

    Args:
        new_BT, old_BT: log-probabilities of the tokens under the policy that learns and the one that wrote them; None
            for the latter: on-policy.
        advantages_BT: (B,) or (B, T).
        mask_BT: bool, or 0 and 1.
        options: which loss; every option is named there.
        ref_BT: log-probabilities under the reference policy, for `kl_weight`.
        entropies_BT: of the policy at each place, for `entropy_weight` and `entropy_quantile`.
        weights_BT: multiply each token's loss (importance weights); a loss per sequence by their geometric mean.
        denominator: divides in place of the batch's own tokens (token_mean) or sequences (sequence_*), for a batch
            that comes in parts.
        scale: multiplies everything but the entropy bonus in the end.
        key: uint64, draws the tokens of clip_cov where there are more than `covariance_ratio` allows.

    Metrics, scalars without gradients, those that the kind has: loss_policy (without entropy bonus), old_kl (mean of
    old minus new), ratio_max, clip_low and clip_high (shares clipped with A < 0 below, with A > 0 above), clip (both),
    clip_low_min and clip_high_max (over sequences), clipped (share of tokens whose loss clipping changes or, with
    cispo, whose weight), dual_clipped, phi, kl, entropy. Shares of a ratio per sequence are over sequences.
    Raises UserError for shapes that do not fit, and for what an option needs and is not there.
    """
    batch = _batch(new_BT, old_BT, advantages_BT, mask_BT, options)
    log_ratio, high = at_level(batch, options), _high_entropies(batch, entropies_BT, options)
    inner = batch._replace(mask=batch.mask & high) if options.kind == "gmpo" and high is not None else batch
    losses, metrics = losses_of(inner, log_ratio, options, key)
    metrics["old_kl"] = batch.mean(-batch.log_ratio)
    metrics["ratio_max"] = log_ratio.detach().exp().max() if log_ratio.numel() else batch.new.new_zeros(())
    if options.off_policy_max is not None:
        losses = losses * _on_policy(batch, options, options.off_policy_max)
    if high is not None and options.kind != "gmpo":
        losses = losses * high
    if weights_BT is not None:
        losses = losses * _weights(batch, weights_BT, options)
    if options.kl_weight:
        divergence = _divergence(batch, log_ratio, ref_BT, options)
        metrics["kl"] = batch.mean(divergence)
        summed = options.aggregation == "sequence"
        losses = losses + options.kl_weight * (batch.sequence_means(divergence) if summed else divergence)
    loss = aggregate(losses, batch.mask, options=options, denominator=denominator) * scale
    metrics["loss_policy"] = loss.detach()
    if entropies_BT is not None:
        metrics["entropy"] = batch.mean(entropies_BT.masked_fill(~batch.mask, 0))
    if options.entropy_weight:
        loss = loss - options.entropy_weight * _mean_entropy(batch, entropies_BT, high, options)
    return loss, metrics


def aggregate(
    values_BT: Tensor,
    mask_BT: Tensor,
    *,
    options: Aggregation = _DEFAULT,
    denominator: float | Tensor | None = None,
) -> Tensor:
    """Return one number for the values of tokens, (B, T), or of sequences, (B, 1), by `options.aggregation`.

    A batch without tokens gives 0. Raises UserError where a denominator has no use.
    """
    how = options.aggregation
    mask = mask_BT.bool()
    if how in ("constant", "constant_sum", "sequence") and denominator is not None:
        raise UserError(f"a denominator has no use with loss.aggregation={how}")
    if how == "sequence":
        return values_BT.sum() / max(1, len(values_BT))
    values = torch.where(mask, values_BT.expand(mask.shape), 0)
    if how == "token_mean":
        return values.sum() / (mask.sum().clamp(min=1) if denominator is None else denominator)
    if how in ("constant", "constant_sum"):
        total = float(mask.shape[1] if options.max_tokens is None else options.max_tokens)
        return values.sum() / max(1.0, total * (len(mask) if how == "constant" else 1))
    sums = values.sum(-1)
    if how == "sequence_mean":
        lengths = mask.sum(-1).to(values.dtype)
        sums = sums / (lengths + options.length_epsilon if options.length_epsilon else lengths.clamp(min=1))
    if denominator is None:
        denominator = max(1, len(mask)) if options.count_empty else mask.any(-1).sum().clamp(min=1)
    return sums.sum() / denominator


def kl_estimates(new_BT: Tensor, ref_BT: Tensor, kl: str = "k3") -> Tensor:
    """Return estimates of KL(new || ref) at tokens that `new` wrote, (B, T).

    Schulman 2020, "Approximating KL Divergence": with d = new - ref, k1 = d, k2 = d^2 / 2, k3 = exp(-d) + d - 1; abs =
    |d|. k3_clamped is verl's low_var_kl: d clamped to +-20 and the result to at most 10. k1+ and k3+ have the gradient
    of k2, which is that of the divergence.
    """
    difference = new_BT - ref_BT
    if kl.endswith("+"):
        square = 0.5 * difference.square()
        return square - square.detach() + kl_estimates(new_BT, ref_BT, kl[:-1]).detach()
    if kl == "k1":
        return difference
    if kl == "k2":
        return 0.5 * difference.square()
    if kl == "abs":
        return difference.abs()
    if kl == "k3":
        return torch.exp(-difference) + difference - 1
    if kl == "k3_clamped":
        back = (-difference).clamp(-20, 20)
        return (back.exp() - back - 1).clamp(-10, 10)
    raise UserError(f"kl must be one of {', '.join(KL_ESTIMATORS)}, got {kl!r}")


def weighted_nll(new_BT: Tensor, weights_BT: Tensor, *, denominator: float | Tensor | None = None) -> Tensor:
    """Return -sum(w log pi) over the number of places whose weight is not 0, or over `denominator`; a scalar.

    Weights may be negative. With weights 0 and 1 this is the mean negative log-likelihood. What stands where the
    weight is 0 is never read. Without weights it is 0.
    """
    _same_shape("weights", weights_BT, new_BT)
    counted = weights_BT != 0
    total = -(torch.where(counted, new_BT, 0) * weights_BT).sum()
    return total / (counted.sum().clamp(min=1) if denominator is None else denominator)


def _batch(new_BT: Tensor, old_BT: Tensor | None, advantages_BT: Tensor, mask_BT: Tensor, options: PolicyLoss) -> Batch:
    """Check the arrays against each other and blank what does not count."""
    if new_BT.ndim != 2:
        raise UserError(f"log-probabilities must have the shape (B, T), got {tuple(new_BT.shape)}")
    old = new_BT.detach() if old_BT is None else old_BT
    _same_shape("old log-probabilities", old, new_BT)
    _same_shape("mask", mask_BT, new_BT)
    advantages = advantages_BT[:, None].expand(new_BT.shape) if advantages_BT.ndim == 1 else advantages_BT
    _same_shape("advantages", advantages, new_BT)
    mask = mask_BT.bool()
    lengths = mask.sum(-1, keepdim=True)
    new = new_BT.masked_fill(~mask, 0)
    difference = new - old.masked_fill(~mask, 0)
    log_ratio = difference
    if options.log_ratio_max is not None and options.ratio == "token":
        log_ratio = difference.clamp(-options.log_ratio_max, options.log_ratio_max)
    advantages = advantages.masked_fill(~mask, 0).to(new.dtype)
    of_sequences = advantages_BT[:, None].to(new.dtype)
    if advantages_BT.ndim == 2:
        of_sequences = advantages.sum(-1, keepdim=True) / lengths.clamp(min=1)
    if not options.count_empty:
        of_sequences = of_sequences * (lengths > 0)
    return Batch(new, difference, log_ratio, advantages, of_sequences, mask)


def _same_shape(name: str, found: Tensor, expected: Tensor) -> None:
    if found.shape != expected.shape:
        raise UserError(f"{name} must have the shape {tuple(expected.shape)}, got {tuple(found.shape)}")


def _high_entropies(batch: Batch, entropies_BT: Tensor | None, options: PolicyLoss) -> Tensor | None:
    """Return the tokens of highest entropy, bool (B, T); None for all. The threshold is taken in float32."""
    if options.entropy_quantile == 1:
        return None
    if entropies_BT is None:
        raise UserError(f"loss.entropy_quantile={options.entropy_quantile:g} needs the entropies")
    _same_shape("entropies", entropies_BT, batch.new)
    found = entropies_BT.detach()[batch.mask].float()
    if not len(found):
        return batch.mask
    return (entropies_BT.detach() >= torch.quantile(found, 1 - options.entropy_quantile)) & batch.mask


def _mean_entropy(batch: Batch, entropies_BT: Tensor | None, high: Tensor | None, options: PolicyLoss) -> Tensor:
    """Return the mean over the tokens that have a loss, whose gradient flows into the entropies."""
    if entropies_BT is None:
        raise UserError(f"loss.entropy_weight={options.entropy_weight:g} needs the entropies")
    _same_shape("entropies", entropies_BT, batch.new)
    counted = batch.mask if high is None else batch.mask & high
    return entropies_BT.masked_fill(~counted, 0).sum() / counted.sum().clamp(min=1)


def _on_policy(batch: Batch, options: PolicyLoss, most: float) -> Tensor:
    """Return 0 for sequences that have left the policy with a negative advantage (DeepSeek-V3.2), else 1."""
    left = -batch.sequence_means(batch.difference.detach())
    return ((batch.advantages_of(options) >= 0) | (left <= most)).to(batch.new.dtype)


def _weights(batch: Batch, weights_BT: Tensor, options: PolicyLoss) -> Tensor:
    _same_shape("weights", weights_BT, batch.new)
    weights = weights_BT.masked_fill(~batch.mask, 1)
    if options.aggregation != "sequence":
        return weights
    return batch.sequence_means(torch.log(weights + 1e-10), options.length_epsilon).exp()


def _divergence(batch: Batch, log_ratio: Tensor, ref_BT: Tensor | None, options: PolicyLoss) -> Tensor:
    if ref_BT is None:
        raise UserError(f"loss.kl_weight={options.kl_weight:g} needs log-probabilities of a reference policy")
    _same_shape("reference log-probabilities", ref_BT, batch.new)
    found = kl_estimates(batch.new, ref_BT.masked_fill(~batch.mask, 0), options.kl)
    return found * log_ratio.exp() if options.kl_by_ratio else found
