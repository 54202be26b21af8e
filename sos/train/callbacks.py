"""Callbacks: the budget bar, the solve-rate probe and checkpoints."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
from tqdm import tqdm

from sos.data.loader import Cursor
from sos.files import written_whole
from sos.train.lit import gathered


class BudgetBar(L.Callback):
    """A progress bar over the training budget, with the loss and the token rate; plain lines where there is no terminal."""

    def __init__(self, description: str, log_every: int) -> None:
        self.description, self.log_every = description, log_every
        self.bar: tqdm | None = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.is_global_zero:
            every = 0.1 if sys.stderr.isatty() else 30
            self.bar = tqdm(
                total=100,
                desc=self.description,
                bar_format="{desc}: {percentage:3.0f}%|{bar:30}| {elapsed}<{remaining} {postfix}",
                mininterval=every,
            )
            self.started = time.perf_counter()
            self.first_tokens: int | None = None

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self.bar is None:
            return
        self.bar.n = round(100 * batch["progress"], 2)
        if trainer.global_step % self.log_every == 0:
            tokens = batch["cursor"]["tokens"]
            if self.first_tokens is None:
                self.first_tokens, self.started = tokens, time.perf_counter()
            else:
                rate = (tokens - self.first_tokens) / (time.perf_counter() - self.started)
                self.bar.set_postfix_str(
                    f"loss {float(outputs['loss']):.3f}, {rate / 1000:.1f}k tokens/s", refresh=False
                )
        self.bar.update(0)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.bar is not None:
            if not trainer.should_stop:
                self.bar.n = 100
            self.bar.close()
            self.bar = None


class SolveProbe(L.Callback):
    """Lets the model solve a few unseen problems at set shares of the budget and logs the rate as `solve/probe`."""

    def __init__(self, probe: Callable[[Any], float], every: float) -> None:
        self.probe, self.every = probe, every
        self.due = every
        self.seconds = 0.0

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if batch["progress"] < self.due:
            return
        started = time.perf_counter()
        while self.due <= batch["progress"]:
            self.due += self.every
        model = gathered(pl_module.model)  # type: ignore[arg-type]
        if trainer.is_global_zero and trainer.logger is not None:
            rate = self.probe(model)
            trainer.logger.log_metrics({"solve/probe": rate}, step=trainer.global_step)
            writer = trainer.logger.experiment  # type: ignore[attr-defined]
            writer.add_scalar("solve_by_tokens/probe", rate, batch["cursor"]["tokens"])
        self.seconds += time.perf_counter() - started


class KeepCursor(L.Callback):
    """Tells the data module which batch was trained last, so that a checkpoint continues behind it."""

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        trainer.datamodule.cursor = Cursor(**batch["cursor"])  # type: ignore[attr-defined]


class Checkpoints(L.Callback):
    """Writes `last.ckpt` every so many steps and at the end, whole or not at all."""

    def __init__(self, path: Path, every: int) -> None:
        self.path, self.every = path, every
        self.seconds = 0.0

    def save(self, trainer: L.Trainer) -> None:
        """Write next to the checkpoint and rename, so that a kill at any moment leaves a whole one."""
        started = time.perf_counter()
        if trainer.is_global_zero:
            with written_whole(self.path) as partial:
                trainer.save_checkpoint(partial)
        else:
            trainer.save_checkpoint(self.path)  # all take part, the first one writes
        self.seconds += time.perf_counter() - started

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step % self.every == 0 or trainer.should_stop:
            self.save(trainer)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.should_stop:  # a stop in mid-training was saved as such; here the epoch would count as done
            self.save(trainer)
