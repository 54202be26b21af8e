"""Which selection, its numbers, and what it reads of an experience; see `sos.improve.selections`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from sos.errors import UserError
from sos.schema.keys import check_keys, key, refuse_unused

Indices = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
KINDS = (
    "all",
    "solved",
    "clean",
    "shortest_solved",
    "first_correct",
    "random",
    "balanced",
    "roc_inverse",
    "roc_greedy",
    "reverse_roc",
    "filter_both",
    "roc_shortest",
    "of_class",
    "edge_of_competence",
)
RESAMPLING = ("roc_inverse", "roc_greedy", "reverse_roc", "filter_both", "roc_shortest")
BY_NUM = ("shortest_solved", "first_correct", "random", "balanced", *RESAMPLING)
CLASSES = ("easy", "medium", "recoverable", "latent", "impossible")


@dataclass(frozen=True)
class Selection:
    """Which selection, and its numbers. `num` is of a group, the rollouts of one problem."""

    kind: str = key("all", "The selection.", choices=KINDS)
    num: int | None = key(
        None,
        "The rollouts kept of a group: null is 1 for shortest_solved and first_correct, else half of it.",
        low=1,
        high=1_000_000,
        only={"kind": BY_NUM},
    )
    reject_equal: bool = key(True, "Groups whose rewards are all equal are dropped first.", only={"kind": RESAMPLING})
    use_errors: bool = key(True, "The penalty holds the share of wrong operations.", only={"kind": RESAMPLING})
    use_format: bool = key(True, "The penalty holds that of the form.", only={"kind": RESAMPLING})
    min_wrong: int = key(
        2,
        "Wrong rollouts kept of a group, as far as there are; -1 for no rule.",
        low=-1,
        high=1_000_000,
        only={"kind": RESAMPLING},
    )
    min_right: int = key(
        2,
        "Right rollouts kept of a group, as far as there are; -1 for no rule.",
        low=-1,
        high=1_000_000,
        only={"kind": RESAMPLING},
    )
    multiple_of: int = key(
        1, "What is kept is cut to a multiple of this.", low=1, high=1_000_000, only={"kind": ["roc_greedy"]}
    )
    classes: list[str] = key(
        ["medium"], f"Problems of these classes: any of {', '.join(CLASSES)}.", only={"kind": ["of_class"]}
    )
    rate_low: float = key(
        0.125,
        "Problems whose share of right rollouts is at least this ...",
        low=0,
        high=1,
        only={"kind": ["edge_of_competence"]},
    )
    rate_high: float = key(0.75, "... and at most this.", low=0, high=1, only={"kind": ["edge_of_competence"]})

    def __post_init__(self) -> None:
        check_keys(self, "selection")
        refuse_unused(self, "selection")
        unknown = [name for name in self.classes if name not in CLASSES]
        if unknown or not self.classes:
            raise UserError(f"selection.classes must name some of {', '.join(CLASSES)}, got {list(self.classes)}")
        if self.rate_low > self.rate_high:
            raise UserError(f"selection.rate_low={self.rate_low} is above selection.rate_high={self.rate_high}")
        least = max(0, self.min_wrong) + max(0, self.min_right)
        if self.kind in RESAMPLING and self.num is not None and least > self.num:
            raise UserError(
                f"selection.min_wrong={self.min_wrong} and selection.min_right={self.min_right} are more than "
                f"selection.num={self.num}"
            )


class Judged(Protocol):
    """What a selection reads of N rollouts; `sos.improve.experience.Experience` has it, and so has `Columns`."""

    @property
    def groups(self) -> npt.NDArray[np.int64]:
        """(N,), from 0: which rollouts answer one problem."""

    @property
    def rewards(self) -> Floats:
        """(N,): a rollout is right where it is above 0."""

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """(N,): tokens that the policy wrote."""

    @property
    def error_penalties(self) -> Floats:
        """(N,), see `sos.improve.penalties`."""

    @property
    def format_penalties(self) -> Floats:
        """(N,), see `sos.improve.penalties`."""

    @property
    def classes(self) -> npt.NDArray[np.int8] | None:
        """(N,): numbers in `CLASSES` of their problems, where they were measured; -1 where not."""


class Columns(NamedTuple):
    """The columns alone."""

    groups: npt.NDArray[np.int64]
    rewards: Floats
    lengths: npt.NDArray[np.int64]
    error_penalties: Floats
    format_penalties: Floats
    classes: npt.NDArray[np.int8] | None = None
