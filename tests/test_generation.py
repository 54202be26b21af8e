"""Data sets on disk: the same bytes however they are made, nothing lost by a kill, nothing damaged taken for whole."""

from __future__ import annotations

import errno
import hashlib
import json
import resource
import shutil
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
import torch

from sos.build import build_source, build_system, build_trace_source
from sos.config import Config, config_from_dict
from sos.data import store
from sos.data.module import PackedLoader
from sos.data.shards import Shards, read_traces, trace_chunk
from sos.export_data import export_data
from sos.generation import Job, generate, make_job, merge, verify_set
from sos.stream.codec import encode

ROOT = Path(__file__).parents[1]
SMALL = {"env": {"max_number": 12}, "data": {"block": 64}}
VISITS, SIZE = 300, 50


def job(folder: Path, kind: str = "tokens", values: dict | None = None, **options) -> Job:
    options = {"split": "train", "visits": VISITS, "shard_size": SIZE} | options
    return make_job(config_from_dict(values or SMALL), kind=kind, folder=folder, **options)


def files(folder: Path) -> dict[str, str]:
    paths = [p for p in folder.rglob("*") if p.is_file()]
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in paths}


@pytest.fixture(scope="module", params=["tokens", "traces"])
def made(request, tmp_path_factory) -> tuple[str, Path]:
    folder = tmp_path_factory.mktemp(request.param) / "set"
    generate(job(folder, request.param))
    return request.param, folder


@pytest.fixture(scope="module")
def tokens(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("training") / "set"
    generate(job(folder))
    return folder


@pytest.fixture
def copy(tokens, tmp_path) -> Path:
    """A data set that a test may damage."""
    return Path(shutil.copytree(tokens, tmp_path / "copy"))


def command(folder: Path, *overrides: str) -> list[str]:
    size = ("env.max_number=12", "data.block=64", f"generate.visits={VISITS}", f"generate.shard_size={SIZE}")
    return [sys.executable, "-m", "sos.generate", f"generate.out={folder}", *size, *overrides]


def run(folder: Path, *overrides: str, **options) -> subprocess.CompletedProcess:
    return subprocess.run(command(folder, *overrides), cwd=ROOT, capture_output=True, text=True, timeout=300, **options)


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
    values = SMALL | {"data": {"block": block, "match": match, f"train_{match}": amount}}
    config = config_from_dict(values)
    config.data.shards = str(tokens)
    read = build_source(config, build_system(config))
    live = build_source(config_from_dict(values), build_system(config))
    options = {"rows_per_batch": 4, "block": block, "prompt_loss": False, "match": match, "amount": amount}
    batches = [list(PackedLoader(source, **options)) for source in (read, live)]  # type: ignore[arg-type]
    assert len(batches[0]) > 3
    assert all(same(a, b) for a, b in zip(*batches, strict=True))
    for start, stop in ((0, 300), (49, 51), (10, 10), (0, 0), (120, 299)):
        for a, b in zip(read.chunk(start, stop), live.chunk(start, stop), strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_fixed_data_set_is_read_in_the_order_of_its_epochs(tmp_path):
    values = SMALL | {"data": {"num_problems": 40, "match": "problems", "train_problems": 100, "block": 20}}
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


def reading(folder: Path):
    config = config_from_dict(SMALL | {"data": {"match": "problems", "train_problems": 200, "block": 64}})
    config.data.shards = str(folder)
    return build_source(config, build_system(config))


# Faults


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


def test_a_damaged_shard_is_named_by_training_and_verification_and_made_again(copy, tokens):
    flip(copy / "shard-00002" / "tokens.npy")
    with pytest.raises(ValueError, match=r"shard-00002.*tokens.npy has another checksum"):
        reading(copy).chunk(100, 110)
    assert len(reading(copy).chunk(0, 100).visits)  # the others can be read
    for check in (verify_set, merge):
        with pytest.raises(ValueError, match=r"shard-00002.*another checksum"):
            check(job(copy))
    shutil.rmtree(copy / "shard-00002")
    generate(job(copy))
    assert files(copy) == files(tokens)


def test_a_shard_cut_short_and_a_missing_one_are_named(copy):
    path = copy / "shard-00001" / "kinds.npy"
    path.write_bytes(path.read_bytes()[:-1])
    for refused in (lambda: reading(copy), lambda: generate(job(copy))):
        with pytest.raises(ValueError, match=r"shard-00001: kinds.npy has \d+ bytes"):
            refused()
    shutil.rmtree(copy / "shard-00001")
    with pytest.raises(ValueError, match="shard-00001 is missing"):
        reading(copy)
    with pytest.raises(ValueError, match="shard-00001 is missing"):
        merge(job(copy))


def test_a_set_that_is_not_complete_is_refused(tmp_path):
    generate(job(tmp_path / "part", part=0, parts=2))
    with pytest.raises(ValueError, match="part is not complete"):
        reading(tmp_path / "part")
    with pytest.raises(ValueError, match="shard-00001 is missing"):
        merge(job(tmp_path / "part", parts=2))
    with pytest.raises(ValueError, match=r"no data set at .*elsewhere"):
        reading(tmp_path / "elsewhere")


def test_traces_are_not_trained_on(tmp_path):
    generate(job(tmp_path / "set", "traces", visits=10))
    with pytest.raises(ValueError, match="holds traces, not tokens"):
        reading(tmp_path / "set")


def test_verification_finds_a_lie_whose_checksums_are_right(tmp_path):
    folder = tmp_path / "set"
    generate(job(folder, "traces"))
    assert verify_set(job(folder, "traces")) == VISITS
    manifest = json.loads((folder / "manifest.json").read_text())
    path = folder / "shard-00003" / "nodes.npy"
    nodes = np.load(path)
    nodes[1, 5] += 1  # the result of the first operation
    np.save(path, nodes)
    manifest["shards"][3]["files"]["nodes.npy"]["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match=r"shard-00003: the trace of visit 150 is wrong at event 1 \(arithmetic\)"):
        verify_set(job(folder, "traces"))


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        ({"seed": 2}, {}, "made with seed=1, this run has seed=2; name another folder"),
        ({"env": {"max_target": 90}}, {}, "env.max_target=100, this run has env.max_target=90"),
        ({}, {"visits": VISITS + 1}, "visits=300, this run has visits=301"),
        ({}, {"shard_size": 40}, "shard_size=50, this run has shard_size=40"),
        ({}, {"kind": "traces"}, "kind=tokens, this run has kind=traces"),
        ({}, {"split": "val"}, "split=train, this run has split=val"),
    ],
)
def test_configs_are_not_mixed(copy, values, options, message):
    before = files(copy)
    with pytest.raises(ValueError, match=message):
        generate(
            job(
                copy,
                values=SMALL | {k: {**SMALL.get(k, {}), **v} if k == "env" else v for k, v in values.items()},
                **options,
            )
        )
    assert files(copy) == before


def test_another_version_of_the_code_does_not_continue(copy, monkeypatch):
    monkeypatch.setattr("sos.generation.kernel_hash", lambda: "0" * 16)
    with pytest.raises(ValueError, match="another version of the code"):
        generate(job(copy))


def test_a_folder_of_shards_without_a_manifest_is_left_alone(copy):
    (copy / "manifest.json").unlink()
    with pytest.raises(ValueError, match="holds shards and no manifest"):
        generate(job(copy))


def test_a_full_disk_leaves_whole_shards_and_the_next_call_goes_on(tokens, tmp_path, monkeypatch):
    whole, calls = store._write_file, [0]

    def full(path, write):
        calls[0] += 1
        if calls[0] == 20:
            raise OSError(errno.ENOSPC, "No space left on device")
        return whole(path, write)

    monkeypatch.setattr(store, "_write_file", full)
    with pytest.raises(OSError, match=r"cannot write .*shard-0000.*: No space left on device"):
        generate(job(tmp_path / "set"))
    left = sorted(p.name for p in (tmp_path / "set").iterdir() if not p.name.endswith(".lock"))
    assert left == ["manifest.json", "shard-00000", "shard-00001"]
    generate(job(tmp_path / "set"))
    assert files(tmp_path / "set") == files(tokens)


def small_files() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))


def test_a_limit_of_the_system_is_one_line_and_exit_status_1(tmp_path):
    result = run(tmp_path / "set", "generate.kind=traces", "generate.shard_size=300", preexec_fn=small_files)
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith(f"error: cannot write {tmp_path}/set/shard-00000: File too large")
    assert not list((tmp_path / "set").glob("*shard*"))


KILLER = """
import os, signal, sys
sys.path.insert(0, {tests!r})
from pathlib import Path
import sos.generation as g
from test_generation import job
whole = g.make_shard
def deadly(j, source, index):
    if index == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(j, source, index)
g.make_shard = deadly
try:
    g.generate(job(Path({folder!r})), workers=2)
except ChildProcessError as error:
    print("REFUSED", error)
"""


def test_a_killed_worker_is_said_and_the_rest_is_made_later(tokens, tmp_path):
    folder = tmp_path / "set"
    script = KILLER.format(tests=str(ROOT / "tests"), folder=str(folder))
    result = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert f"REFUSED a worker process was killed (too little memory?); the finished shards in {folder}" in result.stdout
    assert not (folder / "shard-00003").exists()
    generate(job(folder))
    assert files(folder) == files(tokens)


def test_a_run_killed_at_random_moments_ends_with_the_same_bytes(tokens, tmp_path):
    folder = tmp_path / "set"
    kills = 0
    for delay in (0.0, 0.03, 0.1):
        arguments = command(folder, "generate.kind=tokens", "generate.workers=2")
        process = subprocess.Popen(arguments, cwd=ROOT, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        before = len(list(folder.glob("*shard-*")))
        deadline = time.time() + 200
        while process.poll() is None and len(list(folder.glob("*shard-*"))) == before and time.time() < deadline:
            time.sleep(0.002)
        time.sleep(delay)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.wait()
    assert kills
    result = run(folder, "generate.kind=tokens", "generate.verify=true")
    assert result.returncode == 0, result.stderr
    assert files(folder) == files(tokens)


HOLDER = """
import time
from pathlib import Path
from sos.generation import _only_one
from test_generation import job
with _only_one(job(Path({folder!r}))):
    print("held", flush=True)
    time.sleep(60)
"""


def test_two_processes_do_not_make_the_same_part(tmp_path):
    script = HOLDER.format(folder=str(tmp_path))
    holder = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT / "tests", stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline().strip() == "held"
        with pytest.raises(ValueError, match="another process makes part 0 of 1"):
            generate(job(tmp_path))
    finally:
        holder.kill()
        holder.wait()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["search.name=astar"], "search.name must be one of"),
        (["generate.part=4", "generate.parts=4"], "generate.part=4 must be below generate.parts=4"),
        (["generate.kind=text"], "generate.kind must be one of traces, tokens, got 'text'"),
        (["generate.visits=0"], "generate.visits must be at least 1, got 0"),
        (["generate.kind=tokens", "data.context=16"], "data.context=16: no stream of visits "),
        (["data.shards=somewhere"], "data.shards=somewhere is for training"),
        (["generate.wokers=2"], "wokers"),
        (["generate.out=/dev/null/set"], "generate.out=/dev/null/set: cannot write /dev/null/set/manifest.json: Not a"),
    ],
)
def test_bad_input_is_one_line_and_a_status(tmp_path, overrides, message):
    result = run(tmp_path / "set", *overrides)
    assert result.returncode == 2
    lines = [line for line in result.stderr.splitlines() if line and "traces/s" not in line and "streams/s" not in line]
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("error: ")
    assert message in lines[0]


def test_a_multirun_makes_the_parts(tokens, tmp_path):
    options = ("generate.kind=tokens", "generate.parts=2", f"hydra.sweep.dir={tmp_path}/sweep")
    result = run(tmp_path / "set", *options, "-m", "generate.part=range(0,2)")
    assert result.returncode == 0, result.stderr
    assert run(tmp_path / "set", *options[:2], "generate.merge=true").returncode == 0
    assert files(tmp_path / "set") == files(tokens)


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


def test_export_names_the_extra_and_the_endings(made, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"must end in \.jsonl or \.parquet"):
        export_data(made[1], tmp_path / "rows.csv")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ValueError, match=r'pip install -e ".\[export\]"'):
        export_data(made[1], tmp_path / "rows.parquet")
    assert not list(tmp_path.glob("*rows*"))


def test_a_trace_chunk_holds_its_columns(tmp_path):
    generate(job(tmp_path / "set", "traces", visits=20))
    chunk = trace_chunk(Shards(tmp_path / "set", "traces").columns(0), 0)
    assert [len(t.events) for t in chunk.traces()] == np.diff(chunk.offsets[:, 0]).tolist()
    assert Config().data.shards is None
