"""Mazes in words and as a drawing: cells by x and y, the cost of the way to them and the estimate of what is left."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from sos.envs.maze.grid import COORDINATES_UNIT, SHAPE, WIDTH_UNIT
from sos.envs.maze.rules import Maze
from sos.envs.problems import wrong_rows
from sos.envs.words import Mistake, Part, Words, words_for
from sos.errors import UserError

MOST_TENTHS, SIDES = 5, range(4, 31)


@words_for(Maze)
class MazeWords(Words):
    """A state is its cell, with the cost of the way there and the distance from the goal."""

    problem_form: ClassVar[str] = "[start,goal,wall,wall,...], a cell being x + width * y"
    problem_fields: ClassVar[dict[str, str]] = {
        "width": "int",
        "height": "int",
        "start": "int",
        "goal": "int",
        "walls": "ints",
    }
    held_out: ClassVar[str] = "group"
    holds: ClassVar[str] = "is at"
    mistake_names: ClassVar[dict[str, str]] = {
        "OPERAND": "no neighbour",
        "ILLEGAL": "into a wall",
        "ARITHMETIC": "wrong cost or estimate",
        "STATE": "wrong cell, cost or estimate",
        "VALUE": "wrong cost of the answer",
    }

    # Problems

    @classmethod
    def env_of(cls, problem: np.ndarray) -> Maze:
        rest, height = divmod(int(problem[SHAPE]), WIDTH_UNIT)
        coordinates, width = divmod(rest, COORDINATES_UNIT // WIDTH_UNIT)
        if width in SIDES and height in SIDES and coordinates in (0, 1):
            for tenths in range(1, MOST_TENTHS + 1):
                env = Maze(width, height, 1, tenths, bool(coordinates))
                if env.problem_width == len(problem) and not wrong_rows(env, problem[None]).any():
                    return env
        raise UserError(f"problem must be the row of a maze, its shape first, got {str(problem.tolist())[:60]}")

    def wrong_problems(self, problems: np.ndarray) -> np.ndarray:
        return wrong_rows(self.env, problems)

    def wrong_states(self, states: np.ndarray) -> np.ndarray:
        wrong: np.ndarray = np.any(states < 0, axis=1)
        if self.env.coordinates:  # a cost without a symbol cannot be said
            wrong |= np.any(states[:, self.env.span :] >= self.env.num_cells, axis=1)
        return wrong

    def parse_problem(self, text: str) -> np.ndarray:
        try:
            cells = [int(part) for part in text.strip().removeprefix("[").removesuffix("]").split(",")]
        except ValueError:
            raise UserError(f"problem must be {self.problem_form}, got {text}") from None
        return self._row(cells, f"problem={text}")

    def _row(self, cells: list[int], where: str) -> np.ndarray:
        """Return the row of [start, goal, wall, ...]. Raises UserError unless it is a maze."""
        for cell in cells:
            if not 0 <= cell < self.env.num_cells:
                size = f"{self.env.width}x{self.env.height}"
                raise UserError(f"{where}: {cell} is no cell of {size}, whose last is {self.env.num_cells - 1}")
        if len(cells) < 3:
            raise UserError(f"{where} must be {self.problem_form}, with a wall at least")
        return self.checked_row(self.env.row(cells), where)

    def problem_parts(self, problem: np.ndarray) -> tuple[list[Part], Part]:
        start, goal, *walls = self.env.cells(problem)
        return [self._place(cell) for cell in walls], f"{self._place(goal)} from {self._place(start)}"

    def task_text(self, problem: np.ndarray, state: np.ndarray) -> str:
        return f"from {self._cell_text(state)} go to {self._place(self.env.cells(problem)[1])}"

    def problem_record(self, problem: np.ndarray) -> dict[str, Any]:
        start, goal, *walls = self.env.cells(problem)
        return {"width": self.env.width, "height": self.env.height, "start": start, "goal": goal, "walls": walls}

    def row_of_record(self, record: dict[str, Any]) -> np.ndarray:
        for name in ("width", "height"):
            if record.get(name) != getattr(self.env, name):
                raise UserError(f"{name} must be {getattr(self.env, name)}, got {str(record.get(name))[:60]!r}")
        start, goal, walls = (record.get(name) for name in ("start", "goal", "walls"))
        if not isinstance(walls, list):
            raise UserError(f"walls must be a list of cells, got {str(walls)[:60]}")
        cells = [("start", start), ("goal", goal), *(("walls", cell) for cell in walls)]
        for name, cell in cells:
            if type(cell) is not int:
                raise UserError(f"{name} must hold numbers of cells, got {str(cell)[:60]!r}")
        return self._row([int(cell) for _, cell in cells if cell is not None], "walls")

    # States and actions

    def _place(self, cell: int) -> str:
        return f"({cell % self.env.width}, {cell // self.env.width})"

    def _xy(self, row: np.ndarray) -> tuple[int, int]:
        """Return x and y of the cell that a state or an action names."""
        if self.env.coordinates:
            return int(row[0]), int(row[1])
        return int(row[0]) % self.env.width, int(row[0]) // self.env.width

    def _cell_text(self, row: np.ndarray) -> str:
        return f"({', '.join(map(str, self._xy(row)))})"

    def _facts(self, row: np.ndarray) -> str:
        cost, estimate = (int(number) for number in row[self.env.span :])
        return f"cost {cost}, {estimate} away"

    def state_parts(self, state: np.ndarray) -> list[Part]:
        return [f"{self._cell_text(state)}: {self._facts(state)}"]

    def state_key(self, state: np.ndarray) -> str:
        return self._cell_text(state)

    def action_text(self, action: np.ndarray) -> str:
        return f"→ {self._cell_text(action)}: {self._facts(action)}"

    def action_record(self, action: np.ndarray) -> str:
        return " ".join(str(int(number)) for number in action)

    def verdict_text(self, problem: np.ndarray, goal: bool, value: Part) -> str:
        return f"The goal, at cost {value}." if goal else "A dead end."

    # Mistakes

    def explain(self, mistake: Mistake) -> str:
        node, goal = mistake.node, self._place(self.env.cells(mistake.problem)[1])
        held = "" if mistake.held is None else self._cell_text(mistake.held)
        match mistake.error:
            case "ORDER":
                return f"Node {node} is at {held}, from where the way back is open: no dead end."
            case "OPERAND" | "ILLEGAL" | "ARITHMETIC":
                return self._explain_action(mistake)
            case "STATE":
                assert mistake.expected is not None
                assert mistake.stated is not None
                is_, not_ = (self.state_parts(state)[0] for state in (mistake.expected, mistake.stated))
                return f"Node {node} is at {is_}; not {not_}."
            case "FALSE_GOAL":
                if held == goal:
                    return f"{goal} was reached through a mistake: no true way leads here at this cost."
                return f"Node {node} is at {held}: this is not {goal}."
            case "FALSE_DEAD_END":
                return f"{goal} is the goal."
            case "VALUE":
                assert mistake.held is not None
                return f"The way to node {node} costs {int(mistake.held[self.env.span])}, not {mistake.value}."
            case "QUOTE":
                return "It repeats the start, the goal or a node, and differs from what was said before."
        raise AssertionError(f"error {mistake.error} has no words")

    def _explain_action(self, mistake: Mistake) -> str:
        assert mistake.before is not None
        assert mistake.action is not None
        before, action, env = mistake.before, mistake.action, self.env
        x, y = self._xy(action)
        if mistake.error == "OPERAND":
            return f"{self._cell_text(action)} is not beside {self._cell_text(before)}."
        if mistake.error == "ILLEGAL":
            inside = x < env.width and y < env.height
            return f"{self._cell_text(action)} is {'a wall' if inside else 'outside of the grid'}."
        goal = env.cells(mistake.problem)[1]
        estimate = abs(x - goal % env.width) + abs(y - goal // env.width)
        return (
            f"The way costs {int(before[env.span])} + 1, and {self._place(goal)} is {estimate} away; "
            f"not {self._facts(action)}."
        )

    def draw(self, problem: np.ndarray, state: np.ndarray) -> dict[str, Any]:
        """The grid, and where the state is in it; a cell outside of it is -1."""
        start, goal, *walls = self.env.cells(problem)
        x, y = self._xy(state)
        inside = x < self.env.width and y < self.env.height
        cost, estimate = (int(number) for number in state[self.env.span :])
        grid = {"width": self.env.width, "height": self.env.height, "start": start, "goal": goal, "walls": walls}
        cell = x + self.env.width * y if inside else -1
        return {"kind": "maze"} | grid | {"cell": cell, "cost": cost, "estimate": estimate}
