"""Streams as the pieces that a model sees where finished branches are erased."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from sos.data.chunks import Chunk
from sos.stream.codec import decode
from sos.stream.dialect.compile import Dialect
from sos.stream.erasing import Piece, pieces, returns


class Whole(Protocol):
    """Where whole streams come from."""

    seed: int

    def fill(self, start: int, stop: int) -> Chunk:
        """Return the streams of visits `start` to `stop`, in arrays that the next call may reuse."""
        ...


class PieceSource:
    """Cuts the streams of another source into pieces, each a document of its own whose old tokens are its prompt.

    A stream one of whose pieces is longer than the context is left out. About 0.2 ms a stream, most of it reading.
    """

    def __init__(self, whole: Whole, env: Any, dialect: Dialect, context: int) -> None:
        self.whole, self.env, self.dialect, self.context = whole, env, dialect, context
        self.seed = whole.seed

    def fill(self, start: int, stop: int) -> Chunk:
        """Return the pieces of the streams of visits `start` to `stop`; see `Chunk.continued`."""
        chunk = self.whole.fill(start, stop)
        found: list[tuple[int, Piece]] = []
        longer = 0
        for k, (first, last) in enumerate(zip(chunk.offsets[:-1].tolist(), chunk.offsets[1:].tolist(), strict=True)):
            tokens = chunk.tokens[first:last]
            read = decode(self.dialect, self.env, tokens)
            parts = pieces(tokens, int(chunk.prompts[k]), returns(read.trace, read.align))
            if max(len(part.tokens) for part in parts) > self.context:
                longer += 1
                continue
            found += [(k, part) for part in parts]
        return _joined(chunk, found, longer)

    def chunk(self, start: int, stop: int) -> Chunk:
        """Return the same pieces, which are in arrays of their own in any case."""
        return self.fill(start, stop)


def _joined(chunk: Chunk, found: list[tuple[int, Piece]], longer: int) -> Chunk:
    """Return the pieces of streams k of a chunk as one; `longer` streams more are left out."""
    streams = np.array([k for k, _ in found], np.int64)
    of_streams = chunk.offsets[streams] if len(found) else np.zeros(0, np.int64)
    places = [at + part.positions for at, (_, part) in zip(of_streams, found, strict=True)]
    positions = np.concatenate([np.zeros(0, np.int64), *places])
    left_out = chunk.left_out._replace(streams=chunk.left_out.streams + longer)
    return chunk._replace(
        tokens=chunk.tokens[positions],
        kinds=chunk.kinds[positions],
        offsets=np.cumsum([0, *(len(part.tokens) for _, part in found)], dtype=np.int64),
        prompts=np.array([part.num_old for _, part in found], np.int32),
        visits=chunk.visits[streams],
        strategies=chunk.strategies[streams],
        num_dropped=chunk.num_dropped + longer,
        left_out=left_out,
        continued=np.diff(streams, prepend=-1) == 0,
    )
