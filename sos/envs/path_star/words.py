"""Path-star in words and as a drawing: nodes, edges and the node that is looked for."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from sos.envs.path_star.rules import EDGES, START, TARGET, PathStar
from sos.envs.words import Mistake, Part, Words, words_for
from sos.errors import UserError

MOST_LABELS = 30_000


@words_for(PathStar)
class PathStarWords(Words):
    """A state is its node, a goal the target."""

    problem_form: ClassVar[str] = "[start,target,from,to,from,to,...]"
    problem_fields: ClassVar[dict[str, str]] = {"start": "int", "target": "int", "edges": "ints"}
    held_out: ClassVar[str] = "group"
    holds: ClassVar[str] = "is"
    mistake_names: ClassVar[dict[str, str]] = {"OPERAND": "no such edge", "VALUE": "wrong node"}

    # Problems

    @classmethod
    def env_of(cls, problem: np.ndarray) -> PathStar:
        # A row of odd length has zeros behind its edges and then their count.
        mixed = len(problem) % 2 == 1 and len(problem) > EDGES
        full = (len(problem) - EDGES) // 2
        num = int(problem[-1]) if mixed else full
        num_arms = int(np.count_nonzero(problem[EDGES : EDGES + 2 * num : 2] == problem[START])) if num > 0 else 0
        if num_arms < 2 or num % num_arms or num > full:
            raise UserError(f"problem must be {cls.problem_form} of a star, got {str(problem.tolist())[:60]}")
        if not mixed:
            return PathStar(num_arms, num // num_arms + 1, MOST_LABELS)
        for largest in range(num_arms, full + 1):
            if full % largest == 0 and full // largest >= num // num_arms:
                return PathStar(largest, full // largest + 1, MOST_LABELS, 2, 2)
        raise UserError(f"problem must be of a star among larger ones, got {str(problem.tolist())[:60]}")

    def parse_problem(self, text: str) -> np.ndarray:
        try:
            labels = [int(part) for part in text.strip().removeprefix("[").removesuffix("]").split(",")]
        except ValueError:
            raise UserError(f"problem must be {self.problem_form}, got {text}") from None
        return self.checked_row(self.env.row(labels), f"problem={text}")

    def problem_parts(self, problem: np.ndarray) -> tuple[list[Part], Part]:
        return [f"{a}→{b}" for a, b in self.env.edges(problem)], f"{problem[TARGET]} from {problem[START]}"

    def task_text(self, problem: np.ndarray, state: np.ndarray) -> str:
        return f"from {int(state[0])} go to {int(problem[TARGET])}"

    def problem_record(self, problem: np.ndarray) -> dict[str, Any]:
        return {
            "start": int(problem[START]),
            "target": int(problem[TARGET]),
            "edges": [label for edge in self.env.edges(problem) for label in edge],
        }

    def row_of_record(self, record: dict[str, Any]) -> np.ndarray:
        start, target, edges = (record.get(name, -1) for name in ("start", "target", "edges"))
        if not isinstance(edges, list):
            raise UserError(f"edges must be a list of labels, got {str(edges)[:60]}")
        for name, value in (("start", start), ("target", target), *(("edges", label) for label in edges)):
            if type(value) is not int or not 0 <= value < MOST_LABELS:
                raise UserError(f"{name} must hold labels below {MOST_LABELS}, got {str(value)[:60]!r}")
        return self.checked_row(self.env.row([start, target, *edges]), "edges")

    # States and actions

    def state_parts(self, state: np.ndarray) -> list[Part]:
        return [int(state[0])]

    def action_text(self, action: np.ndarray) -> str:
        return f"→ {int(action[0])}"

    def action_record(self, action: np.ndarray) -> str:
        return str(int(action[0]))

    def verdict_text(self, problem: np.ndarray, goal: bool, value: Part) -> str:
        return f"{value}: the goal." if goal else f"{value} is not {int(problem[TARGET])}: a dead end."

    def explain(self, mistake: Mistake) -> str:
        target = int(mistake.problem[TARGET])
        held = None if mistake.held is None else int(mistake.held[0])
        match mistake.error:
            case "ORDER":
                return f"Node {mistake.node} is {held}, from where an edge leads on: no end of an arm."
            case "OPERAND":
                assert mistake.before is not None
                assert mistake.action is not None
                return f"No edge leads from {int(mistake.before[0])} to {int(mistake.action[0])}."
            case "STATE":
                assert mistake.expected is not None
                assert mistake.stated is not None
                return f"Node {mistake.node} is {int(mistake.expected[0])}, not {int(mistake.stated[0])}."
            case "FALSE_GOAL":
                if held == target:
                    return f"{target} was reached through a mistake: no true path leads here."
                return f"Node {mistake.node} is {held}: this is not {target}."
            case "FALSE_DEAD_END":
                return f"{target} is the target: this is the goal."
            case "VALUE":
                return f"Node {mistake.node} is {held}, not {mistake.value}."
            case "QUOTE":
                return "It repeats the start, the target or a node, and differs from what was said before."
        raise AssertionError(f"error {mistake.error} has no words")

    def draw(self, problem: np.ndarray, state: np.ndarray) -> dict[str, Any]:
        """The start in the middle and the arms around it, in the order in which their first edges are listed."""
        edges, start, current = self.env.edges(problem), int(problem[START]), int(state[0])
        following = dict(edges[::-1])
        arms = [b for a, b in edges if a == start]
        arm_edges = len(edges) // len(arms)
        nodes = [{"id": start, "x": 0.5, "y": 0.5}]
        visited = [start]
        for number, node in enumerate(arms):
            angle, way = 2 * math.pi * number / len(arms), [start]
            for depth in range(1, arm_edges + 1):
                away = 0.5 * depth / arm_edges
                x, y = 0.5 + away * math.sin(angle), 0.5 - away * math.cos(angle)
                nodes.append({"id": node, "x": round(x, 4), "y": round(y, 4)})
                way.append(node)
                if node == current:
                    visited = list(way)
                node = following.get(node, node)
        picture = {"kind": "graph", "nodes": nodes, "edges": [[a, b] for a, b in edges], "target": int(problem[TARGET])}
        return picture | {"current": current, "visited": visited}
