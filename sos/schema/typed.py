"""Nodes of OmegaConf that took any key while Hydra composed get a schema; and what it says of a value's type."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Collection, Sequence
from typing import Any

from sos.errors import UserError
from sos.schema.keys import hints, wrong_type


def first_foreign(node: Any, schema: type) -> str | None:
    """Return a key of an untyped node that the schema lacks, or None."""
    known = {field.name for field in dataclasses.fields(schema)}
    return next((str(key) for key in node if key not in known), None)


def typed_node(schema: type, node: Any, path: Sequence[str], without: Collection[str] = ()) -> Any:
    """Return a node of a schema with the values of an untyped one; `path` stands before its keys in messages."""
    from omegaconf import OmegaConf

    values: Any = {key: node._get_node(key) for key in node if key not in without}
    whole: Any = OmegaConf.structured(schema)
    for name in reversed(path):
        values, whole = {name: values}, {name: whole}
    whole = OmegaConf.create(whole)
    whole.merge_with(values)
    for name in path:
        whole = whole._get_node(name)
    for key in node:
        if key not in without and OmegaConf.is_missing(node, key):
            whole[key] = "???"
    return whole


def wrong_value(error: Any, word: str = "") -> UserError | None:
    """Return what OmegaConf raised for a value of the wrong type as one line that names key and value; None for
    anything else.

    `word` is the `KEY=VALUE` that was typed, where it is known: OmegaConf keeps no text for a whole list.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from omegaconf import Node
    from omegaconf.errors import ConfigTypeError, InterpolationResolutionError, KeyValidationError, ValidationError

    if not isinstance(error, (ValidationError, ConfigTypeError)) or not error.full_key:
        return None
    if isinstance(error, (KeyValidationError, InterpolationResolutionError)):
        return None
    value = error.value._value() if isinstance(error.value, Node) else error.value
    if dataclasses.is_dataclass(error.object_type):
        hint = hints(error.object_type).get(error.key)
    elif error.key is None:
        hint = error.ref_type
        value = OverridesParser.create().parse_override(word).value() if word else value
    else:  # what a list or a dict holds
        hint = typing.get_args(error.ref_type)[-1]
    return None if hint in (None, Any) else wrong_type(error.full_key, hint, value)
