"""Sokoban in words and as a drawing: cells by x and y from the upper left, and levels as people draw them.

A level is drawn with `#` for a wall, `.` for a dock, `$` for a box, `*` for a box on a dock, `@` for the worker, `+`
for the worker on a dock and a blank (or `-` or `_`) for what is free, row by row; where it is one line, rows stand
apart by `|`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np

from sos.envs.problems import wrong_rows
from sos.envs.sokoban.level import BOXES_UNIT, SHAPE, WIDTH_UNIT, border_of, cells_of, walls_of
from sos.envs.sokoban.rules import Sokoban
from sos.envs.sokoban.xsb import FREE, read_levels
from sos.envs.words import Mistake, Part, Words, words_for
from sos.errors import UserError

SIDES, NUMS = range(5, 9), range(1, 4)
MARKS = {"#": "wall", ".": "dock", "$": "box", "*": "box dock", "@": "worker", "+": "worker dock"}


@words_for(Sokoban)
class SokobanWords(Words):
    """A state is where the worker and the boxes are, with the cost of the way there and an estimate of what is left."""

    problem_form: ClassVar[str] = "rows of #.$*@+ and blanks, apart by |"
    problem_fields: ClassVar[dict[str, str]] = {"level": "text"}
    held_out: ClassVar[str] = "group"
    holds: ClassVar[str] = "has"
    mistake_names: ClassVar[dict[str, str]] = {
        "OPERAND": "not beside",
        "ILLEGAL": "blocked",
        "ARITHMETIC": "wrong cost or estimate",
        "STATE": "wrong worker, box, cost or estimate",
        "VALUE": "wrong cost or box",
    }

    # Problems

    @classmethod
    def env_of(cls, problem: np.ndarray) -> Sokoban:
        rest, height = divmod(int(problem[SHAPE]), WIDTH_UNIT)
        boxes, width = divmod(rest, BOXES_UNIT // WIDTH_UNIT)
        most = len(problem) - 3 - 2 * boxes
        if width in SIDES and height in SIDES and boxes in NUMS and most > 0:
            env = Sokoban(width, height, boxes, 1, most)
            if not wrong_rows(env, problem[None]).any():
                return env
        raise UserError(f"problem must be the row of a level, its shape first, got {str(problem.tolist())[:60]}")

    def wrong_problems(self, problems: np.ndarray) -> np.ndarray:
        return wrong_rows(self.env, problems)

    def parse_problem(self, text: str) -> np.ndarray:
        env, where = self.env, f"problem={text[:90]}"
        rows = [row.rstrip("\r\n") for row in (text.split("|") if "|" in text else text.split("\n"))]
        if len(rows) != env.height or any(len(row.rstrip()) > env.width for row in rows):
            widest = max(len(row.rstrip()) for row in rows)
            raise UserError(f"{where} is a level of {widest}x{len(rows)} cells, and not of {env.width}x{env.height}")
        found: dict[str, list[int]] = {"wall": [], "dock": [], "box": [], "worker": []}
        for y, row in enumerate(rows):
            for x, mark in enumerate(row.ljust(env.width)[: env.width]):
                if mark not in MARKS and mark not in FREE:
                    raise UserError(
                        f"{where}: {mark!r} at {self._place(x + env.width * y)} is none of {''.join(MARKS)}"
                    )
                for kind in MARKS.get(mark, "").split():
                    found[kind].append(x + env.width * y)
        return self._row(found, where)

    def _row(self, found: dict[str, list[int]], where: str) -> np.ndarray:
        """Return the row of a level. Raises UserError that says what is wrong with it."""
        env, border = self.env, int(border_of(self.env))
        around = [cell for cell in range(env.num_cells) if border >> cell & 1]
        if len(found["worker"]) != 1:
            raise UserError(f"{where} has {len(found['worker']) or 'no'} workers, and not one")
        for kind, name in (("box", "boxes"), ("dock", "docks")):
            if len(found[kind]) != env.boxes:
                raise UserError(f"{where} has {len(found[kind])} {name}; env.boxes={env.boxes}")
        for cell in around:
            if cell not in found["wall"]:
                raise UserError(f"{where} has no wall at {self._place(cell)}, and needs one all around")
        walls = [cell for cell in found["wall"] if cell not in around]
        if not 1 <= len(walls) <= env.max_walls:
            raise UserError(
                f"{where} has {len(walls)} walls inside; from 1 to env.max_walls={env.max_walls} may stand there"
            )
        if found["box"] == found["dock"]:
            raise UserError(f"{where} is solved: all boxes are on docks")
        return self.checked_row(env.row(found["worker"][0], found["box"], found["dock"], walls), where)

    def listed_file(self, suffix: str, text: str, where: str) -> Iterable[tuple[int, list[int] | str]] | None:
        """Levels of several rows or of one line, whatever the suffix: a line that begins with # is no comment."""
        return read_levels(text, where)

    def drawn(self, worker: int, boxes: list[int], problem: np.ndarray) -> list[str]:
        """Return the rows of a level with a worker and boxes in it, as people draw it."""
        env, docks, walls = self.env, self.env.parts(problem)[2], int(walls_of(self.env, problem))
        marks = []
        for cell in range(env.num_cells):
            on_dock = cell in docks
            if walls >> cell & 1:
                marks.append("#")
            elif cell in boxes:
                marks.append("*" if on_dock else "$")
            elif cell == worker:
                marks.append("+" if on_dock else "@")
            else:
                marks.append("." if on_dock else " ")
        return ["".join(marks[y * env.width : (y + 1) * env.width]) for y in range(env.height)]

    def problem_parts(self, problem: np.ndarray) -> tuple[list[Part], Part]:
        worker, boxes, docks, _ = self.env.parts(problem)
        return [self._place(box) for box in boxes], f"{self._places(docks)}, worker at {self._place(worker)}"

    def task_text(self, problem: np.ndarray, state: np.ndarray) -> str:
        boxes = [int(box) for box in state[1 : 1 + self.env.boxes]]
        return f"with boxes on {self._places(boxes)} fill {self._places(self.env.parts(problem)[2])}"

    def problem_record(self, problem: np.ndarray) -> dict[str, Any]:
        worker, boxes, _, _ = self.env.parts(problem)
        return {"level": "|".join(self.drawn(worker, boxes, problem))}

    def row_of_record(self, record: dict[str, Any]) -> np.ndarray:
        level = record.get("level")
        if not isinstance(level, str):
            raise UserError(f"level must be a text, got {str(level)[:60]!r}")
        return self.parse_problem(level)

    # States and actions

    def _place(self, cell: int) -> str:
        return f"({cell % self.env.width}, {cell // self.env.width})"

    def _places(self, cells: list[int]) -> str:
        return " and ".join(self._place(cell) for cell in cells)

    def _facts(self, row: np.ndarray) -> str:
        cost, estimate = (int(number) for number in row[-2:])
        return f"cost {cost}, {estimate} left at least"

    def state_parts(self, state: np.ndarray) -> list[Part]:
        boxes = [int(box) for box in state[1 : 1 + self.env.boxes]]
        return [f"worker {self._place(int(state[0]))}, boxes {self._places(boxes)}: {self._facts(state)}"]

    def state_key(self, state: np.ndarray) -> str:
        return " ".join(str(int(cell)) for cell in state[: 1 + self.env.boxes])

    def action_text(self, action: np.ndarray) -> str:
        if self.env.pushes:
            return f"{self._place(int(action[0]))} → {self._place(int(action[1]))}: {self._facts(action)}"
        return f"→ {self._place(int(action[0]))}: {self._facts(action)}"

    def action_record(self, action: np.ndarray) -> str:
        return " ".join(str(int(number)) for number in action)

    def verdict_text(self, problem: np.ndarray, goal: bool, value: Part) -> str:
        if goal:
            return f"All boxes are on docks, at cost {value}."
        return f"A dead end: the box in cell {value} can never be moved."

    # Mistakes

    def explain(self, mistake: Mistake) -> str:
        node = mistake.node
        match mistake.error:
            case "ORDER":
                return f"At node {node} boxes are not all on docks, and none of them is stuck for ever."
            case "OPERAND" | "ILLEGAL" | "ARITHMETIC":
                return self._explain_action(mistake)
            case "STATE":
                assert mistake.expected is not None
                assert mistake.stated is not None
                is_, not_ = (self.state_parts(state)[0] for state in (mistake.expected, mistake.stated))
                return f"Node {node} has {is_}; not {not_}."
            case "FALSE_GOAL":
                return f"A box of node {node} is on no dock, or it was brought there by a mistake."
            case "FALSE_DEAD_END":
                return f"Node {node} is the goal: all boxes are on docks."
            case "VALUE":
                return self._explain_value(mistake)
            case "QUOTE":
                return "It repeats a cell of the level, and differs from what was said before."
        raise AssertionError(f"error {mistake.error} has no words")

    def _explain_value(self, mistake: Mistake) -> str:
        assert mistake.held is not None
        boxes = cells_of(mistake.held, np.int64(1), self.env.boxes)
        if boxes == cells_of(mistake.problem, np.int64(self.env.docks_column), self.env.boxes):
            return f"The way to node {mistake.node} costs {int(mistake.held[-2])}, not {mistake.value}."
        return f"There is no box on {self._place(mistake.value)} that is stuck for ever."

    def _explain_action(self, mistake: Mistake) -> str:
        assert mistake.before is not None
        assert mistake.action is not None
        before, action, env = mistake.before, mistake.action, self.env
        to, worker = int(action[0]), int(before[0])
        if env.pushes:
            push = f"{self._place(to)} to {self._place(int(action[1]))}"
            if mistake.error == "OPERAND":
                return f"No box can go from {push}: none is there, or the cells do not touch."
            if mistake.error == "ILLEGAL":
                return f"The worker at {self._place(worker)} cannot push a box from {push}: something is in the way."
        elif mistake.error == "OPERAND":
            return f"{self._place(to)} is not beside the worker at {self._place(worker)}."
        elif mistake.error == "ILLEGAL":
            return f"The worker cannot step to {self._place(to)}: it is a wall, or a box that does not give way."
        return (
            f"The way costs {int(before[-2])} + 1, and boxes lack another number of steps; not {self._facts(action)}."
        )

    def draw(self, problem: np.ndarray, state: np.ndarray) -> dict[str, Any]:
        """The level, row by row."""
        boxes = [int(box) for box in state[1 : 1 + self.env.boxes]]
        _, _, docks, _ = self.env.parts(problem)
        walls = [cell for cell in range(self.env.num_cells) if int(walls_of(self.env, problem)) >> cell & 1]
        size = {"width": self.env.width, "height": self.env.height}
        return {"kind": "sokoban"} | size | {"walls": walls, "docks": docks, "boxes": boxes, "worker": int(state[0])}
