"""Stages of practice that stop and go on, and stages behind stages."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from stages import SMALL, STEPS, TASK, equal, read, task, train, weights

from sos.compose import compose
from sos.errors import UserError
from sos.improve.objective import imitation
from sos.improve.rounds import Practice
from sos.runs.checkpoint import load_checkpoint
from sos.runs.folder import RunFolder
from sos.train.plan import Plan
from sos.train.pretrain import Interrupted
from sos.train.stop import StopOnSignal


def test_a_stopped_run_goes_on_to_the_same_weights(
    base: RunFolder, tmp_path: Path, stop_at: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped in mid-round it finishes the round; killed in mid-round it does the round again, on other threads."""
    words = (f"start={base.path}", "improve=grpo", "optim.lr=0.01", *SMALL, *STEPS)
    stop_at(-1)
    whole = train(tmp_path / "whole", *words)
    stop_at(6)
    with pytest.raises(Interrupted):
        train(tmp_path / "stopped", *words)
    assert load_checkpoint(RunFolder(tmp_path / "stopped").checkpoint).train["steps"] == 8
    stop_at(-1)
    plain = StopOnSignal.on_train_batch_end

    def killed(self: StopOnSignal, trainer: Any, *arguments: Any) -> None:
        if trainer.global_step == 10:
            raise RuntimeError("killed")
        plain(self, trainer, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(StopOnSignal, "on_train_batch_end", killed)
        with pytest.raises(RuntimeError, match="killed"):
            train(tmp_path / "stopped", *words)
    assert load_checkpoint(RunFolder(tmp_path / "stopped").checkpoint).train["steps"] == 8
    gone_on = train(tmp_path / "stopped", *words, "trainer.num_threads=2")
    assert equal(weights(whole), weights(gone_on))
    counts = [
        {k: v for k, v in read(run.metrics)["train"].items() if k in ("tokens", "rollouts", "rollout_tokens", "steps")}
        for run in (whole, gone_on)
    ]
    assert counts[0] == counts[1]
    assert read(whole.metrics)["metrics"] == read(gone_on.metrics)["metrics"]


def test_a_finished_stage_is_evaluated_again_and_is_the_start_of_another(base: RunFolder, tmp_path: Path) -> None:
    words = ("improve=expert_iteration", "improve.problems=32", "improve.rounds=1", "improve.minibatches=2")
    first = train(tmp_path / "first", f"start={base.path}", *words)
    old, whole = weights(first), torch.load(first.checkpoint, weights_only=True)
    torch.save({name: value for name, value in whole.items() if name != "PracticeData"}, tmp_path / "less.ckpt")
    with pytest.raises(UserError, match=r"less\.ckpt cannot be continued: PracticeData"):
        train(tmp_path / "less", f"start={base.path}", *words, f"resume={tmp_path / 'less.ckpt'}")
    again = train(first.path, f"start={base.path}", *words, f"resume={first.path}", "eval.num_problems=4")
    assert equal(old, weights(again))
    assert read(again.metrics)["metrics"]["solve/val"]["num"] == 4
    second = train(tmp_path / "second", f"start={first.path}", "improve=star", "improve.problems=32", "improve.group=8",
                   "improve.rounds=2", "improve.minibatches=2", "improve.epochs=1")  # fmt: skip
    assert not equal(weights(first), weights(second))


def test_star_trains_the_weights_of_the_start_in_every_round(
    base: RunFolder, tmp_path: Path, stop_at: Callable[[int], None]
) -> None:
    """The last round alone decides: the optimizer, too, is new in it. And such a run goes on to the same weights."""
    words = [f"start={base.path}", "improve=star", "improve.problems=32", "improve.group=8", "improve.rounds=2"]
    words += ["improve.minibatches=2", "improve.epochs=1", "trainer.checkpoint_every=1"]
    words += ["optim.schedule=constant", "optim.warmup=0"]
    stop_at(2)
    with pytest.raises(Interrupted):
        train(tmp_path / "run", *words)
    stop_at(-1)
    run = train(tmp_path / "run", *words)
    whole = train(tmp_path / "whole", *words)
    assert equal(weights(run), weights(whole))
    plan = Plan.of(compose([*TASK, *words]))
    lit = plan.model()
    lit.model.load_state_dict(weights(train(tmp_path / "one", *words, "improve.rounds=1")))
    made = Practice(task(plan), lit.model).make(1)
    lit.model.load_state_dict(weights(base))
    optimizer = lit.configure_optimizers()
    for batch in made.batches[0]:
        for group in optimizer.param_groups:
            group["lr"] = plan.config.optim.lr
        optimizer.zero_grad()
        imitation(lit.model, batch)[0].backward()
        torch.nn.utils.clip_grad_norm_([p for g in optimizer.param_groups for p in g["params"]], 1.0)
        optimizer.step()
    expected = lit.model.state_dict()
    for name, tensor in weights(run).items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-4, atol=1e-5)
