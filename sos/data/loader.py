"""The training loader and its LightningDataModule: batches as a pure function of the configuration and a cursor.

Visits are packed block by block; the rows of all blocks form one sequence, and a batch is the next rows of it, split
evenly over the ranks. A `Cursor` says where a batch starts, so that a resumed run makes the batches that the first one
would have made, on any number of ranks whose batch is the same.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import lightning as L
import numpy as np
import torch

from sos.data.packing import IGNORE, Rows, pack
from sos.data.streams import StreamSource
from sos.datasets.read import ShardSource
from sos.errors import UserError
from sos.rng import fold, stream_key


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


class PackedLoader:
    """Iterates over batches from a cursor until the budget of tokens or of problem visits is used.

    A batch is a dict of tensors (B, C) `tokens, targets, positions, doc_ids, kinds` and of `num_targets` (over all ranks),
    `progress` (share of the budget used before the batch) and `cursor` (the state behind it, a dict). B is `rows_per_batch` /
    `world_size`. Blocks are made one at a time, while the device waits; `cursor` counts the seconds.

    length_warmup: over this share of the budget the longest stream grows, block by block, from `length_start` of the context to
    all of it (Li et al. 2022, sequence length warmup; here longer ones are left out rather than cut).
    """

    def __init__(
        self,
        source: StreamSource | ShardSource,
        *,
        rows_per_batch: int,
        block: int,
        prompt_loss: bool,
        match: str,
        amount: int,
        length_warmup: float = 0.0,
        length_start: float = 0.25,
        rank: int = 0,
        world_size: int = 1,
        cursor: Cursor | None = None,
    ) -> None:
        if rows_per_batch % world_size:
            raise UserError(
                f"trainer.batch_tokens gives {rows_per_batch} rows, which {world_size} ranks cannot share evenly"
            )
        self.source, self.rows_per_batch, self.block = source, rows_per_batch, block
        self.prompt_loss, self.match, self.amount = prompt_loss, match, amount
        self.length_warmup, self.length_start = length_warmup, length_start
        self.rank, self.world_size = rank, world_size
        self.cursor = cursor or Cursor()
        self._order_key = stream_key(source.seed, "rows")

    def num_blocks(self) -> int | None:
        """Blocks until the visits are used up, or None where tokens decide."""
        return -(-self.amount // self.block) if self.match == "problems" else None

    def longest(self, progress: float) -> int:
        """Return how many tokens a stream of a block that is made now may have."""
        grown = min(1.0, progress / self.length_warmup) if self.length_warmup else 1.0
        return round(self.source.context * (self.length_start + (1.0 - self.length_start) * grown))

    def _rows(self, block: int, longest: int) -> tuple[Rows, int]:
        start, stop = block * self.block, (block + 1) * self.block
        if self.match == "problems":
            stop = min(stop, self.amount)
        chunk = self.source.fill(start, stop).up_to(longest)
        if not len(chunk.prompts):
            context = self.source.context
            at_first = "" if longest == context else f" and data.length_start={self.length_start} ({longest} tokens)"
            raise UserError(f"data.context={context}{at_first}: no stream of visits {start} to {stop} fits into it")
        return pack(
            chunk, self.source.context, np.uint64(fold(self._order_key, block)), self.prompt_loss
        ), chunk.num_dropped

    def progress(self, cursor: Cursor, num_rows: int) -> float:
        """Return the share of the budget used before `cursor`, whose block has `num_rows` rows."""
        if self.match == "tokens":
            return cursor.tokens / self.amount
        start = cursor.block * self.block
        size = min(self.block, self.amount - start)
        return (start + size * cursor.row / num_rows) / self.amount

    def __iter__(self) -> Iterator[dict[str, Any]]:
        cursor = self.cursor
        last_block = self.num_blocks()
        if last_block is not None and cursor.block >= last_block:
            return
        seconds = cursor.data_seconds
        started = time.perf_counter()
        longest = cursor.longest or self.longest(0.0)
        rows, dropped = self._rows(cursor.block, longest)
        while True:
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
                    longest = self.longest(progress)
                    rows, dropped = self._rows(block, longest)
            batch = Rows(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))
            tokens = int((batch.doc_ids >= 0).sum())
            streams = int(((batch.positions == 0) & (batch.doc_ids >= 0)).sum())
            seconds += time.perf_counter() - started
            cursor = Cursor(block, row, cursor.tokens + tokens, cursor.streams + streams, num_dropped, seconds, longest)
            num_targets = int((batch.targets != IGNORE).sum())
            yield {**self._tensors(batch), "num_targets": num_targets, "progress": progress, "cursor": asdict(cursor)}
            started = time.perf_counter()
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
            result[name] = torch.from_numpy(np.ascontiguousarray(array[self.rank :: self.world_size]))
        return result


class StreamDataModule(L.LightningDataModule):
    """Hands the trainer a PackedLoader and keeps the cursor of the last trained batch in checkpoints."""

    def __init__(
        self,
        source: StreamSource | ShardSource,
        *,
        rows_per_batch: int,
        block: int,
        prompt_loss: bool,
        match: str,
        amount: int,
        length_warmup: float = 0.0,
        length_start: float = 0.25,
    ) -> None:
        super().__init__()
        self.source = source
        self.options: dict[str, Any] = {
            "rows_per_batch": rows_per_batch,
            "block": block,
            "prompt_loss": prompt_loss,
            "match": match,
            "amount": amount,
            "length_warmup": length_warmup,
            "length_start": length_start,
        }
        self.cursor = Cursor()

    def train_dataloader(self) -> PackedLoader:
        rank, world_size = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        return PackedLoader(self.source, rank=rank, world_size=world_size, cursor=self.cursor, **self.options)

    def state_dict(self) -> dict[str, Any]:
        return asdict(self.cursor)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.cursor = Cursor(**state_dict)
