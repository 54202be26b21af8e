"""Best-first search: the open node of the least f = heuristic + depth_weight * depth is expanded next (A* in form)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sos.envs import protocol as environment
from sos.envs.protocol import implements
from sos.errors import UserError
from sos.kernels import inlined, inner
from sos.search.heap import pop_heap, push_heap
from sos.search.protocol import search
from sos.search.work import (
    ALL,
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
from sos.trace import BUDGET, BUFFER_FULL, END, EXHAUSTED, GENERATE, OK, PARENT, add_event

MOST_COST = 2**60  # of a path: a heuristic value and its sum with a cost then fit into 64 bits


class BestFirst(NamedTuple):
    """Best-first search over a heap ordered by (f, node): O(nodes x (children + log nodes)), memory O(nodes).

    `depth_weight` is in the heuristic's scale (`env.heuristic_scale` is one unit): 0 is greedy best-first search, a
    positive weight prefers shallow nodes, a negative one deep nodes. `use_threshold`, `skip_seen`, `look_ahead`,
    `skip_out_of_range` and `max_nodes` are those of `DepthFirst`. Every child is generated; leaves are judged at once
    and never visited.
    """

    heuristic: int = 1
    depth_weight: int = 0
    use_threshold: bool = False
    skip_seen: bool = True
    max_nodes: int = 1000
    look_ahead: int = 0
    skip_out_of_range: bool = False

    def check(self, env, prefix="search"):
        """Raise UserError where the values by which nodes are compared would not fit into 64 bits."""
        most = MOST_COST // env.max_depth
        if abs(self.depth_weight) > most:
            weight, limit = (float(number / env.heuristic_scale) for number in (self.depth_weight, most))
            raise UserError(
                f"{prefix}.depth_weight={weight:g} is too large: at most {limit:g} in size, {env.max_depth} levels deep"
            )


@inlined
def best_first_from_row(row):
    """Return the BestFirst whose fields are the numbers in `row`."""
    return BestFirst(row[0], row[1], row[2] != 0, row[3] != 0, row[4], row[5], row[6] != 0)


@inner
def _depth(nodes, node):
    depth = 0
    while nodes[node, PARENT] >= 0:
        node = nodes[node, PARENT]
        depth += 1
    return depth


@implements(search, BestFirst)
def _best_first(strategy, env, problem, work, trace):
    events, nodes, states, counts = trace
    begin(env, strategy.heuristic, problem, work, trace)
    pruning = Pruning(strategy.use_threshold, strategy.skip_seen, strategy.look_ahead, strategy.skip_out_of_range, ALL)
    keys = work.keys[0]
    size = push_heap(work, 0, 0, 0, True)
    expanded = 0
    while size > 0:
        node = np.int64(pop_heap(work, size, True))
        size -= 1
        if expanded >= strategy.max_nodes:
            add_event(trace, END, -1, -1, BUDGET, 0)
            return OK
        expanded += 1
        if not fill_frame(env, strategy.heuristic, pruning, problem, work, 0, node, states[node]):
            return BUFFER_FULL
        count = work.frame[0, COUNT_SLOT]
        if counts[0] + 2 * count + 3 > len(events) or counts[1] + count > len(nodes):
            return BUFFER_FULL
        add_visit(trace, node)
        cost = strategy.depth_weight * (_depth(nodes, node) + 1)
        for rank in range(count):
            child = write_child(env, problem, work, 0, rank, node, rank, trace)
            count_child(trace, child)
            add_event(trace, GENERATE, child, child, 0, 0)
            status = environment.status(env, problem, states[child])
            if status == environment.OPEN:
                size = push_heap(work, size, (keys[rank] >> KEY_BITS) + cost, child, True)
            elif add_verdict(env, problem, status, child, trace):
                return OK
    add_event(trace, END, -1, -1, EXHAUSTED, 0)
    return OK
