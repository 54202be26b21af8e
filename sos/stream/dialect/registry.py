"""Dialects of a package: registered for an environment, and refused at once where they are ambiguous for it.

`stream.dialect=NAME` takes one that is registered or that an installed package has an entry point for, of the group
`sos.dialects`: its name, and the module that registers it. `stream.dialect=package.module:NAME` imports a module.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources.abc import Traversable
from typing import Any

from sos.envs.registry import ENVIRONMENTS
from sos.schema.registry import Unfit
from sos.stream.dialect.compile import compile_dialect
from sos.stream.dialect.source import DIALECTS, parsed, shipped_names
from sos.stream.dialect.vocab import MOST_WHOLE


def register_dialect(name: str, source: Traversable | Mapping[str, Any], environment: str) -> None:
    """Make a dialect known by `name` for an environment, named as by `env.name`.

    `source` is the YAML file, such as `importlib.resources.files("mine") / "loud.yaml"`, or its fields. Raises
    UserError for a name that is taken, and for a dialect that is ambiguous in the default environment though each
    number is one token: it is so everywhere.
    """
    found = ENVIRONMENTS.named(environment, f"register_dialect({name!r}): environment")
    env = found.build(found.schema())
    if name in shipped_names(env) or type(env) in DIALECTS.get(name, {}):
        raise Unfit(f"dialect {name} of {environment} is registered already")
    read = parsed(f"dialect {name}", source)
    largest = max(env.largest_number, env.max_children, 9)
    for plan in dict.fromkeys((False, "plan" in read.source["forms"])):
        compile_dialect(read.source, env, min(largest, MOST_WHOLE), plan, where=read.where)
    if name not in DIALECTS:
        DIALECTS.add(name, {})
    DIALECTS[name][type(env)] = read
