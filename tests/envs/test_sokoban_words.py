"""Sokoban in words: levels read back, mistakes are explained, a state is drawn, and no level is no problem."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hand_made_levels import row_of
from naive import sokoban as naive

from sos.envs.sokoban.rules import Sokoban
from sos.envs.words import Mistake, words_of
from sos.errors import UserError

ENV = Sokoban(7, 6, 2, 1, 3, show_dead_ends=True)
LEVEL = ["#######", "#  @ .#", "# #$  #", "#  $. #", "#     #", "#######"]
ROW = row_of(ENV, naive.level_of(LEVEL))
WORDS = words_of(ENV)
PUSHES = words_of(ENV._replace(pushes=True))
STATE = [10, 17, 24, 0, 4]  # where the level begins


def mistake(error: str, **more: list[int]) -> Mistake:
    rows = {name: np.array(value, np.int32) for name, value in more.items()}
    return Mistake(error, ROW, 4, 24, True, **rows)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("words", "found", "says"),
    [
        (
            WORDS,
            mistake("ORDER", held=STATE),
            "At node 4 boxes are not all on docks, and none of them is stuck for ever.",
        ),
        (WORDS, mistake("OPERAND", before=STATE, action=[12, 1, 4]), "(5, 1) is not beside the worker at (3, 1)."),
        (WORDS, mistake("ILLEGAL", before=STATE, action=[3, 1, 4]), "The worker cannot step to (3, 0): it is a wall"),
        (WORDS, mistake("ARITHMETIC", before=STATE, action=[11, 2, 4]), "The way costs 0 + 1, and boxes lack another"),
        (PUSHES, mistake("OPERAND", before=STATE, action=[11, 12, 1, 4]), "No box can go from (4, 1) to (5, 1)"),
        (
            PUSHES,
            mistake("ILLEGAL", before=STATE, action=[17, 24, 1, 4]),
            "The worker at (3, 1) cannot push a box from (3, 2)",
        ),
        (
            WORDS,
            mistake("STATE", expected=STATE, stated=[11, 17, 24, 0, 4]),
            "Node 4 has worker (3, 1), boxes (3, 2) and (3, 3): cost 0, 4 left at least; not worker (4, 1), boxes",
        ),
        (
            WORDS,
            mistake("FALSE_GOAL", held=STATE),
            "A box of node 4 is on no dock, or it was brought there by a mistake.",
        ),
        (WORDS, mistake("FALSE_DEAD_END", held=[9, 12, 25, 8, 0]), "Node 4 is the goal: all boxes are on docks."),
        (WORDS, mistake("VALUE", held=[9, 12, 25, 8, 0]), "The way to node 4 costs 8, not 24."),
        (WORDS, mistake("VALUE", held=STATE), "There is no box on (3, 3) that is stuck for ever."),
        (WORDS, mistake("QUOTE"), "It repeats a cell of the level"),
    ],
)
def test_mistakes_are_explained(words: Any, found: Mistake, says: str) -> None:
    assert words.explain(found).startswith(says)


def test_problems_read_back() -> None:
    assert WORDS.parse_problem("|".join(LEVEL)).tolist() == ROW.tolist()
    assert WORDS.parse_problem("\n".join(line.replace(" ", "-") for line in LEVEL)).tolist() == ROW.tolist()
    assert WORDS.problem_record(ROW) == {"level": "|".join(LEVEL)}
    assert list(WORDS.problem_record(ROW)) == list(WORDS.problem_fields)
    assert WORDS.row_of_record({"level": "|".join(LEVEL)}).tolist() == ROW.tolist()
    assert WORDS.problem_text(ROW) == "(3, 2) (3, 3) → (5, 1) and (4, 3), worker at (3, 1)"
    state = np.array(STATE, np.int32)
    assert WORDS.task_text(ROW, state) == "with boxes on (3, 2) and (3, 3) fill (5, 1) and (4, 3)"
    assert WORDS.state_key(state) == "10 17 24"
    assert WORDS.action_text(np.array([11, 1, 4])) == "→ (4, 1): cost 1, 4 left at least"
    assert PUSHES.action_text(np.array([17, 18, 1, 4])) == "(3, 2) → (4, 2): cost 1, 4 left at least"
    assert WORDS.action_record(np.array([11, 1, 4])) == "11 1 4"
    assert WORDS.verdict_text(ROW, True, 8) == "All boxes are on docks, at cost 8."
    assert "{value}" in WORDS.verdict_text(ROW, False, "{value}")  # a page fills it in
    assert WORDS.verdict_text(ROW, False, 24) == "A dead end: the box in cell 24 can never be moved."
    env = type(WORDS).env_of(ROW)
    assert (env.width, env.height, env.boxes, env.problem_width) == (7, 6, 2, len(ROW))
    assert ENV.describe() == "7x6 levels with 2 boxes and 1 to 3 walls inside"
    assert Sokoban(6, 6, 1, 1, 1).describe() == "6x6 levels with 1 box and 1 walls inside"


def test_levels_with_what_stands_on_docks_read_back() -> None:
    rows = ["#######", "#  + *#", "# #$  #", "#     #", "#     #", "#######"]
    row = WORDS.parse_problem("|".join(rows))
    assert WORDS.drawn(*ENV.parts(row)[:2], row) == rows
    assert row.tolist() == row_of(ENV, naive.level_of(rows)).tolist()


def changed(y: int, line: str) -> str:
    return "|".join([*LEVEL[:y], line, *LEVEL[y + 1 :]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("#######|#@$.#", "is a level of 7x2 cells, and not of 7x6"),
        (changed(1, "#  @ .##"), "is a level of 8x6 cells, and not of 7x6"),
        (changed(1, "#  @ ?#"), r"'\?' at \(5, 1\) is none of #\.\$\*@\+"),
        (changed(1, "#    .#"), "has no workers, and not one"),
        (changed(1, "#@ @ .#"), "has 2 workers, and not one"),
        (changed(1, "#  @$.#"), "has 3 boxes; env.boxes=2"),
        (changed(1, "#  @  #"), "has 1 docks; env.boxes=2"),
        (changed(1, "   @ .#"), r"has no wall at \(0, 1\), and needs one all around"),
        (changed(2, "#  $  #"), "has 0 walls inside; from 1 to env.max_walls=3"),
        (changed(4, "#### # "), r"has no wall at \(6, 4\)"),
        (changed(4, "#### ##"), "has 5 walls inside"),
        ("#######|#  @  #|# #*  #|#  *  #|#     #|#######", "is solved: all boxes are on docks"),
    ],
)
def test_no_level_is_refused_with_what_is_wrong(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        WORDS.parse_problem(text)


def test_rows_that_are_none_are_named() -> None:
    for row in (np.array([3, 4], np.int32), np.zeros(15, np.int32), ROW + 1, -ROW):
        with pytest.raises(UserError, match="problem must be the row of a level, its shape first"):
            type(WORDS).env_of(row)
    with pytest.raises(UserError, match="level must be a text, got '3'"):
        WORDS.row_of_record({"level": 3})
    assert WORDS.wrong_problems(np.stack([ROW, ROW + 1])).tolist() == [False, True]


def test_a_state_is_drawn_as_its_level() -> None:
    picture = WORDS.draw(ROW, np.array(STATE))
    assert (picture["kind"], picture["width"], picture["height"]) == ("sokoban", 7, 6)
    assert (picture["docks"], picture["boxes"], picture["worker"]) == ([12, 25], [17, 24], 10)
    assert len(picture["walls"]) == 22 + 1
