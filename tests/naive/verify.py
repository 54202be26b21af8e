"""The slow, obvious oracle of `sos.stream.verify`, in plain Python, written from the specification."""

from __future__ import annotations

from collections import Counter
from typing import Any

from naive.search import BACKTRACK, DEAD_END, END, EXPAND, GENERATE, GOAL, OPERATORS, PLAN, SOLVED, legal


def _numbers(row: Any) -> list[int]:
    return [int(n) for n in row[1 : 1 + int(row[0])]]


def holds(numbers: Counter[int], a: int, b: int) -> bool:
    """Say whether both operands are there, twice where they are equal."""
    return not Counter([a, b]) - numbers


def after(numbers: Counter[int], a: int, b: int, result: int) -> Counter[int]:
    """Take the operands out and put the result in; an absent operand is skipped."""
    return numbers - Counter([a, b]) + Counter([result])


def plan_is_valid(env: Any, trace: Any) -> bool:
    """Say whether the first run of plan events leads from the problem's numbers to its target."""
    kinds = trace.events[:, 0].tolist()
    if PLAN not in kinds:
        return False
    numbers, before = Counter(int(n) for n in trace.problem[2:]), 0
    for kind, node, *_ in trace.events[kinds.index(PLAN) :].tolist():
        if kind != PLAN:
            break
        parent, _, a, operator, b, result = (int(n) for n in trace.nodes[node])
        if parent != before:
            return False
        if not holds(numbers, a, b) or legal(a, OPERATORS[operator], b, env.max_value) != result:
            return False
        numbers, before = after(numbers, a, b, result), node
    return numbers == Counter([int(trace.problem[0])])


def verify(env: Any, trace: Any) -> tuple[bool, list[int]]:
    """Return (solved, error code of each event), codes as in `sos.stream.verify.Error`."""
    target, root = int(trace.problem[0]), Counter(int(n) for n in trace.problem[2:])
    actions = [(int(r[2]), OPERATORS[int(r[3])], int(r[4]), int(r[5])) for r in trace.nodes]
    said: dict[int, list[int]] = {}  # node -> the numbers last stated for it
    true: dict[int, Counter[int]] = {0: root}  # sound node -> its true numbers
    expanded: set[int] = set()
    dead: set[int] = set()
    goal_seen = solved = plan_seen = plan_over = False
    codes = []
    for e, (kind, node, row, value, flags) in enumerate(trace.events.tolist()):
        stated = _numbers(trace.states[row]) if row >= 0 else []
        code = 0
        if e == 0:
            said[0] = stated
        plan_over |= plan_seen and kind != PLAN
        if ((goal_seen or plan_seen) and kind not in (PLAN, END)) or (kind == PLAN and plan_over):
            code = 1
        elif kind == PLAN:
            before = int(trace.events[e - 1][1]) if trace.events[e - 1][0] == PLAN else 0
            numbers = said[before] if before else list(root.elements())
            a, operator, b, result = actions[node]
            true_result = legal(a, operator, b, env.max_value)
            if int(trace.nodes[node][0]) != before:
                code = 2
            elif not holds(Counter(numbers), a, b):
                code = 3
            elif true_result is None:
                code = 4
            elif true_result != result:
                code = 5
            elif Counter(stated) != after(Counter(numbers), a, b, result):
                code = 6
        elif kind == GENERATE:
            parent = int(trace.nodes[node][0])
            a, operator, b, result = actions[node]
            true_result = legal(a, operator, b, env.max_value)
            if parent not in expanded:
                code = 2
            elif not holds(Counter(said[parent]), a, b):
                code = 3
            elif true_result is None:
                code = 4
            elif true_result != result:
                code = 5
            elif Counter(stated) != after(Counter(said[parent]), a, b, result):
                code = 6
        elif kind in (EXPAND, BACKTRACK):
            if node not in said:
                code = 2
            elif len(said[node]) == 1 and (kind == BACKTRACK or node not in dead):
                code = 1
            elif (node in expanded) != (kind == BACKTRACK) and e > 0:
                code = 2
            elif sorted(stated) != sorted(said[node]):
                code = 6
        elif kind == GOAL:
            if node not in said:
                code = 2
            elif true.get(node) != Counter([target]):
                code = 7
            elif len(said[node]) != 1:
                code = 1
            elif said[node] != [value]:
                code = 9
        elif kind == DEAD_END:
            if node not in said:
                code = 2
            elif len(said[node]) != 1:
                code = 1
            elif said[node] == [target]:
                code = 8
            elif said[node] != [value]:
                code = 9
        elif (value == SOLVED) != (goal_seen or plan_seen):
            code = 10
        codes.append(code or (11 if flags & 1 else 12 if flags & 2 else 13 if flags & 4 else 14 if flags & 8 else 0))
        plan_seen |= kind == PLAN
        if kind in (GENERATE, PLAN):
            said[node] = stated
            parent = int(trace.nodes[node][0])
            a, operator, b, result = actions[node]
            if node != 0:  # the root is sound, whatever is said of it
                true.pop(node, None)
            if parent in true and holds(true[parent], a, b) and legal(a, operator, b, env.max_value) == result:
                true[node] = after(true[parent], a, b, result)
        elif kind in (EXPAND, BACKTRACK) and node >= 0:
            expanded.add(node)
            said[node] = stated
        elif kind == DEAD_END:
            dead.add(node)
        elif kind == GOAL:
            if not goal_seen and not plan_seen and node in said and true.get(node) == Counter([target]):
                solved = True
            goal_seen = True
    return solved, codes
