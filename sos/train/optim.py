"""The optimizers: AdamW, and Muon for the matrices inside the blocks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from sos.config import OptimConfig
from sos.model.cpu.threads import share_out

# The quintic of Jordan et al. 2024 (Muon): pushes all singular values of a matrix of spectral norm at most 1 towards 1.
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
NEWTON_SCHULZ_STEPS = 5
# Matrices of a shape that one thread of a CPU takes. A block has four shapes, of about equal work.
TOGETHER = 4


def orthogonalize(matrices_NRC: Tensor) -> Tensor:
    """Return the matrices with their singular values moved to about 1 (0.7 to 1.2), same shape and dtype.

    All matrices at once and, other than `torch.optim.Muon`, in their own dtype: a CPU without bfloat16 units emulates
    it.
    """
    a, b, c = NEWTON_SCHULZ
    tall = matrices_NRC.shape[1] > matrices_NRC.shape[2]
    x = matrices_NRC.mT if tall else matrices_NRC
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    coarse = x.dtype == torch.bfloat16 or torch.get_float32_matmul_precision() != "highest"
    if coarse or x.shape[1] == x.shape[2]:
        for _ in range(NEWTON_SCHULZ_STEPS):
            gram = x @ x.mT
            x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
        return x.mT if tall else x
    # The same steps in the smaller square, a third cheaper: the factors are polynomials of one gram matrix, hence
    # commute. But they grow to 500 where singular values are small: products in TensorFloat-32 were off by 5 to 24%
    # so, for 0.1% above.
    gram, product = x @ x.mT, None
    for step in range(NEWTON_SCHULZ_STEPS):
        factor = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        factor.diagonal(dim1=1, dim2=2).add_(a)
        product = factor if product is None else factor @ product
        if step + 1 < NEWTON_SCHULZ_STEPS:
            gram = factor @ gram @ factor
    x = product @ x
    return x.mT if tall else x


def whole(tensor: Tensor) -> Tensor:
    """Return a tensor that FSDP has sharded as a whole one, and any other as it is. Every rank must call it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def shard_like(tensor: Tensor, other: Tensor) -> Tensor:
    """Return this rank's part of a whole tensor, sharded as `other` is."""
    if not isinstance(other, DTensor):
        return tensor
    return distribute_tensor(tensor, other.device_mesh, other.placements, src_data_rank=None)


class Muon(torch.optim.AdamW):
    """AdamW whose groups with `muon=True` take orthogonalized Nesterov momentum instead (Jordan et al. 2024).

    Updates are scaled by 0.2 * sqrt(larger side), the size of AdamW's (Liu et al. 2025, section 2.2), so that one
    learning rate and one weight decay serve all groups. Matrices of one shape are orthogonalized together, sharded
    ones on every rank; on a CPU threads share them out.
    """

    def __init__(self, groups: list[dict[str, Any]], *, momentum: float, **adamw: Any) -> None:
        super().__init__([{"muon": False, "momentum": momentum} | group for group in groups], **adamw)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step; `closure` recomputes the loss and the gradients."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        groups = self.param_groups
        for group in groups:
            if group["muon"]:
                self._step_matrices(group)
        self.param_groups = [group for group in groups if not group["muon"]]
        try:
            super().step()
        finally:
            self.param_groups = groups
        return loss

    def _step_matrices(self, group: dict[str, Any]) -> None:
        by_shape: dict[torch.Size, list[tuple[Tensor, Tensor, Tensor]]] = defaultdict(list)
        for parameter in group["params"]:
            if parameter.grad is not None:
                state = self.state[parameter]
                if "momentum" not in state:
                    # AdamW looks for a step count in every state that it loads.
                    state["step"], state["momentum"] = torch.zeros(()), torch.zeros_like(parameter)
                state["step"] += 1
                by_shape[parameter.shape].append((parameter, parameter.grad, state["momentum"]))
        plain = all(type(p) is nn.Parameter and p.device.type == "cpu" for p in group["params"])
        size = TOGETHER if plain else max(1, len(group["params"]))
        pieces = [found[i : i + size] for found in by_shape.values() for i in range(0, len(found), size)]
        if plain:
            share_out(lambda members: _step_together(group, members), pieces)
        else:
            for members in pieces:
                _step_together(group, members)


def _step_together(group: dict[str, Any], members: list[tuple[Tensor, Tensor, Tensor]]) -> None:
    """Take a step with matrices of one shape: parameters, gradients and momenta."""
    parameters, gradients, buffers = (list(column) for column in zip(*members, strict=True))
    torch._foreach_lerp_(buffers, gradients, 1 - group["momentum"])
    directions = torch._foreach_lerp(gradients, buffers, group["momentum"])
    orthogonal = orthogonalize(torch.stack([whole(direction) for direction in directions]))
    updates = [shard_like(u, p) for u, p in zip(orthogonal, parameters, strict=True)]
    torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
    torch._foreach_add_(parameters, updates, alpha=-group["lr"] * 0.2 * max(parameters[0].shape) ** 0.5)


def build_optimizer(model: nn.Module, blocks: nn.Module, config: OptimConfig, *, fused: bool) -> torch.optim.Optimizer:
    """Return the optimizer of `config` for all parameters of `model` that are trained; weight decay acts on matrices
    only.

    `blocks` holds the matrices that Muon takes; embedding, head and gains stay with AdamW.
    """
    adamw = {"lr": config.lr, "betas": (config.beta1, config.beta2), "fused": fused}
    inside = {p for p in blocks.parameters() if p.ndim == 2} if config.name == "muon" else set()
    parameters = [p for p in model.parameters() if p.requires_grad]
    decayed = [p for p in parameters if p.ndim >= 2 and p not in inside]
    groups: list[dict[str, Any]] = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    if config.name == "adamw":
        return torch.optim.AdamW(groups, **adamw)  # type: ignore[arg-type]
    matrices = [p for p in parameters if p in inside]
    groups.append({"params": matrices, "weight_decay": config.weight_decay, "muon": True})
    return Muon(groups, momentum=config.momentum, **adamw)
