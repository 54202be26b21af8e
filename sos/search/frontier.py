"""Work space of the searches: frames of children, a heap of open nodes, and an exact table of the states already seen."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from sos.envs import protocol as environment
from sos.rng import fold
from sos.trace import ACTION, PARENT, RANK, Event, add_event

EXPAND = int(Event.EXPAND)


class SearchWork(NamedTuple):
    """Caller-owned work arrays, reused from problem to problem. D = depths, C = children, A, W = row widths, N = nodes.

    `frame_*` belong to the node being expanded at each depth. `seen` is an open-addressing hash table of rows of
    `seen_rows` (canonical states; index + 1, 0 = free), and `num_seen` int64 (1,) counts them.
    """

    frame_actions: np.ndarray  # int32 (D, C, A)
    frame_states: np.ndarray  # int32 (D, C, W)
    frame_values: np.ndarray  # int64 (D, C) heuristic values
    frame_order: np.ndarray  # int32 (D, C) children in the order of their visits
    frame: np.ndarray  # int64 (D, 3): node, next child, number of kept children
    scratch: np.ndarray  # int64, the environment's
    seen: np.ndarray  # int32 (2**k,)
    seen_rows: np.ndarray  # int32 (N, W)
    num_seen: np.ndarray  # int64 (1,)
    row: np.ndarray  # int32 (W,)
    heap_values: np.ndarray  # int64 (N,)
    heap_nodes: np.ndarray  # int32 (N,)
    batch: np.ndarray  # int32 (N,) nodes taken from the heap together


NODE_SLOT, NEXT_SLOT, COUNT_SLOT = range(3)


def new_work(env, max_nodes: int) -> SearchWork:
    """Allocate the work space for searches of `env` that generate at most `max_nodes` nodes."""
    depths, children = env.max_depth + 1, env.max_children
    slots = 1 << max(4, int(2 * max_nodes - 1).bit_length())
    return SearchWork(
        np.zeros((depths, children, env.action_width), np.int32),
        np.zeros((depths, children, env.state_width), np.int32),
        np.zeros((depths, children), np.int64),
        np.zeros((depths, children), np.int32),
        np.zeros((depths, 3), np.int64),
        np.zeros(env.scratch_size, np.int64),
        np.zeros(slots, np.int32),
        np.zeros((max_nodes, env.state_width), np.int32),
        np.zeros(1, np.int64),
        np.zeros(env.state_width, np.int32),
        np.zeros(max_nodes, np.int64),
        np.zeros(max_nodes, np.int32),
        np.zeros(max_nodes, np.int32),
    )


@njit(cache=True, nogil=True)
def _slot(row, seen):
    h = np.uint64(0)
    for k in range(len(row)):
        h = fold(h, row[k])
    return np.int64(h & np.uint64(len(seen) - 1))


@njit(cache=True, nogil=True)
def clear_seen(work):
    """Empty the table in time linear in the number of its entries."""
    for n in range(work.num_seen[0]):
        slot = _slot(work.seen_rows[n], work.seen)
        while work.seen[slot] != 0:
            work.seen[slot] = 0
            slot = (slot + 1) & (len(work.seen) - 1)
    work.num_seen[0] = 0


@njit(cache=True, nogil=True)
def add_seen(work):
    """Add the canonical state in `work.row`: 1 if it is new, 0 if it was there (compared whole), -1 if full."""
    slot = _slot(work.row, work.seen)
    while work.seen[slot] != 0:
        other = work.seen_rows[work.seen[slot] - 1]
        same = True
        for k in range(len(work.row)):
            if other[k] != work.row[k]:
                same = False
                break
        if same:
            return 0
        slot = (slot + 1) & (len(work.seen) - 1)
    n = work.num_seen[0]
    if n == len(work.seen_rows):
        return -1
    for k in range(len(work.row)):  # a loop, not a slice: it compiles in a fraction of the time
        work.seen_rows[n, k] = work.row[k]
    work.seen[slot] = n + 1
    work.num_seen[0] = n + 1
    return 1


@njit(cache=True, nogil=True)
def begin(env, problem, work, trace):
    """Empty `trace` and `work` and make the root, node 0, without an event; return its state."""
    nodes, states, counts = trace.nodes, trace.states, trace.counts
    counts[0] = 0
    counts[1] = 1
    counts[2] = 1
    environment.prepare(env, problem, work.scratch)
    clear_seen(work)
    environment.root_state(env, problem, states[0])
    nodes[0, :] = 0
    nodes[0, PARENT] = -1
    return states[0]


@njit(cache=True, nogil=True)
def fill_frame(env, heuristic, use_threshold, skip_seen, look_ahead, problem, work, depth, node, state):
    """Write the kept children of `state` into the frame at `depth`, best first; False if the table of states is full.

    With `use_threshold` a child above the environment's threshold is dropped, with `skip_seen` one whose canonical state was
    kept before, with `look_ahead` one that the environment calls hopeless. Equal values stay in generation order.
    """
    actions = work.frame_actions[depth]
    states = work.frame_states[depth]
    values = work.frame_values[depth]
    order = work.frame_order[depth]
    num = environment.expand(env, problem, state, actions, states)
    limit = environment.threshold(env, problem)
    kept = 0
    for child in range(num):
        if look_ahead > 0 and environment.hopeless(env, problem, states[child], look_ahead):
            continue
        value = environment.heuristic(env, heuristic, problem, work.scratch, states[child])
        if use_threshold and value > limit:
            continue
        if skip_seen:
            environment.canonical(env, states[child], work.row)
            added = add_seen(work)
            if added < 0:
                return False
            if added == 0:
                continue
        # Insertion from behind keeps equal values in generation order.
        m = kept
        while m > 0 and values[order[m - 1]] > value:
            order[m] = order[m - 1]
            m -= 1
        order[m] = child
        values[child] = value
        kept += 1
    work.frame[depth, NODE_SLOT] = node
    work.frame[depth, NEXT_SLOT] = 0
    work.frame[depth, COUNT_SLOT] = kept
    return True


@njit(cache=True, nogil=True)
def add_child(work, depth, child, parent, rank, trace):
    """Append child number `child` of the frame at `depth` as a node; return the node. The caller has made sure of room."""
    nodes, states, counts = trace.nodes, trace.states, trace.counts
    node = counts[1]
    nodes[node, PARENT] = parent
    nodes[node, RANK] = rank
    for k in range(nodes.shape[1] - ACTION):
        nodes[node, ACTION + k] = work.frame_actions[depth, child, k]
    for k in range(states.shape[1]):
        states[node, k] = work.frame_states[depth, child, k]
    counts[1] = node + 1
    counts[2] = node + 1
    return node


@njit(cache=True, nogil=True)
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


@njit(cache=True, nogil=True)
def push_heap(work, size, value, node):
    """Push onto the heap of `size` entries; return the new size. The steps are those of CPython's heapq, ties included."""
    work.heap_values[size] = value
    work.heap_nodes[size] = node
    _sift_down(work.heap_values, work.heap_nodes, 0, size)
    return size + 1


@njit(cache=True, nogil=True)
def pop_heap(work, size):
    """Take the node of the least value from the heap of `size` > 0 entries; return it. `size` - 1 entries remain."""
    values, nodes = work.heap_values, work.heap_nodes
    least = nodes[0]
    size -= 1
    value, node = values[size], nodes[size]
    if size == 0:
        return least
    pos = 0
    child = 1
    while child < size:
        if child + 1 < size and not values[child] < values[child + 1]:
            child += 1
        values[pos] = values[child]
        nodes[pos] = nodes[child]
        pos = child
        child = 2 * pos + 1
    values[pos] = value
    nodes[pos] = node
    _sift_down(values, nodes, 0, pos)
    return least


@njit(cache=True, nogil=True)
def add_visit(trace, node):
    """Append the first visit of `node`."""
    add_event(trace, EXPAND, node, node, 0, 0)
