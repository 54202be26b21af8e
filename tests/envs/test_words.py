"""The words of environments: found by type or name, one line for what is wrong, records that read back."""

from __future__ import annotations

import json
from typing import NamedTuple

import numpy as np
import pytest

from sos.envs.countdown.rules import Countdown
from sos.envs.countdown.words import CountdownWords
from sos.envs.registry import ENVIRONMENTS, UNNAMED
from sos.envs.words import words_class, words_named, words_of
from sos.errors import UserError

ENV = Countdown(num_numbers=3, max_number=20, max_target=100, max_value=120)
WORDS = words_of(ENV)
PROBLEM = np.array([47, 3, 2, 17, 15], np.int32)


def test_words_are_found_by_type_and_by_name() -> None:
    assert isinstance(WORDS, CountdownWords)
    assert WORDS.env is ENV
    assert words_named(UNNAMED) is words_class(Countdown) is CountdownWords
    assert {
        name: words_named(name) for name in ENVIRONMENTS
    }.keys() == ENVIRONMENTS.keys()  # every environment has words


class Silent(NamedTuple):
    size: int = 1


def test_an_environment_without_words_is_named() -> None:
    with pytest.raises(TypeError, match="Silent has no words"):
        words_of(Silent())


@pytest.mark.parametrize("name", ["chess", None, 3, ["countdown"], "x" * 1000])
def test_an_unknown_name_is_one_short_line(name: object) -> None:
    with pytest.raises(UserError, match="env must be one of countdown") as refused:
        words_named(name)
    assert len(str(refused.value)) < 200


def test_a_problem_is_said_in_every_form() -> None:
    row = WORDS.parse_problem(" [47,2,17,15]")
    assert row.tolist() == PROBLEM.tolist()
    assert WORDS.problem_parts(row) == ([2, 17, 15], 47)
    assert WORDS.problem_text(row) == "2 17 15 → 47"
    assert WORDS.problem_text(np.zeros(5, np.int32)) == "none → 0"
    assert WORDS.task_text(row, row[1:]) == "from 2, 17, 15 make 47"
    assert WORDS.problem_record(row) == {"nums": [2, 17, 15], "target": 47}
    assert list(WORDS.problem_record(row)) == list(WORDS.problem_fields)


def test_records_read_back_through_json() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        row = np.array([rng.integers(10, 100), 3, *rng.integers(1, 20, 3)], np.int32)
        back = WORDS.row_of_record(json.loads(json.dumps(WORDS.problem_record(row))))
        assert (back.dtype, back.tolist()) == (np.int32, row.tolist())


@pytest.mark.parametrize(
    ("record", "complaint"),
    [
        ({"target": 3}, "nums must be a list of 3 numbers, got None"),
        ({"nums": [1, 2], "target": 3}, r"nums must be a list of 3 numbers, got \[1, 2\]"),
        ({"nums": [1, 2, "3"], "target": 3}, "nums must hold whole numbers below 2\\*\\*31, got '3'"),
        ({"nums": [1, 2, 3]}, "target must hold whole numbers below 2\\*\\*31, got 'None'"),
        ({"nums": [1, 2, 2**31], "target": 3}, "nums must hold whole numbers"),
        ({"nums": [1, 2, True], "target": 3}, "nums must hold whole numbers"),
    ],
)
def test_wrong_records_name_the_field(record: dict, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        WORDS.row_of_record(record)


@pytest.mark.parametrize("problem", [[], [5], [47, 1, 2], [47, 3, 2, 17], [47, 7, 1, 1, 1, 1, 1, 1, 1]])
def test_what_is_no_problem_has_no_environment(problem: list[int]) -> None:
    with pytest.raises(UserError, match=r"problem must be \[target, count, numbers...\]"):
        CountdownWords.env_of(np.array(problem, np.int32))
    assert CountdownWords.env_of(PROBLEM) == Countdown(num_numbers=3)


def test_states_and_actions() -> None:
    state, same = np.array([2, 17, 30, 0], np.int32), np.array([2, 30, 17, 9], np.int32)
    assert WORDS.state_parts(state) == [17, 30]
    assert WORDS.state_text(state) == "17, 30"
    assert WORDS.state_text(np.zeros(4, np.int32)) == "nothing"
    assert WORDS.state_key(state) == WORDS.state_key(same) != WORDS.state_key(np.array([2, 17, 31, 0], np.int32))
    texts = [WORDS.action_text(np.array([6, operator, 3, 9], np.int32)) for operator in range(4)]
    assert texts == ["6 + 3 = 9", "6 × 3 = 9", "6 − 3 = 9", "6 ÷ 3 = 9"]
    records = [WORDS.action_record(np.array([6, operator, 3, 9], np.int32)) for operator in range(4)]
    assert records == ["6+3=9", "6*3=9", "6-3=9", "6/3=9"]
    assert WORDS.made_part(np.array([6, 0, 3, 9], np.int32)) == 9
    assert WORDS.verdict_text(PROBLEM, False, 18) == "18 is not 47: a dead end."
    assert WORDS.verdict_text(PROBLEM, True, 47) == "47: the goal."
    assert WORDS.draw(PROBLEM, state) is None
