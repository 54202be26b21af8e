"""Work space of the searches: frames of an explicit stack and an exact table of the states already seen."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from sos.rng import fold


class SearchWork(NamedTuple):
    """Caller-owned work arrays, reused from problem to problem. D = depths, C = children, A, W = row widths.

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
    seen_rows: np.ndarray  # int32 (R, W)
    num_seen: np.ndarray  # int64 (1,)
    row: np.ndarray  # int32 (W,)


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
    work.seen_rows[n] = work.row
    work.seen[slot] = n + 1
    work.num_seen[0] = n + 1
    return 1
