"""Path-star in words: records read back, mistakes are explained, a state is drawn, and no star is no problem."""

from __future__ import annotations

import numpy as np
import pytest

from sos.envs.path_star.rules import PathStar
from sos.envs.protocol import can_pose
from sos.envs.words import Mistake, words_of
from sos.errors import UserError

ROW = np.array([0, 2, 0, 1, 3, 4, 0, 3, 1, 2], np.int32)  # arms 0 1 2 and 0 3 4, the target 2
WORDS = words_of(PathStar(2, 3, 6))


def mistake(error: str, **more: object) -> Mistake:
    rows = {name: np.array([value], np.int32) for name, value in more.items()}
    return Mistake(error, ROW, 3, 7, True, **rows)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (mistake("ORDER", held=1), "Node 3 is 1, from where an edge leads on: no end of an arm."),
        (mistake("OPERAND", before=3, action=2), "No edge leads from 3 to 2."),
        (mistake("STATE", expected=1, stated=4), "Node 3 is 1, not 4."),
        (mistake("FALSE_GOAL", held=2), "2 was reached through a mistake: no true path leads here."),
        (mistake("FALSE_GOAL", held=4), "Node 3 is 4: this is not 2."),
        (mistake("FALSE_DEAD_END", held=2), "2 is the target: this is the goal."),
        (mistake("VALUE", held=2), "Node 3 is 2, not 7."),
    ],
)
def test_mistakes_are_explained(found: Mistake, says: str) -> None:
    assert WORDS.explain(found) == says


MIXED = words_of(PathStar(4, 4, 30, 2, 2))
SMALL = np.array([*ROW, *[0] * 16, 4], np.int32)  # the same star among larger ones


def test_a_smaller_star_is_shown_without_what_pads_it() -> None:
    assert MIXED.parse_problem("[0,2,0,1,3,4,0,3,1,2]").tolist() == SMALL.tolist()
    assert MIXED.row_of_record(MIXED.problem_record(SMALL)).tolist() == SMALL.tolist()
    assert MIXED.problem_record(SMALL) == WORDS.problem_record(ROW)
    assert MIXED.problem_text(SMALL) == WORDS.problem_text(ROW)
    assert MIXED.draw(SMALL, np.array([4])) == WORDS.draw(ROW, np.array([4]))
    env = type(MIXED).env_of(SMALL)
    assert env.problem_width == len(SMALL)
    assert can_pose(env, SMALL)
    assert MIXED.env.describe() == "2 arms of 2 to 4 arms of 4 nodes with 30 labels"


@pytest.mark.parametrize("count", [-1, 0, 3, 5, 13])
def test_a_count_that_no_star_has_is_refused(count: int) -> None:
    row = np.array([*SMALL[:-1], count], np.int32)
    with pytest.raises(UserError, match="problem must be"):
        type(MIXED).env_of(row)


@pytest.mark.parametrize("text", ["[0,2,0,1,3,4,0,3,1]", "[0,2,0,1]", "[0]", "[0,2,0,1,3,4,0,3,1,2,0]"])
def test_no_star_among_larger_ones_is_refused_with_what_was_typed(text: str) -> None:
    with pytest.raises(UserError) as caught:
        MIXED.parse_problem(text)
    assert f"problem={text} is none of 2 arms of 2 to 4 arms of 4 nodes" in str(caught.value)


def test_problems_read_back() -> None:
    assert WORDS.parse_problem("[0,2,0,1,3,4,0,3,1,2]").tolist() == ROW.tolist()
    assert WORDS.row_of_record(WORDS.problem_record(ROW)).tolist() == ROW.tolist()
    assert WORDS.problem_text(ROW) == "0→1 3→4 0→3 1→2 → 2 from 0"
    assert WORDS.task_text(ROW, np.array([3])) == "from 3 go to 2"
    assert type(WORDS).env_of(ROW)[:2] == (2, 3)


@pytest.mark.parametrize("text", ["[0,2]", "[0,2,0,1,3,4,0,3,1,9]", "[0,3,0,1,3,4,0,3,1,2]", "[0,2,0,1,3,1,0,3,1,2]"])
def test_no_star_is_refused_with_what_was_typed(text: str) -> None:
    with pytest.raises(UserError) as caught:
        WORDS.parse_problem(text)
    assert f"problem={text} is none of 2 arms of 3 nodes with 6 labels" in str(caught.value)


def test_a_state_is_drawn_where_it_lies_on_its_arm() -> None:
    picture = WORDS.draw(ROW, np.array([4]))
    assert picture is not None
    assert sorted(node["id"] for node in picture["nodes"]) == [0, 1, 2, 3, 4]
    assert picture["visited"] == [0, 3, 4]
    assert (picture["current"], picture["target"]) == (4, 2)
    assert all(0 <= node[axis] <= 1 for node in picture["nodes"] for axis in "xy")
