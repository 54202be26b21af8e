"""Rounds that several processes make together, beside those of one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from places import ROOT
from stages import SMALL, STEPS, TASK, options_of, random_kept, read, train, weights

from sos.data.loader import Ranks
from sos.improve import together
from sos.improve.loader import counts_of
from sos.improve.objective import objective_of
from sos.improve.rows import minibatch
from sos.improve.together import part_of_minibatch, rolled_out
from sos.model.gpt import GPT
from sos.model.rollout import rollout
from sos.runs.folder import RunFolder
from sos.train.plan import Plan

CONTEXT = 64
LOSSES: list[dict[str, Any]] = [
    {"loss": "nll", "selection": "solved"},
    *({"aggregation": how} for how in ("token_mean", "sequence_mean", "constant")),
    {"loss": "reinforce", "kl_weight": 0.1},
]


def gradient(model: GPT, options: Any, batch: dict[str, Any]) -> torch.Tensor:
    model.zero_grad()
    loss, _, _ = objective_of(options, CONTEXT)(model, batch)
    (loss * batch.get("share", 1.0)).backward()
    return torch.cat([p.grad.flatten() for p in model.parameters()])


def test_the_mean_over_processes_is_the_gradient_of_the_whole(plan: Plan, model: GPT) -> None:
    """Also where rollouts are of many lengths, and where there are fewer of them than processes."""
    compared = 0
    for k, changes in enumerate(LOSSES):
        options = options_of(**changes)
        for num, world in ((7, 2), (8, 3), (4, 5)):
            kept, key = random_kept(k, num, CONTEXT, plan.gpt.vocab_size), np.uint64(k)
            whole = minibatch(kept, CONTEXT, key)
            parts = [
                part_of_minibatch(kept, CONTEXT, key, Ranks(rank, world), options.aggregation) for rank in range(world)
            ]
            assert {counts_of(part) for part in parts} == {counts_of(whole)}
            expected = gradient(model, options, whole)
            found = torch.stack([gradient(model, options, part) for part in parts])
            most = float(expected.abs().max())
            torch.testing.assert_close(found.mean(0), expected, rtol=1e-3, atol=1e-5 * most)
            assert (found[0] - expected).abs().max() > 1e-2 * most, "a part is not the whole"
            compared += 1
    assert compared == 15
    assert "share" not in part_of_minibatch(kept, CONTEXT, key, Ranks(), "token_mean")


def test_all_processes_have_every_rollout_of_one(plan: Plan, model: GPT, monkeypatch: pytest.MonkeyPatch) -> None:
    prompts = [np.array([1, *range(3, 4 + k % 4)], np.int32) for k in range(9)]
    names = {"problem_indices": np.arange(9) // 2, "sample_indices": np.arange(9) % 2}
    options: dict[str, Any] = {"temperature": 1.0, "seed": 5, "batch_size": 4}
    budgets = np.arange(9) + 3
    alone = rolled_out(Ranks(), model, prompts, max_tokens=budgets, **names, **options)

    def gathered(parts: list[Any], found: Any) -> None:
        for rank in range(len(parts)):
            mine = slice(rank, None, len(parts))
            of_rank = {name: values[mine] for name, values in names.items()}
            part = (
                rollout(model, prompts[mine], max_tokens=budgets[mine], **of_rank, **options) if prompts[mine] else []
            )
            parts[rank] = part
        assert any(same(found, part) for part in parts)

    monkeypatch.setattr(together.torch.distributed, "all_gather_object", gathered)
    for rank, world in ((0, 2), (1, 2), (2, 4), (9, 10)):
        assert same(rolled_out(Ranks(rank, world), model, prompts, max_tokens=budgets, **names, **options), alone)


def same(found: list[Any], other: list[Any]) -> bool:
    return len(found) == len(other) and all(
        np.array_equal(a.tokens, b.tokens) and np.array_equal(a.logprobs, b.logprobs)
        for a, b in zip(found, other, strict=True)
    )


@pytest.mark.slow
@pytest.mark.parametrize("words", [["improve=grpo", *STEPS], ["improve=expert_iteration", "improve.minibatches=2"]])
def test_two_processes_train_as_one_does(base: RunFolder, tmp_path: Path, words: list[str]) -> None:
    words = [f"start={base.path}", *words, *SMALL, "improve.gate=0.01", "improve.pool=16"]
    one = train(tmp_path / "one", *words)
    command = [sys.executable, "train.py", *TASK, *words, "trainer.devices=2", f"hydra.run.dir={tmp_path / 'two'}"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert result.returncode == 0, result.stderr[-3000:]
    two = RunFolder(tmp_path / "two")
    for name, tensor in weights(one).items():
        torch.testing.assert_close(weights(two)[name], tensor, rtol=1e-4, atol=1e-5)
    names = ("tokens", "streams", "rounds", "rollouts", "rollout_tokens", "steps")
    counts = [{name: read(run.metrics)["train"][name] for name in names} for run in (one, two)]
    assert counts[0] == counts[1]
