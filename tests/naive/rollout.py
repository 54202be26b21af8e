"""Greedy decoding without a cache, one prompt at a time: what every decoder has to write."""

from __future__ import annotations

import numpy as np
import torch

from sos.model.gpt import GPT
from sos.model.rollout import Rollout
from sos.stream.dialect.vocab import EOS


def assert_same(left: list[Rollout], right: list[Rollout]) -> None:
    """Check that two lists hold the same rollouts."""
    assert len(left) == len(right)
    for a, b in zip(left, right, strict=True):
        np.testing.assert_array_equal(a.tokens, b.tokens)
        assert (a.num_prompt, a.finished) == (b.num_prompt, b.finished)
        np.testing.assert_allclose(a.logprobs, b.logprobs, atol=1e-3)


def naive_greedy(model: GPT, prompt: np.ndarray, budget: int) -> Rollout:
    """Decode one prompt without a cache."""
    tokens, logprobs = prompt.astype(int).tolist(), []
    for _ in range(min(budget, model.config.context - len(prompt))):
        with torch.no_grad():
            row = model(torch.tensor([tokens]))[0, -1].log_softmax(-1)
        tokens.append(int(row.argmax()))
        logprobs.append(float(row.max()))
        if tokens[-1] == EOS:
            break
    finished = bool(logprobs) and tokens[-1] == EOS
    return Rollout(np.array(tokens, np.int32), len(prompt), finished, np.array(logprobs, np.float32))
