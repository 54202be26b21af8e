"""Small random GPTs, and rows for them, for the tests of the model."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from sos.model.gpt import GPT
from sos.model.shape import GPTConfig

VOCAB, CONTEXT, EOS = 29, 48, 2


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


def make_writer(context: int, **overrides: Any) -> GPT:
    """Return a random model with logits so far apart that last bits do not decide a token, and a likely end token."""
    torch.manual_seed(0)
    shape: dict[str, Any] = {"num_layers": 2, "num_heads": 2, "width": 32, "tie_embeddings": False} | overrides
    model = GPT(GPTConfig(vocab_size=VOCAB, context=context, **shape)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("out.weight", "down.weight")):  # zero at first, which would hide the blocks
                parameter.normal_(std=0.2)
        model.head.weight.mul_(30)
        model.head.weight[EOS] *= 1.3
    return model


def tokens_of(*shape: int, seed: int = 1) -> Tensor:
    """Return random tokens, int64 of this shape."""
    return torch.randint(VOCAB, shape, generator=torch.Generator().manual_seed(seed))


def prompts_of(num: int, longest: int, seed: int = 1) -> list[np.ndarray]:
    """Return prompts of 1 to `longest` tokens, uint16 as on disk."""
    rng = np.random.default_rng(seed)
    return [rng.integers(3, VOCAB, rng.integers(1, longest + 1)).astype(np.uint16) for _ in range(num)]


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
