"""Signals that end a training early, with a checkpoint and at the same step on all ranks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import Any

import lightning as L
import torch

from sos.train.callbacks import may_stop

REQUEUE = signal.SIGUSR2  # what submitit asks Slurm to send before the time limit and at pre-emption


def in_slurm() -> bool:
    """Tell whether this process is a task of a Slurm job."""
    return "SLURM_JOB_ID" in os.environ and "SLURM_PROCID" in os.environ


def requeue() -> None:
    """Ask Slurm to run this job again. Raises CalledProcessError where it refuses."""
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    job = f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if array else os.environ["SLURM_JOB_ID"]
    subprocess.run(["scontrol", "requeue", job], check=True, timeout=60)


class StopOnSignal(L.Callback):
    """Stops after the current step, or round of practice, on Ctrl-C, SIGTERM and, in Slurm, SIGUSR2; a second Ctrl-C
    ends at once.

    The checkpoint must be written by a callback behind this one. Lightning's own handler saves wherever the signal
    happens to land, also between an optimizer step and its bookkeeping, so that the continuation would not be exact.
    Several ranks agree every `agree_every` steps, and at the end of a round.
    """

    def __init__(self, agree_every: int, unit: str = "step") -> None:
        self.agree_every, self.unit = agree_every, unit
        self.received = 0
        self.stopped_by = 0  # the signal that ended the training, or 0
        self._previous: dict[int, Any] = {}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        def stop(number: int, frame: Any) -> None:
            self.received = number
            if number == signal.SIGINT:
                signal.signal(number, self._previous[number])
                print(
                    f"\ninterrupted: finishing the {self.unit} and writing a checkpoint (again to quit at once)",
                    file=sys.stderr,
                )

        try:
            for number in (signal.SIGINT, signal.SIGTERM, *([REQUEUE] if in_slurm() else [])):
                self._previous[number] = signal.signal(number, stop)
        except ValueError:  # not the main thread: whoever runs us handles signals
            pass

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        received = self.received
        if trainer.world_size > 1:
            if trainer.global_step % self.agree_every and not batch.get("ends_round"):
                return
            mine = torch.tensor(received, device=pl_module.device)
            received = int(trainer.strategy.reduce(mine, reduce_op="max"))
        if received and may_stop(batch):
            self.stopped_by = received
            trainer.should_stop = True

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not self.stopped_by:
            self._restore()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        self._restore()

    def _restore(self) -> None:
        """Give the signals back: other runs of this process have handlers of their own."""
        for number, previous in self._previous.items():
            signal.signal(number, previous)
