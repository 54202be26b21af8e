"""A run that is trained in seconds on stars of two arms, and solves some of them."""

from __future__ import annotations

from pathlib import Path

from sos.compose import compose
from sos.runs.folder import RunFolder
from sos.runs.provenance import Origin
from sos.train.pretrain import pretrain

TASK = [
    "experiment=path_star",
    "env.num_arms=2",
    "env.arm_nodes=3",
    "env.min_arm_nodes=0",
    "env.num_labels=8",
    "stream.whole_max=9",
    "data.context=64",
    "trainer.log_every=1",
    "trainer.probe_every=0",
    "trainer.num_threads=1",
    "eval.num_problems=64",
    "eval.pass_k=[]",
    "eval.num_rollout_texts=0",
]
MODEL = ["model.num_layers=2", "model.width=32", "model.num_heads=2", "optim.lr=0.01", "trainer.batch_tokens=512"]
LENGTH = ["data.train_tokens=100000", "data.block=256"]


def train(folder: Path, *overrides: str) -> RunFolder:
    """Train a run of the task in a folder; `overrides` come last."""
    assert pretrain(compose([*TASK, *MODEL, *LENGTH, *overrides]), folder, Origin("tiny")) is not None
    return RunFolder(folder)
