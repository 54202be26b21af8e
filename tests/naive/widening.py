"""The slow, obvious oracle of iterative widening, written from its specification."""

from __future__ import annotations

from functools import partial
from math import prod

from naive.search import INT32_MAX, Child, Found, hopeless, order, out_of_range, successors, walk


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
    descending: bool = False,
) -> Found:
    """Search depth first, once with the bound and once without; the options are those of `Widening`."""
    first: set[tuple[int, ...]] = set()  # states kept in pass 1
    second: set[tuple[int, ...]] = set()  # and in pass 2

    def is_open(state: list[int]) -> bool:
        return reach(state, max_value) > bound

    def kept_children(parent: list[int], last: bool) -> list[Child]:
        kept = []
        for action, child in successors(parent, max_value, descending):
            state = tuple(sorted(child))
            if hopeless(child, target, look_ahead, max_value) or out_of_range(child, targets):
                continue
            if action[3] > bound and not (last and is_open(parent)):
                continue
            if state in second or (state in first and not (last and is_open(child))):
                continue
            (second if last else first).add(state)
            kept.append((action, child))
        return sorted(kept, key=lambda item: order(heuristic_name, *item, target))

    passes = [partial(kept_children, last=last) for last in (False, True)]
    return walk(numbers, target, passes, announce_leaves, max_nodes)
