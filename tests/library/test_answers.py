"""Searches and verdicts from Python: what the verbs say, in objects."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from hostile_texts import long_texts, random_text
from matplotlib.colors import to_hex

import sos
from sos.compose import compose
from sos.data.splits import sample_problems
from sos.envs.words import words_of
from sos.library.drawing import GOAL_COLOUR, WRONG_COLOUR, places
from sos.search.run import run_search
from sos.stream.codec import encode
from sos.system import build_system

FORMS: list[Any] = [
    "[56,9,7,1]",
    "56,9,7,1",
    [56, 9, 7, 1],
    (56, 9, 7, 1),
    {"nums": [9, 7, 1], "target": 56},
    {"nums": np.array([9, 7, 1]), "target": np.int64(56)},
    np.array([56, 3, 9, 7, 1]),
]


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_a_problem_may_be_given_in_any_form(form: Any) -> None:
    answer = sos.solve(form)
    assert answer.text == (
        "9 , 7 , 1 > 56 : ; 9 - 7 = 2 [ 2 , 1 < 0 ; 9 - 1 = 8 [ 8 , 7 ; 8 + 7 = 15 ? 56 x ; 8 * 7 = 56 ? 56 !"
    )
    assert answer.path == ["9 − 1 = 8", "8 × 7 = 56"]
    assert (answer.solved, answer.planned, answer.mistakes, answer.num_expanded) == (True, False, [], 3)
    assert answer.problem.dtype == np.int32
    assert answer.problem_text == "9 7 1 → 56"


BAD_PROBLEMS: list[tuple[Any, str]] = [
    ("[]", "problem must be"),
    ("[56,9,7]", "2 numbers"),
    ([56, 9, 7, 1000], "1000 is outside"),
    ([56, "9", 7, 1], "a problem is"),
    ({"nums": [9, 7, 1]}, "target"),
    ({"nums": [9, 7, 1], "target": 56, "x": 1}, "'x'"),
    (np.zeros(5), "whole numbers"),
    (np.array([56, 3, 9, 7]), "problems"),
    (np.array([56, 3, 9, 7, 99]), "problems"),
    ({"nums": [9, 7, 10**6], "target": 56}, "problem"),
]


@pytest.mark.parametrize(("problem", "says"), BAD_PROBLEMS, ids=[str(problem) for problem, _ in BAD_PROBLEMS])
def test_what_is_no_problem_is_a_line(problem: Any, says: str) -> None:
    with pytest.raises(sos.UserError) as refused:
        sos.solve(problem)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_search_is_the_stream_that_training_writes() -> None:
    config = compose(["stream.plan=true"])
    system = build_system(config)
    chunk = sos.build_source(config, system).chunk(0, 20)
    problems = sample_problems(system.env, system.splits, "train", 20, seed=config.seed)
    for k, visit in enumerate(chunk.visits):
        tokens = chunk.tokens[chunk.offsets[k] : chunk.offsets[k + 1]]
        answer = sos.solve(problems[visit], config)
        assert answer.tokens.tolist() == tokens.tolist()
        assert answer.num_prompt == chunk.prompts[k]
    assert len(chunk.visits) > 10


def test_a_text_is_judged_step_by_step() -> None:
    text = sos.solve([56, 9, 7, 1]).text
    assert sos.verify(text).solved
    rest = text.partition(" : ")[2]
    assert sos.verify(rest, problem=[56, 9, 7, 1]).path == ["9 − 1 = 8", "8 × 7 = 56"]
    assert not sos.verify(text, problem=[55, 9, 7, 1]).solved
    wrong = sos.verify(text.replace("8 + 7 = 15", "8 + 7 = 16"))
    assert wrong.solved, "a mistake beside the way to the goal"
    (mistake, *_) = wrong.mistakes
    assert (mistake.name, mistake.text) == ("arithmetic", "The result is 15, not 16.")
    assert wrong.named(mistake) == "wrong result"
    assert "→" in wrong.markdown()
    false = sos.verify(text.replace("8 * 7 = 56", "8 * 6 = 56"))
    assert (false.solved, false.path) == (False, [])
    assert false.named(false.mistakes[0]) == "number not available"
    with pytest.raises(sos.UserError, match="does not begin with a problem"):
        sos.verify(rest)


def test_a_plan_is_a_way_too() -> None:
    answer = sos.solve([56, 9, 7, 1], "stream.plan=true", "stream.view=plan_only")
    assert (answer.solved, answer.planned) == (False, True)
    assert answer.path == ["9 − 1 = 8", "8 × 7 = 56"]


def test_no_text_and_no_tokens_raise() -> None:
    judged = 0
    drawn = random.Random(0)
    for text in [random_text(drawn) for _ in range(20)] + list(long_texts(60).values()):
        answer = sos.verify(text, problem=[56, 9, 7, 1])
        assert not answer.solved
        assert isinstance(answer.markdown(), str)
        judged += 1
    rng = np.random.default_rng(0)
    for _ in range(30):
        tokens = rng.integers(-5, 60, rng.integers(1, 60))
        answer = sos.verify(tokens, problem=[56, 9, 7, 1])
        assert len(answer.mistakes) >= 0
        judged += 1
    assert judged > 50
    assert not sos.verify([2**40, -(2**40)], problem=[56, 9, 7, 1]).solved
    with pytest.raises(sos.UserError, match="whole numbers"):
        sos.verify(np.zeros(3), problem=[56, 9, 7, 1])


def test_swapped_searches_are_not_of_a_problem() -> None:
    with pytest.raises(sos.UserError, match="another problem"):
        sos.solve([56, 9, 7, 1], "stream.plan=true", "stream.view=swapped")


def test_pages_and_drawings(tmp_path: Any) -> None:
    right, wrong = sos.solve([56, 9, 7, 1]), sos.verify("9 , 7 , 1 > 56 : ; 9 - 7 = 3 [ 3 , 1")
    path = sos.save_page(tmp_path / "page.html", [right, wrong])
    text = path.read_text(encoding="utf-8")
    assert "0: 9 7 1 → 56" in text
    assert "The result is 2, not 3." in text
    figure = right.figure()
    assert len(figure.axes[0].texts) == 4, "a node each but the root"
    assert "solved, 5 nodes" in figure.axes[0].get_title()
    assert "not solved, 2 nodes" in wrong.figure().axes[0].get_title()
    false = sos.verify(right.text.replace("9 - 1 = 8", "9 - 1 = 6").replace("8 * 7", "6 * 7"))
    assert [mistake.name for mistake in false.mistakes][-1] == "false_goal"
    shades = [{to_hex(line.get_color()) for line in one.figure().axes[0].lines} for one in (right, false)]
    assert GOAL_COLOUR.lower() in shades[0]
    assert shades[1] & {GOAL_COLOUR.lower(), WRONG_COLOUR.lower()} == {WRONG_COLOUR.lower()}
    with pytest.raises(sos.UserError, match="an answer at least"):
        sos.save_page(tmp_path / "page.html", [])


def test_a_tree_is_drawn_without_overlap() -> None:
    drawn = 0
    for seed in range(30):
        rng = np.random.default_rng(seed)
        parents = np.array([-1, *(int(rng.integers(0, k)) for k in range(1, int(rng.integers(2, 40))))])
        at = places(parents)
        assert len(np.unique(at, axis=0)) == len(parents), "each node has a place of its own"
        for node in range(1, len(parents)):
            assert at[node, 1] == at[parents[node], 1] - 1
            drawn += 1
    assert drawn > 200


EXPERIMENTS = ("path_star", "layered", "sudoku", "maze", "sat", "sokoban")


@pytest.mark.slow
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_problems_of_every_environment_are_solved_and_judged(experiment: str) -> None:
    system = build_system(compose([f"experiment={experiment}"]))
    words = words_of(system.env)
    rows = sample_problems(system.env, system.splits, "val", 4)
    for row in rows:
        answer = sos.solve(row, f"experiment={experiment}")
        trace = run_search(system.strategy, system.env, row, 60_000)
        assert answer.tokens.tolist() == encode(system.dialect, trace)[0].tolist() or system.view.kind
        assert answer.mistakes == []
        assert answer.solved == bool(answer.path or answer.verdict.refuted)
        record = words.problem_record(row)
        assert sos.solve(record, f"experiment={experiment}").tokens.tolist() == answer.tokens.tolist()
        again = sos.verify(answer.text, f"experiment={experiment}")
        assert (again.solved, again.path) == (answer.solved, answer.path)
        assert answer.figure().axes
    assert len(rows) == 4
