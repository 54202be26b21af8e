"""Tests of whole runs in this process: what is refused, what a disk refuses, what diverges, and what goes on."""

from __future__ import annotations

import json
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from damaged_checkpoints import Door, fuzz
from places import ROOT

from sos.compose import compose
from sos.config import config_from_dict
from sos.datasets.source import build_source
from sos.errors import UserError
from sos.runs.checkpoint import load_checkpoint, load_model
from sos.runs.folder import RunFolder
from sos.runs.provenance import Origin
from sos.system import build_system
from sos.train.pretrain import AlreadyFinished, Interrupted, pretrain
from sos.train.stop import StopOnSignal
from sos.train.tensorboard import hyperparameters

TINY = ["experiment=smoke", "data.train_tokens=12000", "eval.num_problems=8", "eval.pass_k=[]", "trainer.log_every=1"]


def train(folder: Path, *overrides: str, again: bool = False) -> RunFolder:
    assert pretrain(compose([*TINY, *overrides]), folder, Origin("test"), again=again) is not None
    return RunFolder(folder)


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def content(folder: Path) -> dict[str, tuple[float, bytes]]:
    return {str(p): (p.stat().st_mtime, p.read_bytes()) for p in sorted(folder.rglob("*")) if p.is_file()}


def points(folder: Path, tag: str) -> dict[int, float]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    return {event.step: event.value for event in events.Scalars(tag)}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run that nothing disturbs; tests that write take a copy."""
    return train(tmp_path_factory.mktemp("finished") / "run")


@pytest.fixture
def copied(finished: RunFolder, tmp_path: Path) -> RunFolder:
    return RunFolder(Path(shutil.copytree(finished.path, tmp_path / "copied")))


@pytest.fixture
def stop_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Have SIGTERM arrive in a step."""
    plain = StopOnSignal.on_train_batch_end

    def choose(step: int) -> None:
        def stopped(self: StopOnSignal, trainer: Any, *arguments: Any) -> None:
            self.received = signal.SIGTERM if trainer.global_step == step else 0
            plain(self, trainer, *arguments)

        monkeypatch.setattr(StopOnSignal, "on_train_batch_end", stopped)

    return choose


REFUSED = [
    ("resume=/nonexistent", "resume=/nonexistent: no checkpoint there"),
    ("resume={run}", "it was trained with seed=1, this run has seed=5"),
    ("resume={damaged}", "damaged or cut short"),
    ("data.shards=/nonexistent", "data.shards"),
    ("trainer=gpu", "trainer.accelerator=gpu"),
    ("trainer.batch_tokens=64", "trainer.batch_tokens=64 gives 0 rows"),
    ("data.context=16", "no stream"),
    ("data.length_start=0.02 data.length_warmup=0.5", "data.length_start=0.02"),
    ("stream.dialect=/nonexistent.yaml", "stream.dialect"),
]


def test_a_refused_run_writes_removes_and_moves_nothing(copied: RunFolder, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.ckpt"
    damaged.write_bytes(copied.checkpoint.read_bytes()[:5000])
    before = content(copied.path)
    assert len(before) > 8
    for words, complaint in REFUSED:
        overrides = words.format(run=copied.path, damaged=damaged).split()
        for folder in (copied.path, tmp_path / "new"):
            with pytest.raises(UserError, match=complaint):
                train(folder, "seed=5", *overrides)
            assert not (tmp_path / "new").exists(), words
        assert content(copied.path) == before, words


def test_a_checkpoint_that_cannot_be_continued_is_refused_before_anything_is_moved(
    copied: RunFolder, tmp_path: Path
) -> None:
    """Missing states would be made anew in silence: the training data would start again."""
    whole, before = torch.load(copied.checkpoint, weights_only=True), content(copied.path)
    keys = ("optimizer_states", "StreamDataModule", "loops", "global_step", "callbacks", "pytorch-lightning_version")
    for key in keys:
        torch.save({name: value for name, value in whole.items() if name != key}, tmp_path / "less.ckpt")
        with pytest.raises(UserError, match=rf"less\.ckpt cannot be continued: .*{key}"):
            train(copied.path, f"resume={tmp_path / 'less.ckpt'}", "eval.num_problems=4")
    after = {path: found for path, found in content(copied.path).items() if not path.endswith(".lock")}
    assert after == before


def test_the_same_run_again_says_that_it_is_finished(copied: RunFolder) -> None:
    before = content(copied.path)
    with pytest.raises(AlreadyFinished, match=r"holds the result of this run already.*hydra\.run\.dir=FOLDER"):
        train(copied.path)
    assert content(copied.path) == before
    old = read(copied.metrics)
    train(copied.path, again=True)
    assert read(copied.path / ".earlier" / "0" / "metrics.json") == old
    assert read(copied.metrics)["metrics"] == old["metrics"]


def test_a_finished_run_goes_on_in_its_own_folder_with_another_evaluation(copied: RunFolder) -> None:
    old, weights = read(copied.metrics), load_checkpoint(copied.checkpoint).state_dict
    train(copied.path, f"resume={copied.path}", "eval.num_problems=4")
    new = read(copied.metrics)
    assert new["metrics"]["solve/val"]["num"] == 4
    assert new["train"]["steps"] == old["train"]["steps"]
    earlier = RunFolder(copied.path / ".earlier" / "0")
    assert read(earlier.metrics) == old
    for checkpoint in (copied.checkpoint, earlier.checkpoint):
        now = load_checkpoint(checkpoint).state_dict
        assert now.keys() == weights.keys()
        assert all(torch.equal(now[name], weights[name]) for name in weights)


def test_an_interrupted_run_counts_and_looks_as_an_undisturbed_one(
    finished: RunFolder, tmp_path: Path, stop_at: Callable[[int], None]
) -> None:
    total = read(finished.metrics)["train"]["steps"]
    assert total >= 6
    spent = []
    for step in (3, 5, 0):
        stop_at(step)
        threads = f"trainer.num_threads={step or 1}"  # which is no other run
        if step:
            with pytest.raises(Interrupted, match="continue with: resume="):
                train(tmp_path, threads)
            states = torch.load(RunFolder(tmp_path).checkpoint, weights_only=True)["callbacks"]
            spent.append(states["Throughput"]["seconds"])
        else:
            train(tmp_path, threads)
    whole, parts = (read(folder.metrics)["train"] for folder in (finished, RunFolder(tmp_path)))
    assert all(whole[key] == parts[key] for key in ("tokens", "problems", "dropped", "steps", "flops"))
    assert 0 < spent[0] < spent[1] < parts["seconds"]
    assert parts["data_seconds"] < parts["seconds"]
    probes = points(finished.path, "solve/probe")
    assert len(probes) == 3
    assert points(tmp_path, "solve/probe") == probes
    a, b = (load_checkpoint(folder.checkpoint).state_dict for folder in (finished, RunFolder(tmp_path)))
    assert all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("overrides", [["optim.lr=1e6"], ["optim.lr=1e6", "optim=adamw", "optim.grad_clip=0"]], ids=str)
def test_a_training_that_diverges_stops_with_the_step_and_the_key(tmp_path: Path, overrides: list[str]) -> None:
    slow = ["data.train_tokens=60000", "optim.warmup=0.5", "trainer.checkpoint_every=1", "trainer.probe_every=0"]
    with pytest.raises(UserError, match=r"optim\.lr=1.* is not finite at step \d+, the training diverged") as told:
        train(tmp_path, *slow, *overrides)
    folder = RunFolder(tmp_path)
    assert folder.failure_reason() == str(told.value)
    assert not folder.metrics.exists()
    if "last good" in str(told.value):
        assert load_checkpoint(folder.checkpoint).train["steps"] > 0  # its weights are finite
    else:
        assert not folder.checkpoint.exists()


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("size", [1_000, 2_500, 5_000, 20_000, 100_000])
def test_a_full_disk_is_one_line_with_the_file(tmp_path: Path, size: int) -> None:
    """A limit on the size of files stands for the disk; files of growing size meet it: config, events, checkpoint."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        with pytest.raises(UserError, match=rf"cannot write .*{tmp_path}") as told:
            train(tmp_path / "run", "trainer.probe_every=0")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "\n" not in str(told.value)
    left = [
        path.name for path in (tmp_path / "run").rglob("*") if "partial" in path.name or path.name == "metrics.json"
    ]
    assert left == []
    assert not RunFolder(tmp_path / "run").checkpoint.exists()


def test_hyperparameters_are_the_same_keys_of_the_same_types_in_all_runs() -> None:
    words = [
        "search=dfs",
        "search=beam",
        "search=best_first",
        "search=paper_mixture",
        "eval.max_tokens=9",
        "data.shards=x",
        "resume=y",
        *(f"experiment={name}" for name in ("path_star", "layered", "sudoku", "maze", "sat", "sokoban")),
    ]
    found = [hyperparameters(compose([word])) for word in words]
    kinds = [{key: type(value) for key, value in run.items()} for run in found]
    assert len(kinds) == 13
    assert all(kind == kinds[0] for kind in kinds)
    assert len({run["env.name"] for run in found}) == 7
    assert found[0]["env.num_arms"] == -1
    assert set(kinds[0].values()) == {bool, int, float, str}
    assert [run["eval.max_tokens"] for run in found][3:5] == [-1, 9]
    assert len({run["search.strategies"] for run in found}) == 3


def test_help_loads_neither_torch_nor_numba() -> None:
    code = (
        "import sys; sys.argv[1:] = ['--help']\n"
        "from sos.commands.train import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print('LOADED', sorted({'torch', 'numba', 'lightning', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stdout.rstrip().endswith("LOADED []"), done.stdout[-300:] + done.stderr[-2000:]


def test_damaged_checkpoints_are_refused_by_name_or_load_right(finished: RunFolder, tmp_path: Path) -> None:
    """More of them: tests/bench/fuzz_checkpoints.py."""
    door = Door(compose(TINY), finished.path)
    counts = fuzz(door, finished.checkpoint, tmp_path / "damaged.ckpt", seed=1, num=60)
    assert sum(counts.values()) == 60
    assert counts["refused"] > 35


def test_a_run_with_dropout_trains_and_goes_on_with_the_same_noise(
    tmp_path: Path, stop_at: Callable[[int], None]
) -> None:
    """The noise of a step comes from the step, so that a run that was stopped ends with the same weights."""
    words = ("model.dropout=0.2", "eval.num_problems=2")
    stop_at(-1)
    whole = train(tmp_path / "whole", *words)
    stop_at(2)
    with pytest.raises(Interrupted):
        train(tmp_path / "stopped", *words)
    stop_at(-1)
    gone_on = train(tmp_path / "stopped", *words)
    weights = [load_checkpoint(run.checkpoint).state_dict for run in (whole, gone_on)]
    assert len(weights[0]) > 5
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_the_held_out_loss_is_seen_and_changes_nothing(finished: RunFolder, tmp_path: Path) -> None:
    run = train(tmp_path / "run", "trainer.val_every=1", "trainer.val_problems=40", "trainer.profiler=simple")
    before, after = (load_checkpoint(place.checkpoint) for place in (finished, run))
    assert len(after.state_dict) > 10
    assert all(torch.equal(weight, after.state_dict[name]) for name, weight in before.state_dict.items())
    assert read(run.metrics)["metrics"] == read(finished.metrics)["metrics"]
    assert read(run.path / "metrics.json")["config_hash"] != read(finished.metrics)["config_hash"]
    steps = read(run.metrics)["train"]["steps"]
    config = config_from_dict(after.config)
    system = build_system(config)
    model = load_model(after, system).eval()
    for split in ("val", "val_target"):
        found = points(run.path, f"loss/{split}")
        assert list(found) == list(range(steps + 1))
        assert found[steps] < found[0]
        chunk = build_source(config, system, split).chunk(0, 40)
        assert found[steps] == pytest.approx(naive_loss(model, chunk), rel=1e-4)
    assert len(points(run.path, "loss_by_tokens/val")) == len(points(run.path, "loss/val"))
    assert [path.name for path in run.path.glob("*profile*.txt")]


def naive_loss(model: Any, chunk: Any) -> float:
    """The mean loss behind the prompts, stream by stream."""
    total, num = 0.0, 0
    for start, stop, prompt in zip(chunk.offsets[:-1], chunk.offsets[1:], chunk.prompts, strict=True):
        ids = torch.from_numpy(chunk.tokens[start:stop].astype(np.int64))[None]
        with torch.no_grad():
            losses = torch.nn.functional.cross_entropy(model(ids)[0, :-1], ids[0, 1:], reduction="none")
        total += float(losses[prompt - 1 :].sum())
        num += len(losses) - prompt + 1
    assert num > 100
    return total / num
