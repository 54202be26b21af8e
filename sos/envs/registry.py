"""The environments by name. A new one is a module of its rules, a schema, one line at the end of this file, and a YAML.

A package of one's own registers in the same way, see `environment_named`.

`env=NAME` chooses conf/env/NAME.yaml, in which `name:` says whose keys the others are; `hydra.searchpath=[file://DIR]`
adds a folder DIR with such files in DIR/env. `env.name=NAME` chooses the environment with its defaults, without a
file. A plain dict, as a checkpoint holds it, says it by its `env.name`, too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from sos.envs.config import EnvConfig
from sos.envs.countdown.config import CountdownConfig
from sos.envs.path_star.config import PathStarConfig
from sos.errors import UserError

DEFAULT = "countdown"
ENTRY_POINTS = "sos.environments"
# What Python asks of problems, as properties and methods of the NamedTuple; see `sos.envs.countdown.problems`.
PROBLEMS = (
    "groups",  # int32 (G,): the groups that a split can hold out; one of them goes to `draw`
    "tree_nodes",  # of the full search tree, at most
    "describe",  # () -> what problems are drawn from
    "describe_group",  # (problem) -> its group in words, empty where all problems make one
    "problem_key",  # (problem) -> tuple: equal for problems that count as the same
    "longest_problem",  # () -> the row of one whose statement is as long as any
    "check_problems",  # (rows from a file) -> None, or ValueError that names the row
)


@dataclass(frozen=True)
class Environment:
    """A kind of environment and the schema of its keys."""

    schema: type[EnvConfig]
    home: type | str  # the NamedTuple, or "module:Name" of it: nothing is compiled before it is needed

    @cached_property
    def kind(self) -> type:
        """The NamedTuple, imported when it is first asked for. Raises TypeError where it lacks a part."""
        if not isinstance(self.home, str):
            return self.home
        module, _, name = self.home.partition(":")
        kind: type = getattr(import_module(module), name)
        _check_kind(kind)
        return kind

    def build(self, config: EnvConfig) -> Any:
        """Return the environment of a config."""
        values = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
        del values["name"]
        return self.kind(**values)


ENVIRONMENTS: dict[str, Environment] = {}


class UnknownEnvironment(UserError):
    """An environment that this process cannot find. The file that names it may be whole."""


def register_environment(name: str, schema: type[EnvConfig], kind: type | str) -> None:
    """Make an environment known by `name`; `kind` is its NamedTuple, or "module:Name" of it.

    Raises ValueError for a name that is taken or a schema of another name, TypeError for a kind that
    lacks a kernel or one of `PROBLEMS`.
    """
    if name in ENVIRONMENTS:
        raise ValueError(f"environment {name} is registered already")
    if not issubclass(schema, EnvConfig) or schema().name != name:
        raise ValueError(f"{schema.__name__} must derive from EnvConfig and have the name {name}")
    if not isinstance(kind, str):
        _check_kind(kind)
    ENVIRONMENTS[name] = Environment(schema, kind)


def _check_kind(kind: type) -> None:
    from sos.envs.protocol import implemented, needed  # it imports numba, which help does without

    missing = {*(needed() - implemented(kind)), *(name for name in PROBLEMS if not hasattr(kind, name))}
    if missing:
        raise TypeError(f"{kind.__name__} lacks {', '.join(sorted(missing))}")


def environment_named(name: Any) -> Environment:
    """Return what is registered as `name`, the value of `env.name`. Raises UserError that names it.

    An installed package makes its environments known by entry points of the group `sos.environments`: the name, and a
    module that registers it. `env.name=package.module:NAME` imports a module that is not installed.
    """
    if not isinstance(name, str):
        raise UserError(f"env.name must be of type str, got {name!r}")
    module, _, short = name.rpartition(":")
    if module:
        _import(module, f"env.name={name}")
    elif short not in ENVIRONMENTS:
        for found in entry_points(group=ENTRY_POINTS, name=short):
            _import(found.module, f"env.name={name}, entry point {found.value}")
    if short not in ENVIRONMENTS:
        known = ", ".join(known_environments())
        raise UnknownEnvironment(f"env.name must be one of {known}, or MODULE:NAME of one of your own, got {name!r}")
    return ENVIRONMENTS[short]


def known_environments() -> list[str]:
    """Return the names of the environments of this package and of those that are installed."""
    return list(dict.fromkeys([*ENVIRONMENTS, *sorted(found.name for found in entry_points(group=ENTRY_POINTS))]))


def _import(module: str, where: str) -> None:
    """Import a module that registers environments. A mistake in it keeps its traceback."""
    if not all(part.isidentifier() for part in module.split(".")):
        raise UnknownEnvironment(f"{where}: {module!r} is no name of a module")
    try:
        import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise  # it is there, and what it imports is not
        raise UnknownEnvironment(f"{where}: there is no module {error.name}; is its folder on PYTHONPATH?") from error


def recorded_env(values: Mapping[str, Any]) -> Any:
    """Return the environment of a data set whose group `env` has these plain values. Raises UserError."""
    found = environment_named(values.get("name", DEFAULT))
    found.schema.check_recorded(values)
    fields = found.kind._fields  # type: ignore[attr-defined]
    return found.kind(**{name: values[name] for name in fields if name in values})


register_environment("countdown", CountdownConfig, "sos.envs.countdown.rules:Countdown")
register_environment("path_star", PathStarConfig, "sos.envs.path_star.rules:PathStar")
