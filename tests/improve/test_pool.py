"""Problems chosen by how often the start solves them, beginnings of solutions, and what is logged of first choices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stages import TASK, points, task, train

from sos.compose import compose
from sos.data.splits import sample_problems
from sos.errors import UserError
from sos.improve import pool as module
from sos.improve.pool import Pool, begun, chosen_problems, count_right, profile
from sos.improve.rounds import Task, draw, lone_weight, verified, write
from sos.improve.selections_options import CLASSES
from sos.judge.first_action import first_costs
from sos.model.gpt import GPT
from sos.model.rollout import Rollout
from sos.runs.folder import RunFolder
from sos.search import DepthFirst
from sos.search.run import run_search
from sos.stream.codec import encode, encode_prompt
from sos.stream.text import words
from sos.stream.verify import verify_tokens
from sos.system import System, build_system
from sos.train.plan import Plan

EXHAUSTIVE = DepthFirst(heuristic=0, use_threshold=False, skip_seen=False, announce_leaves=False, max_nodes=2**31 - 1)


def counted(monkeypatch: pytest.MonkeyPatch, first: list[int], more: list[int]) -> list[tuple[int, int]]:
    """Have problems solved so often, and return what is asked: (problems, answers to each)."""
    asked: list[tuple[int, int]] = []

    def count(task: Task, model: Any, problems: np.ndarray, num: int, begin: int) -> tuple[np.ndarray, int]:
        asked.append((len(problems), num))
        assert begin == (0 if len(asked) == 1 else 8)
        return np.array(first if len(asked) == 1 else more), 100 * len(problems)

    monkeypatch.setattr(module, "count_right", count)
    return asked


def countdown(plan: Plan, **changes: Any) -> Task:
    system = build_system(compose([]))
    return task(plan, **changes)._replace(system=system)


def solvable(system: System, problem: np.ndarray) -> bool:
    """By a search of everything."""
    trace = run_search(EXHAUSTIVE, system.env, problem, 100_000)
    return bool(verify_tokens(system.dialect, system.env, problem, encode(system.dialect, trace)[0])[0].solved)


def test_classes_are_those_of_the_answers_and_of_the_solver(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = counted(monkeypatch, [0, 1, 4, 5, 8, 0], [3, 0])
    chosen = countdown(plan, pool=6, classes=["latent", "impossible"], more_samples=64)
    found = profile(chosen, None)
    assert asked == [(6, 8), (2, 64)]
    assert [CLASSES[k] for k in found.classes[:6]] == ["recoverable", *["medium"] * 2, *["easy"] * 2, "latent"]
    assert found.mixed == pytest.approx(3 / 6)
    assert found.tokens == 800
    assert len(found.problems) == 12
    assert set(found.classes[6:]) == {CLASSES.index("impossible")}
    truth = [solvable(chosen.system, problem) for problem in found.problems]
    assert truth == [True] * 6 + [False] * 6
    asked = counted(monkeypatch, [0, 1, 4, 5, 8, 0], [3, 0])
    assert profile(countdown(plan, pool=6, classes=["medium"]), None).classes.tolist() == [-1, 1, 1, 0, 0, -1]
    assert asked == [(6, 8)]  # nobody wants to know what is hard about the others


def test_a_class_without_problems_and_a_closed_gate_are_said(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    counted(monkeypatch, [8, 8, 8, 2], [])
    with pytest.raises(
        UserError, match=r"improve.classes=\[latent\]: none of improve.pool=4 problems is latent .* 75.0%"
    ):
        profile(countdown(plan, pool=4, classes=["latent"]), None)
    counted(monkeypatch, [8, 8, 8, 2], [])
    with pytest.raises(UserError, match=r"improve.gate=0.3: of 4 problems 25.0% are solved by some and not all of 8"):
        profile(countdown(plan, pool=4, gate=0.3), None)
    counted(monkeypatch, [8, 8, 8, 2], [])
    assert profile(countdown(plan, pool=4, gate=0.25), None).mixed == 0.25


def test_rounds_go_through_the_problems_of_their_classes(plan: Plan) -> None:
    problems = np.arange(40, dtype=np.int32)[:, None]
    pool = Pool(problems, np.array([0, 1, 1, 2] * 10, np.int8), 0.5, 0)
    chosen = task(plan, problems=8, classes=["medium", "recoverable"], easy_share=0.25)
    rounds = [chosen_problems(chosen, pool, number)[:, 0] for number in range(10)]
    easy, wanted = (np.concatenate(part) for part in zip(*[(r[:2], r[2:]) for r in rounds], strict=True))
    assert len(easy) == 20
    assert all(sorted(easy[k : k + 10]) == list(range(0, 40, 4)) for k in (0, 10))
    assert sorted(wanted[:30]) == sorted(wanted[30:]) == [k for k in range(40) if k % 4]
    assert list(wanted[:30]) != list(wanted[30:])
    assert np.array_equal(rounds[3], chosen_problems(chosen, pool, 3)[:, 0])


def test_answers_are_counted_as_a_round_would_judge_them(plan: Plan, model: GPT) -> None:
    """And further answers to a problem are others."""
    chosen = task(plan, problems=16)
    problems = draw(chosen, 0)
    first, tokens = count_right(chosen, model, problems, 8, 0)
    second, more = count_right(chosen, model, problems, 8, 8)
    both, together = count_right(chosen, model, problems, 16, 0)
    assert np.array_equal(first + second, both)
    assert tokens + more == together
    assert not np.array_equal(first, second)
    assert 0 < both.sum() < 256


@pytest.mark.parametrize("words", [TASK, [], ["stream=sos", "data.context=4096"], ["experiment=sudoku"]])
def test_a_beginning_is_that_of_the_solution_path(words: list[str]) -> None:
    system = build_system(compose([*words, "stream.view=solution_path"]))
    lengths = set()
    for problem in sample_problems(system.env, system.splits, "train", 8, seed=4, solvable=True):
        prompt = encode_prompt(system.dialect, problem)
        path = module.path_of(system, problem)
        whole = encode(system.dialect, path)[0]
        before = 0
        for share in (0.0, 0.3, 0.5, 0.8, 1.0):
            given = begun(system, problem, share)
            assert np.array_equal(given, whole[: len(given)])
            assert len(prompt) <= len(given) >= before
            before = len(given)
            verdict, trace, _ = verify_tokens(system.dialect, system.env, problem, given)
            assert not verdict.solved
            assert not verdict.errors.any()
            assert len(trace.nodes) == 1 + min(int(share * (len(path.nodes) - 1)), len(path.nodes) - 2)
            lengths.add(len(given) - len(prompt))
        assert len(begun(system, problem, 0.0)) == len(prompt)
    assert len(lengths) >= 2


def test_the_weight_of_lone_successes_is_their_share(plan: Plan, model: GPT) -> None:
    chosen = task(plan, problems=32)
    problems = draw(chosen, 0)
    experience = verified(chosen, problems, write(chosen, model, problems, 0), 0)
    weights = np.linspace(-1, 2, len(experience)).astype(np.float32)
    total = lone = 0.0
    for k in range(0, len(experience), 8):
        right = [i for i in range(k, k + 8) if experience.rewards[i] > 0]
        total += sum(abs(weights[i]) * experience.lengths[i] for i in range(k, k + 8))
        lone += sum(abs(weights[i]) * experience.lengths[i] for i in right if len(right) == 1)
    assert 0 < lone < total
    assert lone_weight(experience, weights) == pytest.approx(lone / total)


def test_the_first_choice_is_all_tokens_of_the_first_action() -> None:
    system = build_system(compose([]))
    found, expected = [], []
    for k, problem in enumerate(sample_problems(system.env, system.splits, "train", 20, seed=4, solvable=True)):
        tokens, _, prompt = encode(system.dialect, run_search(system.strategy, system.env, problem, 5000))
        logprobs = -np.random.default_rng(k).random(len(tokens) - prompt).astype(np.float32)
        found.append(Rollout(tokens.astype(np.int32), prompt, True, logprobs))
        text = words(system.dialect, tokens[prompt:].tolist()).split()
        ends = text.index("[")
        # Numbers of two digits are two tokens, and one word.
        num = sum(len(word) if word.isdigit() else 1 for word in text[:ends])
        expected.append(-logprobs[:num].sum())
    np.testing.assert_allclose(first_costs(system, found), expected, rtol=1e-5)
    assert len(first_costs(system, [])) == 0
    bare = Rollout(found[0].tokens[: found[0].num_prompt], found[0].num_prompt, False, np.zeros(0, np.float32))
    assert len(first_costs(system, [bare])) == 0


def test_a_stage_of_chosen_problems_says_what_they_are(base: RunFolder, tmp_path: Path) -> None:
    words = ["improve=grpo", "improve.classes=[medium]", "improve.pool=48", "improve.prefix=0.5", "improve.gate=0.01"]
    words += ["improve.problems=16", "improve.rounds=2", "trainer.probe_every=0.5"]
    run = train(tmp_path / "run", f"start={base.path}", *words)
    tags = points(run.path)
    assert tags["improve/pool/medium"][1] > 0
    assert sum(tags[f"improve/pool/{name}"][1] for name in (*CLASSES, "hard")) == pytest.approx(1)
    assert tags["improve/entropy_first"][1] > 0
    assert 0 <= tags["improve/lone_weight"][1] <= 1
    for name in ("solve_by_rollout_tokens/probe", "solve_by_seconds/probe"):
        assert len(tags[name]) == len(tags["solve/probe"]) >= 1
    with pytest.raises(UserError, match=r"improve.gate=0.99: of 48 problems"):
        train(tmp_path / "shut", f"start={base.path}", *words, "improve.gate=0.99")
    assert not RunFolder(tmp_path / "shut").checkpoint.exists()


def test_chosen_prompts_are_what_rollouts_begin_with(plan: Plan, model: GPT) -> None:
    chosen = task(plan, prefix=0.5)
    problems = draw(chosen, 0)
    answers = write(chosen, model, problems, 0)
    given = [begun(plan.system, problem, 0.5) for problem in problems]
    assert [answer.num_prompt for answer in answers] == [len(g) for g in given for _ in range(8)]
    experience = verified(chosen, problems, answers, 0)
    plain = verified(task(plan), problems, write(task(plan), model, problems, 0), 0)
    assert experience.rewards.mean() > plain.rewards.mean()
