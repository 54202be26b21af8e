"""Tests of the GPT: causality, packed rows, the key/value cache, sizes, settings."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import sos.model.shape as shape_module
from sos.model.attention import packed_mask, rotary
from sos.model.cache import KVCache
from sos.model.cpu import block as cpu_block
from sos.model.cpu.attention import packed_attention
from sos.model.gpt import GPT, IGNORE, RMSNorm
from sos.model.shape import PRESETS, GPTConfig

VOCAB, CONTEXT = 29, 48


def make_model(seed: int = 0, **overrides: Any) -> GPT:
    """Return a small float32 model whose logits differ clearly from one another."""
    torch.manual_seed(seed)
    settings: dict[str, Any] = {"context": CONTEXT, "num_layers": 2, "num_heads": 2, "width": 32} | overrides
    model = GPT(GPTConfig(vocab_size=VOCAB, **settings)).eval()
    with torch.no_grad():
        model.embed.weight.mul_(20)
        for name, parameter in model.named_parameters():
            if name.endswith(("out.weight", "down.weight")):  # zero at first, which would hide the blocks
                parameter.normal_(std=parameter.shape[1] ** -0.5)
            if "norm" in name:  # gains of exactly 1 would hide a missing gain
                parameter.uniform_(0.5, 1.5)
    return model


def tokens_of(*shape: int, seed: int = 1) -> Tensor:
    """Return random tokens, int64 of this shape."""
    return torch.randint(VOCAB, shape, generator=torch.Generator().manual_seed(seed))


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


def test_the_packed_mask_is_block_diagonal_and_causal() -> None:
    doc_ids = torch.tensor([[0, 0, 1, 1, -1], [3, 3, 3, 7, 7]])
    mask = packed_mask(doc_ids, "sdpa")
    assert isinstance(mask, Tensor)
    assert mask.shape == (2, 1, 5, 5)
    for b in range(2):
        for q in range(5):
            for k in range(5):
                assert mask[b, 0, q, k] == (k <= q and doc_ids[b, k] == doc_ids[b, q])


def random_documents(rows: int, num_tokens: int, longest: int) -> tuple[Tensor, Tensor]:
    """Return (positions, doc_ids), int64 (rows, num_tokens): documents of random lengths, then padding in every row."""
    generator = torch.Generator().manual_seed(7)
    positions, doc_ids = torch.zeros(2, rows, num_tokens, dtype=torch.int64)
    for b in range(rows):
        at, doc = 0, 0
        while at < num_tokens - 5:
            length = min(int(torch.randint(1, longest + 1, (), generator=generator)), num_tokens - 2 - at)
            positions[b, at : at + length] = torch.arange(length)
            doc_ids[b, at : at + length] = doc
            at, doc = at + length, doc + 1
        doc_ids[b, at:] = -1
    return positions, doc_ids


@pytest.mark.parametrize("num_threads", [1, 2])
@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize(
    ("longest", "head_dim", "overrides"),
    [
        (30, 32, {}),
        (700, 32, {"qk_norm": True, "tie_embeddings": False}),
        (100, 6, {"qk_norm": True}),
        (600, 2, {"num_heads": 3, "mlp_ratio": 0.5}),
        (300, 20, {"num_heads": 4, "num_kv_heads": 2, "qk_norm": True}),
        (90, 32, {"num_heads": 3, "num_kv_heads": 1}),
    ],
)
def test_the_cpu_kernels_agree_with_the_modules(
    longest: int, head_dim: int, overrides: dict, fused: bool, num_threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Losses and gradients, for traces shorter and longer than a tile, at head widths of any shape, with parts of rows."""
    monkeypatch.setattr(cpu_block, "PART", 1000)
    positions, doc_ids = random_documents(3, 900, longest)
    tokens, targets = tokens_of(3, 900), tokens_of(3, 900, seed=2)
    targets[(doc_ids < 0) | (tokens_of(3, 900, seed=3) < 9)] = IGNORE
    results, before = [], torch.get_num_threads()
    torch.set_num_threads(num_threads)
    try:
        for backend in ("sdpa", "numba"):
            settings = {"num_heads": 2, "context": 900, "attention": backend} | overrides
            model = make_model(**settings | {"width": settings["num_heads"] * head_dim})
            assert model.fuses()
            if not fused:
                model.blocks[1].mlp.register_forward_hook(lambda *_: None)
                assert not model.fuses()
            losses = model(tokens, positions, doc_ids, targets)
            losses.square().mean().backward()
            results.append([losses, *(parameter.grad for parameter in model.parameters())])
    finally:
        torch.set_num_threads(before)
    for reference, packed in zip(*results, strict=True):
        torch.testing.assert_close(packed, reference, atol=1e-5 * reference.detach().abs().max().item(), rtol=1e-5)
    assert (results[1][0][targets == IGNORE] == 0).all()


def test_the_packed_kernel_refuses_other_dtypes() -> None:
    cos, sin = rotary(torch.arange(20)[None], 4, 10000.0)
    with pytest.raises(ValueError, match=r"numba.*bfloat16"):
        packed_attention(torch.ones(2, 20, 6, 4).bfloat16(), 2, torch.ones(0, 4), cos, sin, torch.zeros(2, 20))


def test_the_cpu_kernels_pass_the_checks_of_torch_operators() -> None:
    positions, doc_ids = random_documents(2, 20, 9)
    cos, sin = (angles[:, :, 0] for angles in rotary(positions, 4, 10000.0))

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=torch.Generator().manual_seed(len(shape))).requires_grad_()

    for gains in (random(2, 4), random(0, 4)):
        inputs = (random(2, 20, 6, 4), gains, torch.zeros(2), cos, sin, doc_ids)  # 2 heads; then 4 that share 1
        torch.library.opcheck(torch.ops.sos.packed_attention, inputs, rtol=1e-4, atol=1e-5)
        inputs = (random(2, 20, 6, 4), gains, torch.zeros(4), cos, sin, doc_ids)
        torch.library.opcheck(torch.ops.sos.packed_attention, inputs, rtol=1e-4, atol=1e-5)
        weights = (random(8), random(24, 8), gains, random(8, 8), random(8), random(64, 8), random(8, 32))
        inputs = (random(2, 20, 8), *weights, cos, sin, doc_ids)
        torch.library.opcheck(torch.ops.sos.block, inputs, rtol=1e-4, atol=1e-4)
    targets = tokens_of(2, 20).where(doc_ids >= 0, IGNORE)
    checks = ("test_schema", "test_autograd_registration", "test_faketensor")  # the others take no dynamic shapes
    torch.library.opcheck(
        torch.ops.sos.token_losses, (random(2, 20, 8), random(8), random(VOCAB, 8), targets), test_utils=checks
    )


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


def test_positions_count_relatively_and_default_to_the_row() -> None:
    model, tokens = make_model(), tokens_of(2, 12)
    with torch.no_grad():
        torch.testing.assert_close(model(tokens), model(tokens, torch.arange(12).expand(2, 12)))
        torch.testing.assert_close(model(tokens), model(tokens, torch.arange(12)[None] + 30), atol=1e-4, rtol=1e-4)
        stretched = model(tokens, 3 * torch.arange(12)[None])
    assert (model(tokens) - stretched).abs().max() > 0.1


@pytest.mark.parametrize("shape", [{}, {"qk_norm": True}, {"num_heads": 4, "num_kv_heads": 2}])
def test_cached_logits_agree_with_uncached_ones_at_random_lengths(shape: dict) -> None:
    model, generator = make_model(**shape), torch.Generator().manual_seed(4)
    num_slots = 5
    tokens = tokens_of(num_slots, CONTEXT)
    lengths = torch.randint(1, 20, (num_slots,), generator=generator)
    cache = KVCache(model.config, num_slots, CONTEXT)
    cache.k_LBKSD.fill_(1e3)  # whatever a finished trace left behind must not be seen
    cache.v_LBKSD.fill_(1e3)
    with torch.no_grad():
        expected = model(tokens)
        width = int(lengths.max())
        order = torch.tensor([3, 0, 4, 1, 2])  # prefill in another order than that of the slots, right-padded
        prefill = torch.where(torch.arange(width) < lengths[:, None], tokens[:, :width], 0)
        logits = model.forward_cached(prefill[order], torch.arange(width).expand(5, width), cache, order)
        for row, slot in enumerate(order.tolist()):
            n = int(lengths[slot])
            torch.testing.assert_close(logits[row, :n], expected[slot, :n], atol=1e-4, rtol=0)
        rows = torch.arange(num_slots)
        for step in range(20):  # each slot at its own position
            at = lengths + step
            logits = model.forward_cached(tokens[rows, at][:, None], at[:, None], cache, span=40)
            torch.testing.assert_close(logits[:, 0], expected[rows, at], atol=1e-4, rtol=0)


def test_a_kept_cache_goes_on_and_a_refilled_slot_forgets() -> None:
    model, tokens = make_model(), tokens_of(4, 16)
    positions = torch.arange(16).expand(4, 16)
    cache = KVCache(model.config, 4, 16)
    with torch.no_grad():
        model.forward_cached(tokens[:, :10], positions[:, :10], cache)
        cache.keep(torch.tensor([2, 0]))
        assert cache.num_slots == 2
        logits = model.forward_cached(tokens[[2, 0], 10:], positions[:2, 10:], cache)
        torch.testing.assert_close(logits, model(tokens[[2, 0]])[:, 10:], atol=1e-4, rtol=0)
        refilled = model.forward_cached(tokens[3:, :6], positions[:1, :6], cache, torch.tensor([1]))
        torch.testing.assert_close(refilled, model(tokens[3:, :6]), atol=1e-4, rtol=0)


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


def test_presets_have_the_parameters_that_the_docstring_states() -> None:
    rows = re.findall(r"^    (\w+) +(\d+) +(\d+) +(\d+) +(\d+\.\d{3})$", shape_module.__doc__ or "", flags=re.MULTILINE)
    assert [row[0] for row in rows] == list(PRESETS)
    for name, num_layers, width, num_heads, millions in rows:
        assert PRESETS[name] == {"num_layers": int(num_layers), "width": int(width), "num_heads": int(num_heads)}
        with torch.device("meta"):
            model = GPT(GPTConfig(vocab_size=100, context=64, **PRESETS[name]))
        assert model.num_parameters() - 100 * int(width) == pytest.approx(float(millions) * 1e6, abs=501)


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


def test_the_config_is_plain_data() -> None:
    config = GPTConfig(vocab_size=VOCAB, context=CONTEXT, **PRESETS["nano"])
    plain = dataclasses.asdict(config)
    assert all(type(value) in (int, float, bool, str) for value in plain.values())
    assert GPTConfig(**plain) == config


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("vocab_size", 0),
        ("context", -1),
        ("num_layers", 0),
        ("num_heads", 0),
        ("num_heads", 5),
        ("num_kv_heads", -1),
        ("num_kv_heads", 3),
        ("width", 30),
        ("mlp_ratio", 0.0),
        ("mlp_ratio", float("nan")),
        ("rope_theta", -1.0),
        ("dropout", 1.0),
        ("attention", "flash"),
    ],
)
def test_a_bad_setting_is_refused_by_name(key: str, value: object) -> None:
    settings = {"vocab_size": VOCAB, "context": CONTEXT, "num_heads": 2, "width": 32} | {key: value}
    with pytest.raises(ValueError, match=rf"model\.{key}.*{value}"):
        GPTConfig(**settings)  # type: ignore[arg-type]


def test_a_row_longer_than_the_context_is_refused() -> None:
    with pytest.raises(ValueError, match=f"{CONTEXT + 1} tokens.*{CONTEXT}"):
        make_model()(tokens_of(1, CONTEXT + 1))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="FlexAttention has no backward pass on the CPU")
def test_flex_attention_agrees_with_sdpa() -> None:
    doc_ids = torch.tensor([[0] * 20 + [1] * 20 + [-1] * 8, [0] * 48], dtype=torch.int32, device="cuda")
    tokens, results = tokens_of(2, CONTEXT).cuda(), []
    for backend in ("sdpa", "flex"):
        model = make_model(attention=backend).cuda()
        logits = model(tokens, doc_ids_BT=doc_ids)
        logits.square().mean().backward()
        results.append([logits, *(parameter.grad for parameter in model.parameters())])
    for reference, flex in zip(*results, strict=True):
        torch.testing.assert_close(flex, reference, atol=2e-2, rtol=2e-2)
