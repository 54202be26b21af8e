"""The search over open branches in plain Python, on a graph as a list of edges, with a given draw for every step."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from naive.a_star import Graph


class Found(NamedTuple):
    events: list[tuple[str, int, int]]  # visit or return: node and its place; step: the same of the child
    costs: list[int]  # of each node
    parents: list[int]
    reopened: int
    best: int | None  # the cost of the cheapest goal


def search(graph: Graph, eta: float, draw: Callable[[int], float]) -> Found:
    """Follow branches, each a (place, number of its edge), until none is open.

    `draw(step)` is a number from 0 to below 1; steps count the nodes. The branches stand in the order in which their
    places were reached first, and in the order of edges.
    """
    edges: dict[int, list[tuple[int, int]]] = {}
    for a, b, cost in graph.edges:
        edges.setdefault(a, []).append((b, cost))
    places, costs, parents, depths = [graph.start], [0], [-1], [0]
    node_of = {graph.start: 0}  # the cheapest of each place, in the order in which they were reached
    open_of = {graph.start: set(range(len(edges.get(graph.start, []))))}
    visited: set[int] = set()
    events: list[tuple[str, int, int]] = []
    current, reopened = -1, 0
    while branches := [(place, k) for place in node_of for k in sorted(open_of[place])]:
        weights = [math.exp(-eta * depths[node_of[place]]) for place, _ in branches]
        left, place, k = draw(len(places)) * sum(weights), *branches[-1]
        for branch, weight in zip(branches, weights, strict=True):
            if left < weight:
                place, k = branch
                break
            left -= weight
        open_of[place].remove(k)
        parent = node_of[place]
        if parent != current:
            events.append(("return" if parent in visited else "visit", parent, place))
            visited.add(parent)
            current = parent
        b, cost = edges[place][k]
        child = len(places)
        places.append(b)
        costs.append(costs[parent] + cost)
        parents.append(parent)
        depths.append(depths[parent] + 1)
        events.append(("step", child, b))
        if b in node_of and costs[child] == costs[node_of[b]]:
            node_of[b] = child
        if b not in node_of or costs[child] < costs[node_of[b]]:
            reopened += b in node_of and b != graph.target
            node_of[b] = child
            open_of[b] = set() if b == graph.target else set(range(len(edges.get(b, []))))
    best = node_of.get(graph.target)
    if best is not None:
        events.append(("visit", best, graph.target))
    return Found(events, costs, parents, reopened, None if best is None else costs[best])
