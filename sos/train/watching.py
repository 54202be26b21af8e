"""Callbacks that act on what is measured in mid-training, and the moving average of the weights."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor

from sos.schema.callbacks import CallbacksConfig
from sos.train.callbacks import callbacks_of, may_stop

log = logging.getLogger(__name__)
Listener = Callable[[L.Trainer, L.LightningModule, dict[str, float]], None]


BEST = "best.ckpt"  # beside the last checkpoint


def watching(options: CallbacksConfig, model: torch.nn.Module, best: Path) -> list[L.Callback]:
    """Return the callbacks of a run, in the order in which they act."""
    found: list[L.Callback] = [] if options.best is None else [KeepBest(options.best, best)]
    found += [] if options.stop is None else [StopEarly(options.stop, options.patience)]
    return found + ([Average(options.ema, model)] if options.ema else [])


class Watch(L.Callback):
    """Knows the best value of a metric so far: the least of a loss, the largest of a rate; the first of equal ones."""

    def __init__(self, metric: str) -> None:
        self.metric = metric
        self.looks, self.best, self.since = 0, 0.0, 0  # looks so far, best value, looks since then

    def is_better(self, values: dict[str, float]) -> bool:
        """Count a look; tell whether it found a better value. Not every look measures the metric."""
        if self.metric not in values:
            return False
        value = values[self.metric]
        better = not self.looks or (value < self.best if self.metric.startswith("loss/") else value > self.best)
        self.looks += 1
        self.best, self.since = (value, 0) if better else (self.best, self.since + 1)
        return better

    def state_dict(self) -> dict[str, Any]:
        return {"looks": self.looks, "best": float(self.best), "since": self.since}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.looks, self.best, self.since = state_dict["looks"], state_dict["best"], state_dict["since"]


class KeepBest(Watch):
    """Writes the weights whenever the metric is better than before, without what a training needs to go on."""

    def __init__(self, metric: str, path: Path) -> None:
        super().__init__(metric)
        self.path = path

    def measured(self, trainer: L.Trainer, pl_module: L.LightningModule, values: dict[str, float]) -> None:
        """Take what was just measured; on all ranks."""
        if self.is_better(values):
            trainer.save_checkpoint(self.path, weights_only=True)


class StopEarly(Watch):
    """Ends the training behind so many looks without a better value; the evaluation follows as at the end."""

    def __init__(self, metric: str, patience: int) -> None:
        super().__init__(metric)
        self.patience = patience
        self.ended_early = False

    def measured(self, trainer: L.Trainer, pl_module: L.LightningModule, values: dict[str, float]) -> None:
        """Take what was just measured; on all ranks."""
        self.is_better(values)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self.since >= self.patience and may_stop(batch):
            self.ended_early = trainer.should_stop = True
            if trainer.is_global_zero:
                log.info("%s was best at %.4g, %d looks ago: the training ends", self.metric, self.best, self.since)


class Average(L.Callback):
    """A moving average of the weights, which the run ends with: it is what is evaluated, and what last.ckpt holds then.

    The memory grows from 1/10 to `decay` over the first steps, so that the first weights are soon forgotten.
    """

    def __init__(self, decay: float, model: torch.nn.Module) -> None:
        self.decay = decay
        # In float32 where the weights are coarser: small changes would be lost.
        self.weights = {name: _fine(weight.detach()).clone() for name, weight in model.named_parameters()}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.weights = {name: weight.to(pl_module.device) for name, weight in self.weights.items()}

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step = trainer.global_step
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(self.weights.values()), self._of(pl_module), 1.0 - decay)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        early = any(getattr(found, "ended_early", False) for found in callbacks_of(trainer))
        if not trainer.should_stop or early:  # and not stopped by a signal
            for name, weight in pl_module.model.named_parameters():  # type: ignore[union-attr]
                weight.detach().copy_(self.weights[name])

    def _of(self, pl_module: L.LightningModule) -> list[Tensor]:
        parameters = dict(pl_module.model.named_parameters())  # type: ignore[union-attr]
        return [_fine(parameters[name].detach()) for name in self.weights]

    def state_dict(self) -> dict[str, Any]:
        return {"weights": dict(self.weights)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.weights = {name: weight.clone() for name, weight in state_dict["weights"].items()}


def _fine(weight: Tensor) -> Tensor:
    return weight.float() if weight.dtype in (torch.bfloat16, torch.float16) else weight
