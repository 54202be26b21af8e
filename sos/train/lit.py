"""LitGPT: the thin Lightning module around `GPT`."""

from __future__ import annotations

import math
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from sos.config import OptimConfig
from sos.improve.critic import Critic
from sos.improve.objective import Objective
from sos.improve.teacher import Teacher
from sos.model.gpt import GPT
from sos.model.shape import GPTConfig
from sos.rng import fold, stream_key
from sos.trace import Event
from sos.train.optim import build_optimizer, whole


def rate_factor(optim: OptimConfig, progress: float) -> float:
    """Return the learning rate at a share of the training budget, as a factor of `optim.lr`."""
    if progress < optim.warmup:
        return (progress + 1e-3) / (optim.warmup + 1e-3)
    if optim.schedule == "constant":
        return 1.0
    left = max(0.0, (1.0 - progress) / max(1e-9, 1.0 - optim.warmup))
    shape = left if optim.schedule == "linear" else 0.5 * (1.0 - math.cos(math.pi * left))
    return optim.final_lr + (1.0 - optim.final_lr) * shape


def packed_loss(model: GPT, batch: dict[str, Any], world_size: int = 1) -> tuple[Tensor, Tensor]:
    """Return (loss, loss of each target (B, T)); the loss is the mean over the targets of all ranks together.

    Each rank scales its sum so that the mean of the ranks' gradients is the gradient of the whole batch.
    """
    losses_BT = model(batch["tokens"], batch["positions"], batch["doc_ids"], batch["targets"])
    return losses_BT.sum() * (world_size / max(1, batch["num_targets"])), losses_BT


def gathered(model: GPT) -> GPT:
    """Return the model with whole parameters: itself, or a copy if FSDP has sharded it. Every rank must call it."""
    if not any(isinstance(parameter, DTensor) for parameter in model.parameters()):
        return model
    weights = {key: whole(tensor) for key, tensor in model.state_dict().items()}
    copy = GPT(model.config).to(next(iter(weights.values())).device)
    copy.load_state_dict(weights)
    return copy


def _rekeyed(state: dict[str, Any], keys: dict[Any, Any]) -> dict[str, Any]:
    """Replace the keys of an optimizer's state dict that `keys` holds; FSDP's is empty on all ranks but the first."""
    if not state:
        return state
    return {
        "state": {keys.get(key, key): value for key, value in state["state"].items()},
        "param_groups": [
            group | {"params": [keys.get(key, key) for key in group["params"]]} for group in state["param_groups"]
        ],
    }


def dropout_seed(seed: int, rank: int, step: int) -> int:
    """Return what seeds a step's noise: nothing but the step and the rank, so that a resumed run draws the same."""
    return int(fold(np.uint64(fold(stream_key(seed, "dropout"), rank)), step))


class LitGPT(L.LightningModule):
    """Trains a GPT on packed rows. `hyper_parameters` of its checkpoints: `config` (plain dict) and `vocabulary`
    (JSON).
    """

    def __init__(
        self, gpt: GPTConfig, optim: OptimConfig, *, seed: int, log_every: int, record: dict[str, Any]
    ) -> None:
        super().__init__()
        self.save_hyperparameters(record, logger=False)
        self.optim = optim
        self.seed, self.log_every = seed, log_every
        self.model = GPT(gpt)
        self.objective: Objective | None = None  # of practice; None: `packed_loss`
        self.critic: Critic | None = None  # of `improve.loss=apa`
        self.teacher: Teacher | None = None  # of `improve.loss=distillation`
        self.start_weights: dict[str, Tensor] | None = None  # the weights at which a batch with `restarts` begins again

    def on_train_batch_start(self, batch: dict[str, Any], batch_idx: int) -> None:
        rate = self.optim.lr * rate_factor(self.optim, batch["progress"])
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = rate
        if batch.get("restarts") and self.start_weights is not None:
            self.model.load_state_dict(self.start_weights)
            self.trainer.optimizers[0].state.clear()
        if self.model.config.dropout > 0:
            torch.manual_seed(dropout_seed(self.seed, self.trainer.global_rank, self.global_step))

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, Any]:
        found: dict[str, Tensor] = {}
        if self.objective is None:
            loss, losses_BT = packed_loss(self.model, batch, self.trainer.world_size)
        else:
            loss, losses_BT, found = self.objective(self.model, batch)
            if "share" in batch:  # of several processes
                loss = loss * batch["share"]
        if (self.global_step + 1) % self.log_every == 0:
            self._log_losses(loss, losses_BT.detach(), batch)
        return {"loss": loss, "found": found}

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the norm of all gradients. Lightning would refuse: a fused optimizer could have float16 gradients to
        unscale.
        """
        if gradient_clip_val:
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            if self.critic is None:
                nn.utils.clip_grad_norm_(parameters, gradient_clip_val)
                return
            # The errors of values can be many times what the policy's loss is, and must not shrink its steps.
            for module in (self.model, self.critic):
                members = set(module.parameters())
                nn.utils.clip_grad_norm_([p for p in parameters if p in members], gradient_clip_val)

    def _log_losses(self, loss: Tensor, losses_BT: Tensor, batch: dict[str, Any]) -> None:
        self.log("loss/all", loss.detach(), sync_dist=True)
        self.log("optim/lr", self.trainer.optimizers[0].param_groups[0]["lr"])
        for event in Event:
            chosen = batch["kinds"] == int(event)
            if chosen.any():
                self.log(f"loss/kind/{event.name.lower()}", losses_BT[chosen].mean())

    def configure_model(self) -> None:
        """Shard the blocks under FSDP2; a no-op elsewhere."""
        mesh = getattr(self, "device_mesh", None)
        if mesh is None or getattr(self, "_sharded", False):
            return
        from torch.distributed.fsdp import fully_shard

        for block in self.model.blocks:
            fully_shard(block, mesh=mesh["data_parallel"])
        fully_shard(self.model, mesh=mesh["data_parallel"])
        self._sharded = True

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Key optimizer states by parameter names, as FSDP does, so that any strategy reads what another one wrote."""
        if "optimizer_states" not in checkpoint:  # the weights alone
            return
        renamed = dict(enumerate(self.optimized_names(self.trainer.optimizers[0])))
        checkpoint["optimizer_states"] = [_rekeyed(state, renamed) for state in checkpoint["optimizer_states"]]

    def optimized_names(self, optimizer: torch.optim.Optimizer) -> list[str]:
        """Return the names of the parameters of an optimizer, group by group."""
        names = {parameter: name for name, parameter in self.named_parameters()}
        return [names[p] for group in optimizer.param_groups for p in group["params"]]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        fused = getattr(self, "device_mesh", None) is None
        trained: nn.Module = self.model
        blocks: nn.Module = self.model.blocks
        if self.critic is not None:
            trained, blocks = nn.ModuleList([trained, self.critic]), nn.ModuleList([blocks, self.critic.blocks])
        optimizer = build_optimizer(trained, blocks, self.optim, fused=fused)
        numbers = {name: number for number, name in enumerate(self.optimized_names(optimizer))}
        optimizer.register_load_state_dict_pre_hook(lambda _, state: _rekeyed(state, numbers))
        return optimizer
