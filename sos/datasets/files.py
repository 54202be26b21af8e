"""Traces in files: JSON lines, each checked before a kernel sees it.

A line of ours is `{"problem": [...], "strategy": "dfs_sum", "events": [[...]], "nodes": [[...]], "states": [[...]]}`,
the arrays of a `sos.trace.Trace`; `env` names the environment, where it is not `sos.envs.registry.UNNAMED`. Every error
is a ValueError that names the file, the line and the value.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from sos.datasets.checks import check_rows
from sos.envs.registry import UNNAMED
from sos.envs.words import words_named, words_of
from sos.errors import UserError
from sos.trace import ACTION, EVENT_COLUMNS, Trace


def trace_line(trace: Trace, strategy: str, env: str = UNNAMED) -> str:
    """Return the JSON of a trace in the environment of that name, without a line end."""
    arrays = {name: array.tolist() for name, array in trace._asdict().items()}
    named = {} if env == UNNAMED else {"env": env}
    return json.dumps({**named, "problem": arrays.pop("problem"), "strategy": strategy, **arrays})


def env_of(value: dict[str, Any], problem: np.ndarray) -> Any:
    """Return the environment of one line's JSON, made for its problem. Raises UserError where there is none."""
    return words_named(value.get("env", UNNAMED)).env_of(problem)


def parse_trace(value: Any) -> tuple[Trace, str]:
    """Return (trace, strategy) of one line's JSON. Raises ValueError where it is no trace that a kernel can be
    given."""
    if not isinstance(value, dict):
        raise UserError(f"a trace is an object, got {str(value)[:60]!r}")
    if not isinstance(value.get("strategy"), str):
        raise UserError(f"strategy must be a text, got {value.get('strategy')!r}")
    problem = _matrix(value, "problem", None)
    env = env_of(value, problem)
    events = _matrix(value, "events", EVENT_COLUMNS)
    nodes = _matrix(value, "nodes", ACTION + env.action_width)
    states = _matrix(value, "states", env.state_width)
    offsets = np.array([(0, 0, 0), (len(events), len(nodes), len(states))], np.int64)
    check_rows(words_of(env), problem[None], events, nodes, states, offsets)
    return Trace(problem, events, nodes, states), value["strategy"]


def _matrix(value: dict[str, Any], name: str, width: int | None) -> np.ndarray:
    """Return int32 rows of `width` columns (None: one row), at least one."""
    if name not in value:
        raise UserError(f"{name} is missing")
    try:
        array = np.array(value[name])
    except (ValueError, OverflowError, TypeError):
        array = np.zeros(0)
    shape = array.shape[1:] if width else ()
    if array.dtype.kind != "i" or array.ndim != 1 + bool(width) or shape != ((width,) if width else ()):
        rows = f"rows of {width} whole numbers" if width else "whole numbers"
        raise UserError(f"{name} must hold {rows}, got {str(value[name])[:60]}")
    if not len(array) or array.min() < -1 or array.max() >= 2**31:
        raise UserError(f"{name} must hold at least one row of numbers from -1 to 2**31 - 1")
    return array.astype(np.int32)
