"""What a run that learns from its own rollouts logs and records besides."""

from __future__ import annotations

import time
from typing import Any

import lightning as L

from sos.data.loader import Cursor
from sos.improve.loader import RoundCursor


def consumed(cursor: Cursor | RoundCursor) -> dict[str, int | float]:
    """Return what a training has used up, for metrics.json."""
    if isinstance(cursor, Cursor):
        return {"tokens": cursor.tokens, "problems": cursor.streams, "dropped": cursor.dropped}
    names = ("problems", "rollouts", "rollout_tokens", "streams", "rollout_seconds", "verify_seconds")
    counts = {"rounds": cursor.trained, "rounds_skipped": cursor.skipped}
    return {"tokens": cursor.tokens} | counts | {name: getattr(cursor, name) for name in names}


class LogRounds(L.Callback):
    """Logs a point of `improve/*` for every round that was trained on, at the step that ends it: what the rollouts
    were like, and the means over the round's steps of what its loss tells.
    """

    def __init__(self) -> None:
        self._metrics: dict[str, float] = {}
        self._found: dict[str, list[Any]] = {}
        self._seconds, self._started = 0.0, 0.0

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if batch["metrics"]:
            self._metrics, self._found, self._seconds = batch["metrics"], {}, 0.0
        self._started = time.perf_counter()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        for name, value in outputs["found"].items():
            self._found.setdefault(name, []).append(value)
        if not batch["ends_round"]:
            self._seconds += time.perf_counter() - self._started
            return
        means = {name: sum(map(float, values)) / len(values) for name, values in self._found.items()}
        self._seconds += time.perf_counter() - self._started  # behind the look at the values, which waits for a device
        cursor = batch["cursor"]
        counts = {name: cursor[name] for name in ("problems", "rollout_tokens", "skipped")}
        points = self._metrics | means | counts | {"seconds/gradient": self._seconds}
        if trainer.logger is not None:
            trainer.logger.log_metrics(
                {f"improve/{name}": value for name, value in points.items()}, trainer.global_step
            )
