"""Small stages of practice, and the run that they begin with."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_run
import torch
from places import CONF

from sos.compose import compose
from sos.improve.rounds import Task
from sos.improve.rows import Kept
from sos.model.gpt import GPT
from sos.runs.checkpoint import load_checkpoint
from sos.runs.folder import RunFolder
from sos.runs.provenance import Origin
from sos.schema.improve import ImproveConfig
from sos.train.plan import Plan
from sos.train.pretrain import pretrain
from sos.train.stop import StopOnSignal

TASK = [*tiny_run.TASK, "eval.num_problems=8"]
MODEL = ["model.num_layers=1", "model.width=32", "model.num_heads=2"]
BASE = [*MODEL, "data.train_tokens=150000", "data.block=256", "trainer.probe_every=0.5"]
SMALL = ["improve.problems=16", "improve.rounds=3", "trainer.checkpoint_every=1"]
STEPS = ["improve.epochs=2", "improve.minibatches=2"]
ALGORITHMS = sorted(path.stem for path in (CONF / "improve").glob("*.yaml") if path.stem != "none")
BEHIND_HINTS = ("distill", "hinted")  # of the algorithms, those whose base needs the slot
SLOT = ["slot=hint", "slot.doses=[plan]", "data.context=96"]
DEEPER = ["model.num_layers=2", "data.train_tokens=200000", "trainer.probe_every=0"]


def train(folder: Path, *overrides: str) -> RunFolder:
    assert pretrain(compose([*TASK, *overrides]), folder, Origin("test")) is not None
    return RunFolder(folder)


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def weights(run: RunFolder) -> dict[str, torch.Tensor]:
    return load_checkpoint(run.checkpoint).state_dict


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    assert a.keys() == b.keys()
    assert len(a) > 5
    return all(torch.equal(a[name], b[name]) for name in a)


def points(folder: Path) -> dict[str, dict[int, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    return {tag: {e.step: e.value for e in events.Scalars(tag)} for tag in events.Tags()["scalars"]}


def options_of(**changes: Any) -> ImproveConfig:
    return replace(ImproveConfig(loss="clip", rounds=4, problems=2, group=4), **changes)


def random_kept(seed: int, num: int, context: int, vocab: int) -> Kept:
    rng = np.random.default_rng(seed)
    prompts = rng.integers(1, 9, num)
    lengths = prompts + rng.integers(1, context - 9, num)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    total = int(offsets[-1])
    old, ref = (-rng.random(total).astype(np.float32) for _ in range(2))
    return Kept(rng.integers(1, vocab, total), offsets, prompts, rng.normal(size=num).astype(np.float32), old, ref)


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run whose model writes whole streams and guesses."""
    return train(tmp_path_factory.mktemp("base") / "run", *BASE)


@pytest.fixture(scope="session")
def slotted(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run whose model solves one problem in eight, and four in five behind a plan."""
    return train(tmp_path_factory.mktemp("slotted") / "run", *BASE, *SLOT, *DEEPER)


@pytest.fixture(scope="session")
def plan(base: RunFolder) -> Plan:
    return Plan.of(compose([*TASK, f"start={base.path}", "improve=grpo", *SMALL]))


@pytest.fixture
def model(plan: Plan) -> GPT:
    return plan.reference().requires_grad_(True)


def task(plan: Plan, **changes: Any) -> Task:
    import contextlib

    options = replace(plan.config.improve, **changes)
    return Task(plan.system, options, plan.config.seed, 64, lambda device: contextlib.nullcontext())


@pytest.fixture
def stop_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Have SIGTERM arrive in a step."""
    plain = StopOnSignal.on_train_batch_end

    def choose(step: int) -> None:
        def stopped(self: StopOnSignal, trainer: Any, *arguments: Any) -> None:
            if trainer.global_step == step:
                self.received = 15
            plain(self, trainer, *arguments)

        monkeypatch.setattr(StopOnSignal, "on_train_batch_end", stopped)

    return choose
