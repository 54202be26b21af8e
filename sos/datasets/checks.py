"""The door of the data sets: what their files must hold before anything, a kernel above all, is given an index from
them.

`check_manifest` and `check_record` look at JSON, `check_streams` and `check_traces` at columns. Each raises UserError
(or returns the complaint) that names the key or the row and the value. Whoever reads a data set comes through
`sos.datasets.read.Shards`, which calls them once for each shard that it opens.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sos.data.splits import SPLITS
from sos.datasets.headers import npy_header
from sos.envs.registry import recorded_env
from sos.envs.words import Words, words_of
from sos.errors import UserError
from sos.files import damaged
from sos.schema.registry import UnknownPart
from sos.trace import ACTION, EVENT_COLUMNS, KIND, NODE, PARENT, RANK, STATE, VALUE, Event, Outcome

KINDS = ("traces", "tokens")
UNITS = {"traces": "traces", "tokens": "streams"}  # what a data set of each kind counts
COUNTS = {
    "traces": ("visits", "dropped", "traces", "solved", "events"),
    "tokens": ("visits", "dropped", "streams", "tokens"),
}
MAX_SEED = 2**63
MAX_VOCABULARY = 1 << 16  # tokens are uint16

_NARROW = (np.int8, np.int16, np.int32)
# dtypes and number of axes of each column; a list of narrow ones means whichever holds the values.
_COLUMNS: dict[str, dict[str, tuple[tuple[Any, ...], int]]] = {
    "tokens": {
        "tokens": ((np.uint16,), 1),
        "kinds": ((np.int8,), 1),
        "offsets": ((np.int64,), 1),
        "prompts": ((np.int32,), 1),
        "visits": ((np.int64,), 1),
        "strategies": ((np.int32,), 1),
    },
    "traces": {
        "problems": (_NARROW, 2),
        "events": (_NARROW, 2),
        "nodes": (_NARROW, 2),
        "states": (_NARROW, 2),
        "offsets": ((np.int64,), 2),
        "visits": ((np.int64,), 1),
        "strategies": ((np.int32,), 1),
    },
}
COLUMNS = {kind: tuple(columns) for kind, columns in _COLUMNS.items()}
_HASH = re.compile(r"[0-9a-f]{64}")


class Limits(NamedTuple):
    """What the columns of one shard are held against."""

    start: int  # visits of the shard
    stop: int
    num_kept: int  # traces or streams
    num_strategies: int
    vocab_size: int = 0  # of tokens
    context: int = 0
    env: Any = None  # of traces


def short(value: Any) -> str:
    """Return a value in at most 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


# Manifests and records


def _whole(content: Mapping[str, Any], key: str, low: int, high: int = 2**62) -> int:
    value = content.get(key)
    if type(value) is not int or not low <= value <= high:
        raise ValueError(f"{key} must be a whole number from {low} to {high}, got {short(value)}")
    return value


def _object(content: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = content.get(key)
    if not isinstance(value, dict):
        raise ValueError(f"{key} must be an object, got {short(value)}")
    return value


def _names(content: Mapping[str, Any], key: str, most: int) -> list[str]:
    value = content.get(key)
    if not (isinstance(value, list) and 1 <= len(value) <= most and all(isinstance(name, str) for name in value)):
        raise ValueError(f"labels.{key} must be a list of 1 to {most} texts, got {short(value)}")
    return value


def _interpolation(value: Any, key: str) -> str | None:
    """Return the key of the first text that a configuration would replace by something else, or None."""
    if isinstance(value, str) and "${" in value:
        return key
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return next((found for k, v in pairs if (found := _interpolation(v, f"{key}.{k}"))), None)


def _check_counts(counts: dict[str, Any], kind: str) -> None:
    for key in {**dict.fromkeys(COUNTS[kind]), **counts}:
        _whole(counts, key, 0)
    if counts[UNITS[kind]] + counts["dropped"] != counts["visits"]:
        raise ValueError(f"counts must be of as many {UNITS[kind]} and dropped ones as visits, got {short(counts)}")


def _check_record(record: Any, kind: str, index: int, span: tuple[int, int]) -> None:
    if not isinstance(record, dict):
        raise ValueError(f"a shard is an object, got {short(record)}")
    for key, expected in (("index", index), ("start", span[0]), ("stop", span[1])):
        if type(record.get(key)) is not int or record[key] != expected:
            raise ValueError(f"{key} must be {expected}, got {short(record.get(key))}")
    counts = _object(record, "counts")
    _check_counts(counts, kind)
    if counts["visits"] != span[1] - span[0]:
        raise ValueError(f"counts.visits must be {span[1] - span[0]}, got {counts['visits']}")
    files = _object(record, "files")
    if set(files) != {f"{name}.npy" for name in COLUMNS[kind]}:
        raise ValueError(
            f"files must be {', '.join(f'{name}.npy' for name in COLUMNS[kind])}, got {short(list(files))}"
        )
    for name in files:
        file = _object(files, name)
        _whole(file, "bytes", 0)
        if not (isinstance(file.get("sha256"), str) and _HASH.fullmatch(file["sha256"])):
            raise ValueError(f"{name}: sha256 must be 64 hex digits, got {short(file.get('sha256'))}")


def check_record(record: Any, kind: str, index: int, span: tuple[int, int], path: Path) -> None:
    """Raise UserError that names `path` for a record that is not of shard `index` with the visits of `span`."""
    try:
        _check_record(record, kind, index, span)
    except UnknownPart:
        raise
    except ValueError as error:
        raise damaged(path, error) from error


def check_manifest(manifest: dict[str, Any], path: Path) -> None:
    """Raise UserError that names `path` for a manifest of a complete data set that nobody should read further."""
    try:
        _check_manifest(manifest)
    except UnknownPart:
        raise
    except ValueError as error:
        raise damaged(path, error) from error


def _check_manifest(manifest: dict[str, Any]) -> None:
    visits, size = _whole(manifest, "visits", 1), _whole(manifest, "shard_size", 1)
    num_shards = -(-visits // size)
    recipe, labels, shards = _object(manifest, "recipe"), _object(manifest, "labels"), manifest.get("shards")
    kind, split = recipe.get("kind"), recipe.get("split")
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueError(f"recipe.kind must be one of {', '.join(KINDS)}, got {short(kind)}")
    if not isinstance(split, str) or split not in SPLITS:
        raise ValueError(f"recipe.split must be one of {', '.join(SPLITS)}, got {short(split)}")
    _whole(recipe, "seed", -MAX_SEED, MAX_SEED)
    for group in ("env", "search", "data", *(("stream",) if kind == "tokens" else ())):
        _object(recipe, group)
    if found := _interpolation(recipe, "recipe"):
        raise ValueError(f"{found} holds an interpolation (${{...}})")
    recorded_env(recipe["env"])
    _names(labels, "strategies", MAX_VOCABULARY)
    if kind == "tokens":
        _names(labels, "vocabulary", MAX_VOCABULARY)
        _whole(recipe["data"], "context", 1)
    if _whole(manifest, "num_shards", 1) != num_shards:
        raise ValueError(f"num_shards must be {num_shards}, got {manifest['num_shards']}")
    if not isinstance(shards, list) or len(shards) != num_shards:
        raise ValueError(f"shards must be a list of {num_shards}, got {short(shards)}")
    for index, record in enumerate(shards):
        span = (index * size, min((index + 1) * size, visits))
        try:
            _check_record(record, kind, index, span)
        except ValueError as error:
            raise ValueError(f"shards[{index}]: {error}") from error
    counts = _object(manifest, "counts")
    _check_counts(counts, kind)
    for key in counts:
        total = sum(record["counts"].get(key, 0) for record in shards)
        if counts[key] != total:
            raise ValueError(f"counts.{key} must be {total}, as the shards add up to, got {counts[key]}")


# Columns


def open_column(path: Path, kind: str, name: str) -> np.ndarray:
    """Map a column into memory; its header is checked before anything is allocated. Raises UserError that names the
    file."""
    dtypes, axes = _COLUMNS[kind][name]
    try:
        with open(path, "rb") as file:
            shape, fortran, dtype = npy_header(file)
            start, size = file.tell(), path.stat().st_size
    except (ValueError, TypeError, OSError) as error:  # numpy knows no such type, or the digits are too many
        raise damaged(path, str(error)[:200]) from error
    if dtype not in [np.dtype(known) for known in dtypes]:
        names = " or ".join(np.dtype(known).name for known in dtypes)
        raise damaged(path, f"it holds {str(dtype)[:60]}, not {names}")
    if len(shape) != axes or fortran or min(shape) < 0:
        raise damaged(path, f"it has the shape {short(shape)}, not {axes} axes in C order")
    if math.prod(shape) * dtype.itemsize != size - start:
        raise damaged(path, f"it has {size - start} bytes for the shape {short(shape)} of {dtype}")
    return np.memmap(path, dtype, "r", start, shape) if math.prod(shape) else np.zeros(shape, dtype)


def check_streams(columns: Mapping[str, np.ndarray], limits: Limits) -> None:
    """Raise UserError that names the column and the value unless every index in the columns of token streams is
    good."""
    tokens, kinds, offsets, prompts = (columns[name] for name in ("tokens", "kinds", "offsets", "prompts"))
    _check_lengths(columns, limits)
    if len(kinds) != len(tokens):
        raise UserError(f"kinds has {len(kinds)} rows, tokens {len(tokens)}")
    _check_offsets(offsets, len(tokens), "offsets")
    lengths = np.diff(offsets)
    _check_range(lengths, 2, limits.context, "the length of stream")
    wrong = np.flatnonzero((prompts < 1) | (prompts > lengths))
    if len(wrong):
        k = int(wrong[0])
        raise UserError(f"prompts[{k}] must be from 1 to {lengths[k]}, the length of its stream, got {prompts[k]}")
    _check_range(tokens, 0, limits.vocab_size - 1, "tokens")
    _check_range(kinds, 0, len(Event) - 1, "kinds")


def check_traces(columns: Mapping[str, np.ndarray], limits: Limits) -> None:
    """Raise UserError that names the column and the row unless every index in the columns of traces is good."""
    _check_lengths(columns, limits)
    problems, offsets = columns["problems"], columns["offsets"]
    if problems.shape[1] != limits.env.problem_width:
        raise UserError(f"problems has {problems.shape[1]} columns, not {limits.env.problem_width}")
    if offsets.shape[1] != 3:
        raise UserError(f"offsets has {offsets.shape[1]} columns, not 3")
    for k, name in enumerate(("events", "nodes", "states")):
        _check_offsets(offsets[:, k], len(columns[name]), f"offsets[:, {k}]")
    words = words_of(limits.env)
    check_rows(words, *(columns[name] for name in ("problems", "events", "nodes", "states", "offsets")))


def _check_lengths(columns: Mapping[str, np.ndarray], limits: Limits) -> None:
    """Check what both kinds of columns have: a row for each trace or stream, its visit and its strategy."""
    for name in ("problems", "prompts", "visits", "strategies", "offsets"):
        if name in columns:
            num = limits.num_kept + (name == "offsets")
            if len(columns[name]) != num:
                raise UserError(f"{name} has {len(columns[name])} rows, not {num}")
    visits = columns["visits"]
    _check_range(visits, limits.start, limits.stop - 1, "visits")
    descents = np.flatnonzero(np.diff(visits) <= 0)
    if len(descents):
        k = int(descents[0])
        raise UserError(f"visits must ascend, got {visits[k]} and then {visits[k + 1]}")
    _check_range(columns["strategies"], 0, limits.num_strategies - 1, "strategies")


def _check_offsets(offsets: np.ndarray, end: int, name: str) -> None:
    if offsets[0] != 0 or offsets[-1] != end:
        raise UserError(f"{name} must go from 0 to {end}, got {offsets[0]} to {offsets[-1]}")
    # Compared, not subtracted: a difference may overflow.
    descents = np.flatnonzero(offsets[1:] <= offsets[:-1])
    if len(descents):
        k = int(descents[0])
        raise UserError(f"{name} must ascend, got {offsets[k]} and then {offsets[k + 1]}")


def _check_range(values: np.ndarray, low: int, high: int, name: str) -> None:
    if values.size and (int(values.min()) < low or int(values.max()) > high):
        k = int(np.flatnonzero((values < low) | (values > high))[0])
        raise UserError(f"{name}[{k}] must be from {low} to {high}, got {values[k]}")


def _refuse(wrong: np.ndarray, rows: np.ndarray, name: str, what: str) -> None:
    if wrong.any():
        k = int(np.flatnonzero(wrong)[0])
        raise UserError(f"{name}[{k}] is no {what}: {rows[k].tolist()}")


def check_rows(
    words: Words,
    problems: np.ndarray,
    events: np.ndarray,
    nodes: np.ndarray,
    states: np.ndarray,
    offsets: np.ndarray,
) -> None:
    """Raise UserError that names the row unless a kernel can be given these traces of an environment.

    problems (N, P), events (E, 5), nodes (M, 2 + A) and states (S, W) of N traces behind each other, of any integer
    type; offsets (N + 1, 3) are good. What the rows say may still be wrong: that is the verifier's to find.
    """
    env = words.env
    for name, rows, width in (
        ("events", events, EVENT_COLUMNS),
        ("nodes", nodes, ACTION + env.action_width),
        ("states", states, env.state_width),
    ):
        if rows.shape[1] != width:
            raise UserError(f"{name} has {rows.shape[1]} columns, not {width}")
    _refuse(words.wrong_problems(problems), problems, "problems", "problem")
    _refuse(words.wrong_states(states), states, "states", "state of its problem")
    _check_nodes(words, nodes, offsets[:, 1])
    _check_events(events, offsets)


def _check_nodes(words: Words, nodes: np.ndarray, offsets: np.ndarray) -> None:
    max_depth = words.env.max_depth
    first = np.repeat(offsets[:-1], np.diff(offsets))
    number = np.arange(len(nodes)) - first
    parent = nodes[:, PARENT].astype(np.int64)
    root = number == 0
    wrong = np.where(root, parent != -1, (parent < 0) | (parent >= number))
    action = nodes[:, ACTION:]
    wrong |= nodes[:, RANK] < 0
    for field in (field for fields in words.env.fields.values() for field in fields):
        if field.row == "action" and field.symbols:
            coded = action[:, field.column : field.column + max(field.size, 1) * field.width]
            wrong |= ((coded < 0) | (coded >= len(field.symbols))).any(1)
    wrong |= words.wrong_actions(action) & ~root
    _refuse(wrong, nodes, "nodes", "node of its trace")
    above = np.where(root, number, parent) + first
    reached = np.arange(len(nodes))
    for _ in range(max_depth):
        reached = above[reached]
    _refuse(reached != first, nodes, "nodes", f"node of its trace (deeper than {max_depth})")


def _check_events(events: np.ndarray, offsets: np.ndarray) -> None:
    sizes = np.diff(offsets, axis=0)
    num_nodes, num_states = (np.repeat(sizes[:, k], sizes[:, 0]) for k in (1, 2))
    kind, node, state, value = (events[:, column] for column in (KIND, NODE, STATE, VALUE))
    last = np.zeros(len(events), bool)
    last[offsets[1:, 0] - 1] = True
    end = kind == Event.END
    wrong = (kind < 0) | (kind >= len(Event)) | (end != last)
    wrong |= (node < -1) | (node >= num_nodes) | (state < -1) | (state >= num_states)
    wrong |= end & ((value < 0) | (value >= len(Outcome)))
    wrong |= ~end & ((node < 0) | (state < 0) | (value < 0))
    wrong |= ((kind == Event.GENERATE) | (kind == Event.PLAN)) & (node < 1)
    _refuse(wrong, events, "events", "event of its trace")
