"""Evaluations with a context: who gets which prompt, what is judged, and what a context says of the plan in nats."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from sizes import plain

import sos.judge.rolling as rolling
from sos.compose import compose
from sos.config import Config
from sos.context.draws import Asked
from sos.context.forms import read_context
from sos.datasets.source import context_source
from sos.errors import UserError
from sos.judge.contexts import plan_losses, plan_metrics, pose
from sos.judge.evaluation import evaluate
from sos.judge.problems import split_problems
from sos.model.gpt import GPT
from sos.model.rollout import Rollout
from sos.runs.rollouts import read_rollouts
from sos.search.run import run_search
from sos.stream.codec import decode, encode, encode_prompt
from sos.stream.verify import verify_tokens
from sos.stream.viewing import view_trace
from sos.stream.views import SOLUTION_PATH, View
from sos.system import System, build_system, gpt_config
from sos.train.plan import Plan

WORDS = [
    "experiment=smoke",
    "slot=hint",
    "data.context=1000",
    "eval.num_problems=24",
    "eval.splits=[val]",
    "eval.pass_k=[]",
]
NUM = plain(24, 4)


def made(*more: str) -> tuple[Config, System, GPT]:
    config = compose([*WORDS, *more])
    system = build_system(config)
    torch.manual_seed(0)
    model = GPT(gpt_config(config, len(system.dialect.vocab)))
    with torch.no_grad():  # of weights that say something
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return config, system, model.eval()


def teacher(system: System) -> Any:
    """A stand-in for `rollout` that writes the search of the problem behind each prompt's context."""

    def play(model: Any, prompts: Sequence[np.ndarray], **_: Any) -> list[Rollout]:
        rollouts = []
        for prompt in prompts:
            problem = decode(system.dialect, system.env, prompt).trace.problem
            tokens, _, num = encode(system.dialect, run_search(system.strategy, system.env, problem, 2000))
            whole = np.concatenate([prompt, tokens[num:]]).astype(np.int32)
            rollouts.append(Rollout(whole, len(prompt), True, np.zeros(0, np.float32)))
        return rollouts

    return play


def test_each_context_is_an_evaluation_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    names = ["none", "plan", "wrong_plan", "foreign_first", "filler_actions", "trace"]
    config, system, model = made(f"eval.context=[{','.join(names)}]", "eval.num_rollout_texts=12")
    monkeypatch.setattr(rolling, "rollout", teacher(system))
    found = evaluate(model, system, config.eval)
    labels = ["val", *(f"val.{name}" for name in names[1:])]
    assert list(found.arrays) == labels
    assert {found.metrics[f"solve/{label}"].value for label in labels} == {found.metrics["teacher/val"].value}
    alone = evaluate(model, system, replace(config.eval, context=["none"]))
    assert {
        name: metric for name, metric in found.metrics.items() if name.endswith("/val") and "plan_nll" not in name
    } == alone.metrics
    problems = found.arrays["val"]["problems"]
    for label, name in zip(labels, names, strict=True):
        arrays = found.arrays[label]
        assert np.array_equal(arrays["problems"], problems)
        for problem, tokens in zip(problems, np.split(arrays["tokens"], arrays["offsets"][1:-1]), strict=True):
            context = read_context(system.dialect, tokens)
            assert context.sound
            assert len(context.items) == (name != "none")
            assert np.array_equal(decode(system.dialect, system.env, tokens).trace.problem, problem)
            assert verify_tokens(system.dialect, system.env, problem, tokens)[0].solved
    assert [text.splitlines()[0].split()[1] for text in found.texts] == [label for label in labels for _ in range(2)]
    assert "<hint:plan>" in found.texts[2]
    assert "context tokens" not in found.table()
    assert len({len(line.split()) for line in found.table().splitlines()[:2]}) == 2
    found.write(tmp_path)
    assert {path.name for path in tmp_path.glob("*.npz")} == {f"rollouts_{label}.npz" for label in labels}
    kept = read_rollouts(tmp_path / "rollouts_val.plan.npz", system)
    assert np.array_equal(kept.columns["tokens"], found.arrays["val.plan"]["tokens"])


def test_contexts_are_those_of_the_split_and_the_evaluation_seed() -> None:
    config, system, _ = made()
    problems = split_problems(system, "val", NUM, seed=0)
    posed = pose(system, "val", problems, "wrong_plan", seed=3)
    source = context_source(system, 3, "val")
    assert source is not None
    expected = source.of_problems(problems, Asked("plan", "wrong"))
    assert all(np.array_equal(a, b) for a, b in zip(posed.contexts, expected, strict=True))
    assert posed.taken.tolist() == [len(tokens) for tokens in expected]
    for problem, context, prompt in zip(problems, posed.contexts, posed.prompts, strict=True):
        assert prompt.tolist() == encode_prompt(system.dialect, problem, context)
    bare = pose(system, "val", problems, "none", seed=3)
    assert bare.label == "val"
    assert posed.label == "val.wrong_plan"
    assert [prompt.tolist() for prompt in bare.prompts] == [
        encode_prompt(system.dialect, problem) for problem in problems
    ]
    assert config.eval.context == ["none"]


def test_the_nats_of_a_context_are_what_the_path_costs_less() -> None:
    config, system, model = made()
    problems = split_problems(system, "val", NUM, seed=0)
    for name in ("none", "plan", "classes"):
        posed = pose(system, "val", problems, name, seed=0)
        losses = plan_losses(model, system, posed)
        assert losses.shape == (NUM, 3)
        for problem, context, (within, without, num) in zip(problems, posed.contexts, losses, strict=True):
            search = run_search(system.strategy, system.env, problem, 2000)
            tokens, _, prompt = encode(system.dialect, view_trace(View(SOLUTION_PATH), system.env, search))
            assert num == len(tokens) - prompt
            for prefix, cost in (((), without), (context, within)):
                ids = torch.tensor([[int(tokens[0]), *map(int, prefix), *map(int, tokens[1:])]])
                with torch.inference_mode():
                    logprobs = model(ids).log_softmax(-1)
                slow = -sum(float(logprobs[0, t - 1, ids[0, t]]) for t in range(prompt + len(prefix), ids.shape[1]))
                assert cost == pytest.approx(slow, rel=1e-5)
        metrics = plan_metrics(model, system, posed)
        assert metrics["plan_nll"].value == pytest.approx(losses[:, 0].sum() / losses[:, 2].sum())
        if name == "none":
            assert set(metrics) == {"plan_nll"}
            continue
        assert metrics["plan_nats"].value == pytest.approx(float((losses[:, 1] - losses[:, 0]).mean()))
        assert metrics["context_tokens"].value == pytest.approx(float(posed.taken.mean()))
    assert config.slot.on


def test_a_context_that_leaves_no_room_is_refused_with_its_length() -> None:
    config, system, model = made("data.context=40", "eval.context=[none,trace]")
    said = r"eval.context=trace: the context of problem \d+ of split val has \d+ tokens, which leaves no room"
    with pytest.raises(UserError, match=said):
        evaluate(model, system, config.eval)
    with pytest.raises(UserError, match=said):
        Plan.of(config)  # before anything is trained


def test_problems_without_a_plan_stand_without_a_context(caplog: pytest.LogCaptureFixture) -> None:
    _, system, _ = made()
    without = np.array(system.env.problem_row(17, [1, 1, 1]), np.int32)
    problems = np.concatenate([split_problems(system, "val", NUM, seed=0), [without, without]])
    with caplog.at_level(logging.WARNING):
        posed = pose(system, "val", problems, "plan", seed=0)
    assert [len(context) > 0 for context in posed.contexts] == [True] * NUM + [False] * 2
    assert f"eval.context=plan: 2 of {NUM + 2} problems of split val have no plan, and no context" in caplog.text
    with pytest.raises(UserError, match="none of 1 problems of split val has a plan to hint at"):
        pose(system, "val", without[None], "plan", seed=0)
