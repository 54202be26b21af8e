"""Packs whole streams into fixed rows; a stream is never cut, and attention and positions stay apart per stream."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sos.data.chunks import Chunk
from sos.kernels import allocating
from sos.rng import permute

IGNORE = -100
CONTINUED = 1 << 20  # what the ids of documents that go on with a stream are raised by


class Rows(NamedTuple):
    """Packed rows, R rows of C positions. A stream of n tokens takes n - 1 positions: its last token is only a
    target."""

    tokens: np.ndarray  # int64 (R, C)
    targets: np.ndarray  # int64 (R, C), IGNORE where there is no loss
    positions: np.ndarray  # int64 (R, C), from 0 in every stream
    doc_ids: (
        np.ndarray
    )  # int32 (R, C), which stream of the row, from CONTINUED on a later piece of one; -1 behind the last
    kinds: np.ndarray  # int8 (R, C), the event kind of the target; -1 where there is no loss


def beginnings(rows: Rows) -> int:
    """Return how many streams begin in the rows; a later piece of a stream is none."""
    return int(((rows.positions == 0) & (rows.doc_ids >= 0) & (rows.doc_ids < CONTINUED)).sum())


@allocating
def _assign(lengths, context, row_of, room):
    """Best fit, longest first: write the row of each stream into `row_of`; return the number of rows.

    Counting sort by length, then for each stream the fullest row that still has room. O(streams x context) at worst.
    """
    num = len(lengths)
    first = np.full(context + 1, -1, np.int64)  # chains of streams of one length
    after = np.full(num, -1, np.int64)
    for k in range(num - 1, -1, -1):
        after[k] = first[lengths[k]]
        first[lengths[k]] = k
    by_room = np.full(context + 1, -1, np.int64)  # chains of open rows of one room
    next_row = np.full(num, -1, np.int64)
    rows = 0
    for length in range(context, 0, -1):
        k = first[length]
        while k >= 0:
            best = length
            while best <= context and by_room[best] < 0:
                best += 1
            if best > context:
                row = rows
                rows += 1
                room[row] = context - length
            else:
                row = by_room[best]
                by_room[best] = next_row[row]
                room[row] = best - length
            next_row[row] = by_room[room[row]]
            by_room[room[row]] = row
            row_of[k] = row
            k = after[k]
    return rows


@allocating
def _write(chunk, raised, row_of, order_key, num_rows, prompt_loss, out):
    tokens, kinds, offsets, prompts = chunk.tokens, chunk.kinds, chunk.offsets, chunk.prompts
    used = np.zeros(num_rows, np.int64)
    docs = np.zeros(num_rows, np.int32)
    for k in range(len(prompts)):
        # Longest-first packing sorts rows by length; a permutation function mixes them again.
        source = row_of[k]
        row = permute(order_key, source, num_rows)
        start = used[source]
        length = offsets[k + 1] - offsets[k] - 1
        for p in range(length):
            t = offsets[k] + p
            out.tokens[row, start + p] = tokens[t]
            out.positions[row, start + p] = p
            out.doc_ids[row, start + p] = docs[source] + raised[k]
            if prompt_loss or p + 1 >= prompts[k]:
                out.targets[row, start + p] = tokens[t + 1]
                out.kinds[row, start + p] = kinds[t + 1]
        used[source] = start + length
        docs[source] += 1


@allocating
def _write_sources(chunk, row_of, order_key, num_rows, sources):
    """Write which token of the chunk each target is; in the order of `_write`."""
    offsets, prompts = chunk.offsets, chunk.prompts
    used = np.zeros(num_rows, np.int64)
    for k in range(len(prompts)):
        row = permute(order_key, row_of[k], num_rows)
        start = used[row_of[k]]
        length = offsets[k + 1] - offsets[k] - 1
        for p in range(prompts[k] - 1, length):
            sources[row, start + p] = offsets[k] + p + 1
        used[row_of[k]] = start + length


def pack(chunk: Chunk, context: int, order_key: np.uint64, prompt_loss: bool = False) -> Rows:
    """Pack the streams of a chunk into rows of `context` positions, the rows in an order drawn from `order_key`.

    Every stream must have at most `context` + 1 tokens. With `prompt_loss` the problem statement is a target, too.
    """
    return _packed(chunk, context, order_key, prompt_loss)[0]


def pack_with_sources(chunk: Chunk, context: int, order_key: np.uint64) -> tuple[Rows, np.ndarray]:
    """Pack like `pack`, and return which token of the chunk each target is, int64 (R, C), -1 where there is none.

    What is known of each token, such as a weight, is so found beside its target.
    """
    rows, row_of = _packed(chunk, context, order_key, False)
    sources = np.full(rows.tokens.shape, -1, np.int64)
    _write_sources(chunk, row_of, order_key, len(sources), sources)
    return rows, sources


def _packed(chunk: Chunk, context: int, order_key: np.uint64, prompt_loss: bool) -> tuple[Rows, np.ndarray]:
    """Return the rows, and the row of each stream before they are mixed, int64 (N,)."""
    lengths = np.diff(chunk.offsets) - 1
    row_of = np.zeros(len(lengths), np.int64)
    num_rows = int(_assign(lengths, context, row_of, np.zeros(len(lengths), np.int64)))
    shape = (num_rows, context)
    rows = Rows(
        np.zeros(shape, np.int64),
        np.full(shape, IGNORE, np.int64),
        np.zeros(shape, np.int64),
        np.full(shape, -1, np.int32),
        np.full(shape, -1, np.int8),
    )
    none = np.zeros(len(lengths), np.bool_)
    raised = CONTINUED * (none if chunk.continued is None else chunk.continued).astype(np.int32)
    _write(chunk._replace(continued=None), raised, row_of, order_key, num_rows, prompt_loss, rows)
    return rows, row_of
