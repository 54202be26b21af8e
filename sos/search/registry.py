"""The searches by name. A new one is a NamedTuple with a kernel, a schema beside it, and one line at the end of this
file; a package of one's own registers in the same way.

`search.name=NAME` chooses a search that is registered or that an installed package has an entry point for, of the group
`sos.searches`; `search.name=package.module:NAME` imports a module that registers it. So does the `name` of a member of
a mixture.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from sos.errors import UserError
from sos.schema.registry import Registry, Unfit, WithKernels
from sos.search.a_star_config import AStarConfig
from sos.search.beam_config import BeamConfig
from sos.search.best_first_config import BestFirstConfig
from sos.search.branches_config import BranchesConfig
from sos.search.depth_first_config import DepthFirstConfig
from sos.search.keys import StrategyConfig
from sos.search.widening_config import WideningConfig

MIXTURE = "mixture"


class Search(WithKernels[StrategyConfig]):
    """A kind of search and the schema of its keys."""

    def check(self, kind: type) -> None:
        """Raise Unfit where a NamedTuple has no kernel `search`, or does not go with the schema."""
        _check_kind(kind, self.schema)

    def build(self, config: StrategyConfig, env: Any, prefix: str = "search") -> Any:
        """Return the strategy of a config of this schema. Raises UserError that names the key behind `prefix`."""
        keys = {field: config.renamed.get(field, field) for field in self.kind._fields}  # type: ignore[attr-defined]
        strategy = self.kind(**{field: config.value(key, env, prefix) for field, key in keys.items()})
        _check_needs(config, env, prefix)
        if hasattr(strategy, "check"):
            strategy.check(env, prefix)
        heuristic = config.heuristic_kind(env, prefix)
        if heuristic is None:
            return strategy
        from sos.search.guided import Guided

        return Guided(strategy, heuristic())


SEARCHES: Registry[Search] = Registry("search", "search.name")


def register_search(name: str, schema: type[StrategyConfig], kind: type | str) -> None:
    """Make a search known by `name`; `kind` is its NamedTuple, or "module:Name" of it.

    Raises Unfit for a name that is taken, a schema of another name, and a kind without the kernel `search` or with
    fields that are no keys of the schema, or the other way round.
    """
    if name == MIXTURE:
        raise Unfit(f"{MIXTURE} is no name of a search: it is what several of them make")
    search = Search(schema, kind)
    search.check_registered(name, StrategyConfig)
    SEARCHES.add(name, search)


def _check_kind(kind: type, schema: type[StrategyConfig]) -> None:
    from sos.envs.protocol import implemented  # it imports numba, which help does without

    if "search" not in implemented(kind):
        raise Unfit(
            f"{kind.__name__} lacks the kernel search: @implements(sos.search.protocol.search, {kind.__name__})"
        )
    held = {schema.renamed.get(field, field) for field in getattr(kind, "_fields", ())}
    keys = {field.name for field in dataclasses.fields(schema)} - {"name"}
    if held - keys:
        raise Unfit(
            f"{schema.__name__} lacks a key for each of these fields of {kind.__name__}: {_joined(held - keys)}"
        )
    if keys - held:
        raise Unfit(
            f"{kind.__name__} lacks a field for each of these keys of {schema.__name__}: {_joined(keys - held)}"
        )


def _joined(names: set[str]) -> str:
    return ", ".join(sorted(names))


def _check_needs(config: StrategyConfig, env: Any, prefix: str) -> None:
    """Raise UserError where the search asks for what the environment does not have."""
    from sos.envs.protocol import has

    for key, kernels in config.needs().items():
        missing = [kernel for kernel in kernels if not has(kernel, type(env))]
        if missing:
            lacks = " and no ".join(missing)
            raise UserError(f"{prefix}.{key}={getattr(config, key)}: {type(env).__name__} has no {lacks}")


register_search("dfs", DepthFirstConfig, "sos.search.depth_first:DepthFirst")
register_search("beam", BeamConfig, "sos.search.beam:Beam")
register_search("best_first", BestFirstConfig, "sos.search.best_first:BestFirst")
register_search("widening", WideningConfig, "sos.search.widening:Widening")
OWN = {name: search.schema for name, search in SEARCHES.items()}  # whose keys stand in one schema, BuiltInConfig
# Those with a schema to themselves, as a package's have: their keys are in no other run's record.
register_search("a_star", AStarConfig, "sos.search.a_star:AStar")
register_search("branches", BranchesConfig, "sos.search.branches:Branches")
