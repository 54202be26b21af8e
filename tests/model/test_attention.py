"""Tests of the masks of packed rows and of FlexAttention."""

from __future__ import annotations

import pytest
import torch
from gpts import CONTEXT, make_model, tokens_of
from torch import Tensor

from sos.model import attention
from sos.model.attention import packed_mask


def test_the_packed_mask_is_block_diagonal_and_causal() -> None:
    doc_ids = torch.tensor([[0, 0, 1, 1, -1], [3, 3, 3, 7, 7]])
    mask = packed_mask(doc_ids)
    assert isinstance(mask, Tensor)
    assert mask.shape == (2, 1, 5, 5)
    for b in range(2):
        for q in range(5):
            for k in range(5):
                assert mask[b, 0, q, k] == (k <= q and doc_ids[b, k] == doc_ids[b, q])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="FlexAttention has no backward pass on the CPU")
def test_flex_attention_agrees_with_sdpa(monkeypatch: pytest.MonkeyPatch) -> None:
    doc_ids = torch.tensor([[0] * 20 + [1] * 20 + [-1] * 8, [0] * 48], dtype=torch.int32, device="cuda")
    tokens, results = tokens_of(2, CONTEXT).cuda(), []
    for flex in (False, True):
        monkeypatch.setattr(attention, "flex_on", lambda device, flex=flex: flex)
        model = make_model().cuda()
        logits = model(tokens, doc_ids_BT=doc_ids)
        logits.square().mean().backward()
        results.append([logits, *(parameter.grad for parameter in model.parameters())])
    for reference, flex in zip(*results, strict=True):
        torch.testing.assert_close(flex, reference, atol=2e-2, rtol=2e-2)
