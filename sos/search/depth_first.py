"""Depth-first search (Gandhi et al. 2024, appendix A): children by heuristic, optionally cut at a threshold.

With no heuristic and no threshold it is the exhaustive search in generation order, and its first solution is the
published "optimal path" (the first solution, not a shortest one).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sos.envs import protocol as environment
from sos.envs.protocol import implements
from sos.kernels import inlined
from sos.search.protocol import options_of, rules, search, widen
from sos.search.work import (
    ALL,
    COUNT_SLOT,
    NEXT_SLOT,
    NODE_SLOT,
    Pruning,
    add_generation,
    add_verdict,
    begin,
    count_child,
    fill_frame,
    write_child,
)
from sos.trace import BACKTRACK, BUDGET, BUFFER_FULL, END, EXHAUSTED, EXPAND, OK, add_event


class DepthFirst(NamedTuple):
    """Depth-first search with an explicit stack: O(expanded nodes x children), memory O(depth x children).

    `heuristic` is an index into the environment's `heuristics` (0: generation order; ties keep it always). With
    `use_threshold` a child above the environment's threshold is dropped. With `skip_seen` a child whose canonical
    state was kept before is dropped. `announce_leaves` writes the return from every dead end, as the published text
    does; without it a dead end leaves the search at the parent. `max_nodes` bounds the expanded nodes: the search
    then ends with `BUDGET`. `look_ahead` drops what is seen to fail: with 1 a leaf that is no goal is not written,
    with 2 neither is a node whose children are all such leaves. `skip_out_of_range` drops leaves that no problem of
    the environment asks for; it never drops a goal.
    """

    heuristic: int = 1
    use_threshold: bool = True
    skip_seen: bool = False
    announce_leaves: bool = True
    max_nodes: int = 1000
    look_ahead: int = 0
    skip_out_of_range: bool = False


@inlined
def depth_first_from_row(row):
    """Return the DepthFirst whose fields are the numbers in `row`."""
    return DepthFirst(row[0], row[1] != 0, row[2] != 0, row[3] != 0, row[4], row[5], row[6] != 0)


@inlined
def _expand(strategy, env, widened, problem, work, depth, node, state):
    """Fill the frame at `depth` with the children of `state` that this pass keeps; False if a table is full."""
    options = options_of(strategy)
    pruning = Pruning(options.use_threshold, options.skip_seen, options.look_ahead, options.skip_out_of_range, ALL)
    narrow = rules(strategy, env, problem, state, widened)
    return fill_frame(narrow, options.heuristic, pruning, problem, work, depth, node, state)


@implements(search, DepthFirst)
def depth_first(strategy, env, problem, work, trace):
    """Search as the DepthFirst `options` of `strategy` say, by its `rules`, which it may `widen`.

    A pass by wider rules returns to the root and generates more children of it, numbered behind those that it has.
    """
    options = options_of(strategy)
    events, nodes, states, counts = trace
    begin(env, options.heuristic, problem, work, trace)
    # Numba gives a literal a type of its own, for which it would compile all that takes it once more.
    depth, node, root_rank = np.int64(-1), np.int64(0), np.int64(0)
    current = node
    expanded = 0
    widened = False
    visits = True
    while True:
        if visits:
            visits = False
            depth += 1
            if depth > 0 or not widened:
                expanded += 1
                current = node
                add_event(trace, EXPAND, node, node, 0, 0)
            if not _expand(strategy, env, widened, problem, work, depth, node, states[node]):
                return BUFFER_FULL
        frame = work.frame[depth]
        slot = frame[NEXT_SLOT]
        if slot == frame[COUNT_SLOT]:
            depth -= 1
            if depth < 0:
                if widened or not widen(strategy, env, problem, work):
                    add_event(trace, END, -1, -1, EXHAUSTED, 0)
                    return OK
                widened, visits = True, True
                root_rank, node = slot, np.int64(0)
            continue
        # Every turn adds at most four events and one node.
        if counts[0] + 5 > len(events) or counts[1] + 1 > len(nodes):
            return BUFFER_FULL
        parent = frame[NODE_SLOT]
        rank = slot + (root_rank if depth == 0 else 0)
        node = write_child(env, problem, work, depth, slot, parent, rank, trace)
        status = environment.status_by(env, options.heuristic, problem, states[node])
        leaf = status != environment.OPEN
        if not leaf and expanded >= options.max_nodes:
            add_event(trace, END, -1, -1, BUDGET, 0)
            return OK
        count_child(trace, node)
        frame[NEXT_SLOT] = slot + 1
        if current != parent:
            add_event(trace, BACKTRACK, parent, parent, 0, 0)
            current = parent
        add_generation(env, problem, work, depth, slot, node, trace)
        visits = not leaf
        if leaf and add_verdict(env, problem, status, node, trace):
            return OK
        if leaf and options.announce_leaves:
            current = node


@implements(options_of, DepthFirst)
def _options_of(strategy):
    return strategy


@implements(rules, DepthFirst)
def _rules(strategy, env, problem, state, widened):
    return env


@implements(widen, DepthFirst)
def _widen(strategy, env, problem, work):
    return False
