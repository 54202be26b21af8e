"""The slow, obvious oracle of iterative widening, written from its specification."""

from __future__ import annotations

from math import prod

from naive import (
    BACKTRACK,
    BUDGET,
    DEAD_END,
    END,
    EXHAUSTED,
    EXPAND,
    GENERATE,
    GOAL,
    INT32_MAX,
    SOLVED,
    Action,
    Found,
    heuristic,
    hopeless,
    out_of_range,
    successors,
)


def reach(numbers: list[int], max_value: int = INT32_MAX) -> int:
    """Return the product of all numbers but the smallest, a 1 taken for a 2 and a 0 for a 1; 0 where only leaves follow."""
    if len(numbers) <= 2:
        return 0
    return min(max_value, prod({0: 1, 1: 2}.get(n, n) for n in sorted(numbers)[1:]))


def largest_result(numbers: list[int], max_value: int = INT32_MAX) -> int:
    """Return the largest result on the way to anything but a leaf, by trying everything; 0 where only leaves follow."""
    if len(numbers) <= 2:
        return 0
    below = ((action[3], largest_result(child, max_value)) for action, child in successors(numbers, max_value))
    return max(max(pair) for pair in below)


def widening(
    numbers: list[int],
    target: int,
    *,
    heuristic_name: str = "sum",
    announce_leaves: bool = True,
    look_ahead: int = 0,
    targets: range | None = None,  # leaves outside are not written
    bound: int = 300,
    max_nodes: int = 1000,
    max_value: int = INT32_MAX,
) -> Found:
    """Search recursively, once with the bound and once without; the options are those of `Widening`."""
    found = Found([(EXPAND, 0, 0)], [(-1, 0, None)], [numbers])
    first: set[tuple[int, ...]] = set()  # states kept in pass 1
    second: set[tuple[int, ...]] = set()  # and in pass 2
    at = 0  # where the searcher stands
    num_expanded = 1

    def is_open(state: list[int]) -> bool:
        return reach(state, max_value) > bound

    def kept_children(parent: list[int], last: bool) -> list[tuple[Action, list[int]]]:
        kept = []
        for action, child in successors(parent, max_value):
            state = tuple(sorted(child))
            if hopeless(child, target, look_ahead, max_value) or out_of_range(child, targets):
                continue
            if action[3] > bound and not (last and is_open(parent)):
                continue
            if state in second or (state in first and not (last and is_open(child))):
                continue
            (second if last else first).add(state)
            kept.append((action, child))
        return sorted(kept, key=lambda item: heuristic(heuristic_name, item[1], target))

    def visit(parent: int, last: bool) -> int | None:
        nonlocal at, num_expanded
        num_children = sum(p == parent for p, _, _ in found.nodes)  # of pass 1, where the parent is the root
        for rank, (action, child) in enumerate(kept_children(found.states[parent], last), num_children):
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
            outcome = visit(node, last)
            if outcome is not None:
                return outcome
        return None

    outcome = visit(0, last=False)
    if outcome is None:
        outcome = visit(0, last=True)
    found.events.append((END, -1, EXHAUSTED if outcome is None else outcome))
    return found
