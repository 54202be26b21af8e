"""The schema of the search over open branches."""

from __future__ import annotations

from dataclasses import dataclass

from sos.schema.keys import key
from sos.search.keys import INT32, StrategyConfig


@dataclass
class BranchesConfig(StrategyConfig):
    """The keys of `search.name=branches`; see `sos.search.branches.Branches`."""

    name: str = key("branches", "The strategy.")
    eta: float = key(
        5.0,
        "How strongly branches near the start come first: a weight is exp(-eta * layer); below 0 the last come first.",
        low=-20.0,
        high=20.0,
    )
    max_nodes: int = key(2000, "The budget of generated nodes.", low=1, high=INT32)

    def needs(self) -> dict[str, tuple[str, ...]]:
        return super().needs() | {"name": ("path_cost",)}
