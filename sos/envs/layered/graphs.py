"""Layered graphs as lists of edges in the row of a problem: look-ups, what makes such a graph, and how one is drawn.

See `sos.envs.layered.rules` for the columns of a row.
"""

from __future__ import annotations

import numpy as np

from sos.kernels import inlined, inner
from sos.rng import below, fold, permute, uniform

START, TARGET, EDGES = range(3)  # columns of a problem; the edges are the rest, but for their count
FROM, TO, COST, EDGE_WIDTH = range(4)  # numbers of an edge
# What a draw takes from its key: the sizes, the labels, which edges there are, what they cost, and their order.
SIZES, LABELS, PAIRS, REPAIRS, COSTS, ORDER = range(6)
PLACES = 64  # more than the nodes of a layer: what numbers the pairs of nodes


# Edges


@inlined
def most_edges(env):
    return np.int64(2 * env.max_nodes + (env.max_layers - 2) * env.max_nodes * env.max_nodes)


@inlined
def num_edges(env, problem):
    return np.int64(problem[EDGES + EDGE_WIDTH * most_edges(env)])


@inlined
def number(problem, e, which):
    """Return a number of edge `e`."""
    return np.int64(problem[EDGES + EDGE_WIDTH * e + which])


@inner
def find_edge(env, problem, a, b):
    """Return the first edge from `a` to `b`, -1 if there is none. O(edges)."""
    for e in range(num_edges(env, problem)):
        if number(problem, e, FROM) == a and number(problem, e, TO) == b:
            return e
    return np.int64(-1)


@inner
def first_edge(env, problem, which, node):
    """Return the first edge that leaves `node` (`FROM`) or enters it (`TO`), -1 if there is none. O(edges)."""
    for e in range(num_edges(env, problem)):
        if number(problem, e, which) == node:
            return e
    return np.int64(-1)


@inner
def layer_of(env, problem, node):
    """Return how many edges back from `node` the start is, always by the first edge, -1 if it is not reached.
    O(layers x edges)."""
    for layer in range(env.max_layers + 1):
        if node == problem[START]:
            return np.int64(layer)
        e = first_edge(env, problem, TO, node)
        if e < 0:
            return np.int64(-1)
        node = number(problem, e, FROM)
    return np.int64(-1)


# What makes a graph


@inner
def is_layered(env, problem):
    """Say whether this is a graph of a size that is drawn: each edge leads on by one layer, and each node is on a path
    to the target. O(layers x edges**2) and more for the counts of layers."""
    if not _has_numbers(env, problem):
        return False
    num, last = num_edges(env, problem), layer_of(env, problem, problem[TARGET])
    if last < env.min_layers:
        return False
    for e in range(num):
        a, b = number(problem, e, FROM), number(problem, e, TO)
        layer = layer_of(env, problem, a)
        if layer < 0 or layer_of(env, problem, b) != layer + 1 or find_edge(env, problem, a, b) != e:
            return False
        # What no edge leaves is the target, and it is all of the last layer.
        if (layer + 1 == last) != (b == problem[TARGET]) or (first_edge(env, problem, FROM, b) < 0) != (
            layer + 1 == last
        ):
            return False
    for layer in range(1, last):
        nodes = _nodes_of(env, problem, layer)
        if nodes < env.min_nodes or nodes > env.max_nodes:
            return False
    return True


@inner
def _has_numbers(env, problem):
    """Say whether the number of edges is possible, and every number in range."""
    num = num_edges(env, problem)
    if num < 1 or num > most_edges(env):
        return False
    for k in range(EDGES + EDGE_WIDTH * num, EDGES + EDGE_WIDTH * most_edges(env)):
        if problem[k] != 0:
            return False
    for k in range(EDGES + EDGE_WIDTH * num):
        costs = k >= EDGES and (k - EDGES) % EDGE_WIDTH == COST
        low, high = (1, env.max_cost) if costs else (0, env.num_labels - 1)
        if problem[k] < low or problem[k] > high:
            return False
    return True


@inner
def _nodes_of(env, problem, layer):
    """Return how many nodes a layer has. O(layers x edges**2)."""
    nodes = 0
    for e in range(num_edges(env, problem)):
        node = number(problem, e, TO)
        nodes += first_edge(env, problem, TO, node) == e and layer_of(env, problem, node) == layer
    return nodes


# Draws


@inner
def _put_edge(env, key, place, a, b, problem):
    """Write the edge between nodes `a` and `b` behind the last one. `place` numbers the pair."""
    labels, e = fold(key, LABELS), num_edges(env, problem)
    problem[EDGES + EDGE_WIDTH * e + FROM] = permute(labels, a, env.num_labels)
    problem[EDGES + EDGE_WIDTH * e + TO] = permute(labels, b, env.num_labels)
    problem[EDGES + EDGE_WIDTH * e + COST] = 1 + below(fold(key, COSTS), place, env.max_cost)
    problem[EDGES + EDGE_WIDTH * most_edges(env)] = e + 1


@inner
def _join(env, key, layer, sizes, first, problem):
    """Draw the edges from a layer, whose nodes begin with number `first`, to the next; `sizes` are those of both."""
    num_before, num_behind = sizes
    pairs, repairs = fold(key, PAIRS), fold(key, REPAIRS)
    behind = first + num_before
    start = num_edges(env, problem)
    for a in range(num_before):
        begin = num_edges(env, problem)
        for b in range(num_behind):
            place = (layer * PLACES + a) * PLACES + b
            if uniform(pairs, place) < env.connectivity:
                _put_edge(env, key, place, first + a, behind + b, problem)
        if num_edges(env, problem) == begin:  # every node is left
            b = below(repairs, 2 * (layer * PLACES + a), num_behind)
            _put_edge(env, key, (layer * PLACES + a) * PLACES + b, first + a, behind + b, problem)
    for b in range(num_behind):  # and entered
        label, entered = permute(fold(key, LABELS), behind + b, env.num_labels), False
        for e in range(start, num_edges(env, problem)):
            entered |= number(problem, e, TO) == label
        if not entered:
            a = below(repairs, 2 * (layer * PLACES + b) + 1, num_before)
            _put_edge(env, key, (layer * PLACES + a) * PLACES + b, first + a, behind + b, problem)


@inner
def draw_graph(env, key, problem):
    """Draw a graph into the row `problem`."""
    sizes, order = fold(key, SIZES), fold(key, ORDER)
    last = env.min_layers + below(sizes, 0, env.max_layers - env.min_layers + 1)
    for k in range(len(problem)):
        problem[k] = 0
    num, first = np.int64(1), np.int64(0)
    for layer in range(last):
        behind = np.int64(1)
        if layer + 1 < last:
            behind = env.min_nodes + below(sizes, layer + 1, env.max_nodes - env.min_nodes + 1)
        _join(env, key, layer, (num, behind), first, problem)
        first += num
        num = behind
    problem[START] = permute(fold(key, LABELS), 0, env.num_labels)
    problem[TARGET] = permute(fold(key, LABELS), first, env.num_labels)
    for e in range(num_edges(env, problem) - 1, 0, -1):
        f = below(order, e, e + 1)
        for k in range(EDGE_WIDTH):
            a, b = EDGES + EDGE_WIDTH * e + k, EDGES + EDGE_WIDTH * f + k
            problem[a], problem[b] = problem[b], problem[a]


@inner
def _profile(env, key, problem, node):
    """Return a hash of what the edges at `node` cost, the same for any names and order. O(edges)."""
    h = np.uint64(0)
    for e in range(num_edges(env, problem)):
        if number(problem, e, TO) == node:
            h += fold(fold(key, 0), number(problem, e, COST))
        if number(problem, e, FROM) == node:
            h += fold(fold(key, 1), number(problem, e, COST))
    return h


@inner
def hash_graph(env, key, problem):
    """Return a hash that is the same for graphs that differ in the names of nodes and in the order of edges alone, and
    perhaps for some that differ in more. O(edges**2)."""
    h = np.uint64(0)
    for e in range(num_edges(env, problem)):
        a = _profile(env, fold(key, 0), problem, number(problem, e, FROM))
        b = _profile(env, fold(key, 1), problem, number(problem, e, TO))
        h += fold(fold(a, number(problem, e, COST)), b)
    return fold(key, h)
