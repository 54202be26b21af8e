"""A* (Hart, Nilsson and Raphael 1968): the open node of the least path cost + weight * estimate is expanded next.

With no estimate it is Dijkstra's search, and greedy best-first search leaves the path cost out. The goal is tested when
its turn comes, not when it is generated: with an estimate that never exceeds what is left the first goal is then an
optimal one.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sos.envs import protocol as environment
from sos.envs.protocol import implements
from sos.kernels import inlined, inner
from sos.rng import below, fold, stream_key
from sos.search.a_star_config import WEIGHT_SCALE
from sos.search.cheapest import hold, improves
from sos.search.open_list import TieRule, pop_open, push_open
from sos.search.protocol import search
from sos.search.work import add_verdict, add_visit, begin, count_child, find_seen
from sos.trace import ACTION, BUDGET, BUFFER_FULL, END, EXHAUSTED, GENERATE, OK, PARENT, RANK, add_event

PROBLEM_KEY = stream_key(0, "a_star")
MOST_ESTIMATE = 2**46  # in size and the heuristic's scale: times a weight, and with a cost, it fits into 64 bits


class AStar(NamedTuple):
    """A* over the environment's path costs: O(nodes x (children + log nodes)) comparisons, memory O(nodes).

    `heuristic` is an index into the environment's `heuristics` (0: no estimate). A node's value is `cost_weight` * path
    cost + `weight` * estimate: the two count alike where the first weight is `env.heuristic_scale` times the second,
    and a first one of 0 leaves costs out. A state that is reached at a lower cost than before, open or closed, is
    generated again, as a new node; the node that it had is never expanded after that. `ties` (an index into
    `a_star_config.TIES`) decides between nodes of equal value: `state` takes the lesser canonical state (number by
    number), `first` and `last` the one generated first or last, `random` draws, a function of (problem, node).
    `shuffle` generates the children of a node in random order, a function of the same. `max_nodes` bounds the expanded
    nodes; to visit the goal is free.
    """

    heuristic: int = 0
    weight: int = WEIGHT_SCALE
    cost_weight: int = WEIGHT_SCALE
    ties: int = 0
    shuffle: bool = False
    max_nodes: int = 1000


@inner
def _problem_key(problem):
    key = PROBLEM_KEY
    for k in range(len(problem)):
        key = fold(key, problem[k])
    return key


@inner
def _order_children(strategy, work, key, num):
    """Write the numbers of the `num` moves into `work.ranks` in the order in which the children are generated."""
    for k in range(num):
        work.ranks[k] = k
    if strategy.shuffle:
        for k in range(num - 1, 0, -1):
            m = below(key, k, k + 1)
            work.ranks[k], work.ranks[m] = work.ranks[m], work.ranks[k]


@inlined
def _value(strategy, cost, estimate):
    """Return what a node is ordered by."""
    return strategy.cost_weight * np.int64(cost) + strategy.weight * max(
        -MOST_ESTIMATE, min(np.int64(estimate), MOST_ESTIMATE)
    )


@inlined
def _write_node(env, problem, parent, move, rank, trace):
    """Write the child of `move` behind the last node, count it, and append its generation; return the node."""
    nodes, states = trace.nodes, trace.states
    node = np.int64(trace.counts[1])
    nodes[node, PARENT] = parent
    nodes[node, RANK] = rank
    environment.make_child(env, problem, states[parent], move, nodes[node, ACTION:], states[node])
    count_child(trace, node)
    add_event(trace, GENERATE, node, node, 0, 0)
    return node


@implements(search, AStar)
def _a_star(strategy, env, problem, work, trace):
    events, nodes, states, counts = trace
    begin(env, strategy.heuristic, problem, work, trace)
    problem_key = _problem_key(problem)
    rule = TieRule(strategy.ties, fold(problem_key, 0))
    moves, values = work.moves[0], work.values
    environment.canonical(env, problem, states[0], work.row)
    hold(work, find_seen(work), np.int64(0))
    size = push_open(rule, work, np.int64(0), np.int64(0), np.int64(0))
    expanded = 0
    while size > 0:
        node = pop_open(rule, work, size)
        size -= 1
        if work.cheapest[work.row_of[node]] != node:
            continue  # a cheaper way there was found
        # A visit, then a generation and perhaps a verdict for each child, and an end.
        num = np.int64(
            environment.successors(env, strategy.heuristic, problem, work.scratch, states[node], moves, values)
        )
        if counts[0] + 2 * num + 3 > len(events) or counts[1] + num > len(nodes):
            return BUFFER_FULL
        if environment.status(env, problem, states[node]) == environment.GOAL:
            add_visit(trace, node)
            add_verdict(env, problem, environment.GOAL, node, trace)
            return OK
        if expanded >= strategy.max_nodes:
            add_event(trace, END, -1, -1, BUDGET, 0)
            return OK
        expanded += 1
        add_visit(trace, node)
        _order_children(strategy, work, fold(fold(problem_key, 1), node), num)
        rank = 0
        for k in range(num):
            move = np.int64(work.ranks[k])
            environment.make_child(env, problem, states[node], moves[move], work.action, work.child)
            environment.canonical(env, problem, work.child, work.row)
            slot = find_seen(work)
            if not improves(env, problem, work, slot, states):
                continue
            child = _write_node(env, problem, node, moves[move], rank, trace)
            rank += 1
            hold(work, slot, child)
            status = environment.status(env, problem, states[child])
            if status == environment.DEAD:
                add_verdict(env, problem, status, child, trace)
            else:
                value = _value(strategy, environment.path_cost(env, problem, states[child]), values[move])
                size = push_open(rule, work, size, value, child)
    add_event(trace, END, -1, -1, EXHAUSTED, 0)
    return OK
