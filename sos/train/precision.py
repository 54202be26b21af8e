"""The precisions of `trainer.precision`: what a model computes in while it trains, and while it decodes."""

from __future__ import annotations

import torch

from sos.config import TrainerConfig

DTYPES = {"32-true": torch.float32, "64-true": torch.float64, "bf16-true": torch.bfloat16, "bf16-mixed": torch.bfloat16}


def set_matmul_precision(trainer: TrainerConfig) -> None:
    """Let products of float32 matrices (Muon's) use TensorFloat-32 where a GPU computes in bfloat16 anyway; exact
    elsewhere.
    """
    coarse = trainer.accelerator != "cpu" and DTYPES[trainer.precision] == torch.bfloat16
    torch.set_float32_matmul_precision("high" if coarse else "highest")


def decoding(device: torch.device, precision: str) -> torch.autocast:
    """Return the context in which a model trained in `precision` decodes on `device`.

    That of its training on a GPU, where bfloat16 halves the cache that every step reads; none on a CPU, whose kernels
    for decoding take float32.
    """
    mixed = precision == "bf16-mixed" and device.type != "cpu"
    return torch.autocast(device.type, torch.bfloat16, enabled=mixed)
