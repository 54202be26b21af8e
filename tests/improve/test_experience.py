"""The experience in memory: columns by hand, ragged selections, and the verdicts of the judge."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hand_made import CONFIG, PROBLEM, hand_made, stream, teacher_stream

from sos.data.splits import evaluation_problems
from sos.errors import UserError
from sos.improve.experience import BY_EVENT, BY_ROLLOUT, BY_TOKEN, COLUMNS, Experience, concatenate, from_rollouts
from sos.improve.selections import select
from sos.improve.selections_options import Selection
from sos.judge.rollouts import judge
from sos.model.rollout import Rollout
from sos.rng import stream_key
from sos.stream.verify import Error, verify_tokens
from sos.system import System, build_system


@pytest.fixture(scope="module")
def system() -> System:
    return build_system(CONFIG)


def logged(rollout: Rollout, seed: int) -> Rollout:
    """The same rollout with log-probabilities that tell it from others."""
    written = len(rollout.tokens) - rollout.num_prompt
    return dataclasses.replace(rollout, logprobs=-np.random.default_rng(seed).random(written).astype(np.float32))


@pytest.fixture(scope="module")
def rollouts(system: System) -> list[Rollout]:
    return [logged(rollout, seed) for seed, rollout in enumerate(hand_made(system))]


@pytest.fixture(scope="module")
def experience(system: System, rollouts: list[Rollout]) -> Experience:
    return from_rollouts(system, np.stack([PROBLEM] * len(rollouts)), rollouts, step=3)


def test_columns_of_hand_made_rollouts(experience: Experience, rollouts: list[Rollout]) -> None:
    assert experience.solved.tolist() == [True, True, False, False, False]
    assert experience.rewards.tolist() == [1, 1, 0, 0, 0]
    assert experience.malformed.tolist() == [False, False, True, False, False]
    assert experience.finished.tolist() == [True, True, False, True, False]
    assert experience.groups.tolist() == [0] * 5
    assert experience.steps.tolist() == [3] * 5
    assert experience.lengths.tolist() == [len(r.tokens) - r.num_prompt for r in rollouts]
    assert experience.num_errors.tolist() == [0, 1, 1, 1, 0]
    assert experience.error_penalties[0] == 0
    assert 0 < experience.error_penalties[1] < 1
    assert experience.format_penalties[0] == 0
    assert experience.format_penalties[2] == experience.format_penalties[4] == 1


def test_columns_are_those_of_the_judge(system: System) -> None:
    """On streams of the teacher for problems of the run, and on hand-made ones."""
    problems = evaluation_problems(system.env, system.splits, "val", 30)
    written = []
    for problem in problems:
        tokens, num_prompt, _ = teacher_stream(system, problem)
        written.append(
            Rollout(tokens.astype(np.int32), num_prompt, True, np.zeros(len(tokens) - num_prompt, np.float32))
        )
    problems, written = np.concatenate([problems, [PROBLEM] * 5]), written + hand_made(system)
    found, judged = from_rollouts(system, problems, written), judge(system, problems, written)
    for name in ("solved", "planned", "malformed", "tokens_to_goal", "num_errors", "nodes"):
        np.testing.assert_array_equal(getattr(found, name), getattr(judged, name), name)
    np.testing.assert_array_equal(found.lengths, judged.generated_tokens)
    np.testing.assert_array_equal(found.problems, problems)
    assert 5 < found.solved.sum() < 35
    assert len(np.unique(found.groups)) == 31
    for number in range(len(written)):
        start, stop = found.event_offsets[number : number + 2]
        counts = np.bincount(found.event_errors[start:stop], minlength=len(Error))
        np.testing.assert_array_equal(counts, judged.errors[number])


def test_tokens_have_the_error_of_the_event_that_they_tell(
    system: System, experience: Experience, rollouts: list[Rollout]
) -> None:
    wrong = 0
    for number, rollout in enumerate(rollouts):
        verdict, _, align = verify_tokens(system.dialect, system.env, PROBLEM, rollout.tokens)
        start, stop = experience.offsets[number : number + 2]
        told = experience.token_errors[start:stop]
        for place in range(len(rollout.tokens)):
            expected = verdict.errors[align[place]] if place < len(align) and align[place] >= 0 else 0
            assert told[place] == expected
            wrong += expected != 0
        assert not told[: rollout.num_prompt].any()
        np.testing.assert_array_equal(experience.tokens_of(number), rollout.tokens)
        np.testing.assert_array_equal(experience.logprobs_of(number), rollout.logprobs)
    assert wrong >= 5
    assert set(np.unique(experience.token_errors)) >= {Error.ARITHMETIC, Error.FALSE_GOAL}


def equal(one: Experience, other: Experience) -> bool:
    return all(
        np.array_equal(getattr(one, name), getattr(other, name), equal_nan=name == "logprobs") for name in COLUMNS
    )


def test_selected_rollouts_are_those_made_of_the_chosen_alone(
    system: System, experience: Experience, rollouts: list[Rollout]
) -> None:
    for chosen in ([], [0], [4, 1], [2, 2, 0], list(range(5))):
        picked = experience.select(np.array(chosen, np.int64))
        rows = np.array([PROBLEM] * len(chosen), np.int32).reshape(-1, len(PROBLEM))
        again = from_rollouts(system, rows, [rollouts[i] for i in chosen], step=3)
        assert equal(picked, again), chosen
    assert equal(experience.select(np.arange(5)), experience)


def test_parts_stay_apart(system: System, experience: Experience, rollouts: list[Rollout]) -> None:
    both = concatenate([experience.select([0, 1]), experience.select([2, 3, 4])])
    assert both.groups.tolist() == [0, 0, 1, 1, 1]
    assert equal(both.replace(groups=experience.groups), experience)
    assert equal(concatenate([experience]), experience)
    assert len(concatenate([experience.select([])] * 2)) == 0
    with pytest.raises(UserError, match="no experience to concatenate"):
        concatenate([])


def test_selections_and_columns_fit_together(experience: Experience) -> None:
    for kind in ("all", "solved", "shortest_solved", "roc_inverse", "roc_greedy", "balanced"):
        kept = select(experience, Selection(kind), stream_key(0, "kept"))
        assert len(experience.select(kept)) == len(kept)
    assert select(experience, Selection("shortest_solved"), stream_key(0, "kept")).tolist() == [0]


def test_problems_that_are_equal_are_one_group(system: System) -> None:
    other = np.array([20, 3, 2, 3, 4], np.int32)
    problems = np.stack([other, PROBLEM, other, PROBLEM])
    found = from_rollouts(system, problems, [stream(system, "2 + 3 =", False, problem) for problem in problems])
    assert found.groups.tolist() == found.indices.tolist() == [0, 1, 0, 1]
    named = from_rollouts(
        system,
        problems,
        [stream(system, "2 + 3 =", False, problem) for problem in problems],
        groups=[7, 1, 7, 1],
        indices=[100, 200, 100, 200],
        rewards=[0.5, 0, 0.25, 0],
    )
    assert named.groups.tolist() == [7, 1, 7, 1]
    assert named.indices.tolist() == [100, 200, 100, 200]
    assert named.rewards.tolist() == [0.5, 0, 0.25, 0]


def test_every_column_is_of_a_rollout_a_token_or_an_event(experience: Experience) -> None:
    assert set(COLUMNS) == {*BY_ROLLOUT, *BY_TOKEN, *BY_EVENT, "offsets", "event_offsets"}
    for names, num in ((BY_ROLLOUT, 5), (BY_TOKEN, experience.offsets[-1]), (BY_EVENT, experience.event_offsets[-1])):
        assert {len(getattr(experience, name)) for name in names} == {num}


def test_what_cannot_be_is_refused_by_name(system: System, experience: Experience, rollouts: list[Rollout]) -> None:
    with pytest.raises(UserError, match="there are 1 problems for 5 rollouts"):
        from_rollouts(system, PROBLEM[None], rollouts)
    with pytest.raises(UserError, match=r"groups must have the shape \(5,\), one a rollout, got \(2,\)"):
        from_rollouts(system, np.stack([PROBLEM] * 5), rollouts, groups=[0, 1])
    with pytest.raises(UserError, match="indices must be from 0 to 4, got -1 to 2"):
        experience.select([-1, 2])
    with pytest.raises(UserError, match="indices must be whole numbers, got bool"):
        experience.select(experience.solved)
    with pytest.raises(UserError, match=r"rewards must have the shape \(5,\), got \(2,\)"):
        experience.replace(rewards=[1.0, 2.0])
