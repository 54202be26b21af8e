"""What the schemas of searches derive from, and the keys that several of them share.

The schema of a search is a dataclass that derives from `StrategyConfig`, gives `name` its default, and has a key for
each field of the search's NamedTuple. It stands beside the search and needs no numba.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar

from sos.envs.heuristics import added_heuristic
from sos.schema.keys import check_keys, key

INT32 = 2**31 - 1


@dataclass
class StrategyConfig:
    """The config group `search`, or a member of a mixture: `name` says whose keys stand beside it.

    See `sos.search.registry`.
    """

    name: str = key("", "The strategy.")

    # Field of the NamedTuple -> its key, where they differ.
    renamed: ClassVar[dict[str, str]] = {}

    def check(self, prefix: str) -> None:
        """Raise UserError for an impossible value, its key behind `prefix`."""
        check_keys(self, prefix)

    def value(self, key: str, env: Any, prefix: str) -> Any:
        """Return what the NamedTuple holds for a key, in an environment. Raises UserError where it cannot be."""
        value = getattr(self, key)
        if key == "heuristic":
            # A heuristic of a package orders the nodes of a search that leaves them in order of generation.
            return env.heuristics.index(value) if self.heuristic_kind(env, prefix) is None else 0
        return value

    def heuristic_kind(self, env: Any, prefix: str) -> type | None:
        """Return the NamedTuple of a heuristic that a package adds to the environment; None for one of its own, or
        where there is no such key."""
        name = getattr(self, "heuristic", None)
        return None if name is None or name in env.heuristics else added_heuristic(name, env, f"{prefix}.heuristic")

    def needs(self) -> dict[str, tuple[str, ...]]:
        """Return the kernels that an environment must have for these values, by the key that asks for them."""
        return {}

    def members(self, prefix: str = "search") -> dict[str, StrategyConfig]:
        """Return the strategies that are searched with, each by its own schema and by the words in front of its keys:
        this one, or the members of a mixture."""
        return {prefix: self}

    def described(self) -> str:
        """Return the strategy in short, for a title."""
        heuristic = getattr(self, "heuristic", "none")
        return self.name if heuristic == "none" else f"{self.name} ({heuristic})"


@dataclass
class GuidedConfig(StrategyConfig):
    """A search that orders nodes and has a budget of them."""

    heuristic: str = key(
        "sum",
        "What orders nodes: none, or a heuristic of the environment, such as sum, mult, size or operator.",
    )
    max_nodes: int = key(2000, "The budget of expanded nodes.", low=1, high=INT32)
    # Whether nodes of different parents are compared, too.
    compares_all: ClassVar[bool] = False


@dataclass
class PrunedConfig(GuidedConfig):
    """A search that need not write what is seen to fail."""

    look_ahead: int = key(0, "1 writes no dead ends, 2 no nodes whose children are all dead ends.", choices=(0, 1, 2))
    skip_out_of_range: bool = key(False, "No dead ends whose value no problem asks for are written.")

    def needs(self) -> dict[str, tuple[str, ...]]:
        asked = {"look_ahead": ("hopeless",), "skip_out_of_range": ("out_of_range",)}
        return {key: kernels for key, kernels in asked.items() if getattr(self, key)}


@dataclass
class CutConfig(PrunedConfig):
    """A search that can drop children by their value, or since they were there before."""

    threshold: str = key(
        "none", "target drops children whose heuristic is above the target.", choices=("none", "target")
    )
    skip_seen: bool = key(True, "No state is visited twice.")
    renamed: ClassVar[dict[str, str]] = {"use_threshold": "threshold"}

    def value(self, key: str, env: Any, prefix: str) -> Any:
        return self.threshold == "target" if key == "threshold" else super().value(key, env, prefix)

    def needs(self) -> dict[str, tuple[str, ...]]:
        return ({"threshold": ("threshold",)} if self.threshold == "target" else {}) | super().needs()


def shared(*schemas: type[StrategyConfig], name: str) -> Any:
    """Return the field `name` that searches have, for a schema in which a `name` chooses between them."""
    fields = {schema: {field.name: field for field in dataclasses.fields(schema)} for schema in schemas}
    having = {schema().name: found[name] for schema, found in fields.items() if name in found}
    field = next(iter(having.values()))
    assert all((other.default, other.metadata) == (field.default, field.metadata) for other in having.values()), name
    return dataclasses.field(default=field.default, metadata={**field.metadata, "only": {"name": tuple(having)}})
