"""The YAML of a dialect: where it comes from (an environment's folder, a package that registers it, or a file), and
what it may hold."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, NamedTuple

from sos.errors import UserError
from sos.files import parse_yaml, read_text
from sos.schema.registry import Registry
from sos.stream.dialect.program import FORMS

_OPTIONAL = (
    "expand",
    "label",
    "goal",
    "jump",
    "plan",
    "forced",
    "end_empty",
    "operation",
    "begin_search",
    "begin_plan",
    "begin_sketch",
    "bare",
    "begin_bare",
)
# What is of use in streams with a plan alone.
_WITH_PLAN = ("plan", "begin_plan", "begin_sketch", "bare", "begin_bare")
REQUIRED = tuple(form for form in FORMS if form not in _OPTIONAL)
_KEYS = (
    "name",
    "spacing",
    "separator",
    "record_separator",
    "path_separator",
    "operation",
    "operation_separator",
    "forms",
)


class Source(NamedTuple):
    """The fields of a dialect's YAML, and where they come from."""

    where: str
    source: dict[str, Any]


# Name -> type of environment -> source. `sos.stream.dialect.registry` registers.
DIALECTS: Registry[dict[type, Source]] = Registry("dialect", "stream.dialect")


def load_source(name: str, env: Any) -> Source:
    """Return the dialect that `stream.dialect=name` means for `env`: one that is shipped for it, the path of a YAML
    file, or one that a package registers (see `sos.schema.registry`). Raises UserError that names it."""
    shipped = env.dialects / f"{name}.yaml"
    if shipped.is_file():
        return parsed(f"dialect {name}", shipped.read_text(encoding="utf-8"))
    path = Path(name)
    if path.is_file():
        return parsed(f"dialect file {name}", read_text(path))
    found = DIALECTS.find(name, DIALECTS.key)
    if found is not None and type(env) in found:
        # A reader of what was written in it finds it again by this name.
        source = found[type(env)]
        return source._replace(source=source.source | {"name": name})
    names = ", ".join([*shipped_names(env), *registered_names(env)])
    kind = type(env).__name__
    other = f" for {kind}, but for {_kinds(found)}" if found else ""
    raise UserError(
        f"stream.dialect: no dialect {name!r}{other}; those of {kind} are {names}, or give a YAML file or MODULE:NAME"
    )


def shipped_names(env: Any) -> list[str]:
    """Return the names of the dialects in the folder of an environment."""
    return sorted(path.name[:-5] for path in env.dialects.iterdir() if path.name.endswith(".yaml"))


def registered_names(env: Any) -> list[str]:
    """Return the names of the dialects that are registered for an environment."""
    return [name for name, kinds in DIALECTS.items() if type(env) in kinds]


def _kinds(found: Mapping[type, Source]) -> str:
    return ", ".join(kind.__name__ for kind in found)


def parsed(where: str, source: str | Traversable | Mapping[str, Any]) -> Source:
    """Return a dialect from its YAML, a file of it or its fields. Raises UserError for what is none."""
    if isinstance(source, Mapping):
        fields: Any = dict(source)
    else:
        try:
            fields = parse_yaml(source if isinstance(source, str) else source.read_text(encoding="utf-8"))
        except ValueError as error:
            raise UserError(f"{where}: not YAML: {error}") from error
        except OSError as error:
            raise UserError(f"{where}: {error.filename}: {error.strerror}") from error
    if not isinstance(fields, dict) or not isinstance(fields.get("forms"), Mapping):
        raise UserError(f"{where}: needs a mapping with the key 'forms'")
    return Source(where, fields)


def checked_templates(source: Mapping[str, Any], plan: bool, where: str) -> dict[str, str]:
    """Return the templates of a dialect's YAML by form, with the one of the plan or without. Raises UserError for what
    none may hold."""
    if unknown := [key for key in source if key not in _KEYS]:
        raise UserError(f"{where}: unknown key {unknown[0]!r}; known are {', '.join(sorted(_KEYS))}")
    if not isinstance(source.get("forms"), Mapping):
        raise UserError(f"{where}: needs a mapping with the key 'forms'")
    for key in sorted({*_KEYS} - {"forms", "operation"}):
        if not isinstance(source.get(key, ""), str):
            raise UserError(f"{where}: {key} must be a text, got {source[key]!r}")
    templates = dict(source["forms"])
    if "operation" in source:
        templates["operation"] = source["operation"]
    for form, template in templates.items():
        if not isinstance(template, str):  # such as nothing behind the colon, which is None
            raise UserError(f"{where}: form {form!r} must be a text, got {template!r}")
    if unknown := [form for form in templates if form not in FORMS]:
        raise UserError(f"{where}: unknown form {unknown[0]!r}; known are {', '.join(FORMS)}")
    if missing := [f for f in REQUIRED if f not in templates]:
        raise UserError(f"{where}: form {missing[0]!r} is missing")
    if plan and "plan" not in templates:
        raise UserError(f"{where}: stream.plan=true needs the form 'plan', one action of the answer, which is missing")
    if not plan:  # its words would be tokens that no stream has
        for form in _WITH_PLAN:
            templates.pop(form, None)
    return templates
