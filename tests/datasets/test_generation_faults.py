"""Faults of data sets: damage, full disks, killed workers, mixed configurations. One clear line, and nothing lost."""

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
from pathlib import Path

import numpy as np
import pytest
from shard_sets import ROOT, SMALL, VISITS, command, files, job, reading, run

from sos.datasets import store
from sos.datasets.make import generate, merge
from sos.datasets.verify import verify_set


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
    monkeypatch.setattr("sos.datasets.make.kernel_hash", lambda: "0" * 16)
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
        if calls[0] == 19:
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
import sos.datasets.make as g
from shard_sets import ROOT, SIZE, SMALL, VISITS, command, files, job, reading, run
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
from sos.files import claim
from shard_sets import ROOT, SIZE, SMALL, VISITS, command, files, job, reading, run
with claim(Path({folder!r}), "generation of part 0 of 1", ".part-0-of-1.lock"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_two_processes_do_not_make_the_same_part(tmp_path):
    script = HOLDER.format(folder=str(tmp_path))
    holder = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT / "tests", stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline().strip() == "held"
        with pytest.raises(ValueError, match=r"another generation of part 0 of 1 is writing into .* \(process \d+ on "):
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
        (
            ["generate.kind=tokens", "data.context=16"],
            " is left: 50 streams are longer than data.context=16",  # whichever worker says it first
        ),
        (["data.shards=somewhere"], "data.shards=somewhere is for training"),
        (["generate.wokers=2"], "wokers"),
        (["generate.out=/dev/null/set"], "cannot write /dev/null/set/manifest.json: Not a"),
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
