"""A binary heap of nodes by (value, node), in the arrays of a search's work."""

from __future__ import annotations

from sos.kernels import inlined, inner

NO_LIMIT = 2**63 - 1


@inner
def _sift_down(values, nodes, start, pos):
    value, node = values[pos], nodes[pos]
    while pos > start:
        parent = (pos - 1) >> 1
        if not value < values[parent]:
            break
        values[pos] = values[parent]
        nodes[pos] = nodes[parent]
        pos = parent
    values[pos] = value
    nodes[pos] = node


@inlined
def push_heap(work, size, value, node):
    """Push onto the heap of `size` entries; return the new size. The steps are those of CPython's heapq, ties included."""
    work.heap_values[size] = value
    work.heap_nodes[size] = node
    _sift_down(work.heap_values, work.heap_nodes, 0, size)
    return size + 1


@inlined
def pop_heap(work, size):
    """Take the node of the least value from the heap of `size` > 0 entries; return it. `size` - 1 entries remain."""
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
        child += not values[child] < values[child + 1]
        values[pos] = values[child]
        nodes[pos] = nodes[child]
        pos = child
        child = 2 * pos + 1
    values[pos] = value
    nodes[pos] = node
    _sift_down(values, nodes, 0, pos)
    return least
