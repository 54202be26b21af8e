"""The schema of `env` for Sokoban."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sos.envs.config import EnvConfig
from sos.errors import UserError
from sos.schema.keys import check_keys, key


@dataclass
class SokobanConfig(EnvConfig):
    """Levels of `width` x `height` cells, the wall around them included, with `boxes` boxes and as many docks."""

    name: str = key("sokoban", "The environment.", choices=("sokoban",))
    width: int = key(7, "The cells of a row, with the wall at both ends.", low=5, high=8)
    height: int = key(7, "The cells of a column, with the wall at both ends.", low=5, high=8)
    boxes: int = key(2, "The boxes of a level, and its docks.", low=1, high=3)
    min_walls: int = key(2, "The fewest walls inside.", low=1, high=12)
    max_walls: int = key(2, "The most walls inside.", low=1, high=12)
    max_steps: int = key(99, "The most that a plan may cost; what costs more is no move.", low=1, high=999)
    pushes: bool = key(False, "An action is a push, to which the worker walks for nothing; else it is a step.")
    open_docks: bool = key(
        True, "An estimate asks for the nearest dock without a box, as published; else for the nearest of all docks."
    )
    show_dead_ends: bool = key(
        False,
        "A state with a box that nothing can ever move is a dead end; else such moves are left out, as published.",
    )

    def __post_init__(self) -> None:
        check_keys(self, "env")
        if self.min_walls > self.max_walls:
            raise UserError(f"env.min_walls={self.min_walls} is above env.max_walls={self.max_walls}")
        inner = (self.width - 4) * (self.height - 4)
        if self.boxes > inner:
            raise UserError(
                f"env.boxes={self.boxes} is above {inner}, the cells of {self.width}x{self.height} that are two steps "
                "away from the wall around it"
            )
        free = (self.width - 2) * (self.height - 2) - self.max_walls
        if free < 2 * self.boxes + 1:
            raise UserError(
                f"env.max_walls={self.max_walls} leaves {free} cells for a worker, {self.boxes} boxes and as many docks"
            )

    def check_run(self, config: Any) -> None:
        """Steps lead back to where the worker was: a search that visits states again goes round for ever."""
        for prefix, member in config.search.members().items():
            if getattr(member, "skip_seen", True) is False:
                raise UserError(f"{prefix}.skip_seen=false: in Sokoban a search would go round in circles")
