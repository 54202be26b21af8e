"""How fast a run trains, and what of it is useful: logged as `throughput/*` and kept for metrics.json."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import lightning as L
import torch
from torch import Tensor

from sos.model.cpu.threads import num_threads, share_out
from sos.model.gpt import GPT
from sos.train.callbacks import Pause
from sos.train.precision import DTYPES


@dataclass
class Window:
    """What was done between two looks. Tokens and flops of all ranks together, seconds and bytes of the slowest or
    fullest.
    """

    tokens: int = 0
    targets: int = 0
    flops: float = 0.0
    seconds: float = 0.0
    data_seconds: float = 0.0
    peak_bytes: float = 0.0

    def add(self, other: Window) -> None:
        """Add another window."""
        for name in ("tokens", "targets", "flops", "seconds", "data_seconds"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.peak_bytes = max(self.peak_bytes, other.peak_bytes)

    def rates(self, peak_flops: float) -> dict[str, float]:
        """Return the figures; `peak_flops` per second of all ranks together, 0 if unknown (then without `mfu`)."""
        rates = {
            "tokens_per_s": self.tokens / self.seconds,
            "useful_tokens_per_s": self.targets / self.seconds,
            "data_share": self.data_seconds / self.seconds,
            "peak_memory_gb": self.peak_bytes / 1e9,
        }
        return rates | ({"mfu": self.flops / self.seconds / peak_flops} if peak_flops else {})


def trained_flops(model: GPT, batch: dict[str, Tensor]) -> float:
    """Return the flops per token of this batch, forward and backward: each trace counts as a row of its own length.

    So MFU does not count what a dense mask would hide; see `GPT.flops_per_token` for the rest of the convention.
    """
    positions = batch["positions"][batch["doc_ids"] >= 0]
    # The odd numbers up to 2n - 1 sum to n^2: the mean over a trace's tokens is its length.
    return model.flops_per_token(round(float((2 * positions + 1).float().mean()))) if positions.numel() else 0.0


def peak_flops(device: torch.device, dtype: torch.dtype) -> float:
    """Return the floating-point operations per second that a device can do; 0 if unknown.

    A GPU's comes from Lightning's table, a CPU's from the best of a few large matrix products on each of the threads
    that share the work out.
    """
    if device.type != "cpu":
        from lightning.fabric.utilities.throughput import get_available_flops

        return float(get_available_flops(device, dtype) or 0)
    size, best, pieces = 768, 0.0, range(num_threads())
    a, b = torch.randn(size, size, dtype=dtype), torch.randn(size, size, dtype=dtype)
    for _ in range(8):
        started = time.perf_counter()
        share_out(lambda _: torch.mm(a, b), pieces)
        best = max(best, len(pieces) * 2 * size**3 / (time.perf_counter() - started))
    return best


def peak_bytes(device: torch.device) -> float:
    """Return the most memory this process has held: allocated on a GPU, resident on a CPU."""
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device))
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024))


class Throughput(L.Callback):
    """Logs rates every `log_every` steps, and the losses against tokens and problems.

    `throughput/tokens_per_s` counts positions that hold a token, `useful_tokens_per_s` those with a loss (no padding
    and no prompt), `data_share` the time in which the loader made batches, `mfu` the model's flops against
    `peak_flops`. Solve probes and checkpoints (`pauses`) are not counted, nor is anything before the first look. The
    totals and `seconds`, the time of the training with its pauses, are those of all attempts at a run, as far as their
    checkpoints reach.
    """

    def __init__(self, log_every: int, pauses: Sequence[Pause] = ()) -> None:
        self.log_every, self.pauses = log_every, list(pauses)
        self.total = Window()
        self.peak_flops = 0.0
        self._window: Window | None = None
        self._tokens = 0
        self._before = (0.0, 0.0)
        self._earlier, self._started, self._ended = 0.0, 0.0, 0.0  # seconds of earlier attempts; clocks of this one

    @property
    def seconds(self) -> float:
        """How long the run has trained."""
        return self._earlier + (self._ended or time.perf_counter()) - self._started

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self._started = time.perf_counter()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._ended = time.perf_counter()

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": float(self.seconds), "total": asdict(self.total)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._earlier, self.total = state_dict["seconds"], Window(**state_dict["total"])

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        device = trainer.strategy.root_device
        self.peak_flops = peak_flops(device, DTYPES[str(trainer.precision)]) * trainer.world_size

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        cursor = batch["cursor"]
        if self._window is not None:
            self._window.tokens += cursor["tokens"] - self._tokens
            self._window.targets += batch["num_targets"]
        self._tokens = cursor["tokens"]
        if trainer.global_step % self.log_every:
            return
        # Reading the loss waits for the device; else the clock would measure how fast steps are queued.
        loss = float(trainer.strategy.reduce(outputs["loss"].detach(), reduce_op="mean"))
        now = (time.perf_counter() - sum(pause.seconds for pause in self.pauses), cursor["data_seconds"])
        if self._window is not None:
            self._close(self._window, now, trainer, pl_module, batch)
            if trainer.is_global_zero and trainer.logger is not None:
                self._log(self._window, loss, trainer, cursor)
        self._window, self._before = Window(), now

    def _close(
        self, window: Window, now: tuple[float, float], trainer: L.Trainer, pl_module: L.LightningModule, batch: Any
    ) -> None:
        """Fill in what is known at the end of a window; every rank must call it."""
        device = trainer.strategy.root_device
        model: GPT = pl_module.model  # type: ignore[assignment]
        seconds, data_seconds = (new - old for new, old in zip(now, self._before, strict=True))
        own = torch.tensor([seconds, data_seconds, peak_bytes(device)], device=device)
        window.seconds, window.data_seconds, window.peak_bytes = trainer.strategy.reduce(own, reduce_op="max").tolist()
        flops = trained_flops(model, batch)
        window.flops = (
            float(trainer.strategy.reduce(torch.tensor(flops, device=device), reduce_op="mean")) * window.tokens
        )
        self.total.add(window)

    def _log(self, window: Window, loss: float, trainer: L.Trainer, cursor: dict[str, Any]) -> None:
        assert trainer.logger is not None
        rates = {f"throughput/{name}": value for name, value in window.rates(self.peak_flops).items()}
        progress = {"progress/tokens": cursor["tokens"], "progress/problems": cursor["streams"]}
        trainer.logger.log_metrics(rates | progress, step=trainer.global_step)
        writer = trainer.logger.experiment  # type: ignore[attr-defined]
        writer.add_scalar("loss_by_tokens/all", loss, cursor["tokens"])
        writer.add_scalar("loss_by_problems/all", loss, cursor["streams"])

    def summary(self) -> dict[str, float]:
        """Return the rates over all windows together, and the peak they are measured against; {} before the second
        look.
        """
        if not self.total.seconds:
            return {}
        return self.total.rates(self.peak_flops) | {"peak_flops": self.peak_flops}
