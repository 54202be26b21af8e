"""A run that is trained in seconds on stars of two arms, and solves some of them; and one that is not trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from sos.compose import compose
from sos.config import to_dict
from sos.datasets.source import dialect_hash
from sos.model.gpt import GPT
from sos.runs.folder import RunFolder
from sos.runs.provenance import Origin
from sos.system import build_system, gpt_config
from sos.train.precision import DTYPES
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


def untrained(folder: Path, *overrides: str, task: Sequence[str] = (*TASK, *MODEL, *LENGTH)) -> RunFolder:
    """Write the checkpoint of a run that was not trained, of any numbers; `task` in the place of the stars."""
    config = compose([*task, *overrides])
    system = build_system(config)
    torch.manual_seed(0)
    precision = config.trainer.precision
    model = GPT(gpt_config(config, len(system.dialect.vocab)))
    model.to(torch.float32 if precision == "bf16-mixed" else DTYPES[precision])
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    home = RunFolder(folder)
    home.checkpoint.parent.mkdir(parents=True)
    record = {
        "config": to_dict(config),
        "vocabulary": system.dialect.vocab.to_json(),
        "dialect_hash": dialect_hash(system.dialect),
    }
    state = {f"model.{name}": weight for name, weight in model.state_dict().items()}
    content = {"hyper_parameters": record, "state_dict": state, "global_step": 7}
    torch.save(content | {"StreamDataModule": {"tokens": 1000, "streams": 50}}, home.checkpoint)
    return home
