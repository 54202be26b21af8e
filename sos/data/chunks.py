"""Streams of consecutive visits, and what is left out of them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np


class LeftOut(NamedTuple):
    """What a chunk leaves out, counted by its reason."""

    searches: int = 0  # visits whose search needs more room than there is for a trace
    views: int = 0  # visits whose view needs a solution that is not found in that room
    streams: int = 0  # visits whose stream is longer than the context
    alone: int = 0  # visits that found no other problem to swap searches with
    returns: int = 0  # returns that the view `no_backtrack` drops because a reader finds them
    returns_kept: int = 0  # returns that it keeps because a reader would not

    @property
    def visits(self) -> int:
        """Visits that have no stream."""
        return self.searches + self.views + self.streams + self.alone

    def why(self, longest: str) -> str:
        """Say in words why visits have no stream; `longest` is what bounds the streams."""
        reasons = (
            (self.searches, "searches generate more nodes than a trace may have: make the search smaller"),
            (self.views, "views need a solution that an exhaustive search does not find in as many nodes"),
            (self.alone, "found no other problem to swap searches with"),
            (self.streams, f"streams are longer than {longest}"),
        )
        return "; ".join(f"{num} {text}" for num, text in reasons if num)


class Chunk(NamedTuple):
    """Streams of consecutive visits. N = streams kept, T = their tokens together."""

    tokens: np.ndarray  # uint16 (T,)
    kinds: np.ndarray  # int8 (T,) the kind of the event that each token belongs to
    offsets: np.ndarray  # int64 (N + 1,)
    prompts: np.ndarray  # int32 (N,) prompt tokens of each stream
    visits: np.ndarray  # int64 (N,) the visit that each stream comes from
    num_dropped: int  # visits without a stream
    # int32 (N,) which strategy of a mixture searched; an index into the source's `strategy_names`
    strategies: np.ndarray
    left_out: LeftOut = LeftOut()  # the reasons; a data set that was read knows none but of what it leaves out itself
    continued: np.ndarray | None = None  # bool (N,): it goes on with the stream before it, see `sos.data.pieces`

    def fitting(self, num_tokens: int) -> np.ndarray:
        """Return which streams have at most `num_tokens` tokens, bool (N,)."""
        return np.diff(self.offsets) <= num_tokens

    def up_to(self, num_tokens: int) -> Chunk:
        """Return the streams of at most `num_tokens` tokens; the others count as dropped."""
        keep = self.fitting(num_tokens)
        if keep.all():
            return self
        longer = int((~keep).sum())
        left_out = self.left_out._replace(streams=self.left_out.streams + longer)
        return self._only(keep)._replace(num_dropped=self.num_dropped + longer, left_out=left_out)

    def prefixed(self, prefixes: Sequence[np.ndarray]) -> Chunk:
        """Return the streams with the tokens of `prefixes` (N integer arrays) behind the first token of each, as a part
        of its prompt that is of the kind of the first token."""
        more = np.array([len(prefix) for prefix in prefixes], np.int64)
        if not more.any():
            return self
        offsets = self.offsets + np.concatenate([[0], np.cumsum(more)])
        added = np.zeros(offsets[-1], bool)
        for start, num in zip(offsets[:-1].tolist(), more.tolist(), strict=True):
            added[start + 1 : start + 1 + num] = True
        tokens, kinds = np.zeros(len(added), self.tokens.dtype), np.zeros(len(added), self.kinds.dtype)
        tokens[~added], kinds[~added] = self.tokens, self.kinds
        tokens[added] = np.concatenate([*prefixes])
        kinds[added] = np.repeat(self.kinds[self.offsets[:-1]], more)
        return self._replace(
            tokens=tokens, kinds=kinds, offsets=offsets, prompts=(self.prompts + more).astype(np.int32)
        )

    def exchanged(self, others: Chunk, visits: Collection[int]) -> Chunk:
        """Return the streams with those of `others` in the place of the ones of `visits`, as far as `others` has them;
        they are of the same problems."""
        theirs = {visit: k for k, visit in enumerate(others.visits.tolist()) if visit in visits}
        chosen = [
            (others, theirs[visit]) if visit in theirs else (self, k) for k, visit in enumerate(self.visits.tolist())
        ]
        spans = [(chunk, slice(chunk.offsets[k], chunk.offsets[k + 1])) for chunk, k in chosen]
        if not spans:
            return self
        return self._replace(
            tokens=np.concatenate([chunk.tokens[span] for chunk, span in spans]),
            kinds=np.concatenate([chunk.kinds[span] for chunk, span in spans]),
            offsets=np.concatenate([[0], np.cumsum([span.stop - span.start for _, span in spans])]),
        )

    def within(self, start: int, stop: int) -> Chunk:
        """Return the streams of visits `start` to `stop`; what is left out is counted as before."""
        keep = (start <= self.visits) & (self.visits < stop)
        return self if keep.all() else self._only(keep)

    def _only(self, keep: np.ndarray) -> Chunk:
        lengths = np.diff(self.offsets)
        kept = np.repeat(keep, lengths)
        return self._replace(
            tokens=self.tokens[kept],
            kinds=self.kinds[kept],
            offsets=np.concatenate([[0], np.cumsum(lengths[keep])]),
            prompts=self.prompts[keep],
            visits=self.visits[keep],
            strategies=self.strategies[keep],
            continued=None if self.continued is None else self.continued[keep],
        )
