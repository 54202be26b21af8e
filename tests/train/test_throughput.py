"""Tests of what a step computes, not of how fast: packing, ranks, and the figures that `throughput/*` is made of."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from sos.data.chunks import Chunk
from sos.data.packing import IGNORE, Rows, pack
from sos.model.gpt import GPT
from sos.model.shape import GPTConfig
from sos.train.lit import packed_loss
from sos.train.throughput import Window, trained_flops

VOCAB, CONTEXT, LENGTHS = 31, 48, [40, 9, 17, 3, 22, 12, 30, 7]


def chunk_of(lengths: list[int]) -> Chunk:
    """Random streams of these many tokens with prompts of two, after Chunk's own documentation."""
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    tokens = np.random.default_rng(0).integers(3, VOCAB, offsets[-1])
    fields: dict[str, Any] = dict.fromkeys(Chunk._fields)
    fields |= {
        "tokens": tokens.astype(np.uint16),
        "kinds": np.zeros(len(tokens), np.int8),
        "offsets": offsets,
        "prompts": np.full(len(lengths), 2, np.int64),
    }
    return Chunk(**fields)


def batch_of(rows: Rows) -> dict[str, Any]:
    """The dict that the loader makes."""
    batch: dict[str, Any] = {name: torch.from_numpy(array) for name, array in rows._asdict().items()}
    return batch | {"num_targets": int((rows.targets != IGNORE).sum())}


def model_of() -> GPT:
    torch.manual_seed(0)
    return GPT(GPTConfig(vocab_size=VOCAB, context=CONTEXT, num_layers=2, num_heads=2, width=32))


def train(model: GPT, batch: dict[str, Any], steps: int) -> list[float]:
    """Return the loss of each step."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(steps):
        loss, _ = packed_loss(model, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.fixture(scope="module")
def packed() -> dict[str, Any]:
    rows = pack(chunk_of(LENGTHS), CONTEXT, np.uint64(5))
    assert len(rows.tokens) < len(LENGTHS) / 2
    return batch_of(rows)


def test_packed_rows_train_like_one_trace_per_row(packed: dict[str, Any]) -> None:
    chunk = chunk_of(LENGTHS)
    bounds = chunk.offsets
    singles = []
    for k in range(len(LENGTHS)):
        one = slice(bounds[k], bounds[k + 1])
        fields = {
            "tokens": chunk.tokens[one],
            "kinds": chunk.kinds[one],
            "offsets": bounds[k : k + 2] - bounds[k],
            "prompts": chunk.prompts[k : k + 1],
        }
        singles.append(pack(chunk._replace(**fields), CONTEXT, np.uint64(0)))
    alone = batch_of(Rows(*(np.concatenate(arrays) for arrays in zip(*singles, strict=True))))
    assert len(alone["tokens"]) == len(LENGTHS)
    assert alone["num_targets"] == packed["num_targets"]
    first, second = train(model_of(), packed, 20), train(model_of(), alone, 20)
    assert first[-1] < 0.8 * first[0]
    np.testing.assert_allclose(second, first, rtol=1e-4)


def test_the_ranks_gradients_average_to_that_of_the_whole_batch(packed: dict[str, Any]) -> None:
    def gradients(batch: dict[str, Any], world_size: int) -> tuple[float, list[torch.Tensor]]:
        model = model_of()
        loss, _ = packed_loss(model, batch, world_size)
        return loss.item(), list(torch.autograd.grad(loss, list(model.parameters())))

    loss, whole = gradients(packed, 1)
    ranks = []
    for rank in range(2):
        part = {k: v[rank::2] if isinstance(v, torch.Tensor) else v for k, v in packed.items()}
        ranks.append(gradients(part, 2))
    assert sum(r[0] for r in ranks) / 2 == pytest.approx(loss, rel=1e-5)
    for reference, a, b in zip(whole, ranks[0][1], ranks[1][1], strict=True):
        torch.testing.assert_close((a + b) / 2, reference, rtol=1e-4, atol=1e-6)


def test_flops_count_each_trace_as_a_row_of_its_own(packed: dict[str, Any]) -> None:
    model = model_of()
    lengths = np.array(LENGTHS) - 1
    total = sum(model.flops_per_token(int(length)) * length for length in lengths)
    assert trained_flops(model, packed) == pytest.approx(total / lengths.sum(), rel=1e-2)
    assert trained_flops(model, packed) < model.flops_per_token(CONTEXT)


def test_windows_add_up() -> None:
    total = Window()
    total.add(Window(tokens=100, targets=80, flops=1e6, seconds=2.0, data_seconds=0.5, peak_bytes=2e9))
    total.add(Window(tokens=300, targets=240, flops=3e6, seconds=2.0, data_seconds=0.5, peak_bytes=1e9))
    expected = {"tokens_per_s": 100, "useful_tokens_per_s": 80, "data_share": 0.25, "peak_memory_gb": 2.0, "mfu": 0.5}
    assert total.rates(2e6) == pytest.approx(expected)
    assert "mfu" not in total.rates(0.0)
