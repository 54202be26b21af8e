"""Tests of blocks and losses by kernels, forward and backward: they compute what the modules do."""

from __future__ import annotations

import pytest
import torch
from gpts import VOCAB, make_model, random_documents, tokens_of
from sizes import plain
from torch import Tensor

from sos.model import cpu
from sos.model.attention import rotary
from sos.model.cpu import pieces, threads
from sos.model.gpt import IGNORE

ROWS, TOKENS = plain((3, 900), (2, 37))
SHAPES = [
    (30, 32, {}),
    (700, 32, {"qk_norm": True, "tie_embeddings": False}),
    (100, 6, {"qk_norm": True}),
    (600, 2, {"num_heads": 3, "mlp_ratio": 0.5}),
    (300, 20, {"num_heads": 4, "num_kv_heads": 2, "qk_norm": True}),
    (90, 32, {"num_heads": 3, "num_kv_heads": 1}),
]


@pytest.mark.parametrize("num_threads", plain([1, 2], [2]))
@pytest.mark.parametrize(("longest", "head_dim", "overrides"), plain(SHAPES, SHAPES[3:5]))
def test_kernels_agree_with_the_modules(
    longest: int, head_dim: int, overrides: dict, num_threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Losses and gradients, for traces shorter and longer than a tile, at head widths of any shape, in pieces."""
    monkeypatch.setattr(pieces, "TOKENS", TOKENS + 100)
    monkeypatch.setattr(threads, "num_threads", lambda: num_threads)
    positions, doc_ids = random_documents(ROWS, TOKENS, longest)
    tokens, targets = tokens_of(ROWS, TOKENS), tokens_of(ROWS, TOKENS, seed=2)
    targets[(doc_ids < 0) | (tokens_of(ROWS, TOKENS, seed=3) < 9)] = IGNORE
    results = []
    for kernels in ("torch", "cpu"):
        settings = {"num_heads": 2, "context": TOKENS, "kernels": kernels} | overrides
        model = make_model(**settings | {"width": settings["num_heads"] * head_dim})
        assert cpu.available(model) == (kernels == "cpu")
        losses = model(tokens, positions, doc_ids, targets)
        losses.square().mean().backward()
        results.append([losses, *(parameter.grad for parameter in model.parameters())])
    for reference, packed in zip(*results, strict=True):
        torch.testing.assert_close(packed, reference, atol=1e-5 * reference.detach().abs().max().item(), rtol=1e-5)
    assert (results[1][0][targets == IGNORE] == 0).all()


def test_a_target_outside_of_the_vocabulary_is_an_error() -> None:
    positions, doc_ids = random_documents(2, 30, 12)
    targets = tokens_of(2, 30)
    targets[1, 3] = VOCAB
    with pytest.raises(IndexError, match=f"target {VOCAB} is out of bounds for a vocabulary of {VOCAB}"):
        make_model(kernels="cpu")(tokens_of(2, 30), positions, doc_ids, targets)


def test_logits_are_those_of_the_modules() -> None:
    positions, doc_ids = random_documents(2, 30, 12)
    tokens = tokens_of(2, 30)
    by_modules, by_kernels = (
        make_model(kernels=kernels, dropout=0.3)(tokens, positions, doc_ids) for kernels in ("torch", "cpu")
    )
    written = doc_ids >= 0  # padding sees padding in the modules, and nothing in the kernels
    torch.testing.assert_close(by_kernels[written], by_modules[written], atol=1e-4, rtol=1e-5)


def test_the_operators_pass_the_checks_of_torch_operators() -> None:
    num = plain(20, 8)
    positions, doc_ids = random_documents(2, num, 9)
    cos, sin = (angles[:, :, 0] for angles in rotary(positions, 4, 10000.0))

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=torch.Generator().manual_seed(len(shape))).requires_grad_()

    for gains in (random(2, 4), random(0, 4)):
        weights = (random(8), random(24, 8), gains, random(8, 8), random(8), random(64, 8), random(8, 32))
        inputs = (random(2, num, 8), *weights, cos, sin, doc_ids)
        torch.library.opcheck(torch.ops.sos.block, inputs, rtol=1e-4, atol=1e-4)
    targets = tokens_of(2, num).where(doc_ids >= 0, IGNORE)
    checks = ("test_schema", "test_autograd_registration", "test_faketensor")  # the others take no dynamic shapes
    torch.library.opcheck(
        torch.ops.sos.token_losses, (random(2, num, 8), random(8), random(VOCAB, 8), targets), test_utils=checks
    )


@pytest.mark.compiled
@pytest.mark.parametrize("shape", [{}, {"num_heads": 4, "num_kv_heads": 2}])
def test_the_model_gives_the_same_losses_compiled(shape: dict) -> None:
    model = make_model(**shape)
    positions, doc_ids = random_documents(2, 40, 9)
    inputs = (tokens_of(2, 40), positions, doc_ids, tokens_of(2, 40, seed=2).where(doc_ids >= 0, IGNORE))
    results = []
    for function in (model, torch.compile(model, fullgraph=True, backend="aot_eager")):
        model.zero_grad()
        losses = function(*inputs)
        losses.sum().backward()
        results.append([losses, *(parameter.grad for parameter in model.parameters())])
    for eager, compiled in zip(*results, strict=True):
        torch.testing.assert_close(compiled, eager, atol=1e-5, rtol=1e-5)
