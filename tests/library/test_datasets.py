"""Data sets for torch: the streams of training, each once whatever the workers, and on from any state."""

from __future__ import annotations

import json
import pickle
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shard_sets
import torch
from torch.utils.data import DataLoader

import sos
from sos.compose import compose
from sos.config import config_from_dict
from sos.data.loader import Budget, PackedLoader
from sos.data.splits import sample_problems
from sos.datasets.files import trace_line
from sos.datasets.source import build_source
from sos.library import datasets
from sos.library.answers import judged
from sos.published.records import from_record, to_record
from sos.published.wording import token_ids
from sos.search.run import run_search
from sos.system import build_system

SMALL = ("data.block=16", "data.context=320")
FIELDS = ("tokens", "targets", "positions", "doc_ids", "kinds")


def visits(items: Any) -> list[int]:
    return [int(visit) for item in items for visit in item["visit"].reshape(-1)]


def test_items_are_the_streams_of_the_source() -> None:
    config = compose(SMALL)
    chunk = build_source(config, build_system(config)).chunk(0, 48)
    items = list(islice(sos.stream_dataset(*SMALL), len(chunk.prompts)))
    listed = sos.stream_dataset(*SMALL, visits=48)
    assert len(listed) == len(chunk.prompts) > 30
    assert listed.left_out == chunk.left_out
    for k, item in enumerate(items):
        span = slice(chunk.offsets[k], chunk.offsets[k + 1])
        assert item["input_ids"].tolist() == chunk.tokens[span].tolist()
        assert item["kinds"].tolist() == chunk.kinds[span].tolist()
        prompt = int(chunk.prompts[k])
        assert set(item["labels"][:prompt].tolist()) == {-100}
        assert torch.equal(item["labels"][prompt:], item["input_ids"][prompt:])
        assert int(item["visit"]) == chunk.visits[k]
        assert all(torch.equal(item[name], listed[k][name]) for name in ("input_ids", "labels", "kinds", "visit"))


def test_packed_rows_are_those_that_a_run_trains_on() -> None:
    config = compose(SMALL)
    source = build_source(config, build_system(config))
    loader = PackedLoader(source, Budget("problems", 64), rows_per_batch=1, block=16, prompt_loss=False)
    rows = list(loader)
    assert len(rows) > 10
    for row, item in zip(rows, sos.stream_dataset(*SMALL, packed=True), strict=False):
        assert all(torch.equal(row[name][0], item[name]) for name in FIELDS)
    listed = sos.stream_dataset(*SMALL, packed=True, visits=64)
    assert len(listed) == len(rows)
    assert all(torch.equal(a["tokens"][0], b["tokens"]) for a, b in zip(rows, listed, strict=True))


@pytest.mark.parametrize("workers", [0, 2, 3])
def test_a_loader_with_workers_gives_each_stream_once(workers: int) -> None:
    dataset = sos.stream_dataset(*SMALL)
    loader = DataLoader(dataset, batch_size=4, num_workers=workers, collate_fn=dataset.collate)
    seen = Counter(visits(islice(loader, 24)))
    alone = visits(islice(dataset, 96))
    assert max(seen.values()) == 1
    assert sum(seen.values()) == 96
    if workers == 0:
        assert sorted(seen) == sorted(alone)


@pytest.mark.parametrize(("workers", "before"), [(0, 5), (2, 1), (2, 4), (2, 7), (3, 2)])
def test_a_state_goes_on_where_reading_stopped(workers: int, before: int) -> None:
    def loader(dataset: sos.StreamDataset) -> Any:
        return DataLoader(dataset, batch_size=4, num_workers=workers, collate_fn=dataset.collate)

    dataset = sos.stream_dataset(*SMALL)
    whole = [visits([batch]) for batch in islice(loader(dataset), 14)]
    for number, batch in enumerate(loader(dataset), start=1):
        if workers:
            dataset.seen(batch)
        if number == before:
            break
    state = json.loads(json.dumps(dataset.state_dict()))
    fresh = sos.stream_dataset(*SMALL)
    fresh.load_state_dict(state)
    assert [visits([batch]) for batch in islice(loader(fresh), 14 - before)] == whole[before:]
    assert len({tuple(batch) for batch in whole}) == 14


def test_states_of_workers_that_keep_their_own_go_back_to_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """As torchdata's StatefulDataLoader does: each worker gives its state and gets it again."""

    class Info:
        num_workers = 2

        def __init__(self, number: int) -> None:
            self.id = number

    for number in range(2):
        monkeypatch.setattr(datasets, "get_worker_info", lambda number=number: Info(number))
        dataset = sos.stream_dataset(*SMALL)
        items = iter(dataset)
        visits(islice(items, 9))
        state = dataset.state_dict()
        rest = visits(islice(items, 20))
        fresh = sos.stream_dataset(*SMALL)
        fresh.load_state_dict(state)
        assert visits(islice(fresh, 20)) == rest


def test_ranks_share_the_streams() -> None:
    parts = [set(visits(islice(sos.stream_dataset(*SMALL, rank=rank, world_size=2), 60))) for rank in range(2)]
    assert not parts[0] & parts[1]
    assert {visit // 16 % 2 for visit in parts[0]} == {0}
    assert {visit // 16 % 2 for visit in parts[1]} == {1}


def test_padding_hides_what_it_adds() -> None:
    items = list(islice(sos.stream_dataset(*SMALL), 5))
    batch = sos.StreamDataset.collate(items)
    assert len({len(item["input_ids"]) for item in items}) > 1
    for row, item in enumerate(items):
        length = len(item["input_ids"])
        assert batch["attention_mask"][row].sum() == length
        assert torch.equal(batch["input_ids"][row, :length], item["input_ids"])
        assert (batch["labels"][row, length:] == -100).all()
        assert (batch["kinds"][row, length:] == -1).all()


def test_a_data_set_travels_as_what_it_is_made_of() -> None:
    dataset = sos.stream_dataset(*SMALL)
    content = pickle.dumps(dataset)
    assert len(content) < 20_000
    assert visits(islice(pickle.loads(content), 20)) == visits(islice(dataset, 20))


def test_shards_end(tokens: Path) -> None:
    values = shard_sets.SMALL | {"data": {**shard_sets.SMALL["data"], "shards": str(tokens)}}
    config = config_from_dict(values)
    found = visits(sos.stream_dataset(config))
    assert len(found) == len(set(found)) > 250
    assert found == visits(sos.stream_dataset(config, visits=10**5))
    made = config_from_dict(shard_sets.SMALL)
    assert found == visits(sos.stream_dataset(made, visits=shard_sets.VISITS))


BAD: list[tuple[tuple[Any, ...], dict[str, Any], str]] = [
    (("nonsense",), {}, "nonsense"),
    (("optim.learning_rate=1",), {}, "optim.learning_rate"),
    (("env.num_numbers=99",), {}, "env.num_numbers"),
    ((3,), {}, "words such as"),
    ((sos.Config(), "seed=2"), {}, "not both"),
    ((), {"split": "test"}, "split must be"),
    ((), {"split": "all"}, "split must be"),
    ((), {"visits": 0}, "visits=0"),
    ((), {"visits": 5, "rank": 1, "world_size": 2}, "rank"),
    ((), {"rank": 2, "world_size": 2}, "rank=2"),
    ((), {"traces": "/nonexistent.jsonl"}, "/nonexistent.jsonl"),
    (("data.shards=/nonexistent",), {}, "/nonexistent"),
    (("data.context=24",), {"visits": 4}, "longer than data.context=24"),
]


@pytest.mark.parametrize(("settings", "options", "says"), BAD, ids=[says for _, _, says in BAD])
def test_what_cannot_be_is_a_line(settings: tuple[Any, ...], options: dict[str, Any], says: str) -> None:
    with pytest.raises(sos.UserError) as refused:
        sos.stream_dataset(*settings, **options)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "state", [{}, {"places": [], "turn": 0}, {"places": [[0, -1]], "turn": 0}, {"places": [[0, 0]], "turn": 1}]
)
def test_what_is_no_state_is_refused(state: dict[str, Any]) -> None:
    with pytest.raises(sos.UserError, match="no state"):
        sos.stream_dataset(*SMALL).load_state_dict(state)


def test_a_state_of_other_workers_is_refused() -> None:
    dataset = sos.stream_dataset(*SMALL)
    dataset.load_state_dict({"places": [[0, 0], [0, 3]], "turn": 1})
    with pytest.raises(sos.UserError, match="one of 2 workers, and there are 1"):
        next(iter(dataset))


# Searches from files

PUBLISHED = (
    "env=countdown_paper",
    "env.num_numbers=3",
    "search=dfs_paper",
    "stream=sos",
    "data.context=2048",
    "data.block=16",
)


@pytest.fixture(scope="module")
def records() -> list[dict[str, Any]]:
    """Searches of solvable problems as the published code writes them."""
    system = build_system(compose(PUBLISHED))
    problems = sample_problems(system.env, system.splits, "train", 9, solvable=1)
    problems = np.concatenate([problems, sample_problems(system.env, system.splits, "val", 3, solvable=1)])
    return [to_record(run_search(system.strategy, system.env, problem, 10_000), "dfs_sum") for problem in problems]


@pytest.fixture(scope="module")
def published(records: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("published") / "train.json"
    path.write_text(json.dumps(records))
    return path


def test_published_records_are_read_as_they_are_and_as_converted(
    records: list[dict[str, Any]], published: Path, tmp_path: Path
) -> None:
    ours = tmp_path / "ours.jsonl"
    ours.write_text("\n".join(trace_line(*from_record(record)) for record in records))
    legacy = sos.stream_dataset(*PUBLISHED, traces=published, split="all", visits=len(records))
    converted = sos.stream_dataset(*PUBLISHED, traces=ours, split="all", visits=len(records))
    answers = [judged(legacy.system, item["input_ids"].numpy(), None) for item in legacy]
    assert [answer.mistakes for answer in answers] == [[]] * len(records)
    assert sorted(token_ids(3, record["search_path"]) for record in records) == sorted(
        answer.tokens[1:-1].tolist() for answer in answers
    ), "the text is kept"
    assert [item["input_ids"].tolist() for item in converted] == [item["input_ids"].tolist() for item in legacy]


def test_a_view_and_a_dialect_apply_to_traces(records: list[dict[str, Any]], published: Path) -> None:
    settings = (*PUBLISHED, "stream.dialect=compact", "stream.view=solution_path")
    paths = sos.stream_dataset(*settings, traces=published, split="all", visits=len(records))
    whole = sos.stream_dataset(*PUBLISHED, traces=published, split="all", visits=len(records))
    solved = [judged(paths.system, item["input_ids"].numpy(), None) for item in paths]
    assert len(solved) > 5
    assert all(answer.solved and answer.num_expanded <= 3 for answer in solved)
    assert max(len(a["input_ids"]) for a in paths) < max(len(b["input_ids"]) for b in whole)


def test_epochs_of_traces_hold_each_once_and_splits_part_them(records: list[dict[str, Any]], published: Path) -> None:
    size = len(records)
    epochs = sos.stream_dataset(*PUBLISHED, traces=published, split="all", visits=3 * size)
    texts = [tuple(item["input_ids"].tolist()) for item in epochs]
    orders = [texts[k : k + size] for k in range(0, len(texts), size)]
    assert len(orders) == 3
    assert all(sorted(order) == sorted(orders[0]) for order in orders)
    assert any(order != orders[0] for order in orders)
    parts = {
        split: {
            tuple(item["input_ids"].tolist())
            for item in sos.stream_dataset(*PUBLISHED, traces=published, split=split, visits=size)
        }
        for split in ("train", "val")
    }
    assert (len(parts["train"]), len(parts["val"])) == (9, 3)
    assert parts["train"] | parts["val"] == set(texts)
    with pytest.raises(sos.UserError, match="holds no trace of a problem of val_target"):
        sos.stream_dataset(*PUBLISHED, traces=published, split="val_target")


def test_traces_that_are_wrong_are_refused_by_line(records: list[dict[str, Any]], tmp_path: Path) -> None:
    line = max((trace_line(*from_record(record)) for record in records), key=len)
    wrong = json.loads(line)
    wrong["nodes"][1][-1] += 1  # the result of an operation
    refused = 0
    for text, says in (
        ("", "holds no trace"),
        ("{}", ":1: "),
        (json.dumps({**records[0], "search_path": "nonsense"}), ":1: "),
        (f"{line}\n{json.dumps(wrong)}", ":2: "),
    ):
        (tmp_path / "traces.jsonl").write_text(text)
        with pytest.raises(sos.UserError, match=says):
            sos.stream_dataset(*PUBLISHED, traces=tmp_path / "traces.jsonl", split="all")
        refused += 1
    assert refused == 4
    (tmp_path / "traces.jsonl").write_text(line)
    with pytest.raises(sos.UserError, match="is none of"):
        sos.stream_dataset(traces=tmp_path / "traces.jsonl", split="all")


def test_a_model_learns_published_traces(published: Path) -> None:
    """In plain torch: rows of the data set, our GPT, its loss."""
    small = ("model.num_layers=2", "model.width=32", "model.num_heads=2", "model.kernels=torch", "data.context=512")
    rows = sos.stream_dataset(*PUBLISHED, *small, traces=published, split="all", packed=True)
    shape = sos.gpt_config(rows.config, len(rows.system.dialect.vocab))
    torch.manual_seed(0)
    model = sos.GPT(shape)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    losses = []
    for batch in islice(DataLoader(rows, batch_size=1), 6):
        loss = model(batch["tokens"], batch["positions"], batch["doc_ids"], batch["targets"])
        mean = loss.sum() / (batch["targets"] >= 0).sum()
        optimizer.zero_grad()
        mean.backward()
        optimizer.step()
        losses.append(float(mean.detach()))
    assert len(losses) == 6
    assert losses[-1] < 0.9 * losses[0]
    assert np.isfinite(losses).all()
