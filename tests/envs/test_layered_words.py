"""Layered graphs in words: records read back, mistakes are explained, a state is drawn, and no graph is no problem."""

from __future__ import annotations

import numpy as np
import pytest

from sos.envs.layered.rules import Layered
from sos.envs.words import Mistake, words_of
from sos.errors import UserError

ENV = Layered(2, 2, 2, 2, 5, 0.6, 6)
NUMBERS = [0, 3, 0, 1, 4, 0, 2, 2, 1, 3, 5, 2, 3, 3]  # from 0 to 3: by 1 it costs 9, by 2 it costs 5
ROW = np.array([*NUMBERS, 4], np.int32)
WORDS = words_of(ENV)


def mistake(error: str, **more: list[int]) -> Mistake:
    rows = {name: np.array(value, np.int32) for name, value in more.items()}
    return Mistake(error, ROW, 4, 7, True, **rows)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (mistake("ORDER", held=[1, 4]), "Node 4 is 1, from where an edge leads on: no end of a path."),
        (mistake("OPERAND", before=[1, 4], action=[2, 5]), "No edge leads from 1 to 2."),
        (mistake("ARITHMETIC", before=[1, 4], action=[3, 8]), "The path costs 4 + 5 = 9, not 8."),
        (mistake("STATE", expected=[1, 4], stated=[1, 5]), "Node 4 is 1 at cost 4, not 1 at cost 5."),
        (mistake("FALSE_GOAL", held=[3, 4]), "3 was reached through a mistake: no true path leads here at this cost."),
        (mistake("FALSE_GOAL", held=[1, 4]), "Node 4 is 1: this is not 3."),
        (mistake("FALSE_DEAD_END", held=[3, 5]), "3 is the target: this is the goal."),
        (mistake("VALUE", held=[3, 5]), "The path to node 4 costs 5, not 7."),
    ],
)
def test_mistakes_are_explained(found: Mistake, says: str) -> None:
    assert WORDS.explain(found) == says


def test_problems_read_back() -> None:
    assert WORDS.parse_problem(str(NUMBERS)).tolist() == ROW.tolist()
    assert WORDS.row_of_record(WORDS.problem_record(ROW)).tolist() == ROW.tolist()
    assert WORDS.problem_text(ROW) == "0→1:4 0→2:2 1→3:5 2→3:3 → 3 from 0"
    assert WORDS.task_text(ROW, np.array([2, 2])) == "from 2 go to 3 at the least cost"
    assert WORDS.verdict_text(ROW, True, 5) == "The goal, at cost 5."
    env = type(WORDS).env_of(ROW)
    assert env.problem_width == len(ROW)
    assert ENV.describe() == "2 layers of 2 nodes with 6 labels and costs up to 5"


def test_a_row_of_a_file_finds_an_environment_that_is_large_enough() -> None:
    large = Layered(2, 4, 2, 3, 5, 0.6, 12)
    row = np.array(large.row(NUMBERS), np.int32)
    env = type(WORDS).env_of(row)
    assert env.problem_width == len(row)
    assert words_of(env).problem_record(row) == WORDS.problem_record(ROW)
    env.check_problems(row[None])
    assert words_of(env).wrong_problems(np.stack([row, row * 0])).tolist() == [False, True]


@pytest.mark.parametrize(
    "numbers",
    [
        NUMBERS[:-1],
        [*NUMBERS[:-1], 6],  # a cost
        [*NUMBERS[:-3], 2, 1, 3],  # no way on from 2, or a longer one
        [1, *NUMBERS[1:]],
        [0, 2, *NUMBERS[2:]],
        [*NUMBERS, 0, 3, 1],  # past a layer
        NUMBERS[:8],
    ],
)
def test_no_layered_graph_is_refused_with_what_was_typed(numbers: list[int]) -> None:
    text = str(numbers).replace(" ", "")
    with pytest.raises(UserError) as caught:
        WORDS.parse_problem(text)
    assert f"problem={text} is none of 2 layers of 2 nodes with 6 labels and costs up to 5" in str(caught.value)


def test_rows_that_are_none_are_named_by_their_number() -> None:
    with pytest.raises(ValueError, match=r"problems\[1\] is none of 2 layers of 2 nodes"):
        ENV.check_problems(np.stack([ROW, ROW + 1]))
    with pytest.raises(ValueError, match="problems has 14 columns, not 15"):
        ENV.check_problems(ROW[None, 1:])
    for row in (np.array([3, 4], np.int32), np.zeros(15, np.int32)):
        with pytest.raises(UserError, match="problem must be"):
            type(WORDS).env_of(row)


def test_a_state_is_drawn_where_its_layer_is() -> None:
    picture = WORDS.draw(ROW, np.array([2, 2]))
    assert {node["id"]: node["x"] for node in picture["nodes"]} == {0: 0, 1: 0.5, 2: 0.5, 3: 1}
    assert (picture["current"], picture["target"]) == (2, 3)
    assert picture["edges"] == [[0, 1], [0, 2], [1, 3], [2, 3]]
    assert all(0 <= node[axis] <= 1 for node in picture["nodes"] for axis in "xy")
