"""The schema of `env` for path-star."""

from __future__ import annotations

from dataclasses import dataclass

from sos.envs.config import EnvConfig
from sos.errors import UserError
from sos.schema.keys import check_keys, key


@dataclass
class PathStarConfig(EnvConfig):
    """Stars of `num_arms` arms of `arm_nodes` nodes, with labels below `num_labels`."""

    name: str = key("path_star", "The environment.", choices=("path_star",))
    num_arms: int = key(4, "The arms that leave the start.", low=2, high=32)
    arm_nodes: int = key(4, "The nodes of an arm, the start among them.", low=2, high=32)
    num_labels: int = key(30, "The labels that nodes are drawn from.", low=3, high=30_000)

    min_arms: int = key(0, "The fewest arms of a star to learn from; 0: num_arms.", low=0, high=32)
    min_arm_nodes: int = key(0, "The fewest nodes of an arm to learn from; 0: arm_nodes.", low=0, high=32)

    def __post_init__(self) -> None:
        check_keys(self, "env")
        for name, low, high in (
            ("min_arms", self.min_arms, ("num_arms", self.num_arms)),
            ("min_arm_nodes", self.min_arm_nodes, ("arm_nodes", self.arm_nodes)),
        ):
            if low == 1 or low > high[1]:
                raise UserError(f"env.{name} must be 0 or from 2 to env.{high[0]}={high[1]}, got {low}")
        nodes = 1 + self.num_arms * (self.arm_nodes - 1)
        if nodes > self.num_labels:
            raise UserError(
                f"env.num_labels={self.num_labels} is too few: env.num_arms={self.num_arms} and "
                f"env.arm_nodes={self.arm_nodes} make {nodes} nodes"
            )
