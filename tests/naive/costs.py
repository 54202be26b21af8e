"""The slow, obvious oracle of `sos.stream.verify` for ways through graphs with costs, written from the specification.

A state is (place, cost of the way, further facts), an action the same of the place that is gone to.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from naive.a_star import Graph
from naive.search import BACKTRACK, DEAD_END, END, EXPAND, GENERATE, GOAL, PLAN, SOLVED


class Judged(NamedTuple):
    solved: bool
    codes: list[int]
    cost: int  # of the way to the goal, -1
    planned: bool
    plan_cost: int


def judge(graph: Graph, facts: Callable[[int], list[int]], state: list[int], action: list[int]) -> int:
    """Return 0, 3 for a road that is not there or 5 for a wrong cost or fact. `facts` are those of a place."""
    costs = [cost for a, b, cost in graph.edges if (a, b) == (state[0], action[0])]
    if not costs:
        return 3
    return 0 if action[1:] == [state[1] + costs[0], *facts(action[0])] else 5


def _same(state: list[int], action: list[int]) -> list[int]:
    return action


def verify(
    graph: Graph,
    facts: Callable[[int], list[int]],
    trace: Any,
    judge: Callable[..., int] = judge,
    child: Callable[[list[int], list[int]], list[int]] = _same,
    stuck: Callable[[list[int]], set[int]] | None = None,
) -> Judged:
    """Return what is to be said of a trace, codes as in `sos.stream.verify.Error`; `judge` knows the rules, `child` the
    state that an action claims to lead to, and `stuck` the numbers that prove a state to be a dead end."""
    root = [graph.start, 0, *facts(graph.start)]
    said: dict[int, list[int]] = {}  # node -> the state last stated for it
    true: dict[int, list[int]] = {0: root}  # sound node -> its true state
    expanded: set[int] = set()
    dead: set[int] = set()
    costs = [-1, -1]  # of the two answers
    goal_seen = plan_seen = plan_over = False
    codes: list[int] = []
    for e, (kind, node, row, value, flags) in enumerate(trace.events.tolist()):
        stated = trace.states[row].tolist() if row >= 0 else []
        action = trace.nodes[node, 2:].tolist()
        parent = int(trace.nodes[node, 0])
        code = 0
        if e == 0:
            said[0] = stated
        plan_over |= plan_seen and kind != PLAN
        held = said.get(node)
        status = graph.status(held[0]) if held is not None else ""
        if ((goal_seen or plan_seen) and kind not in (PLAN, END)) or (kind == PLAN and plan_over):
            code = 1
        elif kind in (PLAN, GENERATE):
            if kind == PLAN:
                before = int(trace.events[e - 1][1]) if trace.events[e - 1][0] == PLAN else 0
                fits, acts_on = parent == before, said[before] if before else root
            else:
                fits, acts_on = parent in expanded, said.get(parent, [])
            code = (
                2
                if not fits
                else judge(graph, facts, acts_on, action) or (0 if stated == child(acts_on, action) else 6)
            )
        elif kind in (EXPAND, BACKTRACK):
            if held is None:
                code = 2
            elif status != "open" and (kind == BACKTRACK or (node not in dead and status != "goal")):
                code = 1
            elif (node in expanded) != (kind == BACKTRACK) and e > 0:
                code = 2
            elif stated != held:
                code = 6
        elif kind in (GOAL, DEAD_END):
            if held is None:
                code = 2
            elif kind == GOAL and (node not in true or graph.status(true[node][0]) != "goal"):
                code = 7
            elif kind == DEAD_END and status != "goal" and stuck is not None:
                code = 0 if value in stuck(held) else 9 if stuck(held) else 1
            elif status == "open":
                code = 1
            elif kind == DEAD_END and status == "goal":
                code = 8
            elif value != held[1]:
                code = 9
        elif (value == SOLVED) != (goal_seen or plan_seen):
            code = 10
        codes.append(code or (11 if flags & 1 else 12 if flags & 2 else 13 if flags & 4 else 14 if flags & 8 else 0))
        if kind in (GENERATE, PLAN):
            said[node] = stated
            if node:
                true.pop(node, None)
            sound = parent in true and not judge(graph, facts, true[parent], action)
            if sound and not (kind == PLAN and code == 2):
                true[node] = child(true[parent], action)
        elif kind in (EXPAND, BACKTRACK) and node >= 0:
            expanded.add(node)
            said[node] = stated
        elif kind == DEAD_END and node >= 0:
            dead.add(node)
        elif kind == GOAL:
            if not goal_seen and not plan_seen and code not in (2, 7):
                costs[0] = true[node][1]
            goal_seen = True
        if kind == PLAN and not plan_over:
            costs[1] = true[node][1] if node in true and graph.status(true[node][0]) == "goal" else -1
        plan_seen |= kind == PLAN
    return Judged(costs[0] >= 0, codes, costs[0], costs[1] >= 0, costs[1])
