"""Which node of the trace so far a form names: by a path, by a depth, by a level, or as the leaf of an operation."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sos.envs import protocol as environment
from sos.kernels import inlined, inner
from sos.stream.read.lists import DEPTH_SLOT, HISTORY_SLOT, LEVEL_SLOT, PATH_SLOT
from sos.trace import ACTION, PARENT, RANK

UNNAMED = -2  # what a form names that names no node


class Told(NamedTuple):
    """What the stream told of each node so far; rows are set when their node is made. N = nodes."""

    state_of: np.ndarray  # int32 (N,): row of the last stated state
    next_rank: np.ndarray  # int32 (N,): rank of the next child
    visited: np.ndarray  # bool (N,)
    inner: np.ndarray  # bool (N,): not generated as a leaf
    level: np.ndarray  # int32 (N,): nodes on the way to it, the root and itself among them, that were not forced; (0,)
    # where the dialect has no form for forced moves
    rows: np.ndarray  # int32 (2, W): work space


@inner
def _child(unnamed_leaves, nodes, count, inner, parent, rank):
    """Return the first child of `parent` that goes by `rank`, or -1. O(nodes)."""
    for node in range(parent + 1, count):
        if nodes[node, PARENT] == parent and nodes[node, RANK] == rank and (inner[node] or not unnamed_leaves):
            return node
    return -1


@inlined
def _leaf(nodes, count, told, parent, reading):
    """Return the first leaf child of `parent` that the last stated operation generated, or -1. O(nodes)."""
    length = reading.scalars[HISTORY_SLOT]
    if length < 1 or length > len(reading.history):
        return -1
    action = reading.history[length - 1]
    for node in range(parent + 1, count):
        if nodes[node, PARENT] == parent and not told.inner[node]:
            same = True
            for k in range(len(action)):
                if nodes[node, ACTION + k] != action[k]:
                    same = False
            if same:
                return node
    return -1


@inlined
def _at_level(nodes, told, current, level):
    """Return the last node of `level` on the way to `current`, -1 for none; `UNNAMED` where no level is stated."""
    if level < 0 or len(told.level) == 0:
        return UNNAMED
    node = current
    while node >= 0 and told.level[node] != level:
        node = np.int64(nodes[node, PARENT])
    return node


@inlined
def level_is_true(told, node, reading):
    """Say whether the stated level, if there is one, is that of `node`."""
    stated = reading.scalars[LEVEL_SLOT]
    return len(told.level) == 0 or stated < 0 or (node >= 0 and told.level[node] == stated)


@inlined
def resolve(program, nodes, count, told, current, reading):
    """Return the node that the stated path, depth or level names, -1 where there is none, `UNNAMED` where the form
    names none."""
    length = reading.scalars[PATH_SLOT]
    if length > 0:
        if length > len(reading.path) or reading.path[0] != 0:
            return -1
        node = 0
        for k in range(1, length):
            parent = node
            node = _child(program.unnamed_leaves, nodes, count, told.inner, parent, reading.path[k])
            if node < 0 and k == length - 1 and reading.path[k] == 0 and program.unnamed_leaves:
                node = _leaf(nodes, count, told, parent, reading)
            if node < 0:
                return -1
        return node
    wanted = reading.scalars[DEPTH_SLOT]
    if wanted < 0:
        return _at_level(nodes, told, current, reading.scalars[LEVEL_SLOT])
    depth = 0
    node = current
    while node > 0:
        node = nodes[node, PARENT]
        depth += 1
    if current < 0 or node < 0 or wanted > depth:
        return -1
    node = current
    for _ in range(depth - wanted):
        node = nodes[node, PARENT]
    return node


@inner
def _equal(a, b):
    for k in range(len(a)):
        if a[k] != b[k]:
            return False
    return True


@inner
def in_state(env, problem, states, count, told, state):
    """Return the node generated last of those whose state was last said to be `state`, -1 for none. O(nodes).

    Where there is none, `state` may say the costs of one wrong: of equal futures the node generated last is meant.
    """
    for node in range(count - 1, -1, -1):
        if _equal(states[told.state_of[node]], state):
            return np.int64(node)
    environment.canonical(env, problem, state, told.rows[0])
    for node in range(count - 1, -1, -1):
        environment.canonical(env, problem, states[told.state_of[node]], told.rows[1])
        if _equal(told.rows[0], told.rows[1]):
            return np.int64(node)
    return np.int64(-1)


@inlined
def history_is_true(nodes, node, reading):
    """Compare the stated history with the actions from the root to `node`."""
    left = reading.scalars[HISTORY_SLOT]
    if left > len(reading.history):
        return False
    while node >= 0 and nodes[node, PARENT] >= 0:
        left -= 1
        if left < 0:
            return False
        for k in range(reading.history.shape[1]):
            if reading.history[left, k] != nodes[node, ACTION + k]:
                return False
        node = nodes[node, PARENT]
    return left == 0


@inlined
def label_is_true(nodes, node, reading):
    """Say whether the stated path is the node's own."""
    length = reading.scalars[PATH_SLOT]
    if length > len(reading.path):
        return False
    k = length - 1
    while k >= 0 and node >= 0:
        expected = nodes[node, RANK] if nodes[node, PARENT] >= 0 else 0
        if reading.path[k] != expected:
            return False
        node = nodes[node, PARENT]
        k -= 1
    return k < 0 and node < 0
