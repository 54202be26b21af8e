"""Reading data sets: token shards as the source of a training run, trace shards as traces."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sos.data.chunks import Chunk, LeftOut
from sos.data.traces import TraceChunk
from sos.datasets.checks import COLUMNS, UNITS, Limits, check_streams, check_traces, open_column
from sos.datasets.store import check_sums, open_complete, recipe_difference, shard_folder
from sos.envs.registry import recorded_env
from sos.errors import UserError

if TYPE_CHECKING:
    from sos.data.loader import Budget, LengthWarmup

OPEN_SHARDS = 4


class Shards:
    """A complete data set, its shards opened as they are needed, and checked then: their checksums and every index in
    them.

    `kind` is what it must hold (None: traces or tokens), `vocab_size` the tokens that its reader knows (None: those
    that it names itself). Raises UserError that names the folder where it is no complete data set of `kind`.
    """

    def __init__(self, folder: str | Path, kind: str | None = None, vocab_size: int | None = None) -> None:
        self.folder = Path(folder)
        self.manifest = open_complete(self.folder)
        self.kind: str = self.manifest["recipe"]["kind"]
        if kind not in (None, self.kind):
            raise UserError(f"{self.folder} holds {self.kind}, not {kind}")
        self.vocab_size = len(self.manifest["labels"].get("vocabulary", ())) if vocab_size is None else vocab_size
        self._open: OrderedDict[int, dict[str, np.ndarray]] = OrderedDict()

    def __len__(self) -> int:
        return int(self.manifest["num_shards"])

    def columns(self, index: int) -> dict[str, np.ndarray]:
        """Return the columns of a shard, mapped into memory. Raises ValueError that names a damaged shard."""
        if index not in self._open:
            record, path = self.manifest["shards"][index], shard_folder(self.folder, index)
            check_sums(path, record)
            columns = {name: open_column(path / f"{name}.npy", self.kind, name) for name in COLUMNS[self.kind]}
            self._check(columns, record, path)
            self._open[index] = columns
            if len(self._open) > OPEN_SHARDS:
                self._open.popitem(last=False)
        return self._open[index]

    def _check(self, columns: dict[str, np.ndarray], record: dict[str, Any], path: Path) -> None:
        recipe = self.manifest["recipe"]
        limits = Limits(
            start=record["start"],
            stop=record["stop"],
            num_kept=record["counts"][UNITS[self.kind]],
            num_strategies=len(self.manifest["labels"]["strategies"]),
            vocab_size=self.vocab_size,
            context=recipe["data"].get("context", 0),
            env=recorded_env(recipe["env"]),
        )
        try:
            (check_traces if self.kind == "traces" else check_streams)(columns, limits)
        except UserError as error:
            raise UserError(f"damaged shard {path}: {error}") from error


class EndOfShards(UserError):
    """A data set ends before what is asked of it."""


class ShardSource:
    """Streams from token shards, with the interface of `StreamSource`: the same chunks, bit for bit.

    `recipe` is what the run would generate; another one is refused by the key that differs. Tokens from `vocab_size`
    on are refused, too.
    """

    def __init__(self, folder: str | Path, recipe: dict[str, Any], seed: int, context: int, vocab_size: int) -> None:
        try:
            self.shards = Shards(folder, "tokens", vocab_size)
        except ValueError as error:
            raise UserError(f"data.shards: {error}") from error
        found = recipe_difference(self.shards.manifest["recipe"], recipe)
        if found:
            key, old, new = found
            raise UserError(f"data.shards={folder} was made with {key}={old}, this run has {key}={new}")
        self.seed, self.context = seed, context
        self.strategy_names = tuple(self.shards.manifest["labels"]["strategies"])
        self.visits, self._size = int(self.shards.manifest["visits"]), int(self.shards.manifest["shard_size"])

    def chunk(self, start: int, stop: int) -> Chunk:
        """Return the streams of visits `start` to `stop`. Raises ValueError where the data set ends before, or is
        damaged."""
        if stop > self.visits:
            raise EndOfShards(
                f"data.shards={self.shards.folder} holds {self.visits} visits, and training asks for {start} to {stop}"
            )
        parts = [self._part(index, start, stop) for index in range(start // self._size, -(-stop // self._size))]
        if not parts:
            parts = [self._part(0, 0, 0)]
        lengths = np.concatenate([np.diff(part["offsets"]) for part in parts])
        joined = {
            name: np.concatenate([part[name] for part in parts]) for name in COLUMNS["tokens"] if name != "offsets"
        }
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
        left_out = LeftOut()  # the data set does not say why
        return Chunk(offsets=offsets, num_dropped=stop - start - len(lengths), left_out=left_out, **joined)

    fill = chunk  # of `StreamSource`

    def _part(self, index: int, start: int, stop: int) -> dict[str, np.ndarray]:
        columns = self.shards.columns(index)
        first, last = (int(k) for k in np.searchsorted(columns["visits"], (start, stop)))
        offsets = columns["offsets"][first : last + 1]
        low, high = int(offsets[0]), int(offsets[-1])
        rows = {name: columns[name][first:last] for name in ("prompts", "visits", "strategies")}
        return rows | {"offsets": offsets, "tokens": columns["tokens"][low:high], "kinds": columns["kinds"][low:high]}

    def _positions(self, start: int, stop: int) -> int:
        """Return the positions (tokens but the last of each stream) of visits `start` to `stop`; most are counted
        already."""
        positions = 0
        for shard in self.shards.manifest["shards"][start // self._size : -(-stop // self._size)]:
            if start <= shard["start"] and shard["stop"] <= stop:
                positions += shard["counts"]["tokens"] - shard["counts"]["streams"]
            else:
                part = self._part(shard["index"], max(start, shard["start"]), min(stop, shard["stop"]))
                positions += len(part["tokens"]) - len(part["visits"])
        return positions

    def _short_positions(self, start: int, stop: int, longest: int) -> int:
        """Return the positions of the streams of at most `longest` tokens."""
        positions = 0
        for index in range(start // self._size, -(-stop // self._size)):
            lengths = np.diff(self._part(index, start, stop)["offsets"])
            positions += int((lengths[lengths <= longest] - 1).sum())
        return positions

    def check_budget(self, budget: Budget, block: int, batch: int, warmup: LengthWarmup) -> bool:
        """Tell whether the shards last for a budget, read in blocks of `block` visits into batches of `batch`
        positions.

        Raises UserError where they end before, by what the manifest counts. False says that it is close: only packing
        shows.
        """
        if budget.match == "problems":
            if budget.amount > self.visits:
                raise UserError(
                    f"data.shards={self.shards.folder} holds {self.visits} visits, "
                    f"data.train_problems={budget.amount} needs more"
                )
            return True
        # The loader opens a block when the one before is used up, even where that was the last to be needed.
        num_blocks = self.visits // block
        most = self._positions(0, num_blocks * block)
        if most < budget.amount:
            raise self.too_few(budget, block, self._positions(0, max(0, num_blocks - 1) * block))
        # While streams still grow, a block keeps the short ones of it. How many tokens were used before the batch
        # that opens it is known up to that batch, so that this is what it keeps at least.
        sure = 0
        for number in range(num_blocks - 1):
            progress = max(0, sure - batch) / budget.amount
            if progress >= warmup.share:
                sure += self._positions(number * block, (num_blocks - 1) * block)
                break
            longest = warmup.longest(self.context, progress)
            sure += self._short_positions(number * block, (number + 1) * block, longest)
        return sure >= budget.amount + batch

    def too_few(self, budget: Budget, block: int, positions: int) -> UserError:
        """Return the error of a budget of tokens that is larger than the `positions` that training gets to."""
        return UserError(
            f"data.shards={self.shards.folder} has too few visits: {self.visits} visits in blocks of {block} are good "
            f"for data.train_tokens={positions} at most, got {budget.amount}"
        )


def trace_chunk(columns: dict[str, np.ndarray], num_dropped: int) -> TraceChunk:
    """Return the columns of a trace shard as a chunk."""
    return TraceChunk(**{name: columns[name] for name in COLUMNS["traces"]}, num_dropped=num_dropped)


def read_traces(folder: str | Path) -> Iterator[tuple[int, TraceChunk]]:
    """Yield (shard number, chunk) of a trace data set. Raises ValueError where it is incomplete or damaged."""
    shards = Shards(folder, "traces")
    for index in range(len(shards)):
        yield index, trace_chunk(shards.columns(index), int(shards.manifest["shards"][index]["counts"]["dropped"]))
