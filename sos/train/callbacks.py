"""Callbacks: the budget bar, the solve-rate probe, the watch over what is not finite, and checkpoints."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import lightning as L
import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from tqdm import tqdm

from sos.errors import UserError
from sos.train.lit import gathered


class Pause(Protocol):
    """A callback that knows how many seconds of a run it has taken for something other than training."""

    seconds: float


class _Bar(tqdm):
    """A bar whose remaining time is told, not made from all the time since the start."""

    left = "?"

    @property
    def format_dict(self) -> dict[str, Any]:
        return super().format_dict | {"left": self.left}


class BudgetBar(L.Callback):
    """A progress bar over the training budget, with the loss and the token rate; plain lines where there is no
    terminal.

    The remaining time and the rate are those behind the first step, in which kernels are compiled. The rate leaves out
    `pauses`.
    """

    def __init__(self, description: str, log_every: int, pauses: Sequence[Pause] = ()) -> None:
        self.description, self.log_every, self.pauses = description, log_every, list(pauses)
        self.bar: _Bar | None = None
        self._first: tuple[float, float, float, int] | None = (
            None  # clock, pauses, share and tokens behind the first step
        )

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.is_global_zero:
            every = 0.1 if sys.stderr.isatty() else 30
            self.bar = _Bar(
                total=100,
                desc=self.description,
                bar_format="{desc}: {percentage:3.0f}%|{bar:30}| {elapsed}<{left} {postfix}",
                mininterval=every,
            )

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self.bar is None:
            return
        share, tokens = batch["progress"], batch["cursor"]["tokens"]
        now, paused = time.perf_counter(), sum(pause.seconds for pause in self.pauses)
        self.bar.n = round(100 * share, 2)
        if self._first is None:
            self._first = now, paused, share, tokens
        elif trainer.global_step % self.log_every == 0:
            started, paused_before, first_share, first_tokens = self._first
            seconds = now - started
            if share > first_share:
                self.bar.left = tqdm.format_interval(int(seconds * (1.0 - share) / (share - first_share)))
            rate = (tokens - first_tokens) / max(1e-9, seconds - (paused - paused_before))
            self.bar.set_postfix_str(f"loss {float(outputs['loss']):.3f}, {rate / 1000:.1f}k tokens/s", refresh=False)
        self.bar.update(0)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.bar is not None:
            if not trainer.should_stop:
                self.bar.n, self.bar.left = 100, "00:00"
            self._close()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        self._close()

    def _close(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None


class SolveProbe(L.Callback):
    """Lets the model solve a few unseen problems at set shares of the budget and logs the rates, such as `solve/probe`.

    A run that goes on looks at the shares at which it would have looked without the interruption.
    """

    def __init__(
        self, probe: Callable[[Any], dict[str, float]], every: float, clock: Callable[[], float] = lambda: 0.0
    ) -> None:
        self.probe, self.every = probe, every
        self.clock = clock  # the seconds that the training has taken
        self.progress: float | None = None  # before the batch trained last; None: not known
        self.seconds = 0.0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.global_step == 0:
            self.progress = 0.0

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        before, self.progress = self.progress, batch["progress"]
        if before is None or self.progress // self.every <= before // self.every:
            return
        started = time.perf_counter()
        model = gathered(pl_module.model)  # type: ignore[arg-type]
        if trainer.is_global_zero and trainer.logger is not None:
            rates = self.probe(model)
            trainer.logger.log_metrics({f"{name}/probe": rate for name, rate in rates.items()}, trainer.global_step)
            writer = trainer.logger.experiment  # type: ignore[attr-defined]
            for name, rate in rates.items():
                writer.add_scalar(f"{name}_by_tokens/probe", rate, batch["cursor"]["tokens"])
                if "rollout_tokens" in batch["cursor"]:  # what practice costs
                    writer.add_scalar(f"{name}_by_rollout_tokens/probe", rate, batch["cursor"]["rollout_tokens"])
                    writer.add_scalar(f"{name}_by_seconds/probe", rate, round(self.clock()))
        self.seconds += time.perf_counter() - started

    def state_dict(self) -> dict[str, float]:
        return {"progress": self.progress or 0.0}

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        self.progress = state_dict["progress"]


class Finite(L.Callback):
    """Ends a training whose loss or weights are not finite any more; no checkpoint of such weights is written.

    On one CPU every step is looked at as it is done. Elsewhere looking would wait for the device: the first such step
    is kept there, and looked at every so many steps and before each checkpoint, on all ranks together.
    """

    def __init__(self, lr: float, checkpoint: Path, every: int) -> None:
        self.lr, self.checkpoint, self.every = lr, checkpoint, every
        self._step: Tensor | None = None  # the first step whose loss was not finite; 0: none

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        loss = outputs["loss"].detach()
        if self._step is None:
            self._step = torch.zeros((), dtype=torch.int64, device=loss.device)
        self._step = torch.where(torch.isfinite(loss) | (self._step > 0), self._step, trainer.global_step)
        alone = loss.device.type == "cpu" and trainer.world_size == 1
        if alone or trainer.global_step % self.every == 0:
            self._raise_for(int(self._reduced(trainer, self._step)), "the loss")

    def check_weights(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Raise UserError where a loss or a weight is not finite; every rank must call it."""
        if self._step is not None:
            self._raise_for(int(self._reduced(trainer, self._step)), "the loss")
        tensors = [p.to_local() if isinstance(p, DTensor) else p for p in pl_module.parameters()]
        bad = torch.stack([~torch.isfinite(tensor).all() for tensor in tensors]).any().long()
        self._raise_for(int(self._reduced(trainer, bad)) * trainer.global_step, "a weight")

    def _reduced(self, trainer: L.Trainer, value: Tensor) -> Tensor:
        return trainer.strategy.reduce(value, reduce_op="max") if trainer.world_size > 1 else value

    def _raise_for(self, step: int, what: str) -> None:
        if step:
            kept = (
                f"the last good checkpoint is {self.checkpoint}"
                if self.checkpoint.exists()
                else "no checkpoint was written"
            )
            raise UserError(f"optim.lr={self.lr}: {what} is not finite at step {step}, the training diverged; {kept}")


class KeepCursor(L.Callback):
    """Tells the data module which batch was trained last, so that a checkpoint continues behind it."""

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        data = trainer.datamodule  # type: ignore[attr-defined]
        data.cursor = type(data.cursor)(**batch["cursor"])


def may_stop(batch: Any) -> bool:
    """Tell whether a run can go on behind a batch; behind one in mid-round of practice it cannot."""
    return bool(batch.get("ends_round", True))


class Checkpoints(L.Callback):
    """Writes the checkpoint every so many steps, or where a run can go on behind them, and at the end, whole or not at
    all (see `WholeCheckpoints`).
    """

    def __init__(self, path: Path, every: int, finite: Finite) -> None:
        self.path, self.every, self.finite = path, every, finite
        self.seconds = 0.0
        self._due = False

    def save(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write what a run can go on from. Raises UserError where the weights are not finite; the file stays as it
        was.
        """
        started = time.perf_counter()
        self.finite.check_weights(trainer, pl_module)
        trainer.save_checkpoint(self.path)
        self.seconds += time.perf_counter() - started

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._due = self._due or trainer.global_step % self.every == 0 or trainer.should_stop
        if self._due and may_stop(batch):
            self._due = False
            self.save(trainer, pl_module)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.should_stop:  # a stop in mid-training was saved as such; here the epoch would count as done
            self.save(trainer, pl_module)
