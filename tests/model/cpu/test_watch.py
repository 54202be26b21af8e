"""Tests of who computes: kernels stand in for modules only where nobody could tell, whatever has changed."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from gpts import make_model, random_documents, tokens_of
from torch import nn
from torch.nn.modules.module import register_module_forward_hook

from sos.errors import UserError
from sos.model import cpu
from sos.model.cpu.watch import obstacle
from sos.model.gpt import GPT
from sos.model.rollout import rollout

POSITIONS, DOC_IDS = random_documents(2, 20, 9)


def losses_of(model: GPT) -> torch.Tensor:
    tokens = tokens_of(2, 20)
    return model(tokens, POSITIONS, DOC_IDS, tokens.roll(-1, 1))


class Doubled(nn.Linear):
    """Somebody's own layer."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(x)


def doubled(old: nn.Linear) -> Doubled:
    new = Doubled(old.in_features, old.out_features, bias=False)
    new.load_state_dict(old.state_dict())
    return new


def set_mlp(model: GPT) -> None:
    mlp: Any = model.blocks[1].mlp
    mlp.down = doubled(mlp.down)


def set_bias(model: GPT) -> None:
    model.blocks[0].mlp.down.bias = nn.Parameter(torch.ones(32))  # type: ignore[union-attr]


CHANGES: dict[str, tuple[Callable[[GPT], Any], str]] = {
    "a forward hook": (lambda m: m.blocks[0].mlp.register_forward_hook(lambda *_: None), "hooks, and a MLP"),
    "a hook before": (lambda m: m.head.register_forward_pre_hook(lambda *_: None), "hooks, and a Linear"),
    "a backward hook": (lambda m: m.norm.register_full_backward_hook(lambda *_: None), "hooks, and a RMSNorm"),
    "a hook before backward": (lambda m: m.register_full_backward_pre_hook(lambda *_: None), "hooks, and a GPT"),
    "another layer": (set_mlp, "Doubled"),
    "another norm": (lambda m: setattr(m, "norm", nn.LayerNorm(32)), "LayerNorm"),
    "a bias": (set_bias, "bias of Linear"),
    "bfloat16": (lambda m: m.to(torch.bfloat16), "bfloat16"),
    "float64 in one place": (lambda m: m.blocks[1].attention.out.double(), "float64"),
    "dropout in training": (lambda m: m.train(), "dropout=0.5"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_kernels_step_back_as_soon_as_they_cannot_compute_the_model(change: str) -> None:
    """After they were used once, so that the model had been looked at before."""
    model = make_model(dropout=0.5)
    assert cpu.available(model)
    losses_of(model)
    make, words = CHANGES[change]
    make(model)
    assert words in obstacle(model)
    assert not cpu.available(model)
    model.config.kernels = "cpu"
    with pytest.raises(UserError, match=rf"model\.kernels=cpu.*{words}"):
        losses_of(model)


def test_they_come_back_when_a_hook_is_gone() -> None:
    model = make_model()
    for _ in range(2):
        handle = model.blocks[0].register_forward_hook(lambda *_: None)
        assert not cpu.available(model)
        handle.remove()
        assert cpu.available(model)
    handle = register_module_forward_hook(lambda *_: None)
    assert not cpu.available(model)
    handle.remove()
    assert cpu.available(model)
    with torch.autocast("cpu", torch.bfloat16):
        assert not cpu.available(model)


def test_a_hook_sees_every_call_of_training_and_of_rollouts() -> None:
    model, calls = make_model(), []
    before = losses_of(model)
    model.blocks[1].mlp.register_forward_hook(lambda module, inputs, output: calls.append(output.shape))
    torch.testing.assert_close(losses_of(model)[DOC_IDS >= 0], before[DOC_IDS >= 0], atol=1e-4, rtol=1e-5)
    assert calls == [(2, 20, 32)]
    rollout(model, [np.array([3, 4])], max_tokens=3)
    assert len(calls) > 1


def test_what_a_replaced_layer_computes_counts() -> None:
    model = make_model()
    before = losses_of(model)
    set_mlp(model)
    assert (losses_of(model) - before).abs().max() > 0.01
    again = make_model()
    again.blocks[1].mlp.down.weight.data *= 2
    torch.testing.assert_close(losses_of(model)[DOC_IDS >= 0], losses_of(again)[DOC_IDS >= 0], atol=1e-4, rtol=1e-4)


def test_a_copy_is_looked_at_by_itself() -> None:
    model = make_model()
    assert cpu.available(model)
    other = copy.deepcopy(model)
    other.blocks[0].register_forward_hook(lambda *_: None)
    assert cpu.available(model)
    assert not cpu.available(other)


def test_the_modules_compute_where_the_key_says_so() -> None:
    model = make_model(kernels="torch")
    assert not cpu.available(model)
    assert obstacle(model) == ""
