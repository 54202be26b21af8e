"""Sudoku in words and as a drawing: rows of digits, and cells by their row and column."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from sos.envs.sudoku.grid import WORD_CELLS
from sos.envs.sudoku.listed import first_wrong, puzzle_row
from sos.envs.sudoku.rules import CELL, DIGIT, SIZES, Sudoku
from sos.envs.words import Mistake, Part, Words, words_for
from sos.errors import UserError

BLANK = " ,|[]\n"


def _place(name: int) -> str:
    return f"r{name // 10}c{name % 10}"


@words_for(Sudoku)
class SudokuWords(Words):
    """A state is its rows, with a dot for an empty cell."""

    problem_form: ClassVar[str] = "the digits row by row, 0 or . for an empty cell"
    problem_fields: ClassVar[dict[str, str]] = {"grid": "text"}
    held_out: ClassVar[str] = "group"
    holds: ClassVar[str] = "is"
    mistake_names: ClassVar[dict[str, str]] = {
        "OPERAND": "no empty cell",
        "ILLEGAL": "clash",
        "FALSE_DEAD_END": "missed goal",
        "VALUE": "no proof",
    }

    # Problems

    @classmethod
    def env_of(cls, problem: np.ndarray) -> Sudoku:
        for size in SIZES:
            if len(problem) == size**2:
                return Sudoku(size, 0, size**2 - 1)
        raise UserError(f"problem must be of 16, 36 or 81 cells, got {len(problem)}: {str(problem.tolist())[:60]}")

    def parse_problem(self, text: str) -> np.ndarray:
        cells = text.translate({ord(blank): None for blank in BLANK}).replace(".", "0")
        if len(cells) != self.env.num_cells or not (cells.isascii() and cells.isdigit()):
            raise UserError(f"problem must be {self.problem_form}, {self.env.num_cells} of them, got {text[:100]}")
        return self.checked_row([int(cell) for cell in cells], f"problem={text}")

    def listed_problem(self, given: str | list[int]) -> np.ndarray:
        if isinstance(given, str):
            cells = given.translate({ord(blank): None for blank in BLANK}).replace(".", "0")
            odd = next((cell for cell in cells if not (cell.isascii() and cell.isdigit())), None)
            if odd is not None:
                raise UserError(f"{odd!r} is no digit, nor 0 or . for an empty cell")
            given = [int(cell) for cell in cells]
        return puzzle_row(self.env, given)

    def wrong_listed(self, problems: np.ndarray, solutions: Sequence[str | None]) -> tuple[int, str] | None:
        return first_wrong(self.env, problems, solutions)

    def problem_parts(self, problem: np.ndarray) -> tuple[list[Part], Part]:
        return list(self._rows([int(digit) for digit in problem])), "full"

    def task_text(self, problem: np.ndarray, state: np.ndarray) -> str:
        return f"fill {', '.join(self._rows(self._digits(state)))}"

    def problem_record(self, problem: np.ndarray) -> dict[str, Any]:
        return {"grid": "".join(str(int(digit)) for digit in problem)}

    def row_of_record(self, record: dict[str, Any]) -> np.ndarray:
        grid = record.get("grid")
        if not isinstance(grid, str):
            raise UserError(f"grid must be {self.problem_form}, got {str(grid)[:60]!r}")
        return self.parse_problem(grid)

    # States and actions

    def _digits(self, state: np.ndarray) -> list[int]:
        size = self.env.num_cells
        return [int(state[cell // WORD_CELLS]) >> (4 * (cell % WORD_CELLS)) & 15 for cell in range(size)]

    def _rows(self, digits: list[int]) -> list[str]:
        size = self.env.size
        return ["".join(str(d or ".") for d in digits[k : k + size]) for k in range(0, len(digits), size)]

    def state_parts(self, state: np.ndarray) -> list[Part]:
        return list(self._rows(self._digits(state)))

    def action_text(self, action: np.ndarray) -> str:
        return f"{_place(int(action[CELL]))} = {int(action[DIGIT])}"

    # Verdicts and mistakes

    def _proof(self, name: int) -> str:
        """Return in words what a witness says."""
        row, column = divmod(name, 10)
        size = self.env.size
        if 1 <= row <= size and 1 <= column <= size:
            return f"{_place(name)} has no candidate"
        units = {(1 <= row <= size and column == 0): f"row {row}", (row == 0): f"column {column}"}
        return f"a digit has no place in {units.get(True, f'box {column}')}"

    def verdict_text(self, problem: np.ndarray, goal: bool, value: Part) -> str:
        return "Every cell is full: the goal." if goal else f"{value} cannot be filled: a dead end."

    def explain(self, mistake: Mistake) -> str:
        node, error = mistake.node, mistake.error
        match error:
            case "ORDER":
                return f"Node {node} has empty cells: it is no goal, and nothing proves it a dead end."
            case "OPERAND" | "ILLEGAL":
                return self._explain_action(mistake)
            case "STATE":
                return f"Node {node} is another grid."
            case "FALSE_GOAL":
                full = mistake.held is not None and 0 not in self._digits(mistake.held)
                return f"Node {node} {'breaks the rules' if full else 'has empty cells'}: this is not the goal."
            case "FALSE_DEAD_END":
                return "Every cell is full: this is the goal."
            case "VALUE":
                return f"It says that {self._proof(mistake.value)}, which is not so."
            case "QUOTE":
                return "It repeats a level, and differs from what was said before."
        raise AssertionError(f"error {error} has no words")

    def _explain_action(self, mistake: Mistake) -> str:
        assert mistake.before is not None
        assert mistake.action is not None
        name, digit = int(mistake.action[CELL]), int(mistake.action[DIGIT])
        row, column, size = name // 10, name % 10, self.env.size
        if not (1 <= row <= size and 1 <= column <= size):
            return f"There is no cell {name}."
        if mistake.error == "ILLEGAL" and not 1 <= digit <= size:
            return f"{digit} is no digit of a grid of {size}."
        if mistake.error == "ILLEGAL":
            return f"The row, column or box of {_place(name)} has a {digit}."
        return f"{_place(name)} is {self._digits(mistake.before)[(row - 1) * size + column - 1]}."

    def draw(self, problem: np.ndarray, state: np.ndarray) -> dict[str, Any]:
        """The grid, its givens apart from what was filled in."""
        rows = self.env.box_rows
        given = [int(digit) for digit in problem]
        return {"kind": "grid", "box": [rows, self.env.size // rows], "given": given, "digits": self._digits(state)}
