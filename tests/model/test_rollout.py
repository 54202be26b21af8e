"""Tests of rollouts: each problem is answered as if it were alone."""

from __future__ import annotations

import time
from itertools import count, pairwise
from typing import Any

import numpy as np
import pytest
import torch
from naive.rollout import assert_same, naive_greedy

from sos.model.cpu import passes
from sos.model.gpt import GPT
from sos.model.rollout import Rollout, rollout
from sos.model.shape import GPTConfig

VOCAB, CONTEXT, EOS = 29, 64, 2


@pytest.fixture(scope="module")
def model() -> GPT:
    """A random float32 model with logits far apart, so that last bits do not decide a token."""
    torch.manual_seed(0)
    model = GPT(GPTConfig(vocab_size=VOCAB, context=CONTEXT, num_layers=2, num_heads=2, width=32, tie_embeddings=False))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("out.weight", "down.weight")):  # zero at first, which would hide the blocks
                parameter.normal_(std=0.2)
        model.head.weight.mul_(30)
        model.head.weight[EOS] *= 1.3  # so that many rollouts end by themselves
    return model


@pytest.fixture(scope="module")
def prompts() -> list[np.ndarray]:
    """Forty prompts of 1 to 12 tokens, uint16 as on disk."""
    rng = np.random.default_rng(1)
    return [rng.integers(3, VOCAB, rng.integers(1, 13)).astype(np.uint16) for _ in range(40)]


@pytest.fixture(scope="module")
def naive(model: GPT, prompts: list[np.ndarray]) -> list[Rollout]:
    """The oracle's rollouts of all prompts, budget 40."""
    return [naive_greedy(model, prompt, 40) for prompt in prompts]


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_greedy_rollouts_are_those_of_the_oracle(
    model: GPT, prompts: list[np.ndarray], naive: list[Rollout], batch_size: int
) -> None:
    assert_same(rollout(model, prompts, max_tokens=40, batch_size=batch_size), naive)


def test_the_oracle_covers_both_endings(naive: list[Rollout]) -> None:
    assert 5 < sum(r.finished for r in naive) < 35


def test_a_rollout_has_the_documented_fields(model: GPT, prompts: list[np.ndarray]) -> None:
    for prompt, result in zip(prompts, rollout(model, prompts, max_tokens=40, batch_size=8), strict=True):
        assert result.tokens.dtype == np.int32
        assert result.logprobs.dtype == np.float32
        np.testing.assert_array_equal(result.tokens[: result.num_prompt], prompt)
        written = result.tokens[result.num_prompt :]
        assert len(result.logprobs) == len(written)
        assert (result.logprobs <= 0).all()
        assert result.finished == (written[-1] == EOS)
        assert EOS not in written[:-1]
        assert result.finished or len(written) == 40


def test_budgets_and_the_context_bound_each_rollout(model: GPT, prompts: list[np.ndarray]) -> None:
    budgets = np.random.default_rng(2).integers(0, 90, len(prompts))
    budgets[:3] = 0, 1, 1000
    results = rollout(model, prompts, max_tokens=budgets, eos_id=-1, batch_size=7)
    for prompt, budget, result in zip(prompts, budgets, results, strict=True):
        assert len(result.logprobs) == min(budget, CONTEXT - len(prompt))
        assert not result.finished
    full = np.full(CONTEXT, 5)
    assert len(rollout(model, [full], max_tokens=9)[0].tokens) == CONTEXT
    assert rollout(model, [], max_tokens=9) == []


def test_a_sampled_rollout_depends_on_its_own_stream_alone(model: GPT, prompts: list[np.ndarray]) -> None:
    kwargs: dict[str, Any] = {"max_tokens": 30, "temperature": 1.5, "seed": 3}
    reference = rollout(model, prompts, **kwargs, batch_size=64)
    for batch_size in (1, 3, 64):
        assert_same(rollout(model, prompts, **kwargs, batch_size=batch_size), reference)
    order = np.random.default_rng(3).permutation(len(prompts))[:11]
    shuffled = rollout(model, [prompts[i] for i in order], **kwargs, problem_indices=order, batch_size=4)
    assert_same(shuffled, [reference[i] for i in order])


def test_seed_problem_and_sample_each_change_the_draws(model: GPT) -> None:
    def draw(**kwargs: Any) -> list[tuple[int, ...]]:
        results = rollout(model, [np.array([1, 5])] * 4, max_tokens=30, temperature=3.0, eos_id=-1, **kwargs)
        return [tuple(result.tokens) for result in results]

    by_problem = draw()
    by_sample = draw(problem_indices=np.zeros(4, int), sample_indices=np.arange(4))
    assert len(set(by_problem)) == len(set(by_sample)) == 4
    assert by_problem[0] == by_sample[0]
    assert by_problem[1] != by_sample[1]
    assert draw(seed=1)[0] != by_problem[0]
    assert len(set(draw(problem_indices=np.zeros(4, int)))) == 1


def test_progress_counts_up_to_all_problems(model: GPT, prompts: list[np.ndarray]) -> None:
    calls: list[tuple[int, int]] = []
    budgets = np.arange(len(prompts)) % 5
    rollout(model, prompts, max_tokens=budgets, batch_size=6, progress=lambda done, total: calls.append((done, total)))
    assert calls[-1] == (40, 40)
    assert all(total == 40 for _, total in calls)
    assert all(a < b for (a, _), (b, _) in pairwise(calls))


def test_no_rollout_is_begun_when_time_is_up(
    model: GPT, prompts: list[np.ndarray], naive: list[Rollout], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert_same(rollout(model, prompts, max_tokens=40, batch_size=6, until=0.0), naive[:6])
    assert_same(rollout(model, prompts, max_tokens=40, batch_size=6, until=float("inf")), naive)
    clock = count()
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))  # a second for every problem that is begun
    found = rollout(model, prompts, max_tokens=40, batch_size=6, until=11.0)
    assert_same(found, naive[: 6 + 11])


def test_threads_share_the_problems(
    model: GPT, prompts: list[np.ndarray], naive: list[Rollout], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passes, "num_threads", lambda: 3)
    calls: list[int] = []
    found = rollout(model, prompts, max_tokens=40, batch_size=18, progress=lambda done, _: calls.append(done))

    def fail(*_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rollout(model, prompts, max_tokens=40, batch_size=18, progress=fail)
    assert_same(found, naive)
    assert calls[-1] == 40
    assert all(a < b for a, b in pairwise(calls))


@pytest.mark.parametrize("temperature", [0.0, 1.5])
def test_any_number_of_threads_writes_the_same_bits(
    temperature: float, model: GPT, prompts: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []
    for num in (1, 2, 4):
        monkeypatch.setattr(passes, "num_threads", lambda num=num: num)
        assert len(passes.passes(model, 24, CONTEXT, EOS, temperature)) == num
        found = rollout(model, prompts, max_tokens=40, batch_size=24, temperature=temperature, seed=5)
        written.append([(r.tokens.tobytes(), r.logprobs.tobytes(), r.finished) for r in found])
    assert written[0] == written[1] == written[2]
    assert len(set(written[0])) == len(prompts)


def test_the_training_mode_comes_back_and_dropout_is_off(prompts: list[np.ndarray]) -> None:
    torch.manual_seed(1)
    model = GPT(GPTConfig(vocab_size=VOCAB, context=CONTEXT, num_layers=1, num_heads=2, width=32, dropout=0.5)).train()
    assert_same(rollout(model, prompts[:4], max_tokens=8), rollout(model, prompts[:4], max_tokens=8))
    assert model.training


def test_autocast_and_bfloat16_weights_are_rolled_out(model: GPT, prompts: list[np.ndarray]) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        assert len(rollout(model, prompts[:4], max_tokens=8, eos_id=-1, device="cpu")[0].logprobs) == 8
    torch.manual_seed(2)
    small = GPT(GPTConfig(vocab_size=VOCAB, context=CONTEXT, num_layers=1, num_heads=2, width=32)).bfloat16()
    assert len(rollout(small, prompts[:4], max_tokens=8, eos_id=-1, temperature=1.0)[0].logprobs) == 8


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prompts": [np.ones(CONTEXT + 1, int)]}, rf"prompt 0 has {CONTEXT + 1} tokens.*{CONTEXT}"),
        ({"prompts": [np.ones(0, int)]}, r"prompt 0 .*\(0,\)"),
        ({"prompts": [np.array([3]), np.array([VOCAB])]}, f"prompt 1 .*{VOCAB}"),
        ({"max_tokens": -1}, "max_tokens.*-1"),
        ({"max_tokens": np.array([1, 2])}, r"max_tokens.*\(2,\)"),
        ({"temperature": -0.5}, "temperature.*-0.5"),
        ({"temperature": float("nan")}, "temperature.*nan"),
        ({"batch_size": 0}, "batch_size.*0"),
        ({"sample_indices": np.array([0, 1])}, r"sample_indices.*\(2,\)"),
        ({"problem_indices": np.array([-4])}, "problem_indices.*-4"),
    ],
)
def test_a_bad_argument_is_refused_with_its_value(model: GPT, change: dict, message: str) -> None:
    arguments = {"prompts": [np.array([1, 3])], "max_tokens": 4} | change
    with pytest.raises(ValueError, match=message):
        rollout(model, arguments.pop("prompts"), **arguments)
