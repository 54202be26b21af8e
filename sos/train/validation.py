"""The loss on problems that no training saw, in mid-training: over-fitting is seen while it happens."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import lightning as L
import numpy as np
import torch

from sos.config import Config
from sos.data.packing import IGNORE, Rows, pack
from sos.datasets.source import build_source
from sos.rng import stream_key
from sos.system import System
from sos.train.callbacks import tell
from sos.train.lit import gathered, packed_loss

HELD_OUT = ("val", "val_target")
EMPTY = {"targets": IGNORE, "doc_ids": -1, "kinds": -1}  # what rows hold where nothing is; 0 elsewhere


def held_out_rows(config: Config, system: System) -> dict[str, Rows]:
    """Return packed rows of `trainer.val_problems` problems of each held-out split that there is, of the streams that a
    training on them would see. A split none of whose streams fits the context is left out.
    """
    plain = replace(config, data=replace(config.data, shards=None, num_problems=0))
    found = {}
    for split in HELD_OUT:
        if split == "val_target" and not len(system.splits.held_out):
            continue
        source = build_source(plain, system, split)
        chunk = source.chunk(0, config.trainer.val_problems).up_to(config.data.context)
        if len(chunk.prompts):
            found[split] = pack(
                chunk, config.data.context, np.uint64(stream_key(config.seed, "rows")), config.data.prompt_loss
            )
    return found


class HeldOutLoss(L.Callback):
    """Logs `loss/val` and `loss/val_target`, the mean loss over the targets of held-out streams, before the first step
    and every so many steps; training goes on with the same bits as without it.
    """

    def __init__(self, rows: Callable[[], dict[str, Rows]], every: int, rows_per_batch: int) -> None:
        self.rows, self.every, self.rows_per_batch = rows, every, rows_per_batch
        self.seconds = 0.0
        self.listeners: list[Callable[[L.Trainer, L.LightningModule, dict[str, float]], None]] = []
        self._found: dict[str, Rows] | None = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.global_step == 0:
            self._look(trainer, pl_module, 0)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step % self.every == 0:
            self._look(trainer, pl_module, batch["cursor"]["tokens"])

    def _look(self, trainer: L.Trainer, pl_module: L.LightningModule, tokens: int) -> None:
        started = time.perf_counter()
        model = gathered(pl_module.model)  # type: ignore[arg-type]
        values: dict[str, float] = {}
        if trainer.is_global_zero:
            self._found = self.rows() if self._found is None else self._found
            was_training = model.training
            model.eval()
            with torch.no_grad(), trainer.precision_plugin.forward_context():
                values = {f"loss/{split}": self._loss(model, rows) for split, rows in self._found.items()}
            model.train(was_training)
            if trainer.logger is not None:
                trainer.logger.log_metrics(values, trainer.global_step)
                writer = trainer.logger.experiment  # type: ignore[attr-defined]
                for name, value in values.items():
                    writer.add_scalar(f"loss_by_tokens/{name.removeprefix('loss/')}", value, tokens)
        self.seconds += time.perf_counter() - started
        tell(self.listeners, trainer, pl_module, values)

    def _loss(self, model: Any, rows: Rows) -> float:
        """Return the mean over all targets."""
        total, num = 0.0, 0
        for start in range(0, len(rows.tokens), self.rows_per_batch):
            batch: dict[str, Any] = {}
            for name, array in zip(Rows._fields, rows, strict=True):
                part = array[start : start + self.rows_per_batch]
                shape = (self.rows_per_batch - len(part), *part.shape[1:])  # shapes never change
                part = np.concatenate([part, np.full(shape, EMPTY.get(name, 0), part.dtype)])
                batch[name] = torch.from_numpy(np.ascontiguousarray(part)).to(model.device)
            batch["num_targets"] = 1
            total += float(packed_loss(model, batch)[0])
            num += int((batch["targets"] != IGNORE).sum())
        return total / max(1, num)
