"""The schema of `env` for layered graphs."""

from __future__ import annotations

from dataclasses import dataclass

from sos.envs.config import EnvConfig
from sos.errors import UserError
from sos.schema.keys import check_keys, key


@dataclass
class LayeredConfig(EnvConfig):
    """Graphs of `min_layers` to `max_layers` layers of edges, with labels below `num_labels`."""

    name: str = key("layered", "The environment.", choices=("layered",))
    min_layers: int = key(2, "The fewest edges from the start to the target.", low=2, high=16)
    max_layers: int = key(5, "The most edges from the start to the target.", low=2, high=16)
    min_nodes: int = key(2, "The fewest nodes of a layer between start and target.", low=1, high=16)
    max_nodes: int = key(4, "The most nodes of a layer between start and target.", low=1, high=16)
    max_cost: int = key(5, "The most that an edge costs; the least is 1.", low=1, high=1000)
    connectivity: float = key(0.6, "How many of the edges between two layers there are.", low=0.0, high=1.0)
    num_labels: int = key(20, "The labels that nodes are drawn from.", low=3, high=30_000)

    def __post_init__(self) -> None:
        check_keys(self, "env")
        for name in ("layers", "nodes"):
            low, high = (getattr(self, f"{bound}_{name}") for bound in ("min", "max"))
            if low > high:
                raise UserError(f"env.min_{name}={low} is above env.max_{name}={high}")
        nodes = 2 + (self.max_layers - 1) * self.max_nodes
        if nodes > self.num_labels:
            raise UserError(
                f"env.num_labels={self.num_labels} is too few: env.max_layers={self.max_layers} and "
                f"env.max_nodes={self.max_nodes} make up to {nodes} nodes"
            )
