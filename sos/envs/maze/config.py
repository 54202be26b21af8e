"""The schema of `env` for mazes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sos.envs.config import EnvConfig
from sos.errors import UserError
from sos.schema.keys import check_keys, key


@dataclass
class MazeConfig(EnvConfig):
    """Grids of `width` x `height` cells, of every ten of which `min_walls` to `max_walls` are walls."""

    name: str = key("maze", "The environment.", choices=("maze",))
    width: int = key(8, "The cells of a row.", low=4, high=30)
    height: int = key(8, "The cells of a column.", low=4, high=30)
    min_walls: int = key(3, "The fewest walls for every full ten cells.", low=1, high=5)
    max_walls: int = key(5, "The most walls for every full ten cells.", low=1, high=5)
    coordinates: bool = key(False, "Cells are said as x and y, and costs as c0, c1, ..., as published.")

    def __post_init__(self) -> None:
        check_keys(self, "env")
        if self.min_walls > self.max_walls:
            raise UserError(f"env.min_walls={self.min_walls} is above env.max_walls={self.max_walls}")

    def check_run(self, config: Any) -> None:
        """A way through a maze can lead back to where it was: a search that visits states again goes round for ever."""
        for prefix, member in config.search.members().items():
            if getattr(member, "skip_seen", True) is False:
                raise UserError(f"{prefix}.skip_seen=false: in a maze a search would go round in circles")
