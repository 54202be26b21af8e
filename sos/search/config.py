"""The schema of the config group `search` for the searches of this package, and for mixtures of any."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import partial
from typing import Any

from sos.errors import UserError
from sos.schema.keys import check_keys, key, refuse_unused
from sos.search.keys import StrategyConfig, shared
from sos.search.registry import MIXTURE, OWN, SEARCHES

_shared = partial(shared, *OWN.values())


@dataclass
class BuiltInConfig(StrategyConfig):
    """The first searches of this package in one schema, as runs record them; the schema of each says what its keys are.

    A key that its `name` has no use for keeps its default.
    """

    name: str = key(
        "dfs", "The strategy: dfs, beam, best_first or widening; or mixture, which draws one for each problem."
    )
    heuristic: str = _shared(name="heuristic")
    threshold: str = _shared(name="threshold")
    skip_seen: bool = _shared(name="skip_seen")
    announce_leaves: bool = _shared(name="announce_leaves")
    width: int = _shared(name="width")
    visit_leaves: bool = _shared(name="visit_leaves")
    shuffle: bool = _shared(name="shuffle")
    depth_weight: float = _shared(name="depth_weight")
    look_ahead: int = _shared(name="look_ahead")
    skip_out_of_range: bool = _shared(name="skip_out_of_range")
    bound: int = _shared(name="bound")
    max_nodes: int = _shared(name="max_nodes")

    def check(self, prefix: str) -> None:
        if self.name not in OWN and not (self.name == MIXTURE and isinstance(self, SearchConfig)):
            schema = member_schema(self.name, prefix)
            raise UserError(f"{prefix}.name={self.name} has the keys of {schema.__name__}")
        check_keys(self, prefix)
        refuse_unused(self, prefix)

    def members(self, prefix: str = "search") -> dict[str, StrategyConfig]:
        schema = OWN[self.name]
        return {prefix: schema(**{field.name: getattr(self, field.name) for field in dataclasses.fields(schema)})}


@dataclass
class SearchConfig(BuiltInConfig):
    """The strategy that makes the training traces, or a mixture of named `strategies` with their `weights`.

    Each problem is searched with one strategy, drawn by weight; one that `weights` does not name weighs 1.
    """

    strategies: dict[str, StrategyConfig] = key({}, "The strategies of a mixture, by name.", only={"name": (MIXTURE,)})
    weights: dict[str, float] = key(
        {},
        "How often each strategy of a mixture is drawn; 1 where none is given.",
        low=0,
        high=1e9,
        only={"name": (MIXTURE,)},
    )

    def check(self, prefix: str) -> None:
        super().check(prefix)
        if self.name != MIXTURE:
            return
        if not self.strategies:
            raise UserError("search.strategies must name at least one strategy for search.name=mixture")
        for name, strategy in self.strategies.items():
            strategy.check(f"search.strategies.{name}")
        for name in self.weights:
            if name not in self.strategies:
                known = ", ".join(self.strategies)
                raise UserError(f"search.weights.{name}: no such strategy; search.strategies has {known}")
        if not any(self.weight(name) for name in self.strategies):
            raise UserError("search.weights sum to 0: no strategy is left to draw")

    def members(self, prefix: str = "search") -> dict[str, StrategyConfig]:
        if self.name != MIXTURE:
            return super().members(prefix)
        found: dict[str, StrategyConfig] = {}
        for name, strategy in self.strategies.items():
            found |= strategy.members(f"{prefix}.strategies.{name}")
        return found

    def described(self) -> str:
        return self.name if self.name == MIXTURE else super().described()

    def weight(self, name: str) -> float:
        """Return the weight of a strategy of the mixture."""
        return self.weights.get(name, 1.0)


def search_schema(name: Any) -> type[StrategyConfig]:
    """Return the schema of the group `search` for a `search.name`. Raises UserError that names it."""
    own = isinstance(name, str) and (name == MIXTURE or name in OWN)
    return SearchConfig if own else SEARCHES.named(name, besides=(MIXTURE,)).schema


def member_schema(name: Any, prefix: str) -> type[StrategyConfig]:
    """Return the schema of a member of a mixture. Raises UserError that names the key behind `prefix`."""
    own = isinstance(name, str) and name in OWN
    return BuiltInConfig if own else SEARCHES.named(name, f"{prefix}.name").schema
