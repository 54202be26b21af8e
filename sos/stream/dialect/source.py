"""The YAML of a dialect: where it is read from, and what it may hold."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sos.errors import UserError
from sos.files import parse_yaml, read_text
from sos.stream.dialect.program import FORMS

REQUIRED = tuple(f for f in FORMS if f not in ("expand", "label", "jump", "plan", "end_empty", "operation"))
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


def load_source(name_or_path: str, env: Any) -> tuple[str, dict[str, Any]]:
    """Read a dialect's YAML by the name of one that is shipped for `env` or by path; return (where it came from, its
    fields)."""
    shipped = env.dialects / f"{name_or_path}.yaml"
    if shipped.is_file():
        where, text = f"dialect {name_or_path}", shipped.read_text(encoding="utf-8")
    else:
        path = Path(name_or_path)
        if not path.is_file():
            names = sorted(p.name[:-5] for p in env.dialects.iterdir() if p.name.endswith(".yaml"))
            raise UserError(
                f"stream.dialect: no dialect {name_or_path!r}; shipped ones are {', '.join(names)}, or give a YAML file"
            )
        where, text = f"dialect file {name_or_path}", read_text(path)
    try:
        source = parse_yaml(text)
    except ValueError as error:
        raise UserError(f"{where}: not YAML: {error}") from error
    if not isinstance(source, dict) or not isinstance(source.get("forms"), dict):
        raise UserError(f"{where}: needs a mapping with the key 'forms'")
    return where, source


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
        templates.pop("plan", None)
    return templates
