"""The kinds of policy loss: what is made of ratio and advantage, before anything is summed. See `PolicyLoss`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sos.errors import UserError
from sos.improve.losses_options import PolicyLoss

Metrics = dict[str, Tensor]
_VESPO_LOW, _VESPO_HIGH = math.log(1e-8), 20.0  # of the log-ratio of a whole sequence, and of a token's


class Batch(NamedTuple):
    """What a loss is a function of; zero at the places that do not count."""

    new: Tensor  # (B, T)
    difference: Tensor  # (B, T): new minus old
    log_ratio: Tensor  # (B, T): the same, clamped where the options say so
    advantages: Tensor  # (B, T)
    of_sequences: Tensor  # (B, 1): the advantages of whole sequences
    mask: Tensor  # bool (B, T)

    @property
    def lengths(self) -> Tensor:
        """Tokens of each sequence, (B, 1), in the type of the log-probabilities."""
        return self.mask.sum(-1, keepdim=True).to(self.new.dtype)

    def mean(self, values: Tensor) -> Tensor:
        """The mean over tokens, of values (B, 1) over sequences; 0 where there is none."""
        values = values.detach().to(self.new.dtype)
        if values.shape != self.mask.shape:
            return values.sum() / max(1, len(values))
        return (values * self.mask).sum() / self.mask.sum().clamp(min=1)

    def sequence_means(self, values: Tensor, epsilon: float = 0.0) -> Tensor:
        """The mean over the tokens of each sequence, (B, 1); 0 where it has none."""
        sums = (values * self.mask).sum(-1, keepdim=True)
        return sums / (self.lengths + epsilon if epsilon else self.lengths.clamp(min=1))

    def advantages_of(self, options: PolicyLoss) -> Tensor:
        """The advantages that losses are made with, (B, T); (B, 1) where they are summed up per sequence."""
        return self.of_sequences if options.aggregation == "sequence" else self.advantages


def at_level(batch: Batch, options: PolicyLoss) -> Tensor:
    """Return the log-ratios that the loss is about, (B, T) or (B, 1)."""
    if options.ratio == "token":
        return batch.log_ratio
    log_ratio = batch.difference.sum(-1, keepdim=True)
    if options.ratio != "product":
        log_ratio = log_ratio / batch.lengths.clamp(min=1)
    bound = options.log_ratio_max
    if options.ratio == "sequence_token":
        log_ratio = batch.new - batch.new.detach() + log_ratio.detach()
        return log_ratio if bound is None else log_ratio.clamp(max=bound)
    return log_ratio if bound is None else log_ratio.clamp(-bound, bound)


def losses_of(batch: Batch, log_ratio: Tensor, options: PolicyLoss, key: np.uint64 | None) -> tuple[Tensor, Metrics]:
    """Return the losses of tokens, (B, T), or of sequences, (B, 1), by `options.kind`, and its metrics."""
    if options.kind in _COVARIANCE:
        return _COVARIANCE[options.kind](batch, options, key)
    return _KINDS[options.kind](batch, log_ratio, options)


def _clip(batch: Batch, log_ratio: Tensor, options: PolicyLoss) -> tuple[Tensor, Metrics]:
    ratio, advantages = log_ratio.exp(), batch.advantages_of(options)
    bounded = ratio.clamp(1 - options.clip_low, 1 + options.clip_high)
    if options.ratio_max is not None:
        ratio = ratio.clamp(max=options.ratio_max)
    metrics = _clip_shares(batch, ratio, 1 - options.clip_low, 1 + options.clip_high)
    metrics["clipped"] = batch.mean(bounded * advantages < ratio * advantages)
    losses = -torch.minimum(ratio * advantages, bounded * advantages)
    if options.dual_clip is not None:
        most = -options.dual_clip * advantages
        metrics["dual_clipped"] = batch.mean((losses > most) & (advantages < 0))
        losses = torch.where(advantages < 0, torch.minimum(most, losses), losses)
    return losses, metrics


def _cispo(batch: Batch, log_ratio: Tensor, options: PolicyLoss) -> tuple[Tensor, Metrics]:
    ratio = log_ratio.detach().exp()
    weights = ratio.clamp(1 - options.clip_low, 1 + options.clip_high)
    metrics = _clip_shares(batch, ratio, 1 - options.clip_low, 1 + options.clip_high)
    metrics["clipped"] = batch.mean((ratio != weights).expand(batch.mask.shape))
    return -weights * batch.advantages * batch.new, metrics


def _sapo(batch: Batch, log_ratio: Tensor, options: PolicyLoss) -> tuple[Tensor, Metrics]:
    advantages = batch.advantages_of(options)
    positive, negative = (
        advantages.new_tensor(t) for t in (options.temperature_positive, options.temperature_negative)
    )
    temperature = torch.where(advantages > 0, positive, negative)
    gate = torch.sigmoid(temperature * (log_ratio.exp() - 1)) * 4 / temperature
    return -gate * advantages, {}


def _vespo(batch: Batch, _: Tensor, options: PolicyLoss) -> tuple[Tensor, Metrics]:
    steps = batch.difference.detach().clamp(-_VESPO_HIGH, _VESPO_HIGH)
    log_weight = steps.sum(-1, keepdim=True).clamp(_VESPO_LOW, _VESPO_HIGH)

    def phi(advantages: Tensor) -> Tensor:
        power = torch.where(advantages >= 0, options.k_positive, options.k_negative)
        rate = torch.where(advantages >= 0, options.lambda_positive, options.lambda_negative).clamp(min=1e-4)
        return torch.exp(rate + power * log_weight - rate * log_weight.exp())

    weights = phi(batch.advantages).to(batch.new.dtype)
    return -weights * batch.advantages * batch.new, {"phi": batch.mean(phi(batch.of_sequences))}


def _gmpo(batch: Batch, log_ratio: Tensor, options: PolicyLoss) -> tuple[Tensor, Metrics]:
    advantages = batch.advantages
    bounded = log_ratio.clamp(-options.clip_low, options.clip_high)
    one_sided = torch.where(advantages > 0, torch.minimum(log_ratio, bounded), torch.maximum(log_ratio, bounded))
    ratio = batch.sequence_means(one_sided, options.length_epsilon).exp()
    of_sequences = batch.of_sequences
    if options.length_epsilon:
        of_sequences = of_sequences * batch.lengths / (batch.lengths + options.length_epsilon)
    metrics = _clip_shares(batch, log_ratio, -options.clip_low, options.clip_high)
    metrics["clipped"] = batch.mean(log_ratio != bounded)
    return -of_sequences * ratio, metrics


def _reinforce(batch: Batch, _: Tensor, options: PolicyLoss) -> tuple[Tensor, Metrics]:
    return -batch.advantages * batch.new, {}


def _kl_cov(batch: Batch, options: PolicyLoss, _: np.uint64 | None) -> tuple[Tensor, Metrics]:
    chosen = torch.zeros_like(batch.mask)
    found = _covariances(batch)
    if len(found):
        places = torch.nonzero(batch.mask.reshape(-1))[:, 0]
        most = torch.topk(found, max(1, int(len(found) * options.covariance_ratio))).indices
        chosen.view(-1)[places[most]] = True
    losses = -batch.log_ratio.exp() * batch.advantages
    return losses + options.kl_cov_weight * batch.log_ratio.abs() * chosen, {"clipped": batch.mean(chosen)}


def _clip_cov(batch: Batch, options: PolicyLoss, key: np.uint64 | None) -> tuple[Tensor, Metrics]:
    ratio, advantages = batch.log_ratio.exp(), batch.advantages
    free = ratio * advantages
    bounded = ratio.clamp(1 - options.clip_low, 1 + options.clip_high) * advantages
    found = batch.new.new_zeros(batch.mask.shape)
    found[batch.mask] = _covariances(batch)
    candidates = (found > options.covariance_low) & (found < options.covariance_high)
    candidates &= batch.mask & (bounded >= free)
    places = torch.nonzero(candidates.reshape(-1))[:, 0]
    most = max(int(options.covariance_ratio * batch.mask.sum()), 1)
    if len(places) > most:
        places = places[_drawn(len(places), most, key)]
    dropped = torch.zeros_like(batch.mask)
    dropped.view(-1)[places] = True
    metrics = _clip_shares(batch, ratio, 1 - options.clip_low, 1 + options.clip_high)
    metrics["clipped"] = batch.mean(dropped)
    return -torch.minimum(free, bounded) * ~dropped, metrics


def _covariances(batch: Batch) -> Tensor:
    """Return each token's part of the covariance of advantage and log-probability, (tokens,)."""
    advantages, new = batch.advantages[batch.mask], batch.new.detach()[batch.mask]
    return (advantages - advantages.mean()) * (new - new.mean())


def _drawn(num: int, most: int, key: np.uint64 | None) -> Tensor:
    from sos.rng import fold  # compiled; only where something is drawn

    if key is None:
        raise UserError(f"loss.kind=clip_cov draws {most} of {num} tokens, and needs a key for that")
    ranks = np.array([fold(key, place) for place in range(num)], np.uint64)
    return torch.from_numpy(np.argsort(ranks, kind="stable")[:most].copy())


def _clip_shares(batch: Batch, ratio: Tensor, low: float, high: float) -> Metrics:
    """Return the shares clipped on the side where it matters, of tokens or, where ratios are theirs, of sequences."""
    ratio = ratio.detach()
    by_token = ratio.shape == batch.mask.shape
    advantages = batch.advantages if by_token else batch.of_sequences
    below, above = (ratio < low) & (advantages < 0), (ratio > high) & (advantages > 0)
    metrics = {"clip_low": batch.mean(below), "clip_high": batch.mean(above), "clip": batch.mean(below | above)}
    counted = batch.mask.any(-1) if by_token else torch.ones_like(batch.mask[:, 0])
    for name, clipped, extreme in (("clip_low_min", below, torch.amin), ("clip_high_max", above, torch.amax)):
        shares = clipped.to(batch.new.dtype)
        found = (batch.sequence_means(shares) if by_token else shares)[:, 0][counted]
        metrics[name] = extreme(found) if len(found) else found.sum()
    return metrics


_KINDS: dict[str, Callable[[Batch, Tensor, PolicyLoss], tuple[Tensor, Metrics]]] = {
    "clip": _clip,
    "cispo": _cispo,
    "sapo": _sapo,
    "vespo": _vespo,
    "gmpo": _gmpo,
    "reinforce": _reinforce,
}
_COVARIANCE: dict[str, Callable[[Batch, PolicyLoss, np.uint64 | None], tuple[Tensor, Metrics]]] = {
    "kl_cov": _kl_cov,
    "clip_cov": _clip_cov,
}
