"""Tests of devices and precisions: what trains in bfloat16, and what decodes in it."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from hydra import compose, initialize_config_dir
from places import CONF
from torch import nn
from torch.utils.data import DataLoader

from sos.compose import register, to_object
from sos.config import PRECISIONS, Config, OptimConfig, TrainerConfig
from sos.judge.evaluation import Evaluation, evaluate
from sos.model.gpt import GPT
from sos.model.shape import GPTConfig
from sos.runs.provenance import Origin
from sos.train import plan, pretrain
from sos.train.lit import LitGPT
from sos.train.precision import DTYPES, decoding, set_matmul_precision

VOCAB, CONTEXT = 23, 16


def batches(number: int) -> list[dict]:
    """Return batches of one row each, in which token t + 1 follows token t."""
    result = []
    for start in range(number):
        tokens = (torch.arange(CONTEXT + 1) + start)[None] % VOCAB
        kinds = doc_ids = torch.zeros(1, CONTEXT, dtype=torch.int32)
        positions = torch.arange(CONTEXT)[None]
        rows = {"tokens": tokens[:, :-1], "targets": tokens[:, 1:], "positions": positions}
        counts = {"num_targets": CONTEXT, "progress": start / number}
        result.append(rows | {"doc_ids": doc_ids, "kinds": kinds} | counts)
    return result


def trained(folder: Path, precision: str, clip: float | None) -> tuple[LitGPT, float]:
    """Return a model after some steps, and the norm of the gradients that its last step took."""
    torch.manual_seed(0)
    shape = GPTConfig(VOCAB, CONTEXT, num_layers=1, num_heads=2, width=32)
    lit = LitGPT(shape, OptimConfig(), seed=0, log_every=10**9, record={})
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    trainer = L.Trainer(
        accelerator="cpu",
        max_epochs=1,
        precision=precision,  # type: ignore[arg-type]
        gradient_clip_val=clip,
        default_root_dir=folder,
        **quiet,  # type: ignore[arg-type]
    )
    trainer.fit(lit, train_dataloaders=DataLoader(batches(30), batch_size=None))  # type: ignore[arg-type]
    gradients = [p.grad for p in lit.parameters() if p.grad is not None]
    return lit, float(nn.utils.get_total_norm(gradients))


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_gradients_of_a_fused_optimizer_are_clipped(tmp_path: Path, precision: str) -> None:
    lit, free = trained(tmp_path, precision, None)
    assert {p.dtype for p in lit.parameters()} == {torch.float32}
    _, clipped = trained(tmp_path, precision, free / 10)
    assert clipped <= free / 9.9


def test_a_gpu_decodes_in_the_precision_of_training() -> None:
    gpu, cpu = torch.device("cuda"), torch.device("cpu")
    with pytest.warns(UserWarning, match="CUDA is not available") if not torch.cuda.is_available() else nullcontext():
        context = decoding(gpu, "bf16-mixed")
    assert (context.device, context.fast_dtype) == ("cuda", torch.bfloat16)
    for device, precision in ((cpu, "bf16-mixed"), (cpu, "32-true"), (gpu, "bf16-true")):
        with decoding(device, precision):
            assert not torch.is_autocast_enabled(device.type)


@pytest.mark.parametrize(
    ("accelerator", "precision", "expected"),
    [("gpu", "bf16-mixed", "high"), ("gpu", "32-true", "highest"), ("cpu", "bf16-mixed", "highest")],
)
def test_products_are_exact_where_weights_are(accelerator: str, precision: str, expected: str) -> None:
    try:
        set_matmul_precision(TrainerConfig(accelerator=accelerator, precision=precision))
        assert torch.get_float32_matmul_precision() == expected
    finally:
        torch.set_float32_matmul_precision("highest")


def test_every_precision_has_its_dtype_and_another_one_is_refused() -> None:
    assert set(DTYPES) == set(PRECISIONS)
    with pytest.raises(ValueError, match=r"trainer\.precision must be one of .*got '16-mixed'"):
        TrainerConfig(precision="16-mixed")


def test_gpus_that_are_not_there_are_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan.CUDAAccelerator, "auto_device_count", lambda: 2)
    for devices in (1, 2):
        plan.check_devices(Config(trainer=TrainerConfig(accelerator="gpu", devices=devices)))
    plan.check_devices(Config(trainer=TrainerConfig(devices=8)))
    with pytest.raises(ValueError, match=r"trainer\.devices=4: this machine has 2"):
        plan.check_devices(Config(trainer=TrainerConfig(accelerator="gpu", devices=4)))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="trains on a GPU")
def test_what_was_trained_on_a_gpu_is_evaluated_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lightning leaves the model on the CPU, where the evaluation of a large one would take hours."""
    seen = []

    def record(model: GPT, *arguments: Any, **options: Any) -> Evaluation:
        seen.append((model.device.type, torch.is_autocast_enabled("cuda")))
        return evaluate(model, *arguments, **options)

    monkeypatch.setattr(pretrain, "evaluate", record)
    register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        overrides = ["experiment=smoke", "trainer=gpu", "trainer.compile=false", "trainer.batch_tokens=2048"]
        config = to_object(compose("config", overrides=overrides))
    pretrain.pretrain(config, tmp_path, Origin("gpu", {}))
    assert seen
    assert set(seen) == {("cuda", True)}
