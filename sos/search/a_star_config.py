"""The schema of A*."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from sos.schema.keys import key
from sos.search.keys import GuidedConfig

TIES = ("state", "first", "last", "random")
WEIGHT_SCALE = 64  # what the NamedTuple holds for a weight of 1


@dataclass
class AStarConfig(GuidedConfig):
    """The keys of `search.name=a_star`; see `sos.search.a_star.AStar`."""

    name: str = key("a_star", "The strategy.")
    heuristic: str = key(
        "none", "What estimates the cost that is left: none (Dijkstra's search), or a heuristic of the environment."
    )
    weight: float = key(1.0, "What an estimate counts beside a cost.", low=0.0, high=100.0)
    greedy: bool = key(False, "Costs do not count: nodes are ordered by their estimates alone.")
    ties: str = key(
        "state",
        "Which of equal nodes is expanded first: the lesser state, the first or last generated, or a random one.",
        choices=TIES,
    )
    shuffle: bool = key(False, "Children come in random order.")

    renamed: ClassVar[dict[str, str]] = {"cost_weight": "greedy"}

    def value(self, key: str, env: Any, prefix: str) -> Any:
        """The NamedTuple holds numbers: weights, one of which is 0 for a greedy search, and the place of `ties`."""
        if key == "weight":
            return round(self.weight * WEIGHT_SCALE)
        if key == "greedy":
            return 0 if self.greedy else WEIGHT_SCALE * env.heuristic_scale
        return TIES.index(self.ties) if key == "ties" else super().value(key, env, prefix)

    def needs(self) -> dict[str, tuple[str, ...]]:
        return super().needs() | {"name": ("path_cost",)}
