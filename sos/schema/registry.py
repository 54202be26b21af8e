"""Registries of parts that may come from a user's package: environments, searches and the like, by name.

An installed package makes a part known by an entry point: its name, and a module that registers it. `module:NAME`
imports a module that is not installed and takes what it registers as NAME.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, NamedTuple, TypeVar

from sos.errors import UserError
from sos.schema.keys import wrong_type

Part = TypeVar("Part")
Schema = TypeVar("Schema")


class UnknownPart(UserError):
    """A part that this process cannot find. The file that names it may be whole."""


class Unfit(UserError, TypeError):
    """A part that is registered lacks something, or has too much of it: one line says what."""


@dataclass(frozen=True)
class WithKernels(Generic[Schema]):
    """A part that is a NamedTuple with kernels, and the schema of its keys."""

    schema: type[Schema]
    home: type | str  # the NamedTuple, or "module:Name" of it: nothing is compiled before it is needed

    @cached_property
    def kind(self) -> type:
        """The NamedTuple, imported when it is first asked for. Raises Unfit where it does not go with the schema."""
        if not isinstance(self.home, str):
            return self.home
        module, _, name = self.home.partition(":")
        kind: type = getattr(import_module(module), name)
        self.check(kind)
        return kind

    def check(self, kind: type) -> None:
        """Raise Unfit where a NamedTuple lacks a kernel, or does not go with the schema."""
        raise NotImplementedError

    def check_registered(self, name: str, base: type) -> None:
        """Raise Unfit where a schema does not derive from `base` or has another name, and where a NamedTuple that is
        there already does not do."""
        if not issubclass(self.schema, base) or self.schema().name != name:  # type: ignore[attr-defined]
            raise Unfit(f"{self.schema.__name__} must derive from {base.__name__} and have the name {name}")
        if not isinstance(self.home, str):
            self.check(self.home)


class Listed(NamedTuple, Generic[Part]):
    """A part as it is listed."""

    name: str
    package: str  # that registers it
    part: Part | None  # None where it cannot be had
    why: str = ""  # it cannot


class Registry(dict[str, Part], Generic[Part]):
    """The parts of one kind by name, in the order in which they were registered."""

    def __init__(self, kind: str, key: str) -> None:
        """`kind` is the word for a part, whose entry points are the group `sos.KINDs`; `key` names one in a config."""
        super().__init__()
        self.kind, self.key = kind, key
        self.packages: dict[str, str] = {}  # that registered a part, by its name
        self.group = f"sos.{kind}es" if kind.endswith("ch") else f"sos.{kind}s"

    def add(self, name: str, part: Part) -> None:
        """Make a part known, for a function that a package calls. Raises Unfit for a name that is taken or is none."""
        if name in self:
            raise Unfit(f"{self.kind} {name} is registered already")
        if not name or ":" in name:
            raise Unfit(f"{name!r} is no name of a {self.kind}: it may hold no colon")
        self.packages[name] = sys._getframe(2).f_globals.get("__name__", "").partition(".")[0]
        self[name] = part

    def named(self, name: Any, key: str = "", besides: Sequence[str] = ()) -> Part:
        """Return the part of that name, the value of `key`. Raises UserError that names both, and what else could be
        said."""
        key = key or self.key
        if not isinstance(name, str):
            raise wrong_type(key, str, name)
        found = self.find(name, key)
        if found is None:
            known = ", ".join([*self.known(), *besides])
            raise UnknownPart(f"{key} must be one of {known}, or MODULE:NAME of one of your own, got {name!r}")
        return found

    def find(self, name: str, key: str) -> Part | None:
        """Return the part of that name, or None. Raises UserError where its module is not there."""
        module, _, short = name.rpartition(":")
        if module:
            import_module_of(module, f"{key}={name}")
        elif short not in self:
            for found in self._entries(short):
                import_module_of(found.module, f"{key}={name}, entry point {found.value}")
        return self.get(short)

    def known(self) -> list[str]:
        """Return the names of the parts of this package and of those that are installed."""
        return list(dict.fromkeys([*self, *sorted(found.name for found in self._entries())]))

    def listed(self) -> Iterator[Listed[Part]]:
        """Yield every part, those of installed packages imported."""
        entries = {found.name: found.module.partition(".")[0] for found in self._entries()}
        for name in self.known():
            try:
                part = self.named(name)
            except UserError as error:
                yield Listed(name, entries[name], None, str(error))
            else:
                yield Listed(name, self.packages[name], part)

    def _entries(self, name: str | None = None) -> list[EntryPoint]:
        return list(entry_points(group=self.group, name=name) if name else entry_points(group=self.group))


def import_module_of(module: str, where: str) -> None:
    """Import a module that registers parts; `where` names it in messages. A mistake in it keeps its traceback."""
    if not all(part.isidentifier() for part in module.split(".")):
        raise UserError(f"{where}: {module!r} is no name of a module")
    try:
        import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise  # it is there, and what it imports is not
        raise UnknownPart(f"{where}: there is no module {error.name}; is its folder on PYTHONPATH?") from error
