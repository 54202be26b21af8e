"""The schema of the config group `search`."""

from __future__ import annotations

from dataclasses import dataclass

from sos.errors import UserError
from sos.schema.keys import check_keys, key, refuse_unused

MEMBERS = ("dfs", "beam", "best_first")  # of a mixture, which compiles them all, whichever it draws
STRATEGIES = (*MEMBERS, "widening")
_NO_BEAM = {"name": ("dfs", "best_first", "widening")}
_SEEN = {"name": ("dfs", "best_first")}
_BEAM = {"name": ("beam",)}
_ANY = {"name": STRATEGIES}
INT32 = 2**31 - 1


@dataclass
class StrategyConfig:
    """One search strategy; `SearchConfig` checks it. A key that its `name` has no use for keeps its default."""

    name: str = key(
        "dfs", "The strategy: dfs, beam, best_first or widening; or mixture, which draws one for each problem."
    )
    heuristic: str = key(
        "sum",
        "What orders nodes: none, or a heuristic of the environment, such as sum, mult, size or operator.",
        only=_ANY,
    )
    threshold: str = key(
        "none", "target drops children whose heuristic is above the target.", choices=("none", "target"), only=_SEEN
    )
    skip_seen: bool = key(True, "No state is visited twice.", only=_SEEN)
    announce_leaves: bool = key(False, "The return from every dead end is written.", only={"name": ("dfs", "widening")})
    width: int = key(5, "The nodes that a beam keeps of each depth.", low=1, high=1_000_000, only=_BEAM)
    visit_leaves: bool = key(False, "Dead ends stay on the frontier, as the published code has it.", only=_BEAM)
    shuffle: bool = key(False, "Children come in random order.", only=_BEAM)
    depth_weight: float = key(
        0.0, "What a depth adds to the heuristic.", low=-1e6, high=1e6, only={"name": ("best_first",)}
    )
    look_ahead: int = key(
        0, "1 writes no dead ends, 2 no nodes whose children are all dead ends.", choices=(0, 1, 2), only=_NO_BEAM
    )
    skip_out_of_range: bool = key(False, "No dead ends whose value no problem asks for are written.", only=_NO_BEAM)
    bound: int = key(
        300, "The largest result of the first pass of widening.", low=2, high=INT32, only={"name": ("widening",)}
    )
    max_nodes: int = key(2000, "The budget of expanded nodes.", low=1, high=INT32, only=_ANY)

    def check(self, prefix: str, names: tuple[str, ...]) -> None:
        """Raise UserError for an impossible value or one without use, its key behind `prefix`."""
        check_keys(self, prefix)
        if self.name not in names:
            raise UserError(f"{prefix}.name must be one of {', '.join(names)}, got {self.name!r}")
        refuse_unused(self, prefix)
        if self.threshold != "none" and self.heuristic not in ("sum", "mult"):
            raise UserError(
                f"{prefix}.threshold={self.threshold} needs {prefix}.heuristic=sum or mult, got {self.heuristic}"
            )
        if self.heuristic == "operator" and self.name in ("beam", "best_first"):
            raise UserError(
                f"{prefix}.heuristic=operator orders the children of a node, "
                f"{prefix}.name={self.name} compares all nodes"
            )


@dataclass
class SearchConfig(StrategyConfig):
    """The strategy that makes the training traces, or a mixture of named `strategies` with their `weights`.

    Each problem is searched with one strategy, drawn by weight; one that `weights` does not name weighs 1.
    """

    strategies: dict[str, StrategyConfig] = key(
        {}, "The strategies of a mixture, by name.", only={"name": ("mixture",)}
    )
    weights: dict[str, float] = key(
        {},
        "How often each strategy of a mixture is drawn; 1 where none is given.",
        low=0,
        high=1e9,
        only={"name": ("mixture",)},
    )

    def __post_init__(self) -> None:
        self.check("search", (*STRATEGIES, "mixture"))
        if self.name == "mixture":
            self._check_mixture()

    def _check_mixture(self) -> None:
        if not self.strategies:
            raise UserError("search.strategies must name at least one strategy for search.name=mixture")
        for name, strategy in self.strategies.items():
            strategy.check(f"search.strategies.{name}", MEMBERS)
        for name in self.weights:
            if name not in self.strategies:
                known = ", ".join(self.strategies)
                raise UserError(f"search.weights.{name}: no such strategy; search.strategies has {known}")
        if not any(self.weight(name) for name in self.strategies):
            raise UserError("search.weights sum to 0: no strategy is left to draw")

    def weight(self, name: str) -> float:
        """Return the weight of a strategy of the mixture."""
        return self.weights.get(name, 1.0)
