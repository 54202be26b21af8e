"""The training loader and its LightningDataModule: batches as a pure function of the configuration and a cursor.

Visits are packed block by block; the rows of all blocks form one sequence, and a batch is the next rows of it, split
evenly over the ranks. A `Cursor` says where a batch starts, so that a resumed run makes the batches that the first one
would have made, on any number of ranks whose batch is the same.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple, Protocol

import lightning as L
import numpy as np
import torch

from sos.data.chunks import Chunk
from sos.data.packing import IGNORE, Rows, beginnings, pack
from sos.errors import UserError
from sos.rng import fold, stream_key

UNTIMED = 2  # batches that are made before the first step is over


class Source(Protocol):
    """Where streams come from: visit by visit, the same ones for the same seed."""

    seed: int
    context: int  # tokens that a stream has at most

    def fill(self, start: int, stop: int) -> Chunk:
        """Return the streams of visits `start` to `stop`, in arrays that the next call may reuse."""
        ...

    def chunk(self, start: int, stop: int) -> Chunk:
        """Return the same streams, in arrays of their own."""
        ...


class Budget(NamedTuple):
    """What a training uses up: `amount` of "tokens" (positions that hold a token), of "problems" (visits) or of
    "seconds" behind the first step.
    """

    match: str
    amount: float


class LengthWarmup(NamedTuple):
    """Over a `share` of the budget the longest stream grows, block by block, from `start` of the context to all of it.

    As in Li et al. 2022 (sequence length warmup), but longer streams are left out rather than cut. No warm-up if the
    share is 0.
    """

    share: float = 0.0
    start: float = 0.25

    def longest(self, context: int, progress: float) -> int:
        """Return how many tokens a stream may have at a share of the budget."""
        grown = min(1.0, progress / self.share) if self.share else 1.0
        return round(context * (self.start + (1.0 - self.start) * grown))


class Ranks(NamedTuple):
    """Which of the processes that share a batch this one is."""

    rank: int = 0
    world_size: int = 1


@dataclass(frozen=True)
class Cursor:
    """The position in the row sequence, and what was consumed before it."""

    block: int = 0
    row: int = 0
    tokens: int = 0  # positions that hold a token
    streams: int = 0
    dropped: int = 0  # visits of finished blocks whose stream did not fit
    data_seconds: float = 0.0
    longest: int = 0  # tokens of a stream of this block at most; 0 at the start
    train_seconds: float = 0.0  # from the end of the first step on, where seconds are what is used up

    def complaint(self, budget: Budget, block: int, context: int) -> str | None:
        """Return what is impossible about a cursor of a run with this budget and context and blocks of `block` visits,
        or None.
        """
        counts = (self.block, self.row, self.tokens, self.streams, self.dropped, self.longest)
        if any(type(count) is not int or not 0 <= count < 2**62 for count in counts):
            return "it counts in what are no whole numbers from 0 up"
        for name, seconds in (("data_seconds", self.data_seconds), ("train_seconds", self.train_seconds)):
            if type(seconds) not in (int, float) or not 0 <= seconds < math.inf:
                return f"{name}={seconds!r}"
        # Every visit of a finished block was trained on or dropped; of the block at hand no more than its visits.
        before, behind = self.block * block, (self.block + 1) * block
        if budget.match == "problems":
            before, behind = min(before, int(budget.amount)), min(behind, int(budget.amount))
        if not before <= self.streams + self.dropped <= behind:
            return f"{self.streams} streams and {self.dropped} dropped ones, but {before} to {behind} visits"
        if self.longest > context or self.streams > self.tokens:
            return f"{self.streams} streams of {self.longest} tokens at most, {self.tokens} tokens in all"
        return None


class PackedLoader:
    """Iterates over batches from a cursor until the budget is used.

    A batch is a dict of tensors (B, C) `tokens, targets, positions, doc_ids, kinds` and of `num_targets` (over all
    ranks), `progress` (share of the budget used before the batch) and `cursor` (the state behind it, a dict). B is
    `rows_per_batch` / `world_size`. Blocks are made one at a time, while the device waits; `cursor` counts the
    seconds. Raises UserError where the ranks cannot share a batch, no stream of a block fits, or the cursor points
    behind the rows of its block.

    Where seconds are used up, `progress` follows `clock`, which starts when the third batch is asked for: the trainer
    asks one batch ahead, so that the first step, which compiles, is over then. Without a length warm-up the batches are
    the same ones; how many there are is not.
    """

    def __init__(
        self,
        source: Source,
        budget: Budget,
        *,
        rows_per_batch: int,
        block: int,
        prompt_loss: bool,
        warmup: LengthWarmup = LengthWarmup(),  # noqa: B008 (immutable)
        ranks: Ranks = Ranks(),  # noqa: B008
        cursor: Cursor = Cursor(),
    ) -> None:
        if rows_per_batch % ranks.world_size:
            raise UserError(
                f"trainer.batch_tokens gives {rows_per_batch} rows, which {ranks.world_size} ranks cannot share evenly"
            )
        self.source, self.budget, self.warmup, self.ranks, self.cursor = source, budget, warmup, ranks, cursor
        self.rows_per_batch, self.block, self.prompt_loss = rows_per_batch, block, prompt_loss
        self._order_key = stream_key(source.seed, "rows")
        self.clock = time.perf_counter  # what budgets of seconds go by

    def num_blocks(self) -> int | None:
        """Blocks until the visits are used up, or None where tokens decide."""
        return -(-int(self.budget.amount) // self.block) if self.budget.match == "problems" else None

    def _rows(self, block: int, longest: int) -> tuple[Rows, int]:
        """Return the packed rows of a block and how many of its visits were dropped."""
        start, stop = block * self.block, (block + 1) * self.block
        if self.budget.match == "problems":
            stop = min(stop, int(self.budget.amount))
        context = self.source.context
        chunk = self.source.fill(start, stop).up_to(longest)
        if not len(chunk.prompts):
            limit = f"data.context={context}"
            if longest < context:
                limit += f" times data.length_start={self.warmup.start} ({longest} tokens)"
            why = chunk.left_out.why(limit) or f"none of the data set fits {limit}"
            raise UserError(f"no stream of visits {start} to {stop} is left: {why}")
        return pack(chunk, context, np.uint64(fold(self._order_key, block)), self.prompt_loss), chunk.num_dropped

    def progress(self, cursor: Cursor, num_rows: int) -> float:
        """Return the share of the budget used before `cursor`, whose block has `num_rows` rows."""
        amount = self.budget.amount
        if self.budget.match == "tokens":
            return cursor.tokens / amount
        if self.budget.match == "seconds":
            return cursor.train_seconds / amount
        start = cursor.block * self.block
        size = min(self.block, amount - start)
        return (start + size * cursor.row / num_rows) / amount

    def __iter__(self) -> Iterator[dict[str, Any]]:
        cursor = self.cursor
        last_block = self.num_blocks()
        if last_block is not None and cursor.block >= last_block:
            return
        seconds = cursor.data_seconds
        started = time.perf_counter()
        longest = cursor.longest or self.warmup.longest(self.source.context, 0.0)
        if not self.warmup.share and longest != self.warmup.longest(self.source.context, 0.0):
            raise UserError(f"damaged cursor: streams of {longest} tokens at most without data.length_warmup")
        rows, dropped = self._rows(cursor.block, longest)
        if cursor.row >= len(rows.tokens):
            raise UserError(f"damaged cursor: row {cursor.row} of block {cursor.block}, which has {len(rows.tokens)}")
        began: float | None = None
        num_made = 0
        while True:
            if began is not None:
                cursor = replace(cursor, train_seconds=self.cursor.train_seconds + self.clock() - began)
            progress = self.progress(cursor, len(rows.tokens))
            if progress >= 1.0:
                return
            parts: list[Rows] = []
            missing = self.rows_per_batch
            block, row, num_dropped = cursor.block, cursor.row, cursor.dropped
            while missing > 0:
                taken = min(missing, len(rows.tokens) - row)
                parts.append(Rows(*(array[row : row + taken] for array in rows)))
                row += taken
                missing -= taken
                if row == len(rows.tokens):
                    block, row, num_dropped = block + 1, 0, num_dropped + dropped
                    if block == last_block:
                        break
                    longest = self.warmup.longest(self.source.context, progress)
                    rows, dropped = self._rows(block, longest)
            batch = Rows(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))
            tokens = int((batch.doc_ids >= 0).sum())
            streams = beginnings(batch)
            seconds += time.perf_counter() - started
            cursor = replace(
                cursor,
                block=block,
                row=row,
                tokens=cursor.tokens + tokens,
                streams=cursor.streams + streams,
                dropped=num_dropped,
                data_seconds=seconds,
                longest=longest,
            )
            num_targets = int((batch.targets != IGNORE).sum())
            yield {**self._tensors(batch), "num_targets": num_targets, "progress": progress, "cursor": asdict(cursor)}
            started = time.perf_counter()
            num_made += 1
            if num_made == UNTIMED and self.budget.match == "seconds":
                began = self.clock()
            if block == last_block:
                return

    def _tensors(self, batch: Rows) -> dict[str, torch.Tensor]:
        """Take this rank's rows; a short last batch is filled with empty rows, so that shapes never change."""
        missing = self.rows_per_batch - len(batch.tokens)
        result = {}
        for name, array in zip(Rows._fields, batch, strict=True):
            if missing:
                empty = {"targets": IGNORE, "doc_ids": -1, "kinds": -1}.get(name, 0)
                array = np.concatenate([array, np.full((missing, array.shape[1]), empty, array.dtype)])
            mine = array[self.ranks.rank :: self.ranks.world_size]
            result[name] = torch.from_numpy(np.ascontiguousarray(mine))
        return result


class StreamDataModule(L.LightningDataModule):
    """Hands the trainer a PackedLoader and keeps the cursor of the last trained batch in checkpoints."""

    def __init__(self, make_loader: Callable[[Ranks, Cursor], PackedLoader]) -> None:
        super().__init__()
        self.make_loader, self.cursor = make_loader, Cursor()

    def train_dataloader(self) -> PackedLoader:
        ranks = Ranks(self.trainer.global_rank, self.trainer.world_size) if self.trainer else Ranks()
        return self.make_loader(ranks, self.cursor)

    def state_dict(self) -> dict[str, Any]:
        return asdict(self.cursor)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.cursor = Cursor(**state_dict)
