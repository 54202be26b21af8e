"""Advantages of tokens by learned values: what a round of advantage-induced policy alignment gives its loss.

The reward stands at the last token that a rollout has; with `improve.kl_weight` every token pays for how much more
likely it is under the policy than under the reference. Generalized advantage estimation makes advantages and returns
of it, and advantages are whitened over the tokens of the whole round.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sos.improve.advantages import last_rewards
from sos.improve.critic import Critic
from sos.improve.losses import kl_estimates
from sos.improve.losses_apa import gae, kl_penalised, whiten
from sos.improve.rows import Kept, minibatch
from sos.model.gpt import GPT
from sos.schema.improve import ImproveConfig

ROLLOUTS_AT_ONCE = 256  # that are computed together


@torch.no_grad()
def by_token(kept: Kept, context: int, device: torch.device, compute: Callable[[dict[str, Any]], Tensor]) -> np.ndarray:
    """Return a number for each written token, float32 (M,), 0 at prompts: what `compute` says of the place, (B, C), of
    packed rows that predicts it."""
    found = np.zeros(len(kept.tokens), np.float32)
    at = 0
    for first in range(0, len(kept.prompts), ROLLOUTS_AT_ONCE):
        part = kept.part(np.arange(first, min(first + ROLLOUTS_AT_ONCE, len(kept.prompts))))
        batch = minibatch(part, context, np.uint64(0))
        moved = {name: batch[name].to(device) for name in ("tokens", "positions", "doc_ids", "targets")}
        values = compute(moved).float().cpu().numpy().ravel()
        found[at : at + len(part.tokens)][written(part)] = values[batch["places"].numpy()[batch["mask"].numpy()]]
        at += len(part.tokens)
    return found


def logprobs(model: GPT, kept: Kept, context: int) -> np.ndarray:
    """Return the log-probability of each written token under a model at temperature 1, float32 (M,); 0 at prompts."""

    def compute(batch: dict[str, Any]) -> Tensor:
        return -model(batch["tokens"], batch["positions"], batch["doc_ids"], batch["targets"])

    return by_token(kept, context, model.device, compute)


def written(kept: Kept) -> np.ndarray:
    """Return which tokens the policy wrote, bool (M,)."""
    starts = np.repeat(kept.offsets[:-1] + kept.prompts, np.diff(kept.offsets))
    return np.arange(len(kept.tokens)) >= starts


def with_advantages(
    kept: Kept, rewards_N: np.ndarray, model: GPT, critic: Critic, options: ImproveConfig, context: int
) -> tuple[Kept, dict[str, float]]:
    """Return rollouts with advantages and returns of their tokens, and what is worth logging.

    `kept.old` are the log-probabilities of the policy that wrote them, and afterwards those that
    `improve.anchor` names. The critic notes the round.
    """
    assert kept.old is not None
    values = by_token(kept, context, model.device, lambda batch: critic(model, batch))
    mask = torch.from_numpy(_mask(kept))
    old, values_NT = (_padded(kept, column, mask) for column in (kept.old, values))
    rewards = torch.from_numpy(last_rewards(rewards_N, mask.numpy())).double()
    divergence, ref = 0.0, None
    if critic.reference is not None:
        ref = logprobs(critic.reference, kept, context)
        ref_NT = _padded(kept, ref, mask)
        divergence = float(kl_estimates(old, ref_NT, "k3")[mask].mean())
        rewards = kl_penalised(rewards, old, ref_NT, mask, critic.kl_weight)
    # Padding takes part in the released code, as places without a reward and a value.
    padding = mask if not options.whiten_padding else None
    advantages, returns = gae(rewards, values_NT, gamma=options.gamma, lam=options.lam, mask_BT=padding)
    errors = (values_NT - returns)[mask]
    metrics = {
        "kl": divergence,
        "kl_weight": critic.kl_weight,
        "value": float(values_NT[mask].mean()),
        "value_error": float(errors.square().mean().sqrt()),
    }
    metrics["reset"] = float(critic.note(model, float(np.mean(rewards_N)), divergence, len(kept.prompts)))
    return kept._replace(
        old=ref if options.anchor == "reference" else kept.old,
        advantages=_flat(kept, whiten(advantages, padding), mask),
        returns=_flat(kept, returns, mask),
    ), metrics


def _mask(kept: Kept) -> np.ndarray:
    lengths = np.diff(kept.offsets) - kept.prompts
    found: np.ndarray = np.arange(lengths.max(initial=0)) < lengths[:, None]
    return found


def _padded(kept: Kept, column: np.ndarray, mask: Tensor) -> Tensor:
    """Return a column of tokens as float64 (N, T), of those that were written; 0 behind them."""
    found = torch.zeros(mask.shape, dtype=torch.float64)
    found[mask] = torch.from_numpy(column[written(kept)].astype(np.float64))
    return found


def _flat(kept: Kept, values_NT: Tensor, mask: Tensor) -> np.ndarray:
    """Return what `_padded` was made of, float32 (M,)."""
    found = np.zeros(len(kept.tokens), np.float32)
    found[written(kept)] = values_NT[mask].float().numpy()
    return found
