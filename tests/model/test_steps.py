"""Tests of rollouts in static steps; graphs of the steps need CUDA, all else runs without."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from naive.rollout import assert_same, naive_greedy
from torch.nn.attention.flex_attention import BlockMask

from sos.model import cache as cache_module
from sos.model import gpt as gpt_module
from sos.model import steps as steps_module
from sos.model.attention import attention
from sos.model.cache import KVCache
from sos.model.gpt import GPT
from sos.model.rollout import rollout
from sos.model.shape import GPTConfig
from sos.model.steps import Steps, choose_tokens, uniforms
from sos.rng import stream_key, uniform

VOCAB, CONTEXT, EOS = 29, 150, 2


def make_model(**overrides: Any) -> GPT:
    """Return a random model with logits far apart, so that last bits do not decide a token."""
    torch.manual_seed(0)
    shape = {"num_layers": 2, "num_heads": 2, "width": 32, "tie_embeddings": False} | overrides
    model = GPT(GPTConfig(vocab_size=VOCAB, context=CONTEXT, **shape)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("out.weight", "down.weight")):
                parameter.normal_(std=0.2)
        model.head.weight.mul_(30)
        model.head.weight[EOS] *= 1.2
    return model


def make_prompts() -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    return [rng.integers(3, VOCAB, rng.integers(1, 100)).astype(np.uint16) for _ in range(12)]


@pytest.mark.parametrize("dtype", [torch.float32, pytest.param(torch.float64, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "shape",
    [{}, {"qk_norm": True, "num_heads": 1}, {"width": 40, "num_layers": 1}, {"num_heads": 4, "num_kv_heads": 2}],
)
def test_steps_write_what_is_written_without_a_cache(dtype: torch.dtype, shape: dict[str, Any]) -> None:
    model, prompts = make_model(kernels="torch", **shape).to(dtype), make_prompts()
    budgets = np.random.default_rng(2).integers(1, 40, len(prompts))
    expected = [naive_greedy(model, *one) for one in zip(prompts, budgets, strict=True)]
    for batch_size in (3, 12):
        assert_same(rollout(model, prompts, max_tokens=budgets, batch_size=batch_size), expected)


@pytest.mark.parametrize("shape", [pytest.param({}, marks=pytest.mark.slow), {"num_heads": 4, "num_kv_heads": 2}])
def test_flex_attention_reads_of_each_slot_what_is_there(
    monkeypatch: pytest.MonkeyPatch, shape: dict[str, Any]
) -> None:
    """Slots of many lengths, on both sides of a block's edge, with what would be seen if a step read too much."""
    prompts = [*make_prompts(), np.arange(127) % 20 + 3, np.arange(128) % 20 + 3]
    model = make_model(kernels="torch", **shape)
    expected = rollout(model, prompts, max_tokens=30, batch_size=5)
    init = KVCache.__init__

    def left_over(cache: KVCache, *arguments: Any) -> None:
        init(cache, *arguments)
        cache.k_LBKSD.fill_(1e3)
        cache.v_LBKSD.fill_(1e3)

    masks = []

    def seen(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | BlockMask | None) -> torch.Tensor:
        if isinstance(mask, BlockMask):
            masks.append(mask)
        return attention(q, k, v, mask)

    monkeypatch.setattr(KVCache, "__init__", left_over)
    monkeypatch.setattr(cache_module, "attention", seen)
    for module in (gpt_module, steps_module):
        monkeypatch.setattr(module, "flex_on", lambda device: True)
    assert_same(rollout(model, prompts, max_tokens=30, batch_size=5), expected)
    num_blocks = torch.stack([mask.kv_num_blocks.flatten() for mask in masks])
    assert set(num_blocks.unique().tolist()) == {1, 2}  # of 128: each slot its own
    assert (num_blocks.amin(1) < num_blocks.amax(1)).any()


@pytest.mark.parametrize("passes", [1, 3])
def test_sampled_steps_write_what_kernels_write(monkeypatch: pytest.MonkeyPatch, passes: int) -> None:
    model, prompts = make_model(), make_prompts()
    options: dict[str, Any] = {"max_tokens": 60, "temperature": 1.4, "seed": 5, "batch_size": 7}
    expected = rollout(model, prompts, **options)
    assert 0 < sum(r.finished for r in expected) < len(prompts)
    model.config.kernels = "torch"
    monkeypatch.setattr(steps_module, "PASSES", passes)
    monkeypatch.setattr(steps_module, "SMALLEST_SPAN", 1)
    assert_same(rollout(model, prompts, **options), expected)


@pytest.mark.parametrize("autocast", [False, True])
@torch.inference_mode()
def test_bfloat16_takes_a_token_that_is_about_the_most_likely(autocast: bool) -> None:
    model, prompts = make_model(), make_prompts()
    if not autocast:
        model.bfloat16()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        results = rollout(model, prompts, max_tokens=30, batch_size=9)
    model.float()
    for result in results:
        logits = model(torch.from_numpy(result.tokens.astype(np.int64))[None])[0, result.num_prompt - 1 : -1]
        chosen = logits.gather(1, torch.from_numpy(result.tokens[result.num_prompt :].astype(np.int64))[:, None])[:, 0]
        assert ((logits.max(-1).values - chosen) < 0.1 * logits.std()).all()


def test_a_warming_step_changes_nothing() -> None:
    """Capture runs steps while no slot is live: the traces must go on as if it had not."""
    model, prompts = make_model(), make_prompts()[:4]
    lengths = np.array([len(prompt) for prompt in prompts])
    written = []
    with torch.inference_mode():
        for warm in (False, True):
            steps = Steps(model, 4, CONTEXT, -1, 0.0)
            steps.start(np.arange(4), prompts, lengths + 20, np.zeros(4, np.uint64))
            while steps.live.any():
                if warm:
                    live_B = steps.live_B.clone()
                    steps.live_B.zero_()
                    steps._step(CONTEXT)
                    steps.live_B.copy_(live_B)
                steps.run()
            written.append(steps.results(np.arange(4)))
    for (a, p), (b, q) in zip(*written, strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(p, q)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="captures CUDA graphs")
@pytest.mark.parametrize("temperature", [0.0, 1.2])
def test_graphs_replay_the_steps(temperature: float) -> None:
    model, prompts = make_model(), make_prompts()
    options: dict[str, Any] = {"max_tokens": 100, "temperature": temperature, "batch_size": 7}
    expected = rollout(model, prompts, **options)
    assert_same(rollout(model, prompts, **options, device="cuda"), expected)
    with torch.inference_mode():
        steps = Steps(model, 3, CONTEXT, EOS, temperature)
        steps.start(np.arange(3), prompts[:3], np.full(3, CONTEXT), np.zeros(3, np.uint64))
        steps.run()
        assert steps.graphs


def test_uniforms_are_the_random_streams() -> None:
    keys, counters = np.array([stream_key(i, "test") for i in range(300)]), np.arange(300)
    found = uniforms(torch.from_numpy(keys.view(np.int64)), torch.from_numpy(counters))
    assert found.tolist() == [uniform(key, counter) for key, counter in zip(keys, counters, strict=True)]


def test_tokens_are_drawn_from_the_softmax() -> None:
    logits = torch.tensor([0.0, 1.0, -1.0, -float("inf"), 2.0])
    num = 20_000
    keys = torch.full((num,), int(stream_key(0, "test").view(np.int64)))
    tokens, logprobs = choose_tokens(logits.expand(num, 5), 0.7, uniforms(keys, torch.arange(num)))
    expected = (logits.double() / 0.7).softmax(-1)
    np.testing.assert_allclose(np.bincount(tokens, minlength=5) / num, expected, atol=0.015)
    np.testing.assert_allclose(logprobs, expected.log()[tokens], atol=1e-5)
    edges, _ = choose_tokens(logits.expand(2, 5), 0.7, torch.tensor([0.0, 1 - 2.0**-53], dtype=torch.float64))
    assert edges.tolist() == [0, 4]
