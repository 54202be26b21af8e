"""Tests of the key/value cache."""

from __future__ import annotations

import pytest
import torch
from gpts import CONTEXT, make_model, tokens_of

from sos.model.cache import KVCache


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
