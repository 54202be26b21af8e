"""Sudoku in words: records read back, mistakes are explained, a state is drawn, and what is no grid is refused."""

from __future__ import annotations

import numpy as np
import pytest

from sos.envs import protocol
from sos.envs.sudoku.rules import Sudoku
from sos.envs.words import Mistake, words_of
from sos.errors import UserError

GRID = "1000002004000003"
ROW = np.array([int(digit) for digit in GRID], np.int32)
WORDS = words_of(Sudoku(4, 4, 6))


def state_of(grid: str) -> np.ndarray:
    state = np.zeros(3, np.int32)
    protocol.root_state(Sudoku(4), np.array([int(digit) for digit in grid], np.int32), state)
    return state


FULL = "1234432134122143"


@pytest.mark.parametrize(
    ("error", "value", "more", "says"),
    [
        ("ORDER", 12, {}, "Node 3 has empty cells: it is no goal, and nothing proves it a dead end."),
        ("OPERAND", 0, {"before": GRID, "action": (11, 2)}, "r1c1 is 1."),
        ("OPERAND", 0, {"before": GRID, "action": (51, 2)}, "There is no cell 51."),
        ("ILLEGAL", 0, {"before": GRID, "action": (12, 1)}, "The row, column or box of r1c2 has a 1."),
        ("ILLEGAL", 0, {"before": GRID, "action": (12, 0)}, "0 is no digit of a grid of 4."),
        ("FALSE_GOAL", 0, {"held": GRID}, "Node 3 has empty cells: this is not the goal."),
        ("FALSE_GOAL", 0, {"held": FULL}, "Node 3 breaks the rules: this is not the goal."),
        ("FALSE_DEAD_END", 0, {"held": FULL}, "Every cell is full: this is the goal."),
        ("VALUE", 12, {}, "It says that r1c2 has no candidate, which is not so."),
        ("VALUE", 20, {}, "It says that a digit has no place in row 2, which is not so."),
        ("VALUE", 3, {}, "It says that a digit has no place in column 3, which is not so."),
        ("VALUE", 54, {}, "It says that a digit has no place in box 4, which is not so."),
        ("STATE", 0, {}, "Node 3 is another grid."),
        ("QUOTE", 0, {}, "It repeats a level, and differs from what was said before."),
    ],
)
def test_mistakes_are_explained(error: str, value: int, more: dict[str, object], says: str) -> None:
    rows = {
        name: np.array(given, np.int32) if name == "action" else state_of(str(given)) for name, given in more.items()
    }
    assert WORDS.explain(Mistake(error, ROW, 3, value, True, **rows)) == says  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text", [GRID, "1... ..2. .4.. ...3", "[1,0,0,0,0,0,2,0,0,4,0,0,0,0,0,3]", "1000|0020|0400|0003"]
)
def test_a_problem_is_typed_in_several_ways(text: str) -> None:
    assert WORDS.parse_problem(text).tolist() == ROW.tolist()


def test_problems_read_back() -> None:
    assert WORDS.row_of_record(WORDS.problem_record(ROW)).tolist() == ROW.tolist()
    assert WORDS.problem_text(ROW) == "1... ..2. .4.. ...3 → full"
    assert WORDS.task_text(ROW, state_of(GRID)) == "fill 1..., ..2., .4.., ...3"
    assert WORDS.state_parts(state_of(FULL)) == ["1234", "4321", "3412", "2143"]
    assert WORDS.action_text(np.array([23, 4])) == "r2c3 = 4"
    assert WORDS.verdict_text(ROW, True, 0) == "Every cell is full: the goal."
    assert WORDS.verdict_text(ROW, False, 12) == "12 cannot be filled: a dead end."
    for size in (4, 6, 9):
        assert type(WORDS).env_of(np.zeros(size**2, np.int32)).size == size
    with pytest.raises(UserError, match="problem must be of 16, 36 or 81 cells, got 17"):
        type(WORDS).env_of(np.zeros(17, np.int32))


@pytest.mark.parametrize(
    "text", ["", "100", GRID + "0", "x" + GRID[1:], "5" + GRID[1:], "1" * 16, "٣" + GRID[1:], FULL]
)
def test_what_is_no_grid_is_refused_with_what_was_typed(text: str) -> None:
    with pytest.raises(UserError) as caught:
        WORDS.parse_problem(text)
    assert text in str(caught.value)
    assert str(caught.value).startswith("problem")
    with pytest.raises(UserError, match="problem"):
        WORDS.row_of_record({"grid": text})


def test_a_record_without_a_grid_is_refused() -> None:
    with pytest.raises(UserError, match="grid must be the digits row by row"):
        WORDS.row_of_record({"grid": 5})


def test_a_state_is_drawn_with_its_givens_apart() -> None:
    picture = WORDS.draw(ROW, state_of("1200002004000003"))
    assert picture is not None
    assert (picture["kind"], picture["box"]) == ("grid", [2, 2])
    assert picture["given"] == ROW.tolist()
    assert picture["digits"][:4] == [1, 2, 0, 0]
