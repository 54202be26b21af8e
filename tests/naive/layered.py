"""Layered graphs in plain Python: drawn, judged, and in the published words (riccardoalberghi/DP)."""

from __future__ import annotations

import random
import re
from itertools import pairwise

from naive.a_star import Edge, Graph


def graph_of(row: list[int]) -> Graph:
    """Read a row: start, target, edges, zeros behind them, and their count."""
    start, target, *numbers = row[: 2 + 3 * row[-1]]
    return Graph(start, target, list(zip(numbers[::3], numbers[1::3], numbers[2::3], strict=True)))


def draw(rng: random.Random, layers: int, sizes: tuple[int, int], max_cost: int, num_labels: int) -> Graph:
    """Draw a graph with `layers` layers of edges and as many nodes in a layer as `sizes` say; edges of 3 in 5 pairs."""
    counts = [1, *(rng.randint(*sizes) for _ in range(layers - 1)), 1]
    labels = rng.sample(range(num_labels), sum(counts))
    groups = [[labels.pop() for _ in range(count)] for count in counts]
    pairs: set[tuple[int, int]] = set()
    for before, behind in pairwise(groups):
        pairs |= {(a, b) for a in before for b in behind if rng.random() < 0.6}
        pairs |= {(a, rng.choice(behind)) for a in before if not any((a, b) in pairs for b in behind)}
        pairs |= {(rng.choice(before), b) for b in behind if not any((a, b) in pairs for a in before)}
    edges = [(a, b, rng.randint(1, max_cost)) for a, b in sorted(pairs)]
    rng.shuffle(edges)
    return Graph(groups[0][0], groups[-1][0], edges)


def layers_of(graph: Graph) -> list[set[int]]:
    """Return the nodes of each layer: those that so many edges lead to from the start."""
    layers = [{graph.start}]
    while following := {b for a, b, _ in graph.edges if a in layers[-1]}:
        layers.append(following)
        if len(layers) > len(graph.edges) + 1:
            break
    return layers


def path_cost(graph: Graph, path: list[int]) -> int | None:
    """Return the sum of a path's costs, None where an edge of it is not there."""
    costs = {(a, b): cost for a, b, cost in graph.edges}
    steps = list(pairwise(path))
    return sum(costs[step] for step in steps) if all(step in costs for step in steps) else None


# The published words


def question(edges: list[Edge], layer: dict[int, int]) -> str:
    """Return the question: the edges by the layer that they leave, in order."""
    words = ["BoS"]
    for number in range(1 + max(layer[a] for a, _, _ in edges)):
        listed = "".join(f"n{a} n{b} {cost} | " for a, b, cost in sorted(edges) if layer[a] == number)
        words.append(f"l{number} [ {listed}]")
    return " ".join(words)


def answer(path: list[int], cost: int) -> str:
    return f"BoS {' '.join(f'n{node}' for node in path)} {cost} | EoS"


def read_answer(text: str) -> tuple[list[int], int] | None:
    """Return the path and the cost that the answer behind the search says, None where it is not well formed."""
    text = text[text.rfind("BoS") :] if "BoS" in text else ""
    found = re.fullmatch(r"BoS ((?:n\d+ )+)(\d+) \| EoS", text)
    return ([int(node[1:]) for node in found[1].split()], int(found[2])) if found else None


def steps(text: str) -> list[tuple[list[int], int]]:
    """Return the steps of a published search: the path so far, and its cost."""
    parts = text.removeprefix("BoT").removesuffix("EoT").split("|")
    words = [part.split() for part in parts if part.strip()]
    return [([int(node[1:]) for node in nodes], int(cost)) for *nodes, cost in words]
