"""Slow, obvious oracles in plain Python, written from the specification: Countdown and its searches."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import cache
from itertools import combinations
from math import prod
from typing import Any, NamedTuple

INT32_MAX = 2**31 - 1
OPERATORS = "+*-/"
EXPAND, GENERATE, DEAD_END, GOAL, BACKTRACK, END, PLAN = range(7)
SOLVED, EXHAUSTED, BUDGET, EMPTY = range(4)

Action = tuple[int, str, int, int]  # a, operator, b, result


# Countdown


def results(x: int, y: int) -> Iterator[Action]:
    """Yield what x and y (in this order in the state) can give: sum, product, difference, exact quotient."""
    large, small = max(x, y), min(x, y)
    yield x, "+", y, x + y
    yield x, "*", y, x * y
    yield large, "-", small, large - small
    if small != 0 and large % small == 0:
        yield large, "/", small, large // small


def successors(
    numbers: list[int], max_value: int = INT32_MAX, descending: bool = False
) -> list[tuple[Action, list[int]]]:
    """Return (action, numbers) of every successor in generation order, perhaps with all numbers in descending order."""
    found = []
    for i, j in combinations(range(len(numbers)), 2):
        rest = [n for k, n in enumerate(numbers) if k not in (i, j)]
        found += [(action, [*rest, action[3]]) for action in results(numbers[i], numbers[j]) if action[3] <= max_value]
    return [(action, sorted(child, reverse=True)) for action, child in found] if descending else found


def solvable(numbers: list[int], target: int, max_value: int = INT32_MAX) -> bool:
    """Try everything."""
    if len(numbers) == 1:
        return numbers[0] == target
    return any(solvable(child, target, max_value) for _, child in successors(numbers, max_value))


@cache
def reachable(numbers: tuple[int, ...], max_value: int = INT32_MAX) -> frozenset[int]:
    """Return everything that all the numbers together can give: split them in two, join whatever the parts can give."""
    if len(numbers) == 1:
        return frozenset(numbers)
    found = set()
    for mask in range(1, 2 ** (len(numbers) - 1)):
        parts = [tuple(n for k, n in enumerate(numbers) if (mask >> k & 1) == side) for side in (0, 1)]
        left, right = (reachable(tuple(sorted(part)), max_value) for part in parts)
        found |= {action[3] for x in left for y in right for action in results(x, y) if action[3] <= max_value}
    return frozenset(found)


def heuristic(name: str, numbers: list[int], target: int) -> Fraction:
    """Return the heuristic `none`, `sum`, `mult` or `size` of a state, exactly."""
    if name == "none":
        return Fraction(0)
    if name == "size":
        return Fraction(min(2**40, prod(n + 1 for n in numbers)))
    if name == "sum":
        return Fraction(sum(abs(n - target) for n in numbers), len(numbers))
    factors = [f for f in range(2, target + 1) if target % f == 0]
    return Fraction(sum(min(abs(n - f) for f in factors) for n in numbers))


def order(name: str, action: Action, child: list[int], target: int) -> Fraction:
    """Return what the children of a state are sorted by: a heuristic of the child, or `operator` for / - + * of its action."""
    return Fraction("/-+*".index(action[1])) if name == "operator" else heuristic(name, child, target)


def legal(a: int, operator: str, b: int, max_value: int = INT32_MAX) -> int | None:
    """Return the true result of an operation, None where the rules forbid it."""
    if operator in "-/" and a < b:
        return None
    if operator == "/" and (b == 0 or a % b):
        return None
    true = {"+": a + b, "*": a * b, "-": a - b, "/": a // b if b else 0}[operator]
    return true if true <= max_value else None


def hopeless(numbers: list[int], target: int, look_ahead: int, max_value: int) -> bool:
    """Say whether the leaves are fewer than `look_ahead` operations away and none is the target."""
    return len(numbers) <= min(look_ahead, 2) and not solvable(numbers, target, max_value)


def out_of_range(numbers: list[int], targets: range | None) -> bool:
    """Say whether this is a leaf that none of the targets asks for."""
    return targets is not None and len(numbers) == 1 and numbers[0] not in targets


# Depth-first search


class Found(NamedTuple):
    """A search: events (kind, node, value), nodes (parent, rank, action), the numbers of each node."""

    events: list[tuple[int, int, int]]
    nodes: list[tuple[int, int, Action | None]]
    states: list[list[int]]


Child = tuple[Action, list[int]]


def walk(
    numbers: list[int],
    target: int,
    passes: list[Callable[[list[int]], list[Child]]],
    announce_leaves: bool,
    max_nodes: int,
) -> Found:
    """Search recursively, once for each of `passes`, which say what children are kept of a state, in their order."""
    found = Found([(EXPAND, 0, 0)], [(-1, 0, None)], [numbers])
    at = 0  # where the searcher stands
    num_expanded = 1

    def visit(parent: int, kept_children: Callable[[list[int]], list[Child]]) -> int | None:
        nonlocal at, num_expanded
        num_children = sum(p == parent for p, _, _ in found.nodes)  # of an earlier pass
        for rank, (action, child) in enumerate(kept_children(found.states[parent]), num_children):
            leaf = len(child) == 1
            if not leaf and num_expanded == max_nodes:
                return BUDGET
            if at != parent:
                found.events.append((BACKTRACK, parent, 0))
                at = parent
            node = len(found.nodes)
            found.nodes.append((parent, rank, action))
            found.states.append(child)
            found.events.append((GENERATE, node, 0))
            if leaf and child[0] == target:
                found.events.append((GOAL, node, target))
                return SOLVED
            if leaf:
                found.events.append((DEAD_END, node, child[0]))
                at = node if announce_leaves else parent
                continue
            found.events.append((EXPAND, node, 0))
            at = node
            num_expanded += 1
            outcome = visit(node, kept_children)
            if outcome is not None:
                return outcome
        return None

    outcomes = (visit(0, kept_children) for kept_children in passes)
    outcome = next((outcome for outcome in outcomes if outcome is not None), EXHAUSTED)
    found.events.append((END, -1, outcome))
    return found


def depth_first(
    numbers: list[int],
    target: int,
    *,
    heuristic_name: str = "sum",
    use_threshold: bool = True,
    skip_seen: bool = False,
    announce_leaves: bool = True,
    look_ahead: int = 0,
    targets: range | None = None,  # leaves outside are not written
    max_nodes: int = 1000,
    max_value: int = INT32_MAX,
    descending: bool = False,
) -> Found:
    """Search depth first; the options are those of `DepthFirst`."""
    seen: set[tuple[int, ...]] = set()

    def kept_children(parent: list[int]) -> list[Child]:
        kept = []
        for action, child in successors(parent, max_value, descending):
            if hopeless(child, target, look_ahead, max_value) or out_of_range(child, targets):
                continue
            if use_threshold and heuristic(heuristic_name, child, target) > target:
                continue
            if skip_seen and tuple(sorted(child)) in seen:
                continue
            seen.add(tuple(sorted(child)))
            kept.append((action, child))
        return sorted(kept, key=lambda item: order(heuristic_name, *item, target))

    return walk(numbers, target, [kept_children], announce_leaves, max_nodes)


# Searches with a frontier


class Open:
    """A node of a frontier, ordered by value alone, so that heapq decides on ties as in the published code."""

    def __init__(self, value: Any, node: int) -> None:
        self.value, self.node = value, node

    def __lt__(self, other: Open) -> bool:
        return bool(self.value < other.value)


class Frontier:
    """The common part: a trace that visits nodes in any order."""

    def __init__(self, numbers: list[int], target: int, heuristic_name: str, max_value: int, descending: bool) -> None:
        self.found = Found([], [(-1, 0, None)], [numbers])
        self.target, self.heuristic_name = target, heuristic_name
        self.max_value, self.descending = max_value, descending

    def add(self, kind: int, node: int, value: int = 0) -> None:
        self.found.events.append((kind, node, value))

    def end(self, outcome: int) -> Found:
        self.add(END, -1, outcome)
        return self.found

    def value(self, node: int) -> Fraction:
        return heuristic(self.heuristic_name, self.found.states[node], self.target)

    def children(self, node: int) -> list[Child]:
        children = successors(self.found.states[node], self.max_value, self.descending)
        return sorted(children, key=lambda item: heuristic(self.heuristic_name, item[1], self.target))

    def generate(self, parent: int, children: list[Child]) -> tuple[list[int], bool]:
        """Generate the children; return their nodes and whether one is the goal, which is then the last."""
        first = len(self.found.nodes)
        for rank, (action, child) in enumerate(children):
            node = len(self.found.nodes)
            self.found.nodes.append((parent, rank, action))
            self.found.states.append(child)
            self.add(GENERATE, node)
            if child == [self.target]:
                self.add(GOAL, node, self.target)
                return list(range(first, node + 1)), True
            if len(child) == 1:
                self.add(DEAD_END, node, child[0])
        return list(range(first, len(self.found.nodes))), False


def beam(
    numbers: list[int],
    target: int,
    *,
    width: int = 5,
    heuristic_name: str = "sum",
    visit_leaves: bool = True,
    shuffle: Callable[[list[Any], int], list[Any]] | None = None,
    max_nodes: int = 1000,
    max_value: int = INT32_MAX,
    descending: bool = False,
) -> Found:
    """Search with a beam; `shuffle` maps the children of a node to their written order."""
    frontier = Frontier(numbers, target, heuristic_name, max_value, descending)
    heap = [Open(Fraction(0), 0)]
    num_expanded = 0
    while heap:
        for node in [heapq.heappop(heap).node for _ in range(min(width, len(heap)))]:
            leaf = len(frontier.found.states[node]) == 1
            if not leaf and num_expanded == max_nodes:
                return frontier.end(BUDGET)
            num_expanded += not leaf
            frontier.add(EXPAND, node)
            children = frontier.children(node)[:width]
            if shuffle:
                children = shuffle(children, node)
            nodes, solved = frontier.generate(node, children)
            if solved:
                return frontier.end(SOLVED)
            for child in sorted(nodes, key=frontier.value):
                if visit_leaves or len(frontier.found.states[child]) > 1:
                    heapq.heappush(heap, Open(frontier.value(child), child))
    return frontier.end(EMPTY)


def best_first(
    numbers: list[int],
    target: int,
    *,
    heuristic_name: str = "sum",
    depth_weight: Fraction = Fraction(0),
    use_threshold: bool = False,
    skip_seen: bool = True,
    look_ahead: int = 0,
    targets: range | None = None,  # leaves outside are not written
    max_nodes: int = 1000,
    max_value: int = INT32_MAX,
    descending: bool = False,
) -> Found:
    """Expand the open node of the least (heuristic + depth_weight * depth, node), by looking at all of them."""
    frontier = Frontier(numbers, target, heuristic_name, max_value, descending)
    seen: set[tuple[int, ...]] = set()
    open_nodes = [(Fraction(0), 0)]
    num_expanded = 0
    while open_nodes:
        chosen = min(open_nodes)
        open_nodes.remove(chosen)
        if num_expanded == max_nodes:
            return frontier.end(BUDGET)
        num_expanded += 1
        parent = chosen[1]
        frontier.add(EXPAND, parent)
        kept = []
        # The states that are kept are chosen in generation order, before they are sorted.
        for action, child in successors(frontier.found.states[parent], max_value, descending):
            if hopeless(child, target, look_ahead, max_value) or out_of_range(child, targets):
                continue
            if use_threshold and heuristic(heuristic_name, child, target) > target:
                continue
            if not (skip_seen and tuple(sorted(child)) in seen):
                seen.add(tuple(sorted(child)))
                kept.append((action, child))
        kept.sort(key=lambda item: heuristic(heuristic_name, item[1], target))
        nodes, solved = frontier.generate(parent, kept)
        if solved:
            return frontier.end(SOLVED)
        for child in nodes:
            depth = len(numbers) - len(frontier.found.states[child])
            if len(frontier.found.states[child]) > 1:
                open_nodes.append((frontier.value(child) + depth_weight * depth, child))
    return frontier.end(EXHAUSTED)


def as_rows(found: Found, width: int) -> tuple[list[list[int]], list[list[int]], list[list[int]]]:
    """Return (events, nodes, states) as the rows of a Trace, states `width` wide."""
    events = [[kind, node, node, value, 0] for kind, node, value in found.events]
    nodes = []
    for parent, rank, action in found.nodes:
        a, operator, b, result = action or (0, "+", 0, 0)
        nodes.append([parent, rank, a, OPERATORS.index(operator), b, result])
    states = [[len(numbers), *numbers, *[0] * (width - 1 - len(numbers))] for numbers in found.states]
    return events, nodes, states


def published_text(numbers: list[int], target: int, heuristic_name: str) -> str:
    """Write the published depth-first search (threshold = target) as its own text, without a trace in between."""
    lines = []

    def write_state(state: list[int], operations: list[str]) -> None:
        lines.append(f"Current State: {target}:{state}, Operations: {operations}")

    def visit(path: str, state: list[int], operations: list[str]) -> bool:
        children = [(a, c) for a, c in successors(state) if heuristic(heuristic_name, c, target) <= target]
        children.sort(key=lambda item: heuristic(heuristic_name, item[1], target))
        for index, ((a, operator, b, result), child) in enumerate(children):
            operation = f"{a}{operator}{b}={result}"
            lines.append(f"Exploring Operation: {operation}, Resulting Numbers: {child}")
            if child == [target]:
                lines.append(f"{target},{target} equal: Goal Reached")
                return True
            if len(child) == 1:
                lines.append(f"{child[0]},{target} unequal: No Solution")
            else:
                lines.append(f"Generated Node #{path},{index}: {target}:{child} Operation: {operation}")
                lines.append(f"Moving to Node #{path},{index}")
                write_state(child, [*operations, operation])
                if visit(f"{path},{index}", child, [*operations, operation]):
                    return True
            if index + 1 < len(children):
                lines.append(f"Moving to Node #{path}")
                write_state(state, operations)
        return False

    write_state(numbers, [])
    visit("0", numbers, [])
    return "".join(line + "\n" for line in lines)


def published_beam_text(numbers: list[int], target: int, heuristic_name: str, width: int) -> str:
    """Write the published beam search, without shuffling, as its own text, without a trace in between."""
    text = ""
    heap = [Open((heuristic(heuristic_name, numbers, target)), 0)]
    entries: list[tuple[str, list[int], list[str]]] = [("0", numbers, [])]
    while heap:
        for entry in [heapq.heappop(heap).node for _ in range(min(width, len(heap)))]:
            path, state, operations = entries[entry]
            if entry > 0:
                text += f"Moving to Node #{path}\n"
            text += f"Current State: {target}:{state}, Operations: {operations}\n"
            children = successors(state)
            children.sort(key=lambda item: heuristic(heuristic_name, item[1], target))
            for index, ((a, operator, b, result), child) in enumerate(children[:width]):
                operation = f"{a}{operator}{b}={result}"
                text += f"Exploring Operation: {operation}, Resulting Numbers: {child}\n"
                if child == [target]:
                    return text + f"{target},{target} equal: Goal Reached\n"
                if len(child) == 1:
                    text += f"{child[0]},{target} unequal: No Solution\n"
                    index = 0  # leaves are not numbered
                else:
                    text += f"Generated Node #{path},{index}: {target}:{child} Operation: {operation}\n"
                heapq.heappush(heap, Open(heuristic(heuristic_name, child, target), len(entries)))
                entries.append((f"{path},{index}", child, [*operations, operation]))
    return text + "No solution found."
