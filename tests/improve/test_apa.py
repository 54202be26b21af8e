"""Advantage-induced policy alignment as a stage: values, advantages, the reference and what a checkpoint keeps of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stages import TASK, equal, points, random_kept, task, train, weights

from sos.compose import compose
from sos.errors import UserError
from sos.improve.critic import Critic
from sos.improve.objective import alignment_options, objective_of
from sos.improve.rounds import Practice, draw, verified, write
from sos.improve.rows import Kept, minibatches
from sos.improve.values import with_advantages
from sos.model.gpt import GPT
from sos.runs.folder import RunFolder
from sos.schema.improve import ImproveConfig
from sos.train.plan import Plan
from sos.train.pretrain import Interrupted

APA = {"loss": "apa", "group": 1, "drop_equal": True, "epochs": 2}


def options_of(plan: Plan, **changes: Any) -> ImproveConfig:
    return task(plan, **APA | changes).options


def critic_of(plan: Plan, options: ImproveConfig) -> Critic:
    """One whose values are not all 0."""
    torch.manual_seed(4)
    critic = Critic(plan.gpt, options, plan.start.state_dict)
    torch.nn.init.normal_(critic.head.weight)
    torch.nn.init.normal_(critic.head.bias)
    return critic


def values_alone(model: GPT, critic: Critic, tokens: np.ndarray, prompt: int) -> np.ndarray:
    """The values of the written tokens of one rollout."""
    seen = torch.from_numpy(tokens.astype(np.int64))[None, :-1]
    counted, one = torch.arange(seen.shape[1])[None], torch.zeros_like(seen)
    with torch.no_grad():
        found = critic(model, {"tokens": seen, "positions": counted, "doc_ids": one})[0, prompt - 1 :]
    return found.double().numpy()


def test_what_the_head_reads_makes_the_logits(plan: Plan, model: GPT) -> None:
    for kernels in ("cpu", "torch"):
        other = GPT(replace(plan.gpt, kernels=kernels))
        other.load_state_dict(model.state_dict())
        tokens = torch.randint(0, plan.gpt.vocab_size, (3, 20))
        where = (torch.arange(20).repeat(3, 1), torch.zeros_like(tokens))
        torch.testing.assert_close(other.head(other.hidden(tokens, *where)), model(tokens), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("value", ["head", "network"])
def test_the_loss_of_packed_rollouts_is_that_of_each_one_alone(plan: Plan, model: GPT, value: str) -> None:
    """Against plain sums over the tokens of each rollout."""
    options = options_of(plan, value=value, value_weight=3.0)
    critic = critic_of(plan, options)
    kept, rng = random_kept(3, 9, 64, plan.gpt.vocab_size), np.random.default_rng(5)
    columns = {name: rng.normal(size=len(kept.tokens)).astype(np.float32) for name in ("advantages", "returns")}
    (batch,) = minibatches(kept._replace(**columns), 1, 64, np.uint64(5))
    loss, _, found = objective_of(options, 64, critic)(model, batch)
    squares, errors, num = [], [], 0
    for k, prompt in enumerate(kept.prompts):
        tokens = kept.tokens[kept.offsets[k] : kept.offsets[k + 1]]
        written = slice(kept.offsets[k] + prompt, kept.offsets[k + 1])
        ids = torch.from_numpy(tokens.astype(np.int64))
        with torch.no_grad():
            new = model(ids[None, :-1])[0, prompt - 1 :].log_softmax(-1).gather(1, ids[prompt:, None])[:, 0].numpy()
        squares += list((new - kept.old[written] - 0.5 * columns["advantages"][written]) ** 2)
        errors += list((values_alone(model, critic, tokens, prompt) - columns["returns"][written]) ** 2)
        num += len(new)
    assert num > 100
    assert float(loss.detach()) == pytest.approx(sum(squares) / num + 3.0 * sum(errors) / num / 2, rel=1e-4)
    assert float(found["loss_policy"]) == pytest.approx(sum(squares) / num, rel=1e-4)
    loss.backward()
    trained = {name for name, p in critic.named_parameters() if p.grad is not None and bool(p.grad.any())}
    assert any(name.startswith("trunk") for name in trained) == (value == "network")
    assert "head.weight" in trained


@pytest.mark.parametrize("padding", [False, True])
def test_advantages_are_those_of_a_walk_over_each_rollout(plan: Plan, model: GPT, padding: bool) -> None:
    """Reward at the last token, a price for leaving the reference at each, GAE from the end, whitened together."""
    options = options_of(plan, whiten_padding=padding, kl_weight=0.2, gamma=0.9, lam=0.8, value="network")
    critic = critic_of(plan, options)
    for parameter in critic.reference.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    kept = random_kept(7, 11, 64, plan.gpt.vocab_size)
    rewards = np.arange(11) % 3 / 2
    found, metrics = with_advantages(kept, rewards, model, critic, options, 64)
    raw, returns, divergences = [], [], []
    longest = int((np.diff(kept.offsets) - kept.prompts).max())
    for k, prompt in enumerate(kept.prompts):
        tokens = kept.tokens[kept.offsets[k] : kept.offsets[k + 1]]
        ids = torch.from_numpy(tokens.astype(np.int64))
        with torch.no_grad():
            scores = critic.reference(ids[None, :-1])[0, prompt - 1 :].log_softmax(-1)
        ref = scores.gather(1, ids[prompt:, None])[:, 0].double().numpy()
        old = kept.old[kept.offsets[k] + prompt : kept.offsets[k + 1]].astype(np.float64)
        values = values_alone(model, critic, tokens, prompt)
        paid = -0.2 * (old - ref)
        paid[-1] += rewards[k]
        divergences += list(np.exp(ref - old) + old - ref - 1)
        here, after, walked = 0.0, 0.0, []
        for t in reversed(range(len(values))):
            here = paid[t] + 0.9 * after - values[t] + 0.9 * 0.8 * here
            after = values[t]
            walked.append(here)
        walked = walked[::-1]
        returns += list(np.array(walked) + values)
        raw.append(np.pad(walked, (0, longest - len(walked))) if padding else np.array(walked))
    together = np.concatenate(raw)
    whitened = (together - together.mean()) / np.sqrt(together.var(ddof=1) + 1e-8)
    written = np.arange(len(kept.tokens)) >= np.repeat(kept.offsets[:-1] + kept.prompts, np.diff(kept.offsets))
    counted = np.concatenate([np.arange(longest) < n for n in np.diff(kept.offsets) - kept.prompts])
    np.testing.assert_allclose(found.advantages[written], whitened[counted] if padding else whitened, atol=1e-4)
    np.testing.assert_allclose(found.returns[written], returns, atol=1e-4)
    assert metrics["kl"] == pytest.approx(np.mean(divergences), rel=1e-4)
    assert np.array_equal(found.old, kept.old)


def test_the_released_form_compares_with_the_reference(plan: Plan, model: GPT) -> None:
    from sos.improve.values import logprobs

    options = options_of(plan, anchor="reference")
    critic = critic_of(plan, options)
    for parameter in critic.reference.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    kept = random_kept(2, 8, 64, plan.gpt.vocab_size)
    found, _ = with_advantages(kept, np.ones(8), model, critic, options, 64)
    assert np.array_equal(found.old, logprobs(critic.reference, kept, 64))
    assert alignment_options(options).anchor == "reference"


def test_the_weight_of_the_divergence_adapts_and_the_reference_moves_at_a_plateau(plan: Plan, model: GPT) -> None:
    options = options_of(plan, kl_weight=0.1, kl_target=0.5, kl_horizon=100, plateau=2)
    critic = critic_of(plan, options)
    with torch.no_grad():
        model.embed.weight.add_(0.01)
    rewards = [0.1, 0.2, 0.3, 0.4, 0.35, 0.3]  # the last two are no better than the two before
    moved = []
    for number, reward in enumerate(rewards):
        moved.append(critic.note(model, reward, 2.0, 50))
        copy = critic_of(plan, options)
        copy.load_state_dict(critic.state_dict())
        assert (copy.kl_weight, copy.rewards) == (critic.kl_weight, critic.rewards)
        assert critic.kl_weight == pytest.approx(0.1 * 1.1 ** (number + 1))  # by at most 20% of 50 / 100
    assert moved == [False] * 5 + [True]
    assert critic.rewards == []
    assert equal(critic.reference.state_dict(), model.state_dict())
    assert not equal(plan.start.state_dict, model.state_dict())


def test_fewer_nodes_are_worth_more(plan: Plan, model: GPT) -> None:
    chosen = task(plan, problems=32, reward="nodes", most_nodes=10)
    problems = draw(chosen, 0)
    rollouts = write(chosen, model, problems, 0)
    experience = verified(chosen, problems, rollouts, 0)
    plain = verified(task(plan, problems=32), problems, rollouts, 0)
    right = plain.rewards > 0
    assert 5 <= right.sum() < 256
    assert not experience.rewards[~right].any()
    np.testing.assert_allclose(experience.rewards[right], np.maximum(0, 1 - plain.nodes[right] / 10))
    assert len(set(experience.rewards)) >= 2
    # A problem that was solved every time tells nothing by that, however many nodes it took.
    made = Practice(task(plan, problems=32, reward="nodes", most_nodes=1000), model).make(0)
    assert made.metrics["kept"] == Practice(task(plan, problems=32), model).make(0).metrics["kept"]


def test_a_stage_goes_on_with_its_values_its_reference_and_its_weight(
    base: RunFolder, tmp_path: Path, stop_at: Callable[[int], None]
) -> None:
    """To the bit, behind a reset of the reference; and a checkpoint without them is no checkpoint of the run."""
    words = [f"start={base.path}", "improve=apa", "improve.problems=32", "improve.rounds=4", "improve.plateau=1"]
    words += ["improve.minibatches=1", "trainer.checkpoint_every=1", "optim.lr=0.003", "improve.kl_horizon=100"]
    stop_at(-1)
    whole = train(tmp_path / "whole", *words)
    stop_at(5)
    with pytest.raises(Interrupted):
        train(tmp_path / "stopped", *words)
    stop_at(-1)
    checkpoint = RunFolder(tmp_path / "stopped").checkpoint
    content = torch.load(checkpoint, weights_only=True)
    critic = {name for name in content["state_dict"] if name.startswith("critic.")}
    assert {name.split(".")[1] for name in critic} == {"trunk", "head", "reference", "_extra_state"}
    gone_on = train(tmp_path / "stopped", *words)
    assert equal(weights(whole), weights(gone_on))
    states = [torch.load(run.checkpoint, weights_only=True) for run in (whole, gone_on)]
    for name in critic:
        assert torch.equal(*(state["state_dict"][name] for state in states)), name
    assert any(name.startswith("critic.") for name in states[0]["optimizer_states"][0]["state"])
    tags = points(whole.path)
    assert sum(tags["improve/reset"].values()) >= 1
    assert len(set(tags["improve/kl_weight"].values())) == 4
    del content["state_dict"]["critic.head.weight"]
    torch.save(content, tmp_path / "less.ckpt")
    with pytest.raises(UserError, match=r"less\.ckpt cannot be continued: state_dict lacks critic\.head\.weight"):
        train(tmp_path / "less", *words, f"resume={tmp_path / 'less.ckpt'}")
    # What it leaves behind is a model like any other.
    assert Plan.of(compose([*TASK, f"start={whole.path}", "improve=grpo"])).start is not None


def test_kept_columns_follow_their_rollouts() -> None:
    kept = random_kept(1, 6, 30, 100)
    numbers = np.arange(len(kept.tokens), dtype=np.float32)
    part = kept._replace(advantages=numbers, returns=-numbers).part(np.array([4, 1]))
    assert isinstance(part, Kept)
    expected = np.concatenate([numbers[kept.offsets[k] : kept.offsets[k + 1]] for k in (4, 1)])
    assert np.array_equal(part.advantages, expected)
    assert np.array_equal(part.returns, -expected)
    assert np.array_equal(part.old, kept.old[expected.astype(int)])
