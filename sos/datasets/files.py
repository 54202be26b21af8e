"""Traces in files: JSON lines, each checked before a kernel sees it.

A line of ours is `{"problem": [...], "strategy": "dfs_sum", "events": [[...]], "nodes": [[...]], "states": [[...]]}`, the arrays of a
`sos.trace.Trace`. Every error is a ValueError that names the file, the line and the value.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from sos.envs.countdown.rules import MAX_NUMBERS
from sos.errors import UserError
from sos.trace import ACTION, EVENT_COLUMNS, KIND, NODE, PARENT, RANK, STATE, VALUE, Event, Outcome, Trace

ACTION_WIDTH = 4


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
