"""The group `callbacks`: the best checkpoint, an early end, and a moving average of the weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sos.errors import UserError
from sos.schema.keys import check_keys, key, refuse_unused

# What is measured while a run trains -> the key without which it is not.
MEASURED = {
    "solve/probe": "trainer.probe_every",
    "plan/probe": "trainer.probe_every",
    "solve_target/probe": "trainer.probe_every",
    "loss/val": "trainer.val_every",
    "loss/val_target": "trainer.val_every",
}


@dataclass
class CallbacksConfig:
    """What happens beside the training."""

    best: str | None = key(
        None,
        "The metric by which the best weights are kept, as checkpoints/best.ckpt; null keeps none.",
        choices=(None, *MEASURED),
        later=True,
    )
    stop: str | None = key(
        None,
        "The metric that ends the training early once it gets no better; null never does.",
        choices=(None, *MEASURED),
        later=True,
    )
    patience: int = key(
        3, "The looks without a better value behind which it ends.", low=1, high=10**6, only={"stop": None}, later=True
    )
    ema: float = key(
        0.0,
        "The memory of a moving average of the weights, with which the run ends in place of the last ones; 0 has none.",
        low=0,
        below=1,
        later=True,
    )

    def __post_init__(self) -> None:
        check_keys(self, "callbacks")
        refuse_unused(self, "callbacks")

    def check_run(self, config: Any) -> None:
        """Raise UserError for a metric that a run does not measure, and for an average that it cannot have."""
        for name in ("best", "stop"):
            metric = getattr(self, name)
            if metric is None:
                continue
            told = f"callbacks.{name}={metric}"
            group, _, needed = MEASURED[metric].partition(".")
            if not getattr(getattr(config, group), needed):
                raise UserError(f"{told} needs {MEASURED[metric]}, which is 0")
            if metric == "plan/probe" and not config.stream.plan:
                raise UserError(f"{told} needs stream.plan=true: without it there are no plans")
            if metric == "solve_target/probe" and not config.improve.on:
                raise UserError(f"{told} is measured in practice alone, improve.loss=none is none")
        if self.ema and config.trainer.strategy == "fsdp":
            raise UserError(
                f"callbacks.ema={self.ema} does not go with trainer.strategy=fsdp, which shards the weights"
            )
