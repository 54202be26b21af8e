"""`sos parts [KIND]`: what a run can be made of, and which package it comes from."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from sos.commands.words import option, places
from sos.errors import UserError


class Line(NamedTuple):
    """A part as it is shown."""

    name: str
    package: str
    text: str


@dataclass
class Options:
    """Kinds: environments, searches, heuristics, dialects, views. Those of an installed package are found by its entry
    points; `modules` names others, which register theirs when they are imported."""

    kind: list[str] = places("KIND", "one of the kinds; none shows them all", most=1, least=0)
    modules: list[str] = option([], "modules of yours to import first, such as [climb,probes]")


def environments() -> Iterator[Line]:
    """Every environment, and what its problems are drawn from by default."""
    from sos.envs.registry import ENVIRONMENTS

    for found in ENVIRONMENTS.listed():
        part = found.part
        yield Line(found.name, found.package, part.build(part.schema()).describe() if part else found.why)


def searches() -> Iterator[Line]:
    """Every search, and its keys."""
    from sos.search.registry import SEARCHES

    for found in SEARCHES.listed():
        keys = [field.name for field in dataclasses.fields(found.part.schema)] if found.part else []
        yield Line(found.name, found.package, ", ".join(sorted(set(keys) - {"name"})) if keys else found.why)


def heuristics() -> Iterator[Line]:
    """Every heuristic of each environment, and those that packages add."""
    from sos.envs.heuristics import HEURISTICS
    from sos.envs.registry import ENVIRONMENTS

    for environment in ENVIRONMENTS.listed():
        if environment.part:
            for name in environment.part.build(environment.part.schema()).heuristics:
                yield Line(name, environment.package, f"for {environment.name}")
    for found in HEURISTICS.listed():
        yield Line(found.name, found.package, _kinds(found.part) if found.part else found.why)


def dialects() -> Iterator[Line]:
    """Every dialect of each environment, and those that packages add."""
    from sos.envs.registry import ENVIRONMENTS
    from sos.stream.dialect.source import DIALECTS, shipped_names

    for environment in ENVIRONMENTS.listed():
        if environment.part:
            for name in shipped_names(environment.part.build(environment.part.schema())):
                yield Line(name, environment.package, f"for {environment.name}")
    for found in DIALECTS.listed():
        yield Line(found.name, found.package, _kinds(found.part) if found.part else found.why)


def views() -> Iterator[Line]:
    """Every view, and those that packages add."""
    from sos.schema.stream import ADDED_VIEWS, BUILT_IN_VIEWS

    for name in BUILT_IN_VIEWS:
        yield Line(name, "sos", "")
    for found in ADDED_VIEWS.listed():
        yield Line(found.name, found.package, found.why)


def _kinds(found: Mapping[type, object]) -> str:
    """Return which environments something is for."""
    from sos.envs.registry import ENVIRONMENTS

    return f"for {', '.join(name for name, environment in ENVIRONMENTS.items() if environment.kind in found)}"


KINDS: dict[str, Callable[[], Iterator[Line]]] = {
    "environments": environments,
    "searches": searches,
    "heuristics": heuristics,
    "dialects": dialects,
    "views": views,
}


def run(options: Options) -> None:
    """Print a line for each part. Raises UserError for what is no kind and for a module that is not there."""
    from sos.schema.registry import import_module_of

    unknown = next((kind for kind in options.kind if kind not in KINDS), None)
    if unknown:
        raise UserError(f"there is no kind {unknown!r}; kinds are {', '.join(KINDS)}")
    for module in options.modules:
        import_module_of(module, f"modules={module}")
    found = {kind: list(KINDS[kind]()) for kind in options.kind or KINDS}
    lines = [line for listed in found.values() for line in listed]
    widths = [max(len(line[column]) for line in lines) for column in (0, 1)]
    for kind, listed in found.items():
        print(kind)
        for line in listed:
            print(f"  {line.name:<{widths[0]}}  {line.package:<{widths[1]}}  {line.text}".rstrip())
