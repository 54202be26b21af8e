"""`sos memory`: plays, writes, and refuses in one line before it works. The base is one that was not trained."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tiny_run import untrained

from sos.commands.cli import call
from sos.commands.memory import FILES
from sos.commands.output import held

PLAY = ["num=4", "block=2", "tasks=iid", "max_tokens=40"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return untrained(tmp_path_factory.mktemp("base") / "run", task=["experiment=smoke", "slot=lesson"]).path


def test_a_stream_is_played_and_written(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, other = tmp_path / "out", tmp_path / "other"
    shutil.copytree(base, other)
    arms = ["none", "both", "filler", "raw"]
    words = [str(base), str(other), *PLAY, f"arms=[{','.join(arms)}]", "streams=2", f"out={out}"]
    assert call("memory", words) == 0
    said = capsys.readouterr().out
    assert said.splitlines()[-1] == f"wrote {out}"
    found = json.loads((out / "memory.json").read_text())
    assert [row["arm"] for row in found["arms"]] == arms
    assert found["regularities"] == [None, None]
    assert all(len(row["outcomes"]) == 2 and len(row["outcomes"][0]) == 8 for row in found["arms"])
    assert (out / "memory.md").read_text().strip() in said
    assert (out / "memory.png").read_bytes()[:4] == b"\x89PNG"
    kept = sorted(path.name for path in out.glob("*.jsonl"))
    assert {f"memory_both_{b}_{seed}.jsonl" for b in (0, 1) for seed in (1, 2)} <= set(kept)
    assert not [name for name in kept if name.startswith("memory_none")]
    first = (out / "memory.json").read_bytes()
    memory = out / "memory_both_0_1.jsonl"
    assert memory.read_text().count("\n") > 0  # the solver finds what this model does not
    assert call("memory", words) == 0
    assert (out / "memory.json").read_bytes() == first
    kept_before = memory.read_text()
    assert call("memory", [str(base), *PLAY, "arms=[both]", f"memory={memory}", f"out={out}"]) == 0
    after = memory.read_text()  # a memory that goes on begins with what it was
    assert after.startswith(kept_before)
    assert len(after) > len(kept_before)
    assert not list(out.glob(".partial*"))
    capsys.readouterr()
    with held("memory", FILES, out):
        assert call("memory", words) == 2
    assert capsys.readouterr().err.startswith(f"error: another sos memory is writing into {out} (process ")
    assert memory.read_text() == after


def test_what_cannot_be_is_refused_in_one_line(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bare = untrained(tmp_path / "bare", task=["experiment=smoke"]).path
    few = untrained(tmp_path / "few", task=["experiment=smoke", "slot=lesson", "slot.kinds=[lesson]"]).path
    star = untrained(tmp_path / "star").path
    damaged = tmp_path / "memory.jsonl"
    damaged.write_text("{}\n")
    cases = {
        f"{bare}": "the slot of this base has no lesson (slot.kinds=[])",
        f"{few} arms=[raw]": "the slot of this base has no transcript (slot.kinds=[lesson])",
        f"{star}": "PathStar has no features and classes of actions",
        f"{base} arms=[most]": "arms: 'most' is none of none, success",
        f"{base} arms=[both,both]": "each once",
        f"{base} tasks=hard": "tasks must be one of regular, useless, iid, unrelated, got hard",
        f"{base} num=0": "num must be at least 1",
        f"{base} {base}/": f"{base}/ is given twice",
        f"{base} num=32": "num=32 tasks are one block of block=32",
        f"{base} num=8 block=9 arms=[none,both]": "num=8 tasks are one block of block=9",
        f"{base} max_tokens=0": "max_tokens must be at least 1",
        f"{base} memory={damaged}": f"{damaged}:1: task_id is missing",
        f"{base} memory={tmp_path / 'none.jsonl'}": "none.jsonl",
    }
    for words, message in cases.items():
        assert call("memory", [*words.split(), f"out={tmp_path / 'out'}"]) == 2, words
        said = capsys.readouterr()
        assert message in said.err
        assert said.err.count("\n") == 1
        assert not said.out
    assert not (tmp_path / "out").exists()
