"""Layered graphs in words and as a drawing: nodes, edges, and what the path to a node costs."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from sos.envs.layered.graphs import COST, EDGES, START, TARGET
from sos.envs.layered.rules import NODE, PATH_COST, Layered
from sos.envs.problems import wrong_rows
from sos.envs.words import Mistake, Part, Words, words_for
from sos.errors import UserError

MOST_LABELS, MOST_COST, MOST_SIZE = 30_000, 1000, 16


@words_for(Layered)
class LayeredWords(Words):
    """A state is its node, with what the path there costs; a goal is the target."""

    problem_form: ClassVar[str] = "[start,target,from,to,cost,from,to,cost,...]"
    problem_fields: ClassVar[dict[str, str]] = {"start": "int", "target": "int", "edges": "ints"}
    held_out: ClassVar[str] = "group"
    holds: ClassVar[str] = "is"
    mistake_names: ClassVar[dict[str, str]] = {
        "OPERAND": "no such edge",
        "ARITHMETIC": "wrong cost",
        "STATE": "wrong node or cost",
        "VALUE": "wrong cost of the answer",
    }

    # Problems

    @classmethod
    def env_of(cls, problem: np.ndarray) -> Layered:
        edges, rest = divmod(len(problem) - EDGES - 1, COST + 1)
        for layers in range(2, MOST_SIZE + 1) if rest == 0 else ():
            for nodes in range(1, MOST_SIZE + 1):
                env = Layered(2, layers, 1, nodes, MOST_COST, 1.0, MOST_LABELS)
                if env.most_edges == edges and not wrong_rows(env, problem[None]).any():
                    return env
        raise UserError(f"problem must be {cls.problem_form} of a layered graph, got {str(problem.tolist())[:60]}")

    def wrong_problems(self, problems: np.ndarray) -> np.ndarray:
        return wrong_rows(self.env, problems)

    def parse_problem(self, text: str) -> np.ndarray:
        try:
            numbers = [int(part) for part in text.strip().removeprefix("[").removesuffix("]").split(",")]
        except ValueError:
            raise UserError(f"problem must be {self.problem_form}, got {text}") from None
        return self.checked_row(self.env.row(numbers), f"problem={text}")

    def problem_parts(self, problem: np.ndarray) -> tuple[list[Part], Part]:
        edges = [f"{a}→{b}:{cost}" for a, b, cost in self.env.edges(problem)]
        return [*edges], f"{problem[TARGET]} from {problem[START]}"

    def task_text(self, problem: np.ndarray, state: np.ndarray) -> str:
        return f"from {int(state[NODE])} go to {int(problem[TARGET])} at the least cost"

    def problem_record(self, problem: np.ndarray) -> dict[str, Any]:
        return {
            "start": int(problem[START]),
            "target": int(problem[TARGET]),
            "edges": [number for edge in self.env.edges(problem) for number in edge],
        }

    def row_of_record(self, record: dict[str, Any]) -> np.ndarray:
        start, target, edges = (record.get(name, -1) for name in ("start", "target", "edges"))
        if not isinstance(edges, list):
            raise UserError(f"edges must be a list of numbers, got {str(edges)[:60]}")
        for name, value in (("start", start), ("target", target), *(("edges", number) for number in edges)):
            if type(value) is not int or not 0 <= value < MOST_LABELS:
                raise UserError(f"{name} must hold numbers below {MOST_LABELS}, got {str(value)[:60]!r}")
        return self.checked_row(self.env.row([start, target, *edges]), "edges")

    # States and actions

    def state_parts(self, state: np.ndarray) -> list[Part]:
        return [f"{int(state[NODE])} at cost {int(state[PATH_COST])}"]

    def state_key(self, state: np.ndarray) -> str:
        return str(int(state[NODE]))

    def action_text(self, action: np.ndarray) -> str:
        return f"→ {int(action[NODE])} at cost {int(action[PATH_COST])}"

    def action_record(self, action: np.ndarray) -> str:
        return f"{int(action[NODE])} {int(action[PATH_COST])}"

    def verdict_text(self, problem: np.ndarray, goal: bool, value: Part) -> str:
        return f"The goal, at cost {value}." if goal else f"No edge leads on, at cost {value}: a dead end."

    def explain(self, mistake: Mistake) -> str:
        target = int(mistake.problem[TARGET])
        held = None if mistake.held is None else int(mistake.held[NODE])
        match mistake.error:
            case "ORDER":
                return f"Node {mistake.node} is {held}, from where an edge leads on: no end of a path."
            case "OPERAND":
                assert mistake.before is not None
                assert mistake.action is not None
                return f"No edge leads from {int(mistake.before[NODE])} to {int(mistake.action[NODE])}."
            case "ARITHMETIC":
                return self._explain_cost(mistake)
            case "STATE":
                assert mistake.expected is not None
                assert mistake.stated is not None
                is_, not_ = (self.state_parts(state)[0] for state in (mistake.expected, mistake.stated))
                return f"Node {mistake.node} is {is_}, not {not_}."
            case "FALSE_GOAL":
                if held == target:
                    return f"{target} was reached through a mistake: no true path leads here at this cost."
                return f"Node {mistake.node} is {held}: this is not {target}."
            case "FALSE_DEAD_END":
                return f"{target} is the target: this is the goal."
            case "VALUE":
                assert mistake.held is not None
                return f"The path to node {mistake.node} costs {int(mistake.held[PATH_COST])}, not {mistake.value}."
            case "QUOTE":
                return "It repeats the start, the target or a node, and differs from what was said before."
        raise AssertionError(f"error {mistake.error} has no words")

    def _explain_cost(self, mistake: Mistake) -> str:
        assert mistake.before is not None
        assert mistake.action is not None
        before, (node, claimed) = mistake.before, mistake.action
        costs = {(a, b): cost for a, b, cost in self.env.edges(mistake.problem)}
        edge = costs.get((int(before[NODE]), int(node)), 0)
        cost = int(before[PATH_COST])
        return f"The path costs {cost} + {edge} = {cost + edge}, not {int(claimed)}."

    def draw(self, problem: np.ndarray, state: np.ndarray) -> dict[str, Any]:
        """The layers from left to right, the nodes of each in the order in which edges enter them."""
        edges, start, current = self.env.edges(problem), int(problem[START]), int(state[NODE])
        layers = [[start]]
        while following := list(dict.fromkeys(b for a, b, _ in edges if a in layers[-1])):
            layers.append(following)
            if len(layers) > len(edges):
                break
        nodes = [
            {"id": node, "x": round(k / (len(layers) - 1), 4), "y": round((n + 0.5) / len(layer), 4)}
            for k, layer in enumerate(layers)
            for n, node in enumerate(layer)
        ]
        picture = {"kind": "graph", "nodes": nodes, "edges": [[a, b] for a, b, _ in edges]}
        return picture | {"target": int(problem[TARGET]), "current": current, "visited": [current]}
