"""Whether a trace proves that its problem has no solution: the answer of a search that ends exhausted.

An end that says `exhausted` is a claim like any other. It is proven where the states that the trace generated are
closed: each is dead or was visited, each action of a visited one leads to a generated one, and none is a goal. Then no
goal can be reached, in whatever order they were tried, and whether equal states were tried once or twice.

An environment that poses problems without a solution says itself what closes a state, such as both values of one
variable, and `verify` asks it: then this is what it found.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sos.envs import protocol as environment
from sos.stream.verify import Error, verify
from sos.trace import KIND, STATE, VALUE, Event, Outcome, Trace

# Slips of the telling, which change nothing about the nodes.
HARMLESS = (Error.NONE, Error.QUOTE, Error.LABEL, Error.UNANNOUNCED)


def refutes(env: Any, trace: Trace) -> bool:
    """Say whether `trace` ends exhausted and proves that no action leads from its problem to a goal.

    A trace with a mistake about its nodes proves nothing. O(nodes x children), in plain Python: about 0.1 ms a node.
    """
    if environment.refutable(env):
        return verify(env, trace).refuted
    if not len(trace.events) or tuple(trace.events[-1, [KIND, VALUE]]) != (Event.END, Outcome.EXHAUSTED):
        return False
    if not set(verify(env, trace).errors.tolist()) <= set(map(int, HARMLESS)):
        return False
    generated = {_key(env, trace, row): row for row in _rows(trace, Event.GENERATE)}
    visited = {_key(env, trace, row): row for row in _rows(trace, Event.EXPAND)}
    for key, row in generated.items():
        status = environment.status(env, trace.problem, trace.states[row])
        if status == environment.GOAL or (status == environment.OPEN and key not in visited):
            return False
    known = generated.keys() | visited.keys()
    return all(known >= set(_children(env, trace.problem, trace.states[row])) for row in visited.values())


def _rows(trace: Trace, kind: Event) -> list[int]:
    """Return the rows of the states that events of a kind state."""
    rows: list[int] = trace.events[trace.events[:, KIND] == kind, STATE].tolist()
    return rows


def _key(env: Any, trace: Trace, row: int) -> bytes:
    return _canonical(env, trace.problem, trace.states[row])


def _canonical(env: Any, problem: np.ndarray, state: np.ndarray) -> bytes:
    out = np.zeros(env.state_width, np.int32)
    environment.canonical(env, problem, state, out)
    return out.tobytes()


def _children(env: Any, problem: np.ndarray, state: np.ndarray) -> list[bytes]:
    """Return the canonical forms of all children of a state."""
    scratch = np.zeros(env.scratch_size, np.int64)
    moves, values = np.zeros(env.max_children, np.int64), np.zeros(env.max_children, np.int64)
    environment.prepare(env, 0, problem, scratch)
    num = environment.successors(env, 0, problem, scratch, state, moves, values)
    action, child = np.zeros(env.action_width, np.int32), np.zeros(env.state_width, np.int32)
    found = []
    for move in moves[:num]:
        environment.make_child(env, problem, state, move, action, child)
        found.append(_canonical(env, problem, child))
    return found
