"""Data sets on disk: the same bytes however they are made, nothing lost by a kill, nothing damaged taken for whole."""

from __future__ import annotations

import json
import sys
from itertools import pairwise

import numpy as np
import pyarrow.parquet
import pytest
import torch
from shard_sets import SIZE, SMALL, VISITS, files, job, reading, run

from sos.config import Config, config_from_dict
from sos.data.loader import Budget, LengthWarmup, PackedLoader
from sos.data.traces import TraceSource
from sos.datasets import store
from sos.datasets.make import generate, merge
from sos.datasets.read import EndOfShards, Shards, ShardSource, read_traces, trace_chunk
from sos.datasets.source import build_source, build_trace_source, recipe
from sos.datasets.verify import verify_set
from sos.envs.countdown.rules import Countdown
from sos.envs.words import words_of
from sos.errors import UserError
from sos.interop.datasets import export_data, fields
from sos.runs.provenance import first_block
from sos.stream.codec import encode
from sos.system import build_system

# What is made


def test_a_trace_source_makes_the_searches_of_the_streams():
    config = config_from_dict(SMALL)
    system = build_system(config)
    streams = build_source(config, system).chunk(0, 40)
    chunk = build_trace_source(config).chunk(0, 40)
    written = {int(v): encode(system.dialect, t)[0] for v, t in zip(chunk.visits, chunk.traces(), strict=True)}
    for k, visit in enumerate(streams.visits):
        np.testing.assert_array_equal(written[int(visit)], streams.tokens[streams.offsets[k] : streams.offsets[k + 1]])


def test_traces_do_not_depend_on_how_the_visits_are_cut():
    source = build_trace_source(config_from_dict(SMALL))
    whole = source.chunk(0, 60)
    for cuts in ((0, 7, 60), (0, 30, 31, 60)):
        parts = [source.chunk(a, b) for a, b in pairwise(cuts)]
        for name in ("problems", "events", "nodes", "states", "visits", "strategies"):
            np.testing.assert_array_equal(np.concatenate([getattr(p, name) for p in parts]), getattr(whole, name))


def test_workers_parts_and_the_shell_make_the_same_bytes(made, tmp_path):
    kind, folder = made
    expected = files(folder)
    assert len([name for name in expected if name.endswith("shard.json")]) == VISITS // SIZE
    result = run(tmp_path / "two", f"generate.kind={kind}", "generate.workers=2", "generate.verify=true")
    assert result.returncode == 0, result.stderr
    assert files(tmp_path / "two") == expected
    for part in (2, 0, 3, 1):
        generate(job(tmp_path / "parts", kind, part=part, parts=4))
        assert not json.loads((tmp_path / "parts" / "manifest.json").read_text())["complete"]
    merge(job(tmp_path / "parts", kind, parts=4))
    assert files(tmp_path / "parts") == expected


def test_columns_can_be_read_with_numpy_alone(made):
    kind, folder = made
    manifest = json.loads((folder / "manifest.json").read_text())
    total = 0
    for shard in manifest["shards"]:
        path = folder / f"shard-{shard['index']:05d}"
        offsets = np.load(path / "offsets.npy", mmap_mode="r")
        total += len(np.load(path / "visits.npy"))
        last = np.load(path / ("tokens.npy" if kind == "tokens" else "events.npy"), mmap_mode="r")
        assert offsets[-1].ravel()[0] == len(last)
    assert total == manifest["counts"]["streams" if kind == "tokens" else "traces"]
    assert total + manifest["counts"]["dropped"] == manifest["counts"]["visits"] == VISITS


def test_read_traces_gives_what_the_source_made(tmp_path):
    generate(job(tmp_path / "set", "traces"))
    read = [trace for _, chunk in read_traces(tmp_path / "set") for trace in chunk.traces()]
    for a, b in zip(read, build_trace_source(config_from_dict(SMALL)).chunk(0, VISITS).traces(), strict=True):
        assert a.equals(b)


def test_strategies_of_a_mixture_are_kept(tmp_path):
    strategies = {"first": {"name": "dfs", "heuristic": "none"}, "second": {"name": "beam", "width": 3}}
    values = SMALL | {"search": {"name": "mixture", "strategies": strategies}}
    generate(job(tmp_path, "traces", values, visits=60))
    shards = Shards(tmp_path, "traces")
    assert shards.manifest["labels"]["strategies"] == ["first", "second"]
    found = np.concatenate([shards.columns(k)["strategies"] for k in range(len(shards))])
    np.testing.assert_array_equal(found, build_trace_source(config_from_dict(values)).chunk(0, 60).strategies)
    assert set(found.tolist()) == {0, 1}
    assert verify_set(job(tmp_path, "traces", values, visits=60)) == len(found)


@pytest.mark.parametrize("limit", [127, 128, 32767, 32768, 2**31 - 1])
def test_integers_are_stored_in_the_narrowest_type(limit):
    for array in (np.array([[limit, 0]], np.int32), np.array([-limit - 1, 5], np.int64)):
        stored = store.narrowed(array)
        np.testing.assert_array_equal(stored, array)
        assert np.iinfo(stored.dtype).max == min(k for k in (127, 32767, 2**31 - 1) if k >= limit)


# Training


def same(a: dict, b: dict) -> bool:
    a["cursor"].pop("data_seconds"), b["cursor"].pop("data_seconds")
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) if torch.is_tensor(a[k]) else a[k] == b[k] for k in a)


@pytest.mark.parametrize(("match", "amount"), [("tokens", 8000), ("problems", 256), ("problems", 290)])
@pytest.mark.parametrize("block", [64, 37])
def test_training_on_shards_sees_the_same_batches(tokens, match, amount, block):
    values = SMALL | {"data": {"context": 256, "block": block, "match": match, f"train_{match}": amount}}
    config = config_from_dict(values)
    config.data.shards = str(tokens)
    read = build_source(config, build_system(config))
    live = build_source(config_from_dict(values), build_system(config))
    options = {"rows_per_batch": 4, "block": block, "prompt_loss": False}
    batches = [list(PackedLoader(source, Budget(match, amount), **options)) for source in (read, live)]
    assert len(batches[0]) > 3
    assert all(same(a, b) for a, b in zip(*batches, strict=True))
    for start, stop in ((0, 300), (49, 51), (10, 10), (0, 0), (120, 299)):
        for a, b in zip(read.chunk(start, stop), live.chunk(start, stop), strict=True):
            np.testing.assert_array_equal(a, b)


def test_what_identifies_the_data_asks_for_no_more_visits_than_training_does(tokens):
    """A set of 300 visits in blocks of 512: a run of 100 problems is identified by those."""
    values = SMALL | {"data": {"context": 256, "block": 512, "match": "problems", "train_problems": 100}}
    config = config_from_dict(values)
    config.data.shards = str(tokens)
    sources = build_source(config, build_system(config)), build_source(config_from_dict(values), build_system(config))
    read, live = (first_block(config, source) for source in sources)
    assert len(read.visits) + read.num_dropped == 100
    for a, b in zip(read, live, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
@pytest.mark.parametrize(("block", "batch"), [(64, 1024), (16, 4096), (100, 512)])
def test_a_budget_that_is_accepted_lasts_and_another_is_refused_at_once(tokens, share, block, batch):
    """Over many budgets: the shards are refused where training would come to their end, and nowhere else."""
    lasted, refused, close = 0, 0, 0
    for amount in range(500, 23_000, 700):
        data = {"context": 256, "block": block, "train_tokens": amount, "length_warmup": share, "length_start": 0.2}
        config = config_from_dict(SMALL | {"data": data, "trainer": {"batch_tokens": batch}})
        system = build_system(config)
        source = ShardSource(tokens, recipe(config, "tokens", "train", system.dialect), 1, 256, 139)
        budget, warmup = Budget("tokens", amount), LengthWarmup(share, 0.2)
        options = {"rows_per_batch": batch // 256, "block": block, "prompt_loss": False, "warmup": warmup}
        try:
            for _ in PackedLoader(source, budget, **options):  # type: ignore[arg-type]
                pass
            lasts = True
        except EndOfShards:
            lasts = False
        config.data.shards = str(tokens)
        if lasts:
            build_source(config, system)
            close += not source.check_budget(budget, block, batch, warmup)
            lasted += 1
        else:
            with pytest.raises(UserError, match=rf"too few visits: 300 visits in blocks of {block} .* got {amount}$"):
                build_source(config, system)
            refused += 1
    assert lasted + refused == 33
    assert min(lasted, refused) > 1
    assert close < lasted or batch == 4096  # of which the set holds five


def test_a_fixed_data_set_is_read_in_the_order_of_its_epochs(tmp_path):
    values = SMALL | {
        "data": {"context": 256, "num_problems": 40, "match": "problems", "train_problems": 100, "block": 20}
    }
    generate(job(tmp_path / "set", values=values, visits=100, shard_size=30))
    config = config_from_dict(values)
    live = build_source(config, build_system(config)).chunk(0, 100)
    config.data.shards = str(tmp_path / "set")
    for a, b in zip(build_source(config, build_system(config)).chunk(0, 100), live, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 2}, "made with seed=1, this run has seed=2"),
        ({"stream": {"view": "solution_path"}}, "stream.view=full, this run has stream.view=solution_path"),
        ({"stream": {"dialect": "sos"}}, "stream.dialect=compact, this run has stream.dialect=sos"),
        ({"stream": {"whole_max": 90}}, "stream.whole_max=120, this run has stream.whole_max=90"),
        ({"env": {"max_number": 13}}, "env.max_number=12, this run has env.max_number=13"),
        ({"search": {"heuristic": "mult"}}, "search.heuristic=sum, this run has search.heuristic=mult"),
        ({"data": {"context": 128}}, "data.context=256, this run has data.context=128"),
        ({"data": {"match": "problems", "train_problems": 301}}, "holds 300 visits, data.train_problems=301"),
        ({"data": {"train_tokens": 10_000_000}}, "too few visits.*data.train_tokens=.* at most, got 10000000"),
    ],
)
def test_training_refuses_other_shards_by_name(tokens, change, message):
    values = {
        key: {**SMALL.get(key, {}), **value} if isinstance(value, dict) else value for key, value in change.items()
    }
    config = config_from_dict(SMALL | values)
    config.data.shards = str(tokens)
    with pytest.raises(ValueError, match=message):
        build_source(config, build_system(config))


def test_training_refuses_a_vocabulary_that_changed(copy):
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["recipe"]["stream"]["dialect_hash"] = "0" * 16
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match=r"stream.dialect_hash=0000000000000000"):
        reading(copy)


# Export


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_export(made, tmp_path, suffix):
    kind, folder = made
    path = tmp_path / f"rows{suffix}"
    assert export_data(folder, path) == VISITS
    if suffix == ".jsonl":
        rows = [json.loads(line) for line in path.read_text().splitlines()]
    else:
        rows = pyarrow.parquet.read_table(path).to_pylist()
    assert all(list(row) == list(fields(kind, words_of(Countdown()))) for row in rows)
    shards = Shards(folder, kind)
    source = build_trace_source(config_from_dict(SMALL)).chunk(0, VISITS)
    for row, trace in zip(rows, source.traces(), strict=True):
        assert (row["nums"], row["target"]) == (trace.problem[2:].tolist(), int(trace.problem[0]))
        assert row["strategy"] == "dfs"
        assert row["solved"] == (trace.outcome == 0)
        if kind == "traces":
            assert row["text"].startswith(f"Current State: {row['target']}:{row['nums']}, Operations: []\n")
            assert (row["num_nodes"], row["num_events"]) == (len(trace.nodes), len(trace.events))
            assert not row["solved"] or row["solution"][-1].endswith(f"={row['target']}")
            assert all(eval(step.replace("=", "==")) for step in row["solution"])
    if kind == "tokens":
        stored = np.concatenate([shards.columns(k)["tokens"] for k in range(len(shards))])
        assert np.concatenate([row["input_ids"] for row in rows]).tolist() == stored.tolist()


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
@pytest.mark.parametrize("empty", ["first", "all"])
def test_export_of_shards_without_a_row(tmp_path, monkeypatch, suffix, empty):
    """Every search of a shard may generate more nodes than a trace may have."""
    whole = TraceSource.chunk

    def dropping(source, start, stop):
        made = whole(source, start, stop)
        if empty == "first" and start >= SIZE:
            return made
        rows = {
            name: getattr(made, name)[:0] for name in ("problems", "events", "nodes", "states", "visits", "strategies")
        }
        return made._replace(**rows, offsets=made.offsets[:1], num_dropped=stop - start)

    monkeypatch.setattr(TraceSource, "chunk", dropping)
    generate(job(tmp_path / "set", "traces", visits=2 * SIZE))
    path = tmp_path / f"rows{suffix}"
    num = SIZE if empty == "first" else 0
    assert export_data(tmp_path / "set", path) == num
    if suffix == ".jsonl":
        assert len(path.read_text().splitlines()) == num
    else:
        table = pyarrow.parquet.read_table(path)
        assert (table.num_rows, table.column_names) == (num, list(fields("traces", words_of(Countdown()))))
    assert sum(len(list(chunk.traces())) for _, chunk in read_traces(tmp_path / "set")) == num
    assert verify_set(job(tmp_path / "set", "traces", visits=2 * SIZE)) == num


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_nothing_is_left_of_an_export_that_fails(made, tmp_path, monkeypatch, suffix):
    folder = made[1]
    calls = []

    def failing(dialect, tokens):
        calls.append(1)
        if len(calls) > SIZE + 1:
            raise RuntimeError("in the second shard")
        return ""

    monkeypatch.setattr("sos.interop.datasets.text_of", failing)
    with pytest.raises(RuntimeError, match="in the second shard"):
        export_data(folder, tmp_path / f"rows{suffix}")
    assert len(calls) == SIZE + 2
    assert list(tmp_path.iterdir()) == []


def test_export_names_the_extra_and_the_endings(made, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"must end in \.jsonl or \.parquet"):
        export_data(made[1], tmp_path / "rows.csv")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ValueError, match=r'pip install -e ".\[parquet\]"'):
        export_data(made[1], tmp_path / "rows.parquet")
    assert not list(tmp_path.glob("*rows*"))


def test_a_trace_chunk_holds_its_columns(tmp_path):
    generate(job(tmp_path / "set", "traces", visits=20))
    chunk = trace_chunk(Shards(tmp_path / "set", "traces").columns(0), 0)
    assert [len(t.events) for t in chunk.traces()] == np.diff(chunk.offsets[:, 0]).tolist()
    assert Config().data.shards is None
