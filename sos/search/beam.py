"""Beam search as published (Gandhi et al. 2024, appendix A, there called BFS): the best nodes of a heap, a few at a
time.

Each round takes the `width` best open nodes from a heap and visits them in that order; of each node's children the
`width` best are generated and pushed. Nothing is pushed out of the heap again: what a round leaves stays open.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sos.envs import protocol as environment
from sos.envs.protocol import implements
from sos.kernels import inlined, inner
from sos.rng import below, fold, stream_key
from sos.search.heap import pop_heap, push_heap
from sos.search.protocol import search
from sos.search.work import (
    COUNT_SLOT,
    KEY_BITS,
    Pruning,
    add_verdict,
    add_visit,
    begin,
    count_child,
    fill_frame,
    write_child,
)
from sos.trace import BUDGET, BUFFER_FULL, EMPTY, END, GENERATE, OK, add_event

SHUFFLE_KEY = stream_key(0, "beam shuffle")


class Beam(NamedTuple):
    """Beam search: O(expanded nodes x (children + log heap)), memory O(nodes).

    `heuristic` is an index into the environment's `heuristics`; ties resolve as in CPython's heapq. With
    `visit_leaves` dead ends are pushed like inner nodes and visited in their turn, as the published code has it.
    `shuffle` writes the kept children of a node in random order, a function of (problem, node). `max_nodes` bounds
    the expanded inner nodes.
    """

    width: int = 5
    heuristic: int = 1
    visit_leaves: bool = True
    shuffle: bool = False
    max_nodes: int = 1000


@inlined
def beam_from_row(row):
    """Return the Beam whose fields are the numbers in `row`."""
    return Beam(row[0], row[1], row[2] != 0, row[3] != 0, row[4])


@inner
def _problem_key(problem):
    key = SHUFFLE_KEY
    for k in range(len(problem)):
        key = fold(key, problem[k])
    return key


@inner
def _shuffle(keys, count, problem_key, node):
    key = fold(problem_key, node)
    for k in range(count - 1, 0, -1):
        m = below(key, k, k + 1)
        keys[k], keys[m] = keys[m], keys[k]


@inlined
def _push_sorted(work, size, first, count):
    """Push the nodes first..first + count - 1, the children of frame 0 in their written order, by value; ties keep
    that order."""
    keys, ranks = work.keys[0], work.ranks
    for rank in range(count):
        place = 0
        for m in range(count):
            value, other = keys[rank] >> KEY_BITS, keys[m] >> KEY_BITS
            place += (other < value) | ((other == value) & (m < rank))
        ranks[place] = rank
    for k in range(count):
        size = push_heap(work, size, keys[ranks[k]] >> KEY_BITS, first + ranks[k], False)
    return size


@implements(search, Beam)
def _beam(strategy, env, problem, work, trace):
    events, nodes, states, counts = trace
    begin(env, strategy.heuristic, problem, work, trace)
    problem_key = _problem_key(problem)
    pruning = Pruning(False, False, 0, False, min(strategy.width, len(work.values)))
    size = push_heap(work, 0, 0, 0, False)
    expanded = 0
    while size > 0:
        num_taken = min(strategy.width, size)
        for k in range(num_taken):
            work.batch[k] = pop_heap(work, size, False)
            size -= 1
        for k in range(num_taken):
            node = np.int64(work.batch[k])
            # A visit, then a generation and a verdict for each child, and an end.
            if counts[0] + 2 * pruning.most + 3 > len(events) or counts[1] + pruning.most > len(nodes):
                return BUFFER_FULL
            if environment.status(env, problem, states[node]) != environment.OPEN:
                add_visit(trace, node)
                continue
            if expanded >= strategy.max_nodes:
                add_event(trace, END, -1, -1, BUDGET, 0)
                return OK
            expanded += 1
            add_visit(trace, node)
            fill_frame(env, strategy.heuristic, pruning, problem, work, 0, node, states[node])
            count = work.frame[0, COUNT_SLOT]
            if strategy.shuffle:
                _shuffle(work.keys[0], count, problem_key, node)
            first = counts[1]
            leaves = False
            for rank in range(count):
                child = write_child(env, problem, work, 0, rank, node, rank, trace)
                count_child(trace, child)
                add_event(trace, GENERATE, child, child, 0, 0)
                status = environment.status(env, problem, states[child])
                if status != environment.OPEN:
                    leaves = True
                    if add_verdict(env, problem, status, child, trace):
                        return OK
            if strategy.visit_leaves or not leaves:
                size = _push_sorted(work, size, first, count)
    add_event(trace, END, -1, -1, EMPTY, 0)
    return OK
