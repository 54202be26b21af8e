"""Tests of the optimizers: which parameters Muon takes, what its step does, and that its state survives a checkpoint."""

from __future__ import annotations

import copy

import pytest
import torch

from sos.config import OptimConfig
from sos.model.gpt import GPT
from sos.model.shape import GPTConfig
from sos.train.optim import NEWTON_SCHULZ, NEWTON_SCHULZ_STEPS, Muon, build_optimizer, orthogonalize


def make_model() -> GPT:
    torch.manual_seed(0)
    return GPT(GPTConfig(vocab_size=17, context=16, num_layers=2, num_heads=2, width=16))


def train(model: GPT, optimizer: torch.optim.Optimizer, steps: range) -> list[float]:
    losses = []
    for step in steps:
        tokens = torch.randint(17, (4, 16), generator=torch.Generator().manual_seed(step))
        positions = torch.arange(16).expand(4, 16)
        logits = model(tokens, positions, torch.zeros_like(tokens))
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), (tokens * 2 % 17).flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 6, 20), (2, 20, 6)])
def test_orthogonalized_matrices_have_singular_values_near_one(shape):
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    result = orthogonalize(matrices)
    assert result.shape == matrices.shape
    values = torch.linalg.svdvals(result)
    assert values.min() > 0.3
    assert values.max() < 1.3
    for one, whole in zip(matrices, result, strict=True):  # each on its own, whatever its scale
        torch.testing.assert_close(orthogonalize(7 * one[None])[0], whole, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 6, 20), (2, 20, 6)])
def test_orthogonalizing_follows_the_quintic(shape):
    """Against X <- a X + b (X X^T) X + c (X X^T)^2 X as written, in float64."""
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    a, b, c = NEWTON_SCHULZ
    x = matrices.double() / (matrices.double().norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = x @ x.mT
        x = a * x + b * gram @ x + c * gram @ gram @ x
    torch.testing.assert_close(orthogonalize(matrices).double(), x, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [(96, 256), (256, 96)])
@pytest.mark.parametrize("coarse", ["dtype", "products"])
def test_small_singular_values_do_no_harm_where_products_are_coarse(shape, coarse):
    """The spectrum of a momentum: five powers of ten. In the smaller square bfloat16 would be off by several times the result."""
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.linalg.qr(torch.randn(side, 96, generator=generator))[0] for side in shape)
    matrix = (left * torch.logspace(0, -5, 96)) @ right.mT
    if coarse == "dtype":
        matrix = matrix.bfloat16()
    expected = orthogonalize(matrix[None].double())
    try:
        torch.set_float32_matmul_precision("high" if coarse == "products" else "highest")  # a CPU's stay exact
        found = orthogonalize(matrix[None]).double()
    finally:
        torch.set_float32_matmul_precision("highest")
    assert (found - expected).norm() < (0.2 if coarse == "dtype" else 1e-4) * expected.norm()


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_every_parameter_is_in_one_group_and_gains_are_not_decayed(name):
    model = make_model()
    optimizer = build_optimizer(model, model.blocks, OptimConfig(name=name), fused=True)
    grouped = [p for group in optimizer.param_groups for p in group["params"]]
    assert len(grouped) == len({id(p) for p in grouped}) == len(list(model.parameters()))
    assert all(p.ndim >= 2 for group in optimizer.param_groups for p in group["params"] if group["weight_decay"])
    assert all(p.ndim < 2 for group in optimizer.param_groups for p in group["params"] if not group["weight_decay"])
    taken = [p for group in optimizer.param_groups if group.get("muon") for p in group["params"]]
    inside = [p for p in model.blocks.parameters() if p.ndim == 2]
    assert {id(p) for p in taken} == ({id(p) for p in inside} if name == "muon" else set())


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_the_loss_falls_and_a_saved_optimizer_continues_exactly(name):
    model = make_model()
    config = OptimConfig(name=name, lr=0.02)
    optimizer = build_optimizer(model, model.blocks, config, fused=True)
    losses = train(model, optimizer, range(30))
    assert losses[-1] < 0.5 * losses[0]
    twin = copy.deepcopy(model)
    resumed = build_optimizer(twin, twin.blocks, config, fused=True)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    assert train(model, optimizer, range(30, 40)) == train(twin, resumed, range(30, 40))


def test_a_muon_step_is_the_orthogonalized_nesterov_momentum():
    weight = torch.nn.Parameter(torch.randn(4, 6, generator=torch.Generator().manual_seed(1)))
    start = weight.detach().clone()
    groups = [{"params": [weight], "muon": True, "weight_decay": 0.1}]
    optimizer = Muon(groups, momentum=0.9, lr=0.01)
    momentum = torch.zeros(4, 6)
    for seed in (5, 6):
        gradient = torch.randn(4, 6, generator=torch.Generator().manual_seed(seed))
        momentum = 0.9 * momentum + 0.1 * gradient
        direction = 0.1 * gradient + 0.9 * momentum
        start = start * (1 - 0.001) - 0.01 * 0.2 * 6**0.5 * orthogonalize(direction[None])[0]
        weight.grad = gradient
        optimizer.step()
        torch.testing.assert_close(weight.detach(), start)
