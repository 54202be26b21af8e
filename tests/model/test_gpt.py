"""Tests of the GPT: causality, packed rows, positions, initial weights, counts of operations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gpts import CONTEXT, VOCAB, make_model, tokens_of

from sos.model.gpt import GPT, RMSNorm
from sos.model.shape import PRESETS, GPTConfig


@pytest.mark.parametrize("overrides", [{}, {"qk_norm": True, "tie_embeddings": False, "mlp_ratio": 2.0}])
def test_logits_have_the_documented_shape(overrides: dict) -> None:
    logits = make_model(**overrides)(tokens_of(3, 10))
    assert logits.shape == (3, 10, VOCAB)
    assert logits.dtype == torch.float32
    assert logits.isfinite().all()


def test_a_later_token_does_not_change_earlier_logits() -> None:
    model, tokens = make_model(), tokens_of(2, 20)
    changed = tokens.clone()
    changed[:, 12] = (changed[:, 12] + 1) % VOCAB
    with torch.no_grad():
        before, after = model(tokens), model(changed)
    torch.testing.assert_close(before[:, :12], after[:, :12])
    assert ((before[:, 12:] - after[:, 12:]).abs().amax(-1) > 1e-4).all()


def test_packed_traces_see_only_themselves() -> None:
    model = make_model()
    first, second = tokens_of(1, 13, seed=2), tokens_of(1, 9, seed=3)
    padding = torch.zeros(1, 4, dtype=torch.int64)
    tokens = torch.cat((first, second, padding), 1)
    positions = torch.cat((torch.arange(13), torch.arange(9), torch.arange(4)))[None]
    doc_ids = torch.tensor([[0] * 13 + [1] * 9 + [-1] * 4], dtype=torch.int32)
    with torch.no_grad():
        packed = model(tokens, positions, doc_ids)
        torch.testing.assert_close(packed[:, :13], model(first), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(packed[:, 13:22], model(second), atol=1e-5, rtol=1e-5)
        leaking = model(tokens, positions)
    assert packed.isfinite().all()
    assert (leaking[:, 13:22] - packed[:, 13:22]).abs().max() > 0.1


def test_positions_count_relatively_and_default_to_the_row() -> None:
    model, tokens = make_model(), tokens_of(2, 12)
    with torch.no_grad():
        torch.testing.assert_close(model(tokens), model(tokens, torch.arange(12).expand(2, 12)))
        torch.testing.assert_close(model(tokens), model(tokens, torch.arange(12)[None] + 30), atol=1e-4, rtol=1e-4)
        stretched = model(tokens, 3 * torch.arange(12)[None])
    assert (model(tokens) - stretched).abs().max() > 0.1


@pytest.mark.parametrize("num_kv_heads", [1, 2])
def test_shared_keys_and_values_are_those_of_a_model_that_repeats_them(num_kv_heads: int) -> None:
    shared = make_model(num_heads=4, num_kv_heads=num_kv_heads, qk_norm=True)
    whole = make_model(num_heads=4, qk_norm=True)
    weights = shared.state_dict()
    for key, weight in weights.items():
        if key.endswith("qkv.weight"):
            q, k, v = weight.view(-1, 8, 32).split((4, num_kv_heads, num_kv_heads))
            repeated = (x.repeat_interleave(4 // num_kv_heads, dim=0) for x in (k, v))
            weights[key] = torch.cat((q, *repeated)).view(-1, 32)
    whole.load_state_dict(weights)
    tokens = tokens_of(2, 30)
    torch.testing.assert_close(shared(tokens), whole(tokens), atol=1e-5, rtol=1e-5)


def test_flops_follow_palm() -> None:
    model = make_model()
    num = model.num_parameters()
    assert model.flops_per_token(10) == 6 * num + 12 * 2 * 32 * 10
    assert model.flops_per_token(10, backward=False) == 2 * num + 4 * 2 * 32 * 10
    assert model.flops_per_token() == model.flops_per_token(CONTEXT)
    untied = make_model(tie_embeddings=False)
    assert untied.num_parameters() == num + VOCAB * 32
    assert untied.flops_per_token(10) == model.flops_per_token(10)


def test_flops_of_an_answer_are_those_of_its_tokens_one_by_one() -> None:
    model = make_model()
    prompts, written = np.array([3, 7, 4]), np.array([5, 1, 0])
    one_by_one = [
        sum(model.flops_per_token(t + 1, backward=False) for t in range(p + w - 1)) if w else 0
        for p, w in zip(prompts, written, strict=True)
    ]
    assert model.answer_flops(prompts, written).tolist() == one_by_one


def test_init_starts_near_the_uniform_distribution_and_is_seeded() -> None:
    torch.manual_seed(5)
    config = GPTConfig(vocab_size=VOCAB, context=CONTEXT, **PRESETS["nano"])
    model, tokens = GPT(config), tokens_of(4, 40)
    loss = torch.nn.functional.cross_entropy(model(tokens)[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())
    assert loss.item() == pytest.approx(torch.tensor(VOCAB).log().item(), abs=0.2)
    torch.manual_seed(5)
    again = GPT(config)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    assert all(torch.equal(m.weight, torch.ones_like(m.weight)) for m in model.modules() if isinstance(m, RMSNorm))


def test_the_embedding_is_as_wide_as_it_is_asked_to_be() -> None:
    weights = {}
    for std in (0.02, 1.0):
        torch.manual_seed(5)
        config = GPTConfig(vocab_size=VOCAB, context=CONTEXT, tie_embeddings=False, embed_std=std)
        weights[std] = GPT(config).state_dict()
        assert weights[std]["embed.weight"].std().item() == pytest.approx(std, rel=0.1)
    changed = {name for name, weight in weights[0.02].items() if not torch.equal(weight, weights[1.0][name])}
    assert changed == {"embed.weight"}


def test_every_parameter_gets_a_gradient_and_dropout_acts_in_training_only() -> None:
    model, tokens = make_model(dropout=0.5), tokens_of(2, 12)
    doc_ids = (torch.arange(12) >= 5).int().expand(2, 12)
    model(tokens, doc_ids_BT=doc_ids).square().mean().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in model.parameters())
    assert torch.equal(model(tokens), model(tokens))
    model.train()
    assert not torch.equal(model(tokens), model(tokens))


def test_bfloat16_stays_close() -> None:
    model, tokens = make_model(), tokens_of(2, 12)
    with torch.no_grad():
        expected = model(tokens)
        with torch.autocast("cpu", torch.bfloat16):
            autocast = model(tokens, doc_ids_BT=torch.zeros(2, 12, dtype=torch.int32))
        cast = model.bfloat16()(tokens)
    assert autocast.dtype == cast.dtype == torch.bfloat16
    for logits in (autocast, cast):
        assert (logits.float() - expected).abs().mean() < 0.05 * expected.std()


def test_a_row_longer_than_the_context_is_refused() -> None:
    with pytest.raises(ValueError, match=f"{CONTEXT + 1} tokens.*{CONTEXT}"):
        make_model()(tokens_of(1, CONTEXT + 1))


def test_weights_that_are_not_finite_are_found_wherever_they_are() -> None:
    model = make_model(qk_norm=True, tie_embeddings=False)
    assert model.has_finite_weights()
    assert model.double().has_finite_weights()
    looked_at = 0
    for parameter in model.float().parameters():
        for value in (float("nan"), float("inf"), -float("inf")):
            last = parameter.data.view(-1)[-1].clone()
            parameter.data.view(-1)[-1] = value
            assert not model.has_finite_weights()
            parameter.data.view(-1)[-1] = last
            looked_at += 1
    assert looked_at == 3 * 19
    model.head.weight.data.fill_(3e38)  # a sum of them is not finite, each of them is
    assert model.has_finite_weights()
