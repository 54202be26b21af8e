"""Streams of searches as data sets for torch: endless ones to iterate over, and finite ones with an index."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, overload

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset, get_worker_info

from sos.config import Config
from sos.data.chunks import Chunk, LeftOut
from sos.data.loader import Source
from sos.data.packing import IGNORE, Rows, pack
from sos.data.splits import SPLITS
from sos.datasets.read import ShardSource
from sos.datasets.source import build_source, recipe
from sos.errors import UserError
from sos.library.settings import config_of
from sos.library.traces import TraceFileSource
from sos.rng import fold, stream_key
from sos.stream.dialect.vocab import PAD
from sos.system import System, build_system

Item = dict[str, Tensor]


class _Content(NamedTuple):
    """What is in a data set, whatever way it is read."""

    config: Config
    split: str
    packed: bool
    traces: str | None

    def source(self, system: System) -> Source:
        """Return where the streams come from."""
        if self.traces is not None:
            return TraceFileSource(self.traces, self.config, system, self.split)
        shards = self.config.data.shards
        if shards is None:
            return build_source(self.config, system, self.split)
        made = recipe(self.config, "tokens", self.split, system.dialect)
        return ShardSource(shards, made, self.config.seed, system.context, len(system.dialect.vocab))


class _Streams:
    """The streams of a configuration, block by block, as items of a data set."""

    def __init__(self, content: _Content) -> None:
        self.content = content
        self.system = build_system(content.config)
        self.source = content.source(self.system)
        self.block = content.config.data.block

    def __getstate__(self) -> _Content:
        return self.content  # kernels' arrays stay in the process that they belong to

    def __setstate__(self, content: _Content) -> None:
        self.__init__(content)  # type: ignore[misc]

    def items(self, number: int, stop: int | None = None) -> tuple[list[Item], LeftOut]:
        """Return the rows of a block of visits, or its streams one by one, up to the visit `stop`, and what it leaves
        out; nothing behind the end of shards."""
        first = number * self.block
        last = first + self.block if stop is None else min(stop, first + self.block)
        if isinstance(self.source, ShardSource):
            last = min(last, self.source.visits)
        if last <= first:
            return [], LeftOut()
        chunk = self.source.chunk(first, last)
        if not len(chunk.prompts):
            why = chunk.left_out.why(f"data.context={self.system.context}")
            raise UserError(f"no stream of visits {first} to {last} is left: {why}")
        if not self.content.packed:
            return [_item(chunk, k) for k in range(len(chunk.prompts))], chunk.left_out
        config = self.content.config
        key = np.uint64(fold(stream_key(config.seed, "rows"), number))
        rows = pack(chunk, config.data.context, key, config.data.prompt_loss)
        parts = [torch.from_numpy(array) for array in rows]
        return [dict(zip(Rows._fields, row, strict=True)) for row in zip(*parts, strict=True)], chunk.left_out


def _item(chunk: Chunk, k: int) -> Item:
    start, stop = int(chunk.offsets[k]), int(chunk.offsets[k + 1])
    ids = torch.from_numpy(chunk.tokens[start:stop].astype(np.int64))
    labels = ids.clone()
    labels[: int(chunk.prompts[k])] = IGNORE
    return {
        "input_ids": ids,
        "labels": labels,
        "kinds": torch.from_numpy(chunk.kinds[start:stop].copy()),
        "visit": torch.tensor(int(chunk.visits[k])),
    }


def collate(items: Sequence[Mapping[str, Tensor]]) -> Item:
    """Put streams of several lengths into one batch, padded behind their ends.

    Returns int64 (B, T) `input_ids`, `labels` (-100 where there is no loss) and `attention_mask`, int8 (B, T) `kinds`
    (-1 behind the end), and what else the items hold, stacked. Rows of a packed data set are stacked as they are.
    """
    if "input_ids" not in items[0]:
        return {name: torch.stack([item[name] for item in items]) for name in items[0]}
    longest = max(len(item["input_ids"]) for item in items)
    fill = {"input_ids": PAD, "labels": IGNORE, "kinds": -1}
    batch: Item = {}
    for name, first in items[0].items():
        if name not in fill:
            batch[name] = torch.stack([item[name] for item in items])
            continue
        padded = torch.full((len(items), longest), fill[name], dtype=first.dtype)
        for row, item in zip(padded, items, strict=True):
            row[: len(item[name])] = item[name]
        batch[name] = padded
    lengths = torch.tensor([len(item["input_ids"]) for item in items])
    batch["attention_mask"] = (torch.arange(longest) < lengths[:, None]).long()
    return batch


class StreamDataset(IterableDataset[Item]):
    """Streams without an end (those of `data.shards` have one), made as they are asked for: a pure function of the
    settings and the seed.

    Workers of a DataLoader, and processes of several ranks, take turns at blocks of `data.block` visits: each stream
    comes once, in an order that the number of workers decides. An item has the `place` int64 (4,) that it comes from
    (worker, workers, block of that worker, number in the block), by which reading goes on elsewhere:

        for batch in DataLoader(dataset, batch_size=8, num_workers=2, collate_fn=dataset.collate):
            dataset.seen(batch)                   # not needed without workers
        state = dataset.state_dict()              # plain numbers
        dataset.load_state_dict(state)            # the next loader begins behind that batch

    A state belongs to a number of workers, and to the settings that it was taken with.
    """

    collate = staticmethod(collate)

    def __init__(self, streams: _Streams, rank: int = 0, world_size: int = 1) -> None:
        if not 0 <= rank < world_size:
            raise UserError(f"rank={rank} must be from 0 to world_size - 1, world_size={world_size}")
        self._streams, self.rank, self.world_size = streams, rank, world_size
        # Block and number in it, of each worker: where reading begins, and what lies behind what was read.
        self._start: list[list[int]] = []
        self._places: list[list[int]] = []
        self._turn = self._next = 0  # which worker is asked first, and which one behind what was read

    @property
    def system(self) -> System:
        """Environment, search, view and dialect."""
        return self._streams.system

    @property
    def config(self) -> Config:
        """All settings."""
        return self._streams.content.config

    def __iter__(self) -> Iterator[Item]:
        info = get_worker_info()
        number, workers = (0, 1) if info is None else (info.id, info.num_workers)
        if self._start and len(self._start) != workers:
            raise UserError(f"the state is one of {len(self._start)} workers, and there are {workers}")
        self._places = self._begun(workers)
        worker = (number + self._turn) % workers  # the loader asks its number 0 first
        block, skipped = self._places[worker]
        while True:
            items, _ = self._streams.items((block * self.world_size + self.rank) * workers + worker)
            if not items:
                return
            for k in range(skipped, len(items)):
                self._note(worker, block, k)
                yield items[k] | {"place": torch.tensor([worker, workers, block, k])}
            block, skipped = block + 1, 0

    def _begun(self, workers: int) -> list[list[int]]:
        return copy.deepcopy(self._start) or [[0, 0] for _ in range(workers)]

    def _note(self, worker: int, block: int, k: int) -> None:
        self._places[worker] = [block, k + 1]
        self._next = (worker + 1) % len(self._places)

    def seen(self, batch: Mapping[str, Tensor]) -> None:
        """Note that a batch of a DataLoader with workers was used, so that `state_dict` says what comes behind it."""
        worker, workers, block, k = batch["place"].reshape(-1, 4)[-1].tolist()
        # A place before one that was seen is another loader's, which began anew.
        if len(self._places) != workers or [block, k] < self._places[worker]:
            self._places = self._begun(workers)
        self._note(worker, block, k)

    def state_dict(self) -> dict[str, Any]:
        """Return where reading has come to, as plain numbers that JSON holds."""
        # A worker's own state goes back to the same worker.
        turn = self._next if self._places and get_worker_info() is None else self._turn
        return {"places": copy.deepcopy(self._places or self._begun(1)), "turn": turn}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Begin every later iteration at a state. Raises UserError for what is none."""
        places, turn = state.get("places"), state.get("turn")
        fine = isinstance(places, list) and places and all(_is_place(place) for place in places)
        if not fine or type(turn) is not int or not 0 <= turn < len(places or ()):
            raise UserError(f"no state of a stream data set: {dict(state)!r:.80}")
        self._start, self._places, self._turn = copy.deepcopy(list(places or ())), [], turn


def _is_place(place: Any) -> bool:
    return isinstance(place, list) and len(place) == 2 and all(type(n) is int and n >= 0 for n in place)


class MapStreamDataset(Dataset[Item]):
    """The streams of so many visits, made at once and kept in memory: `len`, an index, and any sampler.

    What has no stream, because it is longer than `data.context` say, is left out; `left_out` counts it.
    """

    collate = staticmethod(collate)

    def __init__(self, streams: _Streams, visits: int) -> None:
        if visits < 1:
            raise UserError(f"visits={visits} must be at least 1")
        self._streams = streams
        self._items: list[Item] = []
        counts = np.zeros(len(LeftOut._fields), np.int64)
        for number in range(-(-visits // streams.block)):
            items, left_out = streams.items(number, visits)
            self._items += items
            counts += np.array(left_out)
        self.left_out = LeftOut(*counts.tolist())

    @property
    def system(self) -> System:
        """Environment, search, view and dialect."""
        return self._streams.system

    @property
    def config(self) -> Config:
        """All settings."""
        return self._streams.content.config

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> Item:
        return self._items[index]


@overload
def stream_dataset(
    *settings: str | Config,
    split: str = ...,
    visits: None = ...,
    packed: bool = ...,
    traces: str | os.PathLike[str] | None = ...,
    rank: int = ...,
    world_size: int = ...,
) -> StreamDataset: ...


@overload
def stream_dataset(
    *settings: str | Config,
    split: str = ...,
    visits: int,
    packed: bool = ...,
    traces: str | os.PathLike[str] | None = ...,
) -> MapStreamDataset: ...


def stream_dataset(
    *settings: str | Config,
    split: str = "train",
    visits: int | None = None,
    packed: bool = False,
    traces: str | os.PathLike[str] | None = None,
    rank: int = 0,
    world_size: int = 1,
) -> StreamDataset | MapStreamDataset:
    """Return searches as training data for torch.

    Args:
        settings: words of the command line, such as "experiment=sudoku", "stream.view=solution_path" or
            "data.shards=FOLDER", or a `Config`.
        split: "train", "val" or "val_target"; of `traces`, "all" too.
        visits: how many problems to search, which makes a data set with an index; None makes an endless one. With
            `data.num_problems` a problem is visited once in every epoch.
        packed: items are rows of `data.context` positions, those that a run of these settings trains on: int64 (C,)
            `tokens`, `targets` (-100: no loss) and `positions`, int32 `doc_ids`, int8 `kinds`, as `sos.GPT` takes them.
            Otherwise an item is a stream of T tokens: int64 (T,) `input_ids` and `labels` (-100 on the problem's
            statement), int8 (T,) `kinds` (see `sos.trace.Event`) and its `visit`, as transformers' models take it.
        traces: searches from a file or a data set in place of ours: what `sos convert` writes, published records as
            they are, or the folder of `sos generate kind=traces`. Every step is verified; view and dialect apply.
        rank, world_size: of processes that share an endless data set.

    Raises UserError, before anything is made, for settings that cannot be and for traces that are damaged, of another
    environment, or wrong.
    """
    config = config_of(settings)
    known = SPLITS if traces is None else (*SPLITS, "all")
    if split not in known:
        raise UserError(f"split must be one of {', '.join(known)}, got {split}")
    if visits is not None and (rank, world_size) != (0, 1):
        raise UserError("rank and world_size belong to endless data sets: of one with an index, a sampler has a share")
    streams = _Streams(_Content(config, split, packed, None if traces is None else os.fspath(traces)))
    return StreamDataset(streams, rank, world_size) if visits is None else MapStreamDataset(streams, visits)
