"""Tests of the decoder without modules: it decodes any float32 GPT as the modules do, and says which models it is not for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from sos.model.cpu_decode import CPUDecoder
from sos.model.gpt import GPT, GPTConfig
from sos.model.rollout import rollout

VOCAB, CONTEXT, EOS = 37, 70, 2
SHAPES: dict[str, dict[str, Any]] = {
    "plain": {},
    "qk_norm": {"qk_norm": True},
    "tied": {"tie_embeddings": True},
    "one layer, one head": {"num_layers": 1, "num_heads": 1, "width": 32},
    "heads narrower than a vector": {"num_heads": 8, "width": 48},
    "heads wider than a vector": {"num_heads": 2, "width": 88, "qk_norm": True},
    "odd sizes": {"num_layers": 3, "num_heads": 3, "width": 66, "mlp_ratio": 2.5, "rope_theta": 100.0},
    "dropout, which decoding leaves out": {"dropout": 0.5},
}


def make_model(**overrides: Any) -> GPT:
    """Return a random model with logits far apart, so that last bits do not decide a token."""
    torch.manual_seed(3)
    shape = {"num_layers": 2, "num_heads": 2, "width": 32, "tie_embeddings": False} | overrides
    model = GPT(GPTConfig(vocab_size=VOCAB, context=CONTEXT, **shape)).eval()
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
    assert CPUDecoder.fits(model)
    fast = rollout(model, prompts, **options)
    monkeypatch.setattr(CPUDecoder, "fits", staticmethod(lambda model: False))
    slow = rollout(model, prompts, **options)
    assert any(a.finished for a in slow) or temperature == 0
    for a, b in zip(fast, slow, strict=True):
        np.testing.assert_array_equal(a.tokens, b.tokens)
        assert (a.num_prompt, a.finished) == (b.num_prompt, b.finished)
        np.testing.assert_allclose(a.logprobs, b.logprobs, atol=2e-3)


def test_it_is_not_for_other_models() -> None:
    assert not CPUDecoder.fits(make_model().to(torch.bfloat16))
    hooked = make_model()
    hooked.blocks[0].register_forward_hook(lambda *_: None)
    assert not CPUDecoder.fits(hooked)
    changed = make_model()
    changed.norm = torch.nn.LayerNorm(32)  # type: ignore[assignment]
    assert not CPUDecoder.fits(changed)
    with torch.autocast("cpu", torch.bfloat16):
        assert not CPUDecoder.fits(make_model())
