"""What searches show of the branches of a root, what is mined of it, and what memories retrieve: slowly, from their definitions."""

from __future__ import annotations

from typing import Any

EXPAND, GENERATE, DEAD_END, GOAL, BACKTRACK, END, PLAN = range(7)
EXHAUSTED = 1


def ancestors(nodes: Any, node: int) -> list[int]:
    """The node and those above it, without the root."""
    found = []
    while node > 0:
        found.append(node)
        node = int(nodes[node, 0])
    return found


def branches(trace: Any, class_of: Any) -> list[dict[str, Any]]:
    """Of a sound search: each child of the root with its class, its nodes, whether the goal is below it, and whether it was left."""
    tops = [node for node in range(1, len(trace.nodes)) if trace.nodes[node, 0] == 0]
    told = [(int(kind), int(node), int(value)) for kind, node, _, value, _ in trace.events]
    goals = [node for kind, node, _ in told if kind == GOAL]
    spoken = [node for _, node, _ in told if node > 0]
    through = told[-1][0] == END and told[-1][2] == EXHAUSTED
    found = []
    for top in tops:
        below = [node for node in range(1, len(trace.nodes)) if top in ancestors(trace.nodes, node)]
        has_goal = any(goal in below for goal in goals[:1])
        last = bool(spoken) and spoken[-1] in below
        closed = not has_goal and (through or not last)
        found.append({"class": class_of(trace.nodes[top, 2:]), "nodes": len(below), "goal": has_goal, "closed": closed})
    return found


def is_true(env: Any, lesson: Any, trace: Any, class_of: Any, has: Any, succeeded: bool, solver: int) -> bool:
    """Whether a lesson is one that its experience teaches: its problem has the condition, and the class is the right one for it."""
    if env.lesson_features[lesson.condition] not in has:
        return False
    found = branches(trace, class_of)
    if succeeded:
        own = [one["class"] for one in found if one["goal"]] or [found[-1]["class"]]
        return lesson.prefer and lesson.of == own[0]
    if lesson.prefer:
        return lesson.of == solver
    vain = [one for one in found if one["closed"] and one["class"] != solver]
    most = max(one["nodes"] for one in vain)
    return lesson.of == next(one["class"] for one in vain if one["nodes"] == most)


def features(numbers: list[int], target: int, middle: float) -> set[str]:
    """Of a problem with numbers and a target, by the words of the features themselves."""
    two = sorted(numbers)[-2:]
    said = {
        "one_among_numbers": 1 in numbers,
        "equal_numbers": len(set(numbers)) < len(numbers),
        "number_above_target": any(n > target for n in numbers),
        "target_above_product": target > two[0] * two[1],
        "target_below_sum": target <= sum(numbers),
        "number_divides_target": any(n > 1 and target % n == 0 for n in numbers),
        "target_in_lower_half": target <= middle,
        "target_odd": target % 2 == 1,
        "target_even": target % 2 == 0,
        "target_in_upper_half": target > middle,
        "no_number_divides_target": not any(n > 1 and target % n == 0 for n in numbers),
        "target_above_sum": target > sum(numbers),
    }
    return {name for name, holds in said.items() if holds}


def nearest(records: list[tuple[set[str], bool]], wanted: set[str], every: int, k: int) -> list[int]:
    """Of records (their features, and whether a lesson of theirs applies), the numbers of the k to show: try all, keep the best."""
    left, found = list(range(len(records))), []
    while left and len(found) < k:
        best = left[0]
        for number in left[1:]:
            one, two = records[number], records[best]
            agree_one, agree_two = (every - len(its ^ wanted) for its, _ in (one, two))
            if (one[1], agree_one, number) > (two[1], agree_two, best):
                best = number
        left.remove(best)
        found.append(best)
    return found
