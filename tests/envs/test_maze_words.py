"""Mazes in words: records read back, mistakes are explained, a state is drawn, and no maze is no problem."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sos.envs.maze.rules import Maze
from sos.envs.words import Mistake, words_of
from sos.errors import UserError

ENV, APART = Maze(4, 5), Maze(4, 5, coordinates=True)
CELLS = [4, 11, 1, 5, 9, 10]  # from (0, 1) to (3, 2), behind a wall from (1, 0) to (2, 2)
ROW, ROW_APART = (np.array(env.row(CELLS), np.int32) for env in (ENV, APART))
WORDS, WORDS_APART = words_of(ENV), words_of(APART)


def mistake(error: str, **more: list[int]) -> Mistake:
    rows = {name: np.array(value, np.int32) for name, value in more.items()}
    return Mistake(error, ROW, 4, 7, True, **rows)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (mistake("ORDER", held=[8, 1, 3]), "Node 4 is at (0, 2), from where the way back is open: no dead end."),
        (mistake("OPERAND", before=[4, 0, 4], action=[12, 1, 4]), "(0, 3) is not beside (0, 1)."),
        (mistake("OPERAND", before=[3, 0, 2], action=[4, 1, 4]), "(0, 1) is not beside (3, 0)."),
        (mistake("ILLEGAL", before=[4, 0, 4], action=[5, 1, 3]), "(1, 1) is a wall."),
        (mistake("ILLEGAL", before=[16, 0, 4], action=[20, 1, 3]), "(0, 5) is outside of the grid."),
        (
            mistake("ARITHMETIC", before=[4, 2, 4], action=[8, 2, 3]),
            "The way costs 2 + 1, and (3, 2) is 3 away; not cost 2, 3 away.",
        ),
        (
            mistake("STATE", expected=[8, 1, 3], stated=[8, 2, 3]),
            "Node 4 is at (0, 2): cost 1, 3 away; not (0, 2): cost 2, 3 away.",
        ),
        (
            mistake("FALSE_GOAL", held=[11, 9, 0]),
            "(3, 2) was reached through a mistake: no true way leads here at this",
        ),
        (mistake("FALSE_GOAL", held=[8, 1, 3]), "Node 4 is at (0, 2): this is not (3, 2)."),
        (mistake("FALSE_DEAD_END", held=[11, 8, 0]), "(3, 2) is the goal."),
        (mistake("VALUE", held=[11, 8, 0]), "The way to node 4 costs 8, not 7."),
        (mistake("QUOTE"), "It repeats the start, the goal or a node"),
    ],
)
def test_mistakes_are_explained(found: Mistake, says: str) -> None:
    assert WORDS.explain(found).startswith(says)


@pytest.mark.parametrize(("words", "row"), [(WORDS, ROW), (WORDS_APART, ROW_APART)])
def test_problems_read_back(words: Any, row: np.ndarray) -> None:
    assert words.parse_problem("[4,11,10,5,9,1]").tolist() == row.tolist()
    record = words.problem_record(row)
    assert record == {"width": 4, "height": 5, "start": 4, "goal": 11, "walls": [1, 5, 9, 10]}
    assert list(record) == list(words.problem_fields)
    assert words.row_of_record(record).tolist() == row.tolist()
    assert words.problem_text(row) == "(1, 0) (1, 1) (1, 2) (2, 2) → (3, 2) from (0, 1)"
    state = np.array([*words.env.named(9), 3, 2], np.int32)
    assert words.task_text(row, state) == "from (1, 2) go to (3, 2)"
    assert words.state_key(state) == "(1, 2)"
    assert words.action_text(state) == "→ (1, 2): cost 3, 2 away"
    assert words.action_record(state) == " ".join(map(str, state))
    assert words.verdict_text(row, True, 5) == "The goal, at cost 5."
    env = type(words).env_of(row)
    assert (env.width, env.height, env.coordinates, env.problem_width) == (4, 5, words.env.coordinates, len(row))
    assert ENV.describe() == "4x5 mazes with 6 to 10 walls"


def test_a_row_says_of_what_size_the_maze_is() -> None:
    """Rows of two shapes that are equally long are told apart."""
    flat, high = Maze(7, 4), Maze(4, 7)
    row = np.array(flat.row([0, 6, 3, 10]), np.int32)
    assert flat.problem_width == high.problem_width
    assert type(WORDS).env_of(row)[:2] == flat[:2]
    high.check_problems(np.array(high.row([0, 6, 3, 10]), np.int32)[None])
    with pytest.raises(ValueError, match=r"problems\[0\] is none of 4x7 mazes"):
        high.check_problems(row[None])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[4,11,x]", r"problem must be \[start,goal,wall,wall,...\], a cell being x \+ width \* y, got \[4,11,x\]"),
        ("[4,20,1]", "problem=.*: 20 is no cell of 4x5, whose last is 19"),
        ("[4,-1,1]", "-1 is no cell"),
        ("[4,11]", "problem=.* must be .*, with a wall at least"),
        ("[4,4,1]", "problem=.* is none of 4x5 mazes with 6 to 10 walls"),
        ("[4,11,4]", "is none of"),
        ("[4,11,1,1]", "is none of"),
        ("[4,11,0,1,2,3,5,6,7,8,9,10,12]", "is none of"),  # too many walls
    ],
)
def test_no_maze_is_refused_with_what_was_typed(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        WORDS.parse_problem(text)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("width", 5, "width must be 4, got '5'"),
        ("height", None, "height must be 5, got 'None'"),
        ("walls", "1", "walls must be a list of cells, got 1"),
        ("walls", [1, "x"], "walls must hold numbers of cells, got 'x'"),
        ("start", True, "start must hold numbers of cells, got 'True'"),
        ("goal", 20, "20 is no cell"),
    ],
)
def test_records_of_none_are_refused_with_the_field(field: str, value: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        WORDS.row_of_record(WORDS.problem_record(ROW) | {field: value})


def test_rows_that_are_none_are_named() -> None:
    for row in (np.array([3, 4], np.int32), np.zeros(15, np.int32), ROW + 1, -ROW):
        with pytest.raises(UserError, match="problem must be the row of a maze, its shape first"):
            type(WORDS).env_of(row)
    with pytest.raises(ValueError, match="problems has 13 columns, not 14"):
        ENV.check_problems(ROW[None, 1:])
    assert WORDS.wrong_problems(np.stack([ROW, ROW + 1])).tolist() == [False, True]
    states = np.array([[1, 2, 19, 0], [1, 2, 20, 0], [1, 2, 3, -1]])
    assert WORDS_APART.wrong_states(states).tolist() == [False, True, True]
    assert WORDS.wrong_states(states[:, 1:]).tolist() == [False, False, True]


def test_a_state_is_drawn_in_its_grid() -> None:
    picture = WORDS.draw(ROW, np.array([8, 1, 3]))
    assert picture == WORDS_APART.draw(ROW_APART, np.array([0, 2, 1, 3]))
    assert picture["kind"] == "maze"
    assert (picture["start"], picture["goal"], picture["walls"]) == (4, 11, [1, 5, 9, 10])
    assert (picture["cell"], picture["cost"], picture["estimate"]) == (8, 1, 3)
    assert WORDS_APART.draw(ROW_APART, np.array([4, 2, 1, 3]))["cell"] == -1
