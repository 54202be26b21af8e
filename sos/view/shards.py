"""Traces and streams of a data set on disk, for `sos view shard=FOLDER index=K`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sos.compose import combinations, compose
from sos.config import Config
from sos.datasets.read import Shards, trace_chunk
from sos.datasets.source import config_of, dialect_hash
from sos.errors import UserError
from sos.schema.naming import as_word
from sos.schema.registry import UnknownPart
from sos.system import build_dialect, build_env, build_system
from sos.view.page import from_tokens, from_trace
from sos.view.sources import Shown, parse_indices

UNITS = {"traces": "traces", "tokens": "streams"}


def from_shards(options: dict[str, str], overrides: Sequence[str]) -> list[Shown]:
    """Return what `index` names in a data set: its traces, written in the config's dialect, or its streams, in their
    own.

    The index counts what the data set holds, over all its shards. Raises ValueError for what is missing or damaged.
    """
    if {"split", "problem"} & options.keys():
        raise UserError("shard takes index, not split and problem")
    _, indices = parse_indices(options)
    folder = Path(options["shard"])
    shards = Shards(folder)
    kind = shards.kind
    if kind == "tokens" and overrides:
        raise UserError(f"{overrides[0]} has no place here: {folder} says what its streams are")
    shown: list[Shown] = []
    for index in indices:
        shard, row = _find(shards, UNITS[kind], index)
        shown += (_trace if kind == "traces" else _stream)(shards, shard, row, f"{UNITS[kind][:-1]} {index}", overrides)
    return shown


def _find(shards: Shards, unit: str, index: int) -> tuple[int, int]:
    """Return the shard that holds number `index` and its place there."""
    left = index
    for shard, record in enumerate(shards.manifest["shards"]):
        if left < record["counts"][unit]:
            return shard, left
        left -= record["counts"][unit]
    raise UserError(f"index={index}: {shards.folder} holds {index - left} {unit}")


def _config(shards: Shards) -> Config:
    try:
        return config_of(shards.manifest)
    except UnknownPart:
        raise
    except ValueError as error:
        raise UserError(f"{shards.folder} was made under another schema: {error}") from error


def _name(shards: Shards, columns: Any, row: int, title: str) -> tuple[str, str]:
    """Return (title, detail)."""
    strategy = shards.manifest["labels"]["strategies"][int(columns["strategies"][row])]
    return f"{title} · {strategy}", f"{shards.folder.name}, visit {int(columns['visits'][row])}"


def _trace(shards: Shards, shard: int, row: int, title: str, overrides: Sequence[str]) -> list[Shown]:
    config = _config(shards)
    columns, env = shards.columns(shard), build_env(config)
    trace = list(trace_chunk(columns, 0).traces())[row]
    title, detail = _name(shards, columns, row, title)
    shown: list[Shown] = []
    for chosen, swept in combinations(overrides):
        dialect = build_dialect(compose([as_word("env.name", config.env.name), *chosen]), env)  # of its task by default
        heading = " · ".join(filter(None, (title, swept)))
        shown.append((dialect, env, from_trace(dialect, env, trace, heading, f"{detail}, {dialect.name}")))
    return shown


def _stream(shards: Shards, shard: int, row: int, title: str, overrides: Sequence[str]) -> list[Shown]:
    columns, system = shards.columns(shard), build_system(_config(shards))
    if dialect_hash(system.dialect) != shards.manifest["recipe"]["stream"]["dialect_hash"]:
        raise UserError(f"{shards.folder} was written in another version of dialect {system.dialect.name}")
    start, stop = columns["offsets"][row : row + 2]
    title, detail = _name(shards, columns, row, title)
    detail = f"{detail}, {system.dialect.name}"
    trace = from_tokens(system.dialect, system.env, None, columns["tokens"][start:stop], title, detail)
    return [(system.dialect, system.env, trace)]
