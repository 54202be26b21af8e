"""Where problems without a solution are posed: each kind is counted apart, and the bare answer beside what it is worth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sos.compose import compose
from sos.data.coverage import coverage, is_answer, view_ceiling
from sos.data.splits import sample_problems
from sos.envs.countdown.rules import Countdown
from sos.envs.problems import which_solvable
from sos.judge.answers import answer_metrics, best_threshold
from sos.judge.metrics import is_counted
from sos.judge.rollouts import judge, summarize, teacher_solves
from sos.model.rollout import Rollout
from sos.search.run import run_search
from sos.stream.codec import encode
from sos.stream.viewing import view_trace
from sos.stream.views import VIEWS, View
from sos.system import System, build_system
from sos.trace import Outcome

NUM = 60


@pytest.fixture(scope="module")
def system() -> System:
    return build_system(compose(["experiment=sat"]))


@pytest.fixture(scope="module")
def problems(system: System) -> np.ndarray:
    return sample_problems(system.env, system.splits, "val", NUM, seed=1)


def answers(system: System, problems: np.ndarray, view: str) -> list[Rollout]:
    found = []
    for row in problems:
        trace = run_search(system.strategy, system.env, row, 5000)
        tokens, _, num_prompt = encode(system.dialect, view_trace(View(VIEWS.index(view)), system.env, trace))
        found.append(Rollout(tokens.astype(np.int32), num_prompt, True, np.zeros(0, np.float32)))
    return found


def test_whole_searches_solve_both_kinds(system: System, problems: np.ndarray) -> None:
    judged = judge(system, problems, answers(system, problems, "full"))
    solvable = which_solvable(system.env, problems)
    assert 0 < solvable.sum() < NUM
    assert judged.solved.all()
    assert np.array_equal(judged.refuted, ~solvable)
    assert np.array_equal(judged.says, solvable)
    assert (judged.tokens_to_goal > 0).all()
    assert not judged.wrong_goal.any()
    metrics = answer_metrics(system, problems, judged)
    assert {
        name: metric.value for name, metric in metrics.items() if name not in ("answer_majority", "answer_cue")
    } == {
        "answer": 1.0,
        "satisfied": 1.0,
        "refuted": 1.0,
    }
    assert metrics["satisfied"].num == solvable.sum()
    assert metrics["refuted"].num == NUM - solvable.sum()
    assert metrics["answer_majority"].value == max(solvable.mean(), 1 - solvable.mean())
    assert 0.4 < metrics["answer_cue"].value < 0.9
    assert all(is_counted(f"{name}/val") for name in metrics)


def test_a_bare_answer_solves_nothing_and_is_counted_apart(system: System, problems: np.ndarray) -> None:
    judged = judge(system, problems, answers(system, problems, "solution_path"))
    solvable = which_solvable(system.env, problems)
    assert np.array_equal(judged.solved, solvable)
    assert not judged.refuted.any()
    metrics = answer_metrics(system, problems, judged)
    assert metrics["answer"].value == metrics["satisfied"].value == 1
    assert metrics["refuted"].value == 0
    assert summarize(judged)["solve"].value == solvable.mean()


def test_a_false_answer_is_not_right(system: System, problems: np.ndarray) -> None:
    """The answers of each kind to problems of the other one: who says `none` is right on half of them."""
    solvable = which_solvable(system.env, problems)
    given = answers(system, problems, "solution_path")
    none = given[int(np.flatnonzero(~solvable)[0])]
    end = none.tokens[none.num_prompt :]
    said = [replace(answer, tokens=np.concatenate([answer.tokens[: answer.num_prompt], end])) for answer in given]
    judged = judge(system, problems, said)
    assert not judged.solved.any()
    assert (judged.says == 0).all()
    assert answer_metrics(system, problems, judged)["answer"].value == (~solvable).mean()
    cut = [replace(answer, tokens=answer.tokens[:-1], finished=False) for answer in given]
    judged = judge(system, problems, cut)
    # Without its end a path still claims its goal, and the bare answer's word alone is none yet.
    assert np.array_equal(judged.says == 1, solvable)


def test_the_teacher_and_the_ceiling_count_refutations(system: System, problems: np.ndarray) -> None:
    assert teacher_solves(system, problems).all()
    assert view_ceiling(system, problems).all()
    bare = build_system(compose(["experiment=sat", "stream.view=solution_path"]))
    solvable = which_solvable(system.env, problems)
    assert np.array_equal(view_ceiling(bare, problems), solvable)
    found = coverage(system.env, system.strategy, system.dialect, problems, max_tokens=416, max_nodes=3)
    assert not found.solved.all()
    ends = np.array([Outcome.SOLVED, Outcome.EXHAUSTED, Outcome.BUDGET, -1])
    assert is_answer(system.env, ends).tolist() == [True, True, False, False]
    assert is_answer(Countdown(), ends).tolist() == [True, False, False, False]


def test_other_environments_have_no_such_metrics(problems: np.ndarray) -> None:
    system = build_system(compose(["experiment=whole_numbers"]))
    rows = sample_problems(system.env, system.splits, "val", 2)
    judged = judge(system, rows[:0], [])
    assert answer_metrics(system, rows[:0], judged) == {}


def test_the_best_threshold() -> None:
    cues, solvable = np.array([1, 2, 3, 4]), np.array([False, False, True, True])
    assert best_threshold(cues, solvable) == (3, True)
    assert best_threshold(cues, ~solvable) == (3, False)
    for threshold, direction in (best_threshold(cues, np.ones(4, bool)), best_threshold(cues, np.zeros(4, bool))):
        assert (((cues >= threshold) == direction).all()) or not ((cues >= threshold) == direction).any()
