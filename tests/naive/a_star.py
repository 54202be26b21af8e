"""A* in plain Python, written from the specification: over any graph, with open nodes looked through one by one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from naive.search import BUDGET, DEAD_END, END, EXHAUSTED, EXPAND, GENERATE, GOAL, SOLVED

Edge = tuple[int, int, int]  # from, to, cost


class Graph(NamedTuple):
    """A problem: a way from the start to the target is looked for."""

    start: int
    target: int
    edges: list[Edge]

    def status(self, place: int) -> str:
        if place == self.target:
            return "goal"
        return "open" if any(a == place for a, _, _ in self.edges) else "dead"


class Rules(NamedTuple):
    """How nodes are ordered."""

    value: Callable[[int, int], Any]  # (cost, place) -> what is least first
    tie: Callable[[int, int], Any]  # (node, place) -> what decides between equal values
    order: Callable[[int, int], list[int]]  # (node, number of edges) -> their numbers, in the order they are taken
    max_nodes: int = 10**9


class Found(NamedTuple):
    """A search: events (kind, node, number), nodes (parent, rank, place, cost)."""

    events: list[tuple[int, int, int]]
    nodes: list[tuple[int, int, int, int]]
    improved: int  # open nodes whose state was reached at less
    reopened: int  # closed ones


def a_star(graph: Graph, rules: Rules) -> Found:
    nodes = [(-1, 0, graph.start, 0)]
    events: list[tuple[int, int, int]] = []
    best = {graph.start: 0}  # place -> its cheapest node
    waiting, closed, counts = [0], set(), [0, 0]
    while waiting:
        node = min(waiting, key=lambda n: (n != 0 and rules.value(nodes[n][3], nodes[n][2]), rules.tie(n, nodes[n][2])))
        _, _, place, cost = nodes[node]
        if place == graph.target:
            events += [(EXPAND, node, 0), (GOAL, node, cost), (END, -1, SOLVED)]
            return Found(events, nodes, *counts)
        if len(closed) == rules.max_nodes:
            events.append((END, -1, BUDGET))
            return Found(events, nodes, *counts)
        waiting.remove(node)
        closed.add(node)
        events.append((EXPAND, node, 0))
        ways = [edge for edge in graph.edges if edge[0] == place]
        rank = 0
        for _, to, more in [ways[k] for k in rules.order(node, len(ways))]:
            if to in best:
                if cost + more >= nodes[best[to]][3]:
                    continue
                counts[best[to] in closed] += 1
                if best[to] in waiting:
                    waiting.remove(best[to])
            best[to] = child = len(nodes)
            nodes.append((node, rank, to, cost + more))
            rank += 1
            events.append((GENERATE, child, 0))
            if graph.status(to) == "dead":
                events.append((DEAD_END, child, cost + more))
            else:
                waiting.append(child)
    events.append((END, -1, EXHAUSTED))
    return Found(events, nodes, *counts)


def cheapest(graph: Graph) -> int:
    """Return the least cost of a way to the target, -1 for none: relax all edges as often as there are any."""
    costs = {graph.start: 0}
    for _ in graph.edges:
        for a, b, cost in graph.edges:
            if a in costs:
                costs[b] = min(costs.get(b, costs[a] + cost), costs[a] + cost)
    return costs.get(graph.target, -1)
