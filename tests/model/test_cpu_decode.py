"""Tests of the decoder without modules: it decodes any float32 GPT as the modules do, and says which models it is not for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from sos.model.cpu.decode_kernels import plan_rows, read_rows
from sos.model.cpu.decoder import CPUDecoder, pack
from sos.model.gpt import GPT
from sos.model.rollout import rollout
from sos.model.shape import GPTConfig

VOCAB, CONTEXT, EOS = 37, 70, 2
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
    "dropout, which decoding leaves out": {"dropout": 0.5},
}


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


@pytest.mark.parametrize("temperature", [0.0, 1.5])
@pytest.mark.parametrize("shape", SHAPES)
def test_it_decodes_as_the_modules_do(shape: str, temperature: float, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model(**SHAPES[shape])
    rng = np.random.default_rng(4)
    prompts = [rng.integers(3, VOCAB, rng.integers(1, 30)) for _ in range(50)]
    options: dict[str, Any] = {"max_tokens": rng.integers(1, 60, 50), "temperature": temperature, "batch_size": 9}
    assert model.fuses()
    fast = rollout(model, prompts, **options)
    monkeypatch.setattr(GPT, "fuses", lambda model: False)
    slow = rollout(model, prompts, **options)
    assert any(a.finished for a in slow) or temperature == 0
    for a, b in zip(fast, slow, strict=True):
        np.testing.assert_array_equal(a.tokens, b.tokens)
        assert (a.num_prompt, a.finished) == (b.num_prompt, b.finished)
        np.testing.assert_allclose(a.logprobs, b.logprobs, atol=2e-3)


@pytest.mark.parametrize("shape", SHAPES)
@torch.inference_mode()
def test_its_logits_are_those_of_the_model(shape: str) -> None:
    """Prompts of all lengths around a vector and around four of them, read a few rows at a time."""
    model = make_model(context=200, **SHAPES[shape])
    lengths = np.array([1, 2, 15, 16, 17, 33, 63, 64, 65, 129, 200])
    rng = np.random.default_rng(5)
    prompts = [rng.integers(3, VOCAB, n) for n in lengths]
    decoder = CPUDecoder(pack(model, 200), len(prompts), 200, EOS, 0.0)
    decoder.start(np.arange(len(prompts)), prompts, lengths, np.zeros(len(prompts), np.uint64))
    batch, scratch, found = decoder.batch, decoder.scratch, 0
    while decoder.live.any():
        num_rows, num_wanted = plan_rows(batch)
        read_rows(decoder.weights, scratch, batch, num_rows, num_wanted)
        logits = scratch.logits_RV.reshape(-1, 48)[:, :VOCAB]
        for i in range(num_wanted):
            slot = batch.row_slots[batch.wanted[i]]
            expected = model(torch.from_numpy(prompts[slot])[None])[0, -1].numpy()
            np.testing.assert_allclose(logits[i], expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
            decoder.live[slot] = False
            found += 1
    assert found == len(prompts)


def test_it_is_not_for_other_models() -> None:
    assert not make_model().to(torch.bfloat16).fuses()
    hooked = make_model()
    hooked.blocks[0].register_forward_hook(lambda *_: None)
    assert not hooked.fuses()
    changed = make_model()
    changed.norm = torch.nn.LayerNorm(32)  # type: ignore[assignment]
    assert not changed.fuses()
    with torch.autocast("cpu", torch.bfloat16):
        assert not make_model().fuses()
