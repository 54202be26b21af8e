"""Nodes of OmegaConf that took any key while Hydra composed get a schema."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from typing import Any


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
