"""Depth-first search (Gandhi et al. 2024, appendix A): children by heuristic, optionally cut at a threshold.

With no heuristic and no threshold it is the exhaustive search in generation order, and its first solution is the published
"optimal path" (the first solution, not a shortest one).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sos.envs import protocol as environment
from sos.envs.protocol import implements
from sos.search.protocol import options_of, rules, search, widen
from sos.search.work import ALL, COUNT_SLOT, NEXT_SLOT, NODE_SLOT, begin, count_child, fill_frame, write_child
from sos.trace import Event, Outcome, Status, add_event

EXPAND, GENERATE, DEAD_END, GOAL, BACKTRACK, END = (int(e) for e in Event)
SOLVED, EXHAUSTED, BUDGET = (int(o) for o in (Outcome.SOLVED, Outcome.EXHAUSTED, Outcome.BUDGET))
OK, BUFFER_FULL = (int(s) for s in Status)


class DepthFirst(NamedTuple):
    """Depth-first search with an explicit stack: O(expanded nodes x children), memory O(depth x children).

    `heuristic` is an index into the environment's `heuristics` (0: generation order; ties keep it always). With `use_threshold`
    a child above the environment's threshold is dropped. With `skip_seen` a child whose canonical state was kept before is
    dropped. `announce_leaves` writes the return from every dead end, as the published text does; without it a dead end
    leaves the search at the parent. `max_nodes` bounds the expanded nodes: the search then ends with `BUDGET`. `look_ahead`
    drops what is seen to fail: with 1 a leaf that is no goal is not written, with 2 neither is a node whose children are all
    such leaves. `skip_out_of_range` drops leaves that no problem of the environment asks for (Countdown: results outside the
    range of targets); it never drops a goal.
    """

    heuristic: int = 1
    use_threshold: bool = True
    skip_seen: bool = False
    announce_leaves: bool = True
    max_nodes: int = 1000
    look_ahead: int = 0
    skip_out_of_range: bool = False


@implements(search, DepthFirst)
def depth_first(strategy, env, problem, work, trace):
    """Search as the DepthFirst `options` of `strategy` say, by its `rules`, which it may `widen`.

    A pass by wider rules returns to the root and generates more children of it, numbered behind those that it has.
    """
    options = options_of(strategy)
    events, nodes, states, counts = trace
    begin(env, options.heuristic, problem, work, trace)
    depth = np.int64(-1)  # a literal would compile everything it is passed to twice
    node = np.int64(0)
    current = node
    expanded = 0
    widened = False
    root_rank = np.int64(0)
    visits = True
    while True:
        if visits:
            visits = False
            depth += 1
            if depth > 0 or not widened:
                expanded += 1
                current = node
                add_event(trace, EXPAND, node, node, 0, 0)
            if not fill_frame(
                rules(strategy, env, states[node], widened),
                options.heuristic,
                options.use_threshold,
                options.skip_seen,
                options.look_ahead,
                options.skip_out_of_range,
                ALL,
                problem,
                work,
                depth,
                node,
                states[node],
            ):
                return BUFFER_FULL
        frame = work.frame[depth]
        slot = frame[NEXT_SLOT]
        if slot == frame[COUNT_SLOT]:
            depth -= 1
            if depth < 0:
                if widened or not widen(strategy, env, work):
                    add_event(trace, END, -1, -1, EXHAUSTED, 0)
                    return OK
                widened = True
                root_rank = slot
                node = np.int64(0)
                visits = True
            continue
        # Every turn adds at most four events and one node.
        if counts[0] + 5 > len(events) or counts[1] + 1 > len(nodes):
            return BUFFER_FULL
        parent = frame[NODE_SLOT]
        node = write_child(env, work, depth, slot, parent, slot + (root_rank if depth == 0 else 0), trace)
        leaf = environment.is_leaf(env, states[node])
        if not leaf and expanded >= options.max_nodes:
            add_event(trace, END, -1, -1, BUDGET, 0)
            return OK
        count_child(trace, node)
        frame[NEXT_SLOT] = slot + 1
        if current != parent:
            add_event(trace, BACKTRACK, parent, parent, 0, 0)
            current = parent
        add_event(trace, GENERATE, node, node, 0, 0)
        state = states[node]
        if leaf:
            value = environment.leaf_value(env, state)
            if environment.is_goal(env, problem, state):
                add_event(trace, GOAL, node, node, value, 0)
                add_event(trace, END, -1, -1, SOLVED, 0)
                return OK
            add_event(trace, DEAD_END, node, node, value, 0)
            if options.announce_leaves:
                current = node
        else:
            visits = True


@implements(options_of, DepthFirst)
def _options_of(strategy):
    return strategy


@implements(rules, DepthFirst)
def _rules(strategy, env, state, widened):
    return env


@implements(widen, DepthFirst)
def _widen(strategy, env, work):
    return False
