"""Whole runs through the command line: a kill and a Ctrl-C in mid-training, resuming, and a multirun's comparison."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from places import ROOT

from sos.train.tensorboard import LAYOUT

SMOKE = ["experiment=smoke", "data.train_tokens=60000", "trainer.num_threads=1", "eval.pass_k=[]"]


def command(folder: Path, *overrides: str) -> list[str]:
    return [sys.executable, "train.py", *SMOKE, f"hydra.run.dir={folder}", *overrides]


def run(folder: Path, *overrides: str) -> subprocess.CompletedProcess:
    return subprocess.run(command(folder, *overrides), cwd=ROOT, capture_output=True, text=True, timeout=600)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


def logged(folder: Path, tag: str) -> dict[int, float]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    return {event.step: event.value for event in events.Scalars(tag)}


def stop_in_mid_training(folder: Path, number: int) -> tuple[int, int]:
    """Start a run, send it the signal after its second checkpoint; return (exit status, steps of its checkpoint)."""
    checkpoint = folder / "checkpoints" / "last.ckpt"
    with open(os.devnull, "w") as nowhere:
        # Slow enough that the signal lands in mid-training.
        process = subprocess.Popen(command(folder, "trainer.log_every=1"), cwd=ROOT, stdout=nowhere, stderr=nowhere)
        deadline = time.time() + 500
        first = 0.0
        while process.poll() is None and time.time() < deadline:
            if checkpoint.exists():
                modified = checkpoint.stat().st_mtime
                first = first or modified
                if modified > first:
                    process.send_signal(number)
                    break
            time.sleep(0.005)
        process.wait(timeout=120)
    return process.returncode, torch.load(checkpoint, weights_only=True)["global_step"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A run that nothing disturbs."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    result = run(folder)
    assert result.returncode == 0, result.stderr[-3000:]
    return folder


def test_a_run_leaves_everything_behind(whole):
    metrics = json.loads((whole / "metrics.json").read_text())
    assert metrics["train"]["tokens"] >= 60000
    assert metrics["metrics"]["solve/val"]["num"] == 16
    assert metrics["config"]["env"]["max_number"] == 9
    train = metrics["train"]
    assert 0 < train["useful_tokens_per_s"] < train["tokens_per_s"]
    assert 0 < train["mfu"] < 1
    assert 0 <= train["data_share"] < 1
    assert train["peak_memory_gb"] > 0.05
    assert metrics["evaluation"]["rollouts"] == 32
    assert 0 < metrics["evaluation"]["rollout_seconds"] < metrics["evaluation"]["seconds"]
    for name in ("config.yaml", "rollouts_val.npz", "rollouts_val_target.npz", "checkpoints/last.ckpt"):
        assert (whole / name).is_file()
    assert not list((whole / "checkpoints").glob(".partial*"))


def test_tensorboard_holds_losses_rates_texts_figures_and_hparams(whole):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(whole), size_guidance={"scalars": 0, "tensors": 0, "images": 0}).Reload()
    tags = events.Tags()
    losses = ["loss/all", "loss/kind/generate", "loss/kind/backtrack", "loss_by_tokens/all"]
    rates = ["solve/probe", "hp/solve/val", "hp/solve/val_target", "solve_by_tokens/val"]
    speed = ("tokens_per_s", "useful_tokens_per_s", "data_share", "mfu", "peak_memory_gb")
    for tag in (*losses, *rates, *(f"throughput/{name}" for name in speed)):
        assert tag in tags["scalars"], tag
    assert "budget_curve" in tags["images"]
    assert any(tag.startswith("rollouts/0") for tag in tags["tensors"])
    assert "_hparams_/session_start_info" in str(events.summary_metadata)
    assert any(tag.startswith("custom_scalars") for tag in tags["tensors"])
    for tags_of_chart in (chart[1] for charts in LAYOUT.values() for chart in charts.values()):
        for pattern in tags_of_chart:
            assert any(re.match(pattern, tag) for tag in tags["scalars"]), pattern
    hp = [event.value for event in events.Scalars("hp/solve/val")]
    assert len(hp) == 2  # a true step-0 validation, then the final one
    metrics = json.loads((whole / "metrics.json").read_text())["metrics"]
    assert hp[-1] == pytest.approx(metrics["solve/val"]["value"])
    single = [tag for tag in tags["scalars"] if len(events.Scalars(tag)) == 1]
    assert all(tag.startswith(("solve_by_tokens/val", "epoch")) for tag in single), "a chart of one point"
    assert len(tags["scalars"]) > 15
    (told,) = events.Tensors("result/metrics/text_summary")
    text = told.tensor_proto.string_val[0].decode()
    assert all(f"| {name} | " in text for name in metrics)
    assert "result/table/text_summary" in tags["tensors"]


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGKILL, -9), pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow)],
    ids=["SIGKILL", "Ctrl-C"],
)
def test_a_stopped_run_continues_to_the_same_weights(whole, tmp_path, number, status):
    returned, steps = stop_in_mid_training(tmp_path / "stopped", number)
    assert returned == status
    total = torch.load(whole / "checkpoints" / "last.ckpt", weights_only=True)["global_step"]
    assert 0 < steps < total
    result = run(tmp_path / "resumed", f"resume={tmp_path / 'stopped'}")
    assert result.returncode == 0, result.stderr[-3000:]
    expected, actual = weights(whole), weights(tmp_path / "resumed")
    assert expected.keys() == actual.keys()
    for key, tensor in expected.items():
        assert torch.equal(tensor, actual[key]), key
    first, second = (json.loads((f / "metrics.json").read_text()) for f in (whole, tmp_path / "resumed"))
    assert first["metrics"]["solve/val"] == second["metrics"]["solve/val"]
    assert first["train"]["tokens"] == second["train"]["tokens"]


@pytest.mark.slow
def test_an_unfinished_run_goes_on_in_its_own_folder(whole, tmp_path):
    """Killed while evaluating: the same command trains nothing again and measures the same."""
    folder = shutil.copytree(whole, tmp_path / "copy")
    (folder / "metrics.json").unlink()
    result = run(folder)
    assert result.returncode == 0, result.stderr[-3000:]
    assert "continuing an earlier attempt" in (folder / "train.log").read_text()
    first, second = (json.loads((f / "metrics.json").read_text()) for f in (whole, folder))
    assert first["metrics"] == second["metrics"]
    assert all(first["train"][key] == second["train"][key] for key in ("tokens", "problems", "steps", "dropped"))
    assert all(torch.equal(tensor, weights(folder)[key]) for key, tensor in weights(whole).items())
    assert not (folder / ".earlier").exists()
    result = run(folder, "seed=2", "data.train_tokens=6000")  # another run: what is there is kept
    assert result.returncode == 0, result.stderr[-3000:]
    assert json.loads((folder / ".earlier" / "0" / "metrics.json").read_text()) == second
    assert json.loads((folder / "metrics.json").read_text())["seed"] == 2


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_processes_continue_a_killed_run_of_one(whole, tmp_path, strategy):
    """The same batches split over two ranks give the same weights but for rounding, and one checkpoint file."""
    stop_in_mid_training(tmp_path / "stopped", signal.SIGKILL)
    result = run(
        tmp_path / "two", f"trainer={strategy}", "trainer.accelerator=cpu", f"resume={tmp_path / 'stopped'}", *SMOKE[1:]
    )
    assert result.returncode == 0, result.stderr[-3000:]
    assert result.stdout.count("run folder") == 1
    expected, actual = weights(whole), weights(tmp_path / "two")
    assert expected.keys() == actual.keys()
    for key, tensor in expected.items():
        torch.testing.assert_close(actual[key], tensor, rtol=1e-3, atol=1e-3)
    first, second = (json.loads((f / "metrics.json").read_text())["train"] for f in (whole, tmp_path / "two"))
    assert (first["tokens"], first["steps"]) == (second["tokens"], second["steps"])
    one, two = logged(whole, "loss/all"), logged(tmp_path / "two", "loss/all")
    assert len(two) >= 2
    for step, loss in two.items():
        assert loss == pytest.approx(one[step], rel=1e-3), step


def test_a_multirun_ends_with_the_comparison(tmp_path):
    arms = ["data.train_tokens=6000", "stream.view=full,solution_path", "seed=1,2", "trainer.probe_every=0"]
    result = subprocess.run(
        [sys.executable, "train.py", "-m", *SMOKE, *arms, f"hydra.sweep.dir={tmp_path}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    table = (tmp_path / "comparison.md").read_text()
    assert "full" in table
    assert "solution_path" in table
    assert "solution_path" in result.stdout
    for name in ("comparison.csv", "comparison.png", "budget_curves.png"):
        assert (tmp_path / name).stat().st_size > 100
