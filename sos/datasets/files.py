"""Traces and published records in files: JSON lines of ours, JSON arrays or lines of theirs, read one at a time.

A line of ours is `{"problem": [...], "strategy": "dfs_sum", "events": [[...]], "nodes": [[...]], "states": [[...]]}`, the arrays of a
`sos.trace.Trace`. Every error is a ValueError that names the file, the line and the value.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator
from typing import Any, TextIO

import numpy as np

from sos.envs.countdown.rules import MAX_NUMBERS
from sos.errors import UserError
from sos.files import written_whole
from sos.trace import ACTION, EVENT_COLUMNS, KIND, NODE, PARENT, RANK, STATE, VALUE, Event, Outcome, Trace

CHUNK = 1 << 20  # characters read at a time
LONGEST = 1 << 26  # characters of one record at most
ACTION_WIDTH = 4
_BETWEEN = re.compile(r"\s*(,?)\s*")


def read_json(path: str | os.PathLike[str]) -> Iterator[tuple[int, Any]]:
    """Yield (line, value) for every value of a JSON array, or of a file of JSON lines, without reading the whole file.

    A damaged line of JSON lines is yielded as the ValueError that names it, for the caller to raise or to count; behind damage
    in an array nothing can be read, so that it raises.
    """
    try:
        with open(path, encoding="utf-8") as file:
            start = file.read(CHUNK)
            while start and not start.strip():
                start = file.read(CHUNK)
            if start.lstrip().startswith("["):
                yield from _array(path, file, start)
                return
            file.seek(0)
            for number, line in enumerate(file, 1):
                if line.strip():
                    try:
                        yield number, json.loads(line)
                    except ValueError as error:
                        yield number, ValueError(f"{path}:{number}: not JSON ({error}): {line.strip()[:60]!r}")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not a text file ({error.reason} at byte {error.start})") from error


def _array(path: str | os.PathLike[str], file: TextIO, text: str) -> Iterator[tuple[int, Any]]:
    """Yield (line, value) of an array that starts in `text` and goes on in `file`."""
    decoder = json.JSONDecoder()
    line, used, first = 1, text.index("[") + 1, True
    while True:
        line += text.count("\n", 0, used)
        text = text[used:]
        between = _BETWEEN.match(text)
        assert between is not None
        body = text[between.end() :]
        comma = bool(between[1])
        if body.startswith("]") and not comma:
            break
        where = line + text.count("\n", 0, between.end())
        try:
            if comma == first:
                raise json.JSONDecodeError("a comma too many" if comma else "no comma between two values", body, 0)
            value, length = decoder.raw_decode(body)
            if length == len(body):  # a number could go on
                raise json.JSONDecodeError("the array does not end", body, length)
        except json.JSONDecodeError as error:
            more = file.read(CHUNK) if len(text) < LONGEST else ""
            if not more:
                raise UserError(f"{path}:{where}: not JSON ({error.msg}): {body[:60]!r}") from error
            text, used = text + more, 0
            continue
        yield where, value
        used, first = between.end() + length, False
    if tail := body[1:].strip() or file.read().strip():
        raise UserError(f"{path}: more behind the end of the array: {tail[:60]!r}")


def trace_line(trace: Trace, strategy: str) -> str:
    """Return the JSON of a trace, without a line end."""
    arrays = {name: array.tolist() for name, array in trace._asdict().items()}
    return json.dumps({"problem": arrays.pop("problem"), "strategy": strategy, **arrays})


def parse_trace(value: Any) -> tuple[Trace, str]:
    """Return (trace, strategy) of one line's JSON. Raises ValueError where it is no trace that a kernel can be given."""
    if not isinstance(value, dict):
        raise UserError(f"a trace is an object, got {str(value)[:60]!r}")
    if not isinstance(value.get("strategy"), str):
        raise UserError(f"strategy must be a text, got {value.get('strategy')!r}")
    problem = _matrix(value, "problem", None)
    count = len(problem) - 2
    if not (2 <= count <= MAX_NUMBERS and problem[1] == count):
        raise UserError(f"problem must be [target, count, numbers...], got {problem.tolist()}")
    events = _matrix(value, "events", EVENT_COLUMNS)
    nodes = _matrix(value, "nodes", ACTION + ACTION_WIDTH)
    states = _matrix(value, "states", count + 1)
    wrong = (events[:, KIND] < 0) | (events[:, KIND] >= len(Event))
    wrong |= (events[:, NODE] < -1) | (events[:, NODE] >= len(nodes))
    wrong |= (events[:, STATE] < -1) | (events[:, STATE] >= len(states))
    wrong |= (events[:, KIND] == Event.END) & ((events[:, VALUE] < 0) | (events[:, VALUE] >= len(Outcome)))
    wrong |= (events[:, KIND] == Event.END) != (np.arange(len(events)) == len(events) - 1)
    wrong |= (events[:, KIND] != Event.END) & ((events[:, NODE] < 0) | (events[:, STATE] < 0))
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise UserError(f"events[{row}] is no event of this trace: {events[row].tolist()}")
    wrong = (nodes[:, PARENT] < -1) | (nodes[:, PARENT] >= np.arange(len(nodes)))
    wrong |= (nodes[:, PARENT] == -1) != (np.arange(len(nodes)) == 0)
    wrong |= (nodes[:, RANK] < 0) | (nodes[:, ACTION + 1] < 0) | (nodes[:, ACTION + 1] > 3)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise UserError(f"nodes[{row}] is no node of this trace: {nodes[row].tolist()}")
    wrong = (states[:, 0] < 1) | (states[:, 0] > count)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise UserError(f"states[{row}] is no state of this problem: {states[row].tolist()}")
    return Trace(problem, events, nodes, states), value["strategy"]


def _matrix(value: dict[str, Any], name: str, width: int | None) -> np.ndarray:
    """Return int32 rows of `width` columns (None: one row), at least one."""
    if name not in value:
        raise UserError(f"{name} is missing")
    try:
        array = np.array(value[name])
    except ValueError:
        array = np.zeros(0)
    shape = array.shape[1:] if width else ()
    if array.dtype.kind != "i" or array.ndim != 1 + bool(width) or shape != ((width,) if width else ()):
        rows = f"rows of {width} whole numbers" if width else "whole numbers"
        raise UserError(f"{name} must hold {rows}, got {str(value[name])[:60]}")
    if not len(array) or array.min() < -1 or array.max() >= 2**31:
        raise UserError(f"{name} must hold at least one row of numbers from -1 to 2**31 - 1")
    return array.astype(np.int32)


def write_lines(path: str | os.PathLike[str], lines: Iterable[str], array: bool = False) -> int:
    """Write JSON texts as lines, or as one JSON array with a value a line; the file whole or not at all. Return how many."""
    num = 0
    with written_whole(path) as partial, open(partial, "w", encoding="utf-8") as file:
        file.write("[\n" if array else "")
        for line in lines:
            separator = ",\n" if array else "\n"
            file.write((separator if num else "") + line)
            num += 1
        file.write("\n]\n" if array else "\n" * (num > 0))
    return num
