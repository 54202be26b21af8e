"""The schema of `env` for Sudoku."""

from __future__ import annotations

from dataclasses import dataclass

from sos.envs.config import EnvConfig
from sos.errors import UserError
from sos.schema.keys import check_keys, key


@dataclass
class SudokuConfig(EnvConfig):
    """Grids of `size` x `size` with one solution."""

    name: str = key("sudoku", "The environment.", choices=("sudoku",))
    size: int = key(4, "The rows, columns and digits of a grid.", choices=(4, 6, 9))
    min_clues: int = key(4, "The fewest clues that are asked for; where they would not do, more stay.", low=0, high=80)
    max_clues: int = key(6, "The most clues that are asked for.", low=0, high=80)

    def __post_init__(self) -> None:
        check_keys(self, "env")
        if self.min_clues > self.max_clues:
            raise UserError(f"env.min_clues={self.min_clues} is more than env.max_clues={self.max_clues}")
        if self.max_clues >= self.size**2:
            raise UserError(
                f"env.max_clues={self.max_clues} leaves no cell empty: env.size={self.size} has {self.size**2}"
            )
