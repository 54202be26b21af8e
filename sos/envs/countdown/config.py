"""The schema of the config group `env`."""

from __future__ import annotations

from dataclasses import dataclass

from sos.errors import UserError
from sos.schema.keys import check_keys, key

INT32 = 2**31 - 1
LARGEST_TARGET = 1_000_000


@dataclass
class EnvConfig:
    """Countdown's ranges, all bounds inclusive; `max_value` bounds every result."""

    name: str = key("countdown", "The environment.", choices=("countdown",))
    num_numbers: int = key(3, "The numbers of a problem.", low=2, high=6)
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
