"""The schema of `env` for 3-SAT."""

from __future__ import annotations

from dataclasses import dataclass
from math import comb

from sos.envs.config import EnvConfig
from sos.errors import UserError
from sos.schema.keys import check_keys, key

MOST_LABELS, MOST_CLAUSES = 30, 500


@dataclass
class SatConfig(EnvConfig):
    """Formulas of three-literal clauses over `min_variables` to `max_variables` variables."""

    name: str = key("sat", "The environment.", choices=("sat",))
    min_variables: int = key(5, "The fewest variables of a formula.", low=3, high=20)
    max_variables: int = key(6, "The most variables of a formula.", low=3, high=20)
    ratio: float = key(5.0, "Clauses for each variable; a formula has the whole part of their product.", low=0, high=99)
    num_labels: int = key(8, "The names 1, 2, ... from which each problem's variables get theirs.", low=3, high=30)
    satisfiable: float = key(
        0.5, "The share of problems with a solution, each kind by rejection; -1: as they are drawn.", low=-1, high=1
    )

    def __post_init__(self) -> None:
        check_keys(self, "env")
        if self.min_variables > self.max_variables:
            raise UserError(
                f"env.min_variables={self.min_variables} is more than env.max_variables={self.max_variables}"
            )
        if self.num_labels < self.max_variables:
            raise UserError(
                f"env.num_labels={self.num_labels} is too few: env.max_variables={self.max_variables} need a name each"
            )
        if -1 < self.satisfiable < 0:
            raise UserError(f"env.satisfiable must be a share from 0 to 1, or -1, got {self.satisfiable}")
        for num in (self.min_variables, self.max_variables):
            clauses, most = int(num * self.ratio), 8 * comb(num, 3)
            if clauses < 1 or clauses > most:
                raise UserError(
                    f"env.ratio={self.ratio} asks for {clauses} clauses of {num} variables, which have 1 to {most}"
                )
        if int(self.max_variables * self.ratio) > MOST_CLAUSES:
            raise UserError(
                f"env.ratio={self.ratio} asks for {int(self.max_variables * self.ratio)} clauses of "
                f"env.max_variables={self.max_variables}; formulas have {MOST_CLAUSES} at most"
            )
