"""The group `trainer`: where and how Lightning runs."""

from __future__ import annotations

from dataclasses import dataclass

from sos.errors import UserError
from sos.schema.keys import check_keys, key

BILLION = 10**9
PRECISIONS = ("32-true", "bf16-mixed", "bf16-true", "64-true")  # as Lightning names them
HALF = ("16-mixed", "16-true", 16, "16")


@dataclass
class TrainerConfig:
    """Where and how Lightning runs."""

    accelerator: str = key("cpu", "The kind of device.", choices=("cpu", "gpu", "auto"))
    devices: int = key(1, "The devices of a machine.", low=1, high=1024)
    num_nodes: int = key(1, "The machines.", low=1, high=100_000)
    strategy: str = key("auto", "How several devices share the work.", choices=("auto", "ddp", "fsdp"))
    precision: str = key("32-true", "The numbers of the model, as Lightning names them.", choices=PRECISIONS)
    compile: bool = key(False, "The model is compiled with torch.compile.")
    batch_tokens: int = key(2048, "The positions of one optimizer step, over all ranks.", low=1, high=BILLION)
    num_threads: int = key(
        0, "The threads of a CPU, which give the same bits in any number; 0 takes the physical cores.", low=0, high=1024
    )
    log_every: int = key(20, "The steps between two points of a curve.", low=1, high=BILLION)
    probe_every: float = key(
        0.25, "The share of the budget between two looks at the solve rate; 0 means none.", low=0, high=1
    )
    probe_problems: int = key(128, "The problems of such a look.", low=1, high=10_000_000, only={"probe_every": None})
    checkpoint_every: int = key(200, "The steps between two checkpoints.", low=1, high=BILLION)
    val_every: int = key(
        0,
        "The steps between two looks at the loss on the held-out splits, val and val_target; 0 means none.",
        low=0,
        high=BILLION,
        later=True,
    )
    val_problems: int = key(
        256, "The problems of a split in such a look.", low=1, high=10_000_000, only={"val_every": None}, later=True
    )
    profiler: str | None = key(
        None,
        "Lightning's profiler, which writes into the run's folder; null is none.",
        choices=(None, "simple", "advanced", "pytorch"),
        later=True,
    )

    def __post_init__(self) -> None:
        if self.precision in HALF:
            raise UserError(
                f"trainer.precision must be one of {', '.join(PRECISIONS)}, got {self.precision!r}: float16 needs its "
                "losses scaled, and steps skipped that overflow; bf16-mixed does without"
            )
        check_keys(self, "trainer")
        if 0 < self.probe_every < 1e-4:
            raise UserError(f"trainer.probe_every must be 0 or at least 0.0001, got {self.probe_every}")
