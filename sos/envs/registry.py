"""The environments by name. A new one is a module of its rules, a schema, one line at the end of this file, and a YAML.

A package of one's own registers in the same way, see `environment_named`.

`env=NAME` chooses conf/env/NAME.yaml, in which `name:` says whose keys the others are; `hydra.searchpath=[file://DIR]`
adds a folder DIR with such files in DIR/env. `env.name=NAME` chooses the environment with its defaults, without a
file. A plain dict, as a checkpoint holds it, says it by its `env.name`, too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from sos.envs.config import EnvConfig
from sos.envs.countdown.config import CountdownConfig
from sos.envs.layered.config import LayeredConfig
from sos.envs.maze.config import MazeConfig
from sos.envs.path_star.config import PathStarConfig
from sos.envs.sat.config import SatConfig
from sos.envs.sokoban.config import SokobanConfig
from sos.envs.sudoku.config import SudokuConfig
from sos.schema.registry import Registry, Unfit, WithKernels

DEFAULT = "countdown"
UNNAMED = "countdown"  # the environment of a record that names none: they were written when there was no other
# What Python asks of problems, as properties and methods of the NamedTuple; see `sos.envs.problems`.
PROBLEMS = (
    "groups",  # int32 (G,): the groups that a split can hold out; one of them goes to `draw`
    "tree_nodes",  # of the full search tree, at most
    "describe",  # () -> what problems are drawn from
    "describe_group",  # (problem) -> its group in words, empty where all problems make one
    "problem_key",  # (problem) -> tuple: equal for problems that count as the same
    "longest_problem",  # () -> the row of one whose statement is as long as any
    "check_problems",  # (rows from a file) -> None, or ValueError that names the row
)


class Environment(WithKernels[EnvConfig]):
    """A kind of environment and the schema of its keys."""

    def check(self, kind: type) -> None:
        """Raise Unfit where a NamedTuple lacks a kernel or one of `PROBLEMS`, or does not go with the schema."""
        _check_kind(kind, self.schema)

    def build(self, config: EnvConfig) -> Any:
        """Return the environment of a config."""
        values = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
        del values["name"]
        return self.kind(**values)


ENVIRONMENTS: Registry[Environment] = Registry("environment", "env.name")


def register_environment(name: str, schema: type[EnvConfig], kind: type | str) -> None:
    """Make an environment known by `name`; `kind` is its NamedTuple, or "module:Name" of it.

    Raises Unfit for a name that is taken, a schema of another name, and a kind that lacks a kernel or one of
    `PROBLEMS`.
    """
    environment = Environment(schema, kind)
    environment.check_registered(name, EnvConfig)
    ENVIRONMENTS.add(name, environment)


def _check_kind(kind: type, schema: type[EnvConfig]) -> None:
    from sos.envs.protocol import implemented, needed  # it imports numba, which help does without

    missing = {*(needed() - implemented(kind)), *(name for name in PROBLEMS if not hasattr(kind, name))}
    if missing:
        raise Unfit(f"{kind.__name__} lacks {', '.join(sorted(missing))}")
    fields = {field.name for field in dataclasses.fields(schema)} - {"name"}
    if fields != set(kind._fields):  # type: ignore[attr-defined]
        odd = ", ".join(sorted(fields ^ set(kind._fields)))  # type: ignore[attr-defined]
        raise Unfit(f"{kind.__name__} must have the keys of {schema.__name__} as its fields; not in both: {odd}")
    _check_widths(Environment(schema, kind).build(schema()))


def _check_widths(env: Any) -> None:
    """Raise Unfit where a row of the default environment is not as wide as what is said to stand in it."""
    kind = type(env).__name__
    widths = {row: getattr(env, f"{row}_width") for row in ("problem", "state", "action")}
    for name, fields in env.fields.items():
        for field in fields:
            end = max(field.column + max(field.size, 1) * field.width, field.counted + 1)
            if not 0 <= field.column < end <= widths[field.row]:
                raise Unfit(
                    f"{kind}: the field {name} ends at column {end} of a {field.row}; {field.row}_width is "
                    f"{widths[field.row]}"
                )
    if len(env.longest_problem()) != widths["problem"]:
        raise Unfit(
            f"{kind}: longest_problem() has {len(env.longest_problem())} columns; problem_width is {widths['problem']}"
        )
    if not env.heuristics or env.heuristics[0] != "none":
        raise Unfit(f"{kind}: the first of heuristics must be none, the order of generation, got {env.heuristics}")


def environment_named(name: Any) -> Environment:
    """Return what is registered as `name`, the value of `env.name`. Raises UserError that names it.

    An installed package makes its environments known by entry points of the group `sos.environments`: the name, and a
    module that registers it. `env.name=package.module:NAME` imports a module that is not installed.
    """
    return ENVIRONMENTS.named(name)


def recorded_env(values: Mapping[str, Any]) -> Any:
    """Return the environment of a data set whose group `env` has these plain values. Raises UserError."""
    found = environment_named(values.get("name", DEFAULT))
    found.schema.check_recorded(values)
    fields = found.kind._fields  # type: ignore[attr-defined]
    return found.kind(**{name: values[name] for name in fields if name in values})


register_environment("countdown", CountdownConfig, "sos.envs.countdown.rules:Countdown")
register_environment("path_star", PathStarConfig, "sos.envs.path_star.rules:PathStar")
register_environment("layered", LayeredConfig, "sos.envs.layered.rules:Layered")
register_environment("sudoku", SudokuConfig, "sos.envs.sudoku.rules:Sudoku")
register_environment("maze", MazeConfig, "sos.envs.maze.rules:Maze")
register_environment("sat", SatConfig, "sos.envs.sat.rules:Sat")
register_environment("sokoban", SokobanConfig, "sos.envs.sokoban.rules:Sokoban")
