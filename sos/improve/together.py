"""Several processes make a round together: each writes a part of the rollouts, all of them read every one, and each
takes a part of every minibatch.

All else of a round every process does for itself, to the same result: problems, verdicts, selections and weights are
functions of the rollouts. So the number of processes decides nothing but how sums are rounded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch.distributed

from sos.data.loader import Ranks
from sos.improve.rows import Kept, minibatch
from sos.model.gpt import GPT
from sos.model.rollout import Rollout, rollout

BY_SEQUENCE = ("sequence_mean", "constant")  # aggregations that divide by rollouts; the other ones divide by tokens


def rolled_out(
    ranks: Ranks,
    model: GPT,
    prompts: Sequence[np.ndarray],
    *,
    max_tokens: int | np.ndarray,
    problem_indices: np.ndarray,
    sample_indices: np.ndarray,
    **options: Any,
) -> list[Rollout]:
    """Return what `sos.model.rollout.rollout` does, of which each process writes its part; all must call it."""
    num, (rank, world) = len(prompts), ranks
    budgets = np.broadcast_to(max_tokens, num)
    mine = slice(rank, None, world)
    found: list[Rollout] = []
    if prompts[mine]:
        options |= {"problem_indices": problem_indices[mine], "sample_indices": sample_indices[mine]}
        found = rollout(model, prompts[mine], max_tokens=budgets[mine], **options)
    if world == 1:
        return found
    parts: list[Any] = [None] * world
    torch.distributed.all_gather_object(parts, found)
    return [parts[k % world][k // world] for k in range(num)]


def part_of_minibatch(kept: Kept, context: int, key: np.uint64, ranks: Ranks, aggregation: str) -> dict[str, Any]:
    """Return what a process takes of a minibatch, as `sos.improve.rows.minibatch` has it, and

    - `share`: what the mean over its own tokens, or rollouts (see `aggregation`), is multiplied by, so that the mean
      over the processes is the mean of the whole minibatch;
    - `whole`: the positions and streams of all processes together.

    One without a part, where there are fewer rollouts than processes, takes the first with a share of 0.
    """
    rank, world = ranks
    if world == 1:
        return minibatch(kept, context, key)
    num, lengths = len(kept.prompts), np.diff(kept.offsets)
    counts = np.ones(num) if aggregation in BY_SEQUENCE else lengths - kept.prompts
    mine = np.arange(rank, num, world)
    share = world * counts[mine].sum() / counts.sum()
    part = kept.part(mine if len(mine) else np.arange(1))
    return minibatch(part, context, key) | {"share": float(share), "whole": (int((lengths - 1).sum()), num)}
