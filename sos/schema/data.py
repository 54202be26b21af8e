"""The schema of the config group `data`."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from sos.errors import UserError
from sos.schema.keys import check_keys, key

BILLION = 10**9


def checksum(path: str, name: str) -> str:
    """Return the SHA-256 of a file as hex digits. Raises UserError with the key `name` where it cannot be read."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{name}={path}: {error.strerror or error}") from error


@dataclass
class DataConfig:
    """Which problems, how many, and how rows are packed."""

    context: int = key(320, "The tokens of a row.", low=16, high=131_072)
    match: str = key(
        "tokens",
        "What a run spends its budget of: tokens, problems, or seconds, which no run repeats bit by bit.",
        choices=("tokens", "problems", "seconds"),
    )
    train_tokens: int = key(
        3_000_000, "The training tokens, for match=tokens.", low=1, high=10**15, only={"match": ("tokens",)}
    )
    train_problems: int = key(
        19_000,
        "The visits of problems, for match=problems; epochs count.",
        low=1,
        high=10**12,
        only={"match": ("problems",)},
    )
    train_seconds: float = key(
        300.0,
        "The seconds of training, for match=seconds, with its probes and checkpoints; the first step does not count.",
        above=0,
        high=1e9,
        only={"match": ("seconds",)},
    )
    num_problems: int = key(
        0, "The size of a fixed set of problems; 0 makes every visit a new problem.", low=0, high=10**12
    )
    val_fraction: float = key(0.1, "The share of the problems that is kept for val.", above=0, below=1)
    held_out_fraction: float = key(
        0.12,
        "The share of the groups of problems (targets) that is kept for val_target.",
        low=0,
        high=1,
        only={"held_out": ([],), "problems": (None,)},
    )
    held_out: list[int] = key(
        [],
        "The groups of problems (targets) that are kept for val_target, in place of a share of them.",
        low=0,
        high=BILLION,
        only={"problems": (None,)},
        later=True,
    )
    problems: str | None = key(
        None,
        "A file of problems to draw train and val from: one a line, a .csv with a column of them, or a .npy.",
        path=True,
        later=True,
    )
    problems_sha256: str | None = key(
        None,
        "The checksum of this file; null takes it as it is. Another content is refused.",
        only={"problems": None},
        later=True,
    )
    prompt_loss: bool = key(False, "The loss counts the tokens of the problem, too.")
    length_warmup: float = key(
        0.0, "The share of the budget over which the longest stream grows to the context.", low=0, high=1
    )
    length_start: float = key(
        0.25, "Its length at the start, as a share of the context.", low=0, high=1, only={"length_warmup": None}
    )
    block: int = key(2048, "The visits that are packed together.", low=1, high=65_536)
    shards: str | None = key(None, "A folder of token shards; null makes the same streams on the fly.", path=True)

    @property
    def budget(self) -> float:
        """What `match` counts to."""
        return {"tokens": self.train_tokens, "problems": self.train_problems, "seconds": self.train_seconds}[self.match]

    def __post_init__(self) -> None:
        check_keys(self, "data")
        if self.problems is not None and self.problems_sha256 is None:
            self.problems_sha256 = checksum(self.problems, "data.problems")
