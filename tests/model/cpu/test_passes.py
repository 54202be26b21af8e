"""Tests of rollouts without modules: they write what the modules write, whatever the shape of a float32 GPT."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sizes import INTERPRETED, plain

from sos.model import cpu
from sos.model.cpu.pass_kernels import choose_token, plan_rows, read_rows
from sos.model.cpu.passes import Passes, pack
from sos.model.gpt import GPT
from sos.model.rollout import rollout
from sos.model.shape import GPTConfig
from sos.model.steps import choose_tokens

VOCAB, CONTEXT, EOS = 37, 70, 2
NUM = plain(50, 3)
SHAPES: dict[str, dict[str, Any]] = {
    "plain": {},
    "qk_norm": {"qk_norm": True},
    "tied": {"tie_embeddings": True},
    "one layer, one head": {"num_layers": 1, "num_heads": 1, "width": 32},
    "heads narrower than a vector": {"num_heads": 8, "width": 48},
    "heads wider than a vector": {"num_heads": 2, "width": 88, "qk_norm": True},
    "shared keys and values": {"num_heads": 4, "num_kv_heads": 2, "width": 48, "qk_norm": True},
    "one head of keys and values": {"num_heads": 3, "num_kv_heads": 1, "width": 66},
    "odd sizes": {"num_layers": 3, "num_heads": 3, "width": 66, "mlp_ratio": 2.5, "rope_theta": 100.0},
    "dropout, which rollouts leave out": {"dropout": 0.5},
}

CHECKED = plain(list(SHAPES), list(SHAPES)[5:8:2])


def make_model(**overrides: Any) -> GPT:
    """Return a random model with logits far apart, so that last bits do not decide a token."""
    torch.manual_seed(3)
    shape = {"context": CONTEXT, "num_layers": 2, "num_heads": 2, "width": 32, "tie_embeddings": False} | overrides
    model = GPT(GPTConfig(vocab_size=VOCAB, **shape)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("out.weight", "down.weight")):
                parameter.normal_(std=0.2)
            elif "norm" in name:
                parameter.uniform_(0.5, 1.5)
        model.norm.weight.mul_(20)
    return model


@pytest.mark.parametrize("temperature", [0.0, pytest.param(1.5, marks=pytest.mark.slow)])
@pytest.mark.parametrize("shape", CHECKED)
def test_they_write_what_the_modules_write(shape: str, temperature: float) -> None:
    model = make_model(**SHAPES[shape])
    rng = np.random.default_rng(4)
    prompts = [rng.integers(3, VOCAB, rng.integers(1, plain(30, 8))) for _ in range(NUM)]
    budgets = rng.integers(1, plain(60, 5), NUM)
    options: dict[str, Any] = {"max_tokens": budgets, "temperature": temperature, "batch_size": 9}
    assert cpu.available(model)
    fast = rollout(model, prompts, **options)
    model.config.kernels = "torch"
    assert not cpu.available(model)
    slow = rollout(model, prompts, **options)
    assert any(a.finished for a in slow) or temperature == 0 or INTERPRETED
    for a, b in zip(fast, slow, strict=True):
        np.testing.assert_array_equal(a.tokens, b.tokens)
        assert (a.num_prompt, a.finished) == (b.num_prompt, b.finished)
        np.testing.assert_allclose(a.logprobs, b.logprobs, atol=2e-3)


@pytest.mark.parametrize("shape", CHECKED)
@torch.inference_mode()
def test_its_logits_are_those_of_the_model(shape: str) -> None:
    """Prompts of all lengths around a vector and around four of them, read a few rows at a time."""
    model = make_model(context=200, **SHAPES[shape])
    lengths = np.array(plain([1, 2, 15, 16, 17, 33, 63, 64, 65, 129, 200], [1, 17]))
    rng = np.random.default_rng(5)
    prompts = [rng.integers(3, VOCAB, n) for n in lengths]
    passes = Passes(pack(model, 200), len(prompts), 200, EOS, 0.0)
    passes.start(np.arange(len(prompts)), prompts, lengths, np.zeros(len(prompts), np.uint64))
    batch, buffers, found = passes.batch, passes.buffers, 0
    while passes.live.any():
        num_rows, num_wanted = plan_rows(batch)
        read_rows(passes.weights, buffers, batch, num_rows, num_wanted)
        logits = buffers.logits_RV.reshape(-1, 48)[:, :VOCAB]
        for i in range(num_wanted):
            slot = batch.row_slots[batch.wanted[i]]
            expected = model(torch.from_numpy(prompts[slot])[None])[0, -1].numpy()
            np.testing.assert_allclose(logits[i], expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
            passes.live[slot] = False
            found += 1
    assert found == len(prompts)


@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_a_token_is_chosen_as_by_the_steps(temperature: float) -> None:
    """Among them draws at both ends, logits that are equal, and one that is impossible."""
    rng, num = np.random.default_rng(6), 21
    draws = np.array([0.0, 1 - 2.0**-53, *rng.random(30)])
    chosen = set()
    for draw in draws:
        logits = np.zeros(32, np.float32)
        logits[:num] = rng.normal(size=num).round(1)
        logits[5] = -np.inf
        expected = choose_tokens(
            torch.from_numpy(logits[None, :num].copy()), temperature, torch.tensor([draw]) if temperature else None
        )
        token, logprob = choose_token(logits, num, temperature, draw, np.zeros(32))
        assert token == expected[0].item()
        assert logprob == pytest.approx(expected[1].item(), abs=1e-5)
        chosen.add(token)
    assert len(chosen) > 5
