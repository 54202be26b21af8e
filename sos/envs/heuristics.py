"""Heuristics that packages add to environments, beside those that an environment has of its own.

`search.heuristic=NAME` takes one that is registered or that an installed package has an entry point for, of the group
`sos.heuristics`: its name, and the module that registers it. `search.heuristic=package.module:NAME` imports a module.
"""

from __future__ import annotations

from typing import Any

from sos.envs.registry import ENVIRONMENTS
from sos.errors import UserError
from sos.schema.registry import Registry, Unfit

# Name -> type of environment -> NamedTuple.
HEURISTICS: Registry[dict[type, type]] = Registry("heuristic", "search.heuristic")


def register_heuristic(name: str, kind: type, environment: str) -> None:
    """Make a heuristic known by `name` for an environment, named as by `env.name`; `kind` is its NamedTuple, all fields
    of which have defaults.

    Raises Unfit for a name that is taken, and for a kind without the kernel `estimate`.
    """
    from sos.envs.protocol import implemented  # it imports numba, which help does without

    found = ENVIRONMENTS.named(environment, f"register_heuristic({name!r}): environment")
    env = found.build(found.schema())
    if name in env.heuristics or type(env) in HEURISTICS.get(name, {}):
        raise Unfit(f"heuristic {name} of {environment} is registered already")
    if "estimate" not in implemented(kind):
        raise Unfit(
            f"{kind.__name__} lacks the kernel estimate: @implements(sos.envs.protocol.estimate, {kind.__name__})"
        )
    if not kind._fields or len(kind._field_defaults) < len(kind._fields):  # type: ignore[attr-defined]
        raise Unfit(f"{kind.__name__} must have a field or more, each with a default")
    if name not in HEURISTICS:
        HEURISTICS.add(name, {})
    HEURISTICS[name][type(env)] = kind


def added_heuristic(name: str, env: Any, key: str) -> type:
    """Return the heuristic that a package adds to the environment. Raises UserError that names key and value."""
    found = HEURISTICS.find(name, key)
    if found is not None and type(env) in found:
        return found[type(env)]
    kind = type(env).__name__
    known = ", ".join([*env.heuristics, *(other for other, kinds in HEURISTICS.items() if type(env) in kinds)])
    raise UserError(f"{key}={name}: {kind} orders nodes by {known}, or MODULE:NAME of one of your own")
