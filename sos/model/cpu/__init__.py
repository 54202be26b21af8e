"""Kernels that train and roll out a float32 GPT on a CPU, behind three functions.

`sos.model.gpt` is the model; what is here computes the same faster, and nothing else needs it. Importing this package
imports no kernel: each function does, the first time that it is needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

if TYPE_CHECKING:
    from sos.model.cpu.passes import Passes


def available(model: Any) -> bool:
    """Whether the kernels compute what the modules of a GPT would, and `model.kernels` lets them.

    So it is for float32 weights on the CPU, without autocast, without dropout (in training), without hooks, and where
    no module was replaced by one of another kind. A call looks at what can have changed and takes a few microseconds.
    With `model.kernels=cpu`, raises UserError that says why they do not.
    """
    kernels = model.config.kernels
    if kernels == "torch" or (kernels == "auto" and model.embed.weight.device.type != "cpu"):
        return False
    from sos.model.cpu.watch import obstacle, required

    found = obstacle(model)
    if found and kernels == "cpu":
        raise required(found)
    return not found


def forward(
    model: Any, tokens_BT: Tensor, positions_BT: Tensor, doc_ids_BT: Tensor, targets_BT: Tensor | None = None
) -> Tensor:
    """Return what `GPT.forward` does for packed rows: logits (B, T, V), or the losses of targets, (B, T)."""
    import torch

    from sos.model.cpu import pieced, whole

    if targets_BT is not None and not torch.compiler.is_compiling():
        rows = whole.Batch(tokens_BT, positions_BT.expand(tokens_BT.shape), doc_ids_BT, targets_BT)
        return whole.token_losses(model, rows)
    x_BTC = stream(model, tokens_BT, positions_BT, doc_ids_BT)
    if targets_BT is None:
        return model.head(model.norm(x_BTC))
    return pieced.token_losses(x_BTC, model.norm.weight, model.head.weight, targets_BT)


def stream(model: Any, tokens_BT: Tensor, positions_BT: Tensor, doc_ids_BT: Tensor) -> Tensor:
    """Return the residual stream of packed rows behind the last block, (B, T, C)."""
    from sos.model.attention import rotary
    from sos.model.cpu import pieced

    cos, sin = rotary(positions_BT, model.config.head_dim, model.config.rope_theta)
    x_BTC = model.embed(tokens_BT)
    for module in model.blocks:
        x_BTC = pieced.block(module, x_BTC, cos, sin, doc_ids_BT)
    return x_BTC


def engines(model: Any, num_slots: int, num_positions: int, eos_id: int, temperature: float) -> list[Passes]:
    """Return what rolls out a GPT, one `Passes` for each thread of torch; about `num_slots` slots in all at most."""
    from sos.model.cpu.passes import passes

    return passes(model, num_slots, num_positions, eos_id, temperature)
