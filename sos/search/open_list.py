"""The open list of A*: a binary heap of nodes by value, ties by a rule, in the arrays of a search's work."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sos.kernels import inlined, inner
from sos.rng import fold
from sos.search.a_star_config import TIES

BY_STATE, FIRST, LAST, RANDOM = range(len(TIES))


class TieRule(NamedTuple):
    """Which of two nodes of equal value comes first."""

    kind: int  # index into `TIES`
    key: np.uint64  # of the problem, for `random`


@inner
def _before(rule, work, node, other):
    """Say whether `node` comes before `other`, whose value is the same."""
    if rule.kind == RANDOM:
        return fold(rule.key, node) < fold(rule.key, other)
    if rule.kind == BY_STATE:
        a, b = work.seen_rows[work.row_of[node]], work.seen_rows[work.row_of[other]]
        for k in range(len(a)):
            if a[k] != b[k]:
                return a[k] < b[k]
    return node > other if rule.kind == LAST else node < other


@inlined
def _is_less(rule, work, value, node, other_value, other):
    return value < other_value or (value == other_value and _before(rule, work, node, other))


@inlined
def push_open(rule, work, size, value, node):
    """Push onto the list of `size` entries; return the new size. O(log size) comparisons."""
    values, nodes = work.heap_values, work.heap_nodes
    pos = np.int64(size)
    while pos > 0:
        parent = (pos - 1) >> 1
        if not _is_less(rule, work, value, node, values[parent], nodes[parent]):
            break
        values[pos] = values[parent]
        nodes[pos] = nodes[parent]
        pos = parent
    values[pos] = value
    nodes[pos] = node
    return size + 1


@inlined
def pop_open(rule, work, size):
    """Take the first entry from the list of `size` > 0 entries; return its node. `size` - 1 entries remain."""
    values, nodes = work.heap_values, work.heap_nodes
    first = np.int64(nodes[0])
    size -= 1
    value, node = values[size], nodes[size]
    pos = np.int64(0)
    child = np.int64(1)
    while child < size:
        if child + 1 < size and _is_less(rule, work, values[child + 1], nodes[child + 1], values[child], nodes[child]):
            child += 1
        if not _is_less(rule, work, values[child], nodes[child], value, node):
            break
        values[pos] = values[child]
        nodes[pos] = nodes[child]
        pos = child
        child = 2 * pos + 1
    values[pos] = value
    nodes[pos] = node
    return first
