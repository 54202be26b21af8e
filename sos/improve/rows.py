"""Rollouts as minibatches of packed rows, with what is known of each of their tokens beside its target.

Shape suffixes: B rows of C positions; S rollouts of at most T written tokens.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch

from sos.data.chunks import Chunk
from sos.data.packing import IGNORE, pack_with_sources
from sos.rng import fold, permute

BY_TOKEN = ("tokens", "old", "ref", "advantages", "returns")


class Kept(NamedTuple):
    """The rollouts of a round that are learned from. N rollouts, M tokens together, their prompts included."""

    tokens: np.ndarray  # int (M,)
    offsets: np.ndarray  # int64 (N + 1,)
    prompts: np.ndarray  # int (N,), prompt tokens of each
    weights: np.ndarray  # float32 (N,): of the loss of each, or its advantage
    old: np.ndarray | None = None  # float32 (M,), log-probabilities of the policy that wrote them; anything at prompts
    ref: np.ndarray | None = None  # float32 (M,), those of the reference policy
    advantages: np.ndarray | None = None  # float32 (M,), of each token, where they are not the rollout's
    returns: np.ndarray | None = None  # float32 (M,), what the value of each token should be
    firsts: np.ndarray | None = (
        None  # int (N,), written tokens up to the end of the first action, 0 where none was read
    )
    behind: Kept | None = None  # the same rollouts as a teacher reads them: other prompts, and what is written the same

    def columns(self) -> dict[str, np.ndarray | None]:
        """Return what there is of each token, (M,), by its name."""
        return {name: getattr(self, name) for name in BY_TOKEN}

    def part(self, members: np.ndarray) -> Kept:
        """Return some of the rollouts, int (K,), in this order."""
        lengths = np.diff(self.offsets)[members]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        # Token by token: where its rollout begins here, and where it began.
        at = np.arange(offsets[-1]) + np.repeat(self.offsets[:-1][members] - offsets[:-1], lengths)
        columns: dict[str, Any] = {
            name: None if column is None else column[at] for name, column in self.columns().items()
        }
        of_rollouts = {"prompts": self.prompts[members], "weights": self.weights[members]}
        return self._replace(
            offsets=offsets,
            firsts=None if self.firsts is None else self.firsts[members],
            behind=None if self.behind is None else self.behind.part(members),
            **columns,
            **of_rollouts,
        )


def shared_out(kept: Kept, num: int, key: np.uint64) -> list[tuple[Kept, np.uint64]]:
    """Return the rollouts in `num` parts of about as many each, in an order drawn from `key`, and a key for each part.

    There must be as many rollouts as parts, at least.
    """
    count = len(kept.prompts)
    order = np.array([permute(key, k, count) for k in range(count)], np.int64)
    parts = np.array_split(order, num)
    return [(kept.part(part), np.uint64(fold(key, k))) for k, part in enumerate(parts)]


def minibatches(kept: Kept, num: int, context: int, key: np.uint64) -> list[dict[str, Any]]:
    """Return the parts of `shared_out` as batches."""
    return [minibatch(part, context, of_part) for part, of_part in shared_out(kept, num, key)]


def minibatch(kept: Kept, context: int, key: np.uint64) -> dict[str, Any]:
    """Return rollouts as a batch: those of `sos.data.loader` tensors (B, C), `num_targets`, and

    - `weights`, float32 (B, C): that of each target's rollout, 0 where there is no target;
    - `places`, int64 (S, T): which position, of all rows one after the other, predicts each written token; `mask`, bool
      (S, T): where there is one; `sequence_weights`, float32 (S,);
    - `old`, `ref`, `advantages` and `returns`, float32 (S, T), as far as they are known;
    - `firsts`, int64 (S,), as far as they are known;
    - of what a teacher reads, where it reads them, `teacher_tokens`, `teacher_positions` and `teacher_doc_ids` (B', C),
      and `teacher_places` (S, T).
    """
    lengths = np.diff(kept.offsets)
    num = len(lengths)
    chunk = Chunk(
        kept.tokens.astype(np.uint16),
        np.full(len(kept.tokens), -1, np.int8),
        kept.offsets,
        kept.prompts.astype(np.int32),
        np.arange(num),
        0,
        np.zeros(num, np.int32),
    )
    rows, sources = pack_with_sources(chunk, context, key)
    target = sources.ravel() >= 0
    place_of = np.zeros(len(kept.tokens), np.int64)
    place_of[sources.ravel()[target]] = np.flatnonzero(target)
    of_rollout = np.repeat(np.arange(num), lengths)
    weights = np.where(sources >= 0, kept.weights[of_rollout[sources]], 0)
    written = lengths - kept.prompts
    mask = np.arange(written.max()) < written[:, None]
    at = np.where(mask, (kept.offsets[:-1] + kept.prompts)[:, None] + np.arange(mask.shape[1]), 0)
    batch: dict[str, Any] = {name: torch.from_numpy(array) for name, array in rows._asdict().items()}
    batch |= {
        "num_targets": int((rows.targets != IGNORE).sum()),
        "weights": torch.from_numpy(weights.astype(np.float32)),
        "places": torch.from_numpy(np.where(mask, place_of[at], 0)),
        "mask": torch.from_numpy(mask),
        "sequence_weights": torch.from_numpy(kept.weights.astype(np.float32)),
    }
    if kept.firsts is not None:
        batch["firsts"] = torch.from_numpy(kept.firsts.astype(np.int64))
    if kept.behind is not None:
        read = minibatch(kept.behind, context, key)
        batch |= {f"teacher_{name}": read[name] for name in ("tokens", "positions", "doc_ids", "places")}
    known = {name: column for name, column in kept.columns().items() if name != "tokens"}
    return batch | {
        name: torch.from_numpy(np.where(mask, column[at], 0).astype(np.float32))
        for name, column in known.items()
        if column is not None
    }
