"""The schema of best-first search."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from sos.errors import UserError
from sos.schema.keys import key
from sos.search.keys import CutConfig


@dataclass
class BestFirstConfig(CutConfig):
    """The keys of `search.name=best_first`; see `sos.search.best_first.BestFirst`."""

    name: str = key("best_first", "The strategy.")
    depth_weight: float = key(0.0, "What a depth adds to the heuristic.", low=-1e6, high=1e6)
    compares_all: ClassVar[bool] = True

    def value(self, key: str, env: Any, prefix: str) -> Any:
        """Weights are in units of the heuristic here, and in its scale in the NamedTuple."""
        if key != "depth_weight":
            return super().value(key, env, prefix)
        weight = round(self.depth_weight * env.heuristic_scale)
        if self.depth_weight and not weight:
            raise UserError(f"{prefix}.depth_weight={self.depth_weight} is too small to make a difference")
        return weight
