"""Provenance: what a run records about itself, and repeating it against that record."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from places import ROOT

from sos import source_hash
from sos.commands.cli import call
from sos.commands.repeat import changed_surroundings, differences
from sos.runs.provenance import Origin, git_state, versions

main = partial(call, "repeat")

SMOKE = ["experiment=smoke", "data.train_tokens=6000", "trainer.probe_every=0", "eval.pass_k=[]", "eval.num_problems=8"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repeat") / "a,b=c"
    command = [sys.executable, "train.py", *SMOKE, "seed=3", f"hydra.run.dir='{folder}'"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert result.returncode == 0, result.stderr[-3000:]
    return folder


def test_a_run_records_what_it_was_made_of(run: Path) -> None:
    record = json.loads((run / "provenance.json").read_text())
    assert record["code_hash"] == source_hash()
    assert record["seeds"] == {"run": 3, "evaluation": 0}
    assert record["versions"] == versions()
    assert {"python", "torch", "numpy", "numba", "lightning"} <= record["versions"].keys()
    assert record["data_hashes"].keys() == {"train", "val", "val_target"}
    assert len(set(record["data_hashes"].values())) == 3
    assert record["command"].startswith("python train.py experiment=smoke data.train_tokens=6000")
    assert f"\"hydra.run.dir='{run}'\"" in record["command"]
    assert record["overrides"]["seed"] == "3"
    state, difference = git_state()
    assert record["git"] == state
    assert (run / "git.diff").exists() == bool(difference)
    assert (run / "config.yaml").is_file()


def test_a_run_repeats_bit_for_bit(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(run)]) == 0
    printed = capsys.readouterr().out
    assert "the same: " in printed
    assert "weights bit for bit" in printed


def test_a_result_that_is_another_is_found(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One weight moved by the least that a float can, one metric by one problem."""
    copy = Path(shutil.copytree(run, tmp_path / "copy", ignore=shutil.ignore_patterns("repeat")))
    path = copy / "checkpoints" / "last.ckpt"
    content = torch.load(path, weights_only=True)
    name = next(iter(content["state_dict"]))
    flat = content["state_dict"][name].view(-1)
    flat[0] = torch.tensor(np.nextafter(flat[0].numpy(), np.float32(10)))
    torch.save(content, path)
    metrics = json.loads((copy / "metrics.json").read_text())
    metrics["metrics"]["solve/val"]["value"] += 0.125
    (copy / "metrics.json").write_text(json.dumps(metrics))
    assert main([str(copy)]) == 1
    printed = capsys.readouterr().out
    assert f"differs: weight {name.removeprefix('model.')}: differs by up to" in printed
    assert "differs: metrics/solve/val/value: " in printed


def test_other_code_versions_and_data_are_refused_by_name(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = Path(shutil.copytree(run, tmp_path / "copy", ignore=shutil.ignore_patterns("repeat")))
    record = json.loads((copy / "provenance.json").read_text())
    (copy / "provenance.json").write_text(
        json.dumps(record | {"code_hash": "x", "versions": record["versions"] | {"torch": "1.0"}})
    )
    assert main([str(copy)]) == 2
    error = capsys.readouterr().err
    assert "changed since: the code is another (the run was made at commit" in error
    assert "changed since: torch is " in error
    record["data_hashes"]["val"] = "0"
    (copy / "provenance.json").write_text(json.dumps(record))
    assert main([str(copy)]) == 2
    assert "val: the data are others (keep_going=true repeats it all the same)" in capsys.readouterr().err
    assert not (copy / "repeat").exists()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda run: shutil.rmtree(run), "no such run folder"),
        (lambda run: (run / "metrics.json").unlink(), "metrics.json is missing"),
        (lambda run: (run / "provenance.json").write_text("{"), "damaged"),
        (lambda run: edit_seed(run), "the config does not fit its hash"),
        (lambda run: edit(run / "metrics.json", train={"tokens": "x"}), "metrics.json is not of this metric schema"),
        (lambda run: edit(run / "metrics.json", overrides=[]), "metrics.json is not of this metric schema: overrides"),
        (lambda run: edit(run / "metrics.json", seed=2**70), "metrics.json: seed must be"),
        (lambda run: edit(run / "metrics.json", config={"no": 1}), "metrics.json was written under another schema"),
        (lambda run: edit(run / "provenance.json", git=[1]), "provenance.json: git must hold a commit, got [1]"),
        (lambda run: edit(run / "provenance.json", name={}), "provenance.json: name must be a text, got {}"),
        (lambda run: edit(run / "provenance.json", versions={"torch": 2}), "provenance.json: versions/torch must be"),
        (lambda run: edit(run / "provenance.json", data_hashes={"val": None}), "provenance.json: data_hashes/val must"),
        (lambda run: (run / "checkpoints" / "last.ckpt").write_bytes(b"x"), "checkpoints/last.ckpt"),
        (lambda run: (run / "checkpoints" / "last.ckpt").unlink(), "checkpoints/last.ckpt"),
    ],
)
def test_what_cannot_be_repeated_is_one_line(
    run: Path, tmp_path: Path, damage: Any, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = Path(shutil.copytree(run, tmp_path / "copy", ignore=shutil.ignore_patterns("repeat")))
    damage(copy)
    assert main([str(copy)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert error.count("\n") == 1
    assert str(copy) in error
    assert not (copy / "repeat").exists()


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def edit_seed(run: Path) -> None:
    content = json.loads((run / "metrics.json").read_text())
    content["config"]["seed"] += 1
    (run / "metrics.json").write_text(json.dumps(content))


def test_differences_are_named_by_path_and_times_do_not_count() -> None:
    old = {"a": {"b": 1, "seconds": 2.0}, "c": [1, 2]}
    assert differences(old, {"a": {"b": 1, "seconds": 9.0}, "c": [1, 2]}) == []
    assert differences(old, {"a": {"b": 2}, "c": [1]}) == ["a/b: 1 before, 2 now", "c: [1, 2] before, [1] now"]


def test_surroundings_that_are_the_same_are_not_listed() -> None:
    assert changed_surroundings({"code_hash": source_hash(), "versions": versions()}) == []


def test_a_dirty_tree_is_recorded_with_its_difference(tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
        subprocess.run(["git", "-C", str(tmp_path), *identity, *arguments], check=True, capture_output=True)

    assert git_state(tmp_path) == (None, "")
    git("init", "-q")
    (tmp_path / "file").write_text("one\n")
    git("add", "file")
    git("commit", "-qm", "first")
    state, difference = git_state(tmp_path)
    assert state is not None
    assert (len(state["commit"]), state["dirty"], difference) == (40, False, "")
    (tmp_path / "file").write_text("two\n")
    (tmp_path / "other").write_text("")
    state, difference = git_state(tmp_path)
    assert state is not None
    assert (state["dirty"], state["untracked"]) == (True, ["other"])
    assert "-one\n+two" in difference


def test_a_sweep_run_remembers_its_arm(tmp_path: Path) -> None:
    sweep = {
        "name": "s",
        "question": "?",
        "primary": "solve/val",
        "baseline": None,
        "arm": "full",
        "arms": {"full": [], "path": []},
        "expect": ["full > path"],
    }
    origin = Origin.of("full,seed=1", ["+sweep=s", "stream.view=full", "seed=1"], sweep, tmp_path / "x")
    assert origin.overrides == {"stream.view": "full", "seed": "1"}
    assert origin.sweep is not None
    assert (origin.sweep["arm"], origin.sweep["arms"]) == ("full", ["full", "path"])
    assert origin.sweep["expect"] == ["full > path"]
    assert "hydra.sweeper.arm=full" in origin.command
