"""The schema of Countdown's keys, the config group `env` with `name: countdown`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sos.envs.config import EnvConfig
from sos.errors import UserError
from sos.schema.keys import check_keys, key

INT32 = 2**31 - 1
LARGEST_TARGET = 1_000_000
LEAST_NUMBERS, MOST_NUMBERS = 2, 6
THRESHOLD_HEURISTICS = ("sum", "mult")  # those in whose scale the target is
MOST_NUMBERS_SEARCHED = 5  # of 6, a search can have 3.5 million nodes


@dataclass
class CountdownConfig(EnvConfig):
    """Countdown's ranges, all bounds inclusive; `max_value` bounds every result."""

    name: str = key("countdown", "The environment.", choices=("countdown",))
    num_numbers: int = key(3, "The numbers of a problem.", low=LEAST_NUMBERS, high=MOST_NUMBERS)
    min_number: int = key(1, "The smallest number.", low=1, high=INT32)
    max_number: int = key(20, "The largest number.", low=1, high=INT32)
    min_target: int = key(10, "The smallest target.", low=2, high=LARGEST_TARGET)
    max_target: int = key(100, "The largest target.", low=2, high=LARGEST_TARGET)
    max_value: int = key(120, "The largest result that an operation may have.", low=2, high=INT32)
    descending: bool = key(False, "Numbers are listed in descending order, in problems and in states.")

    def __post_init__(self) -> None:
        check_keys(self, "env")
        for low, high in (
            ("min_number", "max_number"),
            ("min_target", "max_target"),
            ("max_target", "max_value"),
            ("max_number", "max_value"),
        ):
            if getattr(self, low) > getattr(self, high):
                raise UserError(f"env.{low}={getattr(self, low)} must not be above env.{high}={getattr(self, high)}")

    def check_run(self, config: Any) -> None:
        """Raise UserError for splits of too many numbers to search whole, and for a bound that cuts off targets."""
        if config.whole_search_splits and self.num_numbers > MOST_NUMBERS_SEARCHED:
            raise UserError(
                f"eval.splits: {config.whole_search_splits[0]} needs whole searches, for which "
                f"env.num_numbers={self.num_numbers} is too many (at most {MOST_NUMBERS_SEARCHED})"
            )
        for prefix, search in config.search.members().items():
            self._check_search(prefix, search)

    def _check_search(self, prefix: str, search: Any) -> None:
        name, heuristic = search.name, getattr(search, "heuristic", "none")
        if name == "widening" and search.bound < self.max_target:
            raise UserError(
                f"{prefix}.bound={search.bound} must not be below env.max_target={self.max_target} "
                f"for {prefix}.name=widening"
            )
        if getattr(search, "threshold", "none") != "none" and heuristic not in THRESHOLD_HEURISTICS:
            known = " or ".join(THRESHOLD_HEURISTICS)
            raise UserError(f"{prefix}.threshold={search.threshold} needs {prefix}.heuristic={known}, got {heuristic}")
        if heuristic == "operator" and getattr(search, "compares_all", False):
            raise UserError(
                f"{prefix}.heuristic=operator orders the children of a node, {prefix}.name={name} compares all nodes"
            )

    @classmethod
    def check_recorded(cls, values: Mapping[str, Any]) -> None:
        """Raise UserError unless the recorded count of numbers is one; data sets of older schemas lack other keys."""
        num = values.get("num_numbers")
        if type(num) is not int or not LEAST_NUMBERS <= num <= MOST_NUMBERS:
            text = repr(num) if len(repr(num)) <= 60 else f"{repr(num)[:57]}..."
            raise UserError(f"num_numbers must be a whole number from {LEAST_NUMBERS} to {MOST_NUMBERS}, got {text}")
