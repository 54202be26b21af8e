"""A binary heap of nodes by value, or by (value, node), in the arrays of a search's work."""

from __future__ import annotations

from sos.envs.protocol import NO_LIMIT
from sos.kernels import inlined


@inlined
def _is_less(value, node, other_value, other_node, by_node):
    return value < other_value or (by_node and value == other_value and node < other_node)


@inlined
def _sift_down(values, nodes, pos, by_node):
    value, node = values[pos], nodes[pos]
    while pos > 0:
        parent = (pos - 1) >> 1
        if not _is_less(value, node, values[parent], nodes[parent], by_node):
            break
        values[pos] = values[parent]
        nodes[pos] = nodes[parent]
        pos = parent
    values[pos] = value
    nodes[pos] = node


@inlined
def push_heap(work, size, value, node, by_node):
    """Push onto the heap of `size` entries; return the new size.

    The steps are those of CPython's heapq: equal values come out in its order, or with `by_node` in that of the nodes.
    All calls for one heap have the same `by_node`.
    """
    work.heap_values[size] = value
    work.heap_nodes[size] = node
    _sift_down(work.heap_values, work.heap_nodes, size, by_node)
    return size + 1


@inlined
def pop_heap(work, size, by_node):
    """Take the least entry from the heap of `size` > 0 entries; return its node. `size` - 1 entries remain.

    Values are below 2**63 - 1.
    """
    values, nodes = work.heap_values, work.heap_nodes
    least = nodes[0]
    size -= 1
    value, node = values[size], nodes[size]
    if size == 0:
        return least
    values[size] = NO_LIMIT  # so that the last child without a sibling is the lesser of two
    pos = 0
    child = 1
    while child < size:
        child += not _is_less(values[child], nodes[child], values[child + 1], nodes[child + 1], by_node)
        values[pos] = values[child]
        nodes[pos] = nodes[child]
        pos = child
        child = 2 * pos + 1
    values[pos] = value
    nodes[pos] = node
    _sift_down(values, nodes, pos, by_node)
    return least
