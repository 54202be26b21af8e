"""Models from Python: trained, loaded, rolled out, judged and evaluated as by the verbs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_run

import sos
from sos.commands.cli import call
from sos.runs.finished import load_runs
from sos.runs.folder import RunFolder

SETTINGS = (*tiny_run.TASK, *tiny_run.MODEL, *tiny_run.LENGTH)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> sos.Trained:
    return sos.pretrain(*SETTINGS, folder=tmp_path_factory.mktemp("library") / "run")


def test_a_run_is_what_the_command_makes(trained: sos.Trained, tmp_path: Path) -> None:
    made = tiny_run.train(tmp_path / "run")
    mine, theirs = (json.loads(RunFolder(folder).metrics.read_text()) for folder in (trained.folder, made.path))
    assert mine["metrics"] == theirs["metrics"]
    assert mine["config_hash"] == theirs["config_hash"]
    assert trained.metrics == {name: entry["value"] for name, entry in mine["metrics"].items()}
    assert load_runs([f"mine={trained.folder}"])[0].overrides["env.num_arms"] == "2"
    recorded = json.loads((trained.folder / "provenance.json").read_text())
    assert "env.num_arms=2" in recorded["command"]


def test_a_finished_run_is_loaded_and_not_made_again(trained: sos.Trained) -> None:
    before = RunFolder(trained.folder).metrics.stat().st_mtime_ns
    again = sos.pretrain(*SETTINGS, folder=trained.folder)
    assert RunFolder(trained.folder).metrics.stat().st_mtime_ns == before
    assert again.metrics == trained.metrics


def test_rollouts_are_those_of_the_evaluation(trained: sos.Trained) -> None:
    problems = trained.problems(64)
    answers = trained.rollout(problems)
    assert len(answers) == len(problems) > 10
    assert np.mean([answer.solved for answer in answers]) == trained.metrics["solve/val"]
    assert 0 < trained.metrics["solve/val"] < 1
    found = sum(len(answer.mistakes) > 0 for answer in answers)
    assert found > 0
    for answer, problem in zip(answers, problems, strict=True):
        assert answer.tokens[: answer.num_prompt].tolist() == trained.prompt(problem)
        assert answer.solved == bool(answer.path)
        assert answer.problem.tolist() == problem.tolist()


def test_samples_stand_behind_each_other(trained: sos.Trained) -> None:
    problems = trained.problems(6)
    several = trained.rollout(problems, samples=3, temperature=1.5, seed=4)
    assert [answer.problem.tolist() for answer in several] == [row.tolist() for row in problems for _ in range(3)]
    assert len({tuple(answer.tokens.tolist()) for answer in several[:3]}) > 1
    first = trained.rollout(problems[:1], samples=3, temperature=1.5, seed=4, batch_size=1)
    assert [answer.tokens.tolist() for answer in first] == [answer.tokens.tolist() for answer in several[:3]]
    short = trained.rollout(problems, max_tokens=2)
    assert {len(answer.tokens) - answer.num_prompt for answer in short} == {2}


def test_an_evaluation_is_that_of_the_run_but_for_its_keys(trained: sos.Trained) -> None:
    evaluation = trained.evaluate(pass_k=[1, 2], pass_k_problems=8, temperature=1.2)
    assert evaluation.metrics["solve/val"].value == trained.metrics["solve/val"]
    assert "pass@2/val" in evaluation.metrics
    assert "pass@2" in evaluation.table()
    few = trained.evaluate(num_problems=8, splits=["val"])
    assert few.metrics["solve/val"].num == 8


def test_streams_of_the_run_are_verified(trained: sos.Trained) -> None:
    answer = trained.rollout(trained.problems(1))[0]
    assert trained.verify(answer.tokens, answer.problem).solved == answer.solved
    assert trained.verify(answer.text).text == answer.text


def test_what_cannot_be_is_a_line(trained: sos.Trained, tmp_path: Path) -> None:
    problems = trained.problems(1)
    wrong: list[tuple[Any, str]] = [
        (lambda: sos.load("/nonexistent"), "/nonexistent"),
        (lambda: sos.load(tmp_path), "no such checkpoint"),
        (lambda: sos.load(trained.folder, device="abacus"), "device=abacus"),
        (lambda: sos.pretrain("optim.lr=-1", folder=tmp_path / "x"), "optim.lr"),
        (lambda: trained.problems(3, "test"), "split must be"),
        (lambda: trained.rollout(problems, samples=2), "samples=2 needs a temperature"),
        (lambda: trained.rollout(problems, samples=0), "samples=0"),
        (lambda: trained.rollout(problems, temperature=-1.0), "temperature"),
        (lambda: trained.rollout(["nonsense"]), "problem must be"),
        (lambda: trained.evaluate(num_problem=3), "eval.num_problem"),
        (lambda: trained.evaluate(num_problems=-3), "eval.num_problems"),
        (lambda: trained.evaluate(splits=["listed"]), "eval.problems"),
    ]
    for call_it, says in wrong:
        with pytest.raises(sos.UserError) as refused:
            call_it()
        assert says in str(refused.value)
        assert "\n" not in str(refused.value)
    assert not (tmp_path / "x").exists()


def test_what_the_verbs_say_is_what_the_library_says(trained: sos.Trained, tmp_path: Path) -> None:
    out = tmp_path / "evaluation"
    assert call("evaluate", [str(trained.folder), f"out={out}", "eval.num_problems=32"]) == 0
    recorded = json.loads((out / "metrics.json").read_text())["metrics"]
    mine = trained.evaluate(num_problems=32).metrics
    assert recorded.keys() == mine.keys()
    assert all(recorded[name]["value"] == mine[name].value for name in mine)
