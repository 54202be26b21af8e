"""The shape of a GPT: everything that decides its size, and presets. Without torch, so that any part may import it.

Sizes (`PRESETS`; parameters in millions, without the token embedding, which adds vocab_size x width):

    name     layers  width  heads  parameters
    nano          3     96      3       0.332
    micro         4    128      4       0.804
    mini          4    256      4       3.115
    small         8    320      5       9.918
    base          8    512      8      25.306
    medium       12    768     12      84.954
    paper        16   1024     16     200.836
    large        24   1024     16     301.254

`paper` has the shape of the Stream-of-Search paper's model, which counts 250M with its 50,257-token vocabulary; `large`
is the classic 350M shape, counted in the same way.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from sos.errors import UserError

PRESETS: dict[str, dict[str, Any]] = {
    "nano": {"num_layers": 3, "width": 96, "num_heads": 3},
    "micro": {"num_layers": 4, "width": 128, "num_heads": 4},
    "mini": {"num_layers": 4, "width": 256, "num_heads": 4},
    "small": {"num_layers": 8, "width": 320, "num_heads": 5},
    "base": {"num_layers": 8, "width": 512, "num_heads": 8},
    "medium": {"num_layers": 12, "width": 768, "num_heads": 12},
    "paper": {"num_layers": 16, "width": 1024, "num_heads": 16},
    "large": {"num_layers": 24, "width": 1024, "num_heads": 16},
}

KERNELS = ("auto", "torch", "cpu")
# Largest sizes. They leave room for models far beyond the presets, and refuse a config that was damaged or made to fill
# the memory before anything is allocated: at most 16 GiB of float32 weights, and rows of a million tokens.
LARGEST = {
    "vocab_size": 2**20,
    "context": 2**20,
    "num_layers": 1024,
    "num_heads": 1024,
    "num_kv_heads": 1024,
    "width": 2**16,
    "mlp_ratio": 64,
}
MOST_PARAMETERS = 2**32


@dataclass
class GPTConfig:
    """Everything that decides the shape of a GPT. All values are plain, so `dataclasses.asdict` goes into a checkpoint.

    `kernels` says who computes: "torch", the modules; "cpu", the kernels of `sos.model.cpu` (float32 on the CPU), or
    an error where they cannot; "auto", those kernels where they can. `dropout` acts on the embedding and on what each
    block adds to the residual stream. `qk_norm` norms queries and keys per head, which bounds attention logits at high
    learning rates; at nano size it made no loss lower. With `num_kv_heads` below `num_heads` as many query heads each
    share keys and values (Ainslie et al. 2023, GQA), which rollouts keep and read; 0 means no sharing. Raises a
    UserError with the key and the value when a setting is out of range.
    """

    vocab_size: int
    context: int
    num_layers: int = 3
    num_heads: int = 3
    num_kv_heads: int = 0
    width: int = 96
    mlp_ratio: float = 4.0  # hidden width of a two-matrix MLP of the same size, in widths
    rope_theta: float = 10000.0
    dropout: float = 0.0
    tie_embeddings: bool = True
    embed_std: float = 0.02  # of the embedding's first weights
    qk_norm: bool = False
    kernels: str = "auto"

    def __post_init__(self) -> None:
        for key in ("vocab_size", "context", "num_layers", "num_heads", "width"):
            if getattr(self, key) < 1:
                raise UserError(f"model.{key} must be at least 1, got {getattr(self, key)}")
        for key, largest in LARGEST.items():
            if getattr(self, key) > largest:
                raise UserError(f"model.{key} must be at most {largest}, got {getattr(self, key)}")
        if self.width % (2 * self.num_heads):
            raise UserError(
                f"model.width must be a multiple of 2 * model.num_heads (rotary positions turn pairs), "
                f"got width {self.width} with {self.num_heads} heads"
            )
        if self.num_kv_heads < 0 or self.num_heads % (self.num_kv_heads or 1):
            raise UserError(
                f"model.num_kv_heads must be 0 or divide model.num_heads, got {self.num_kv_heads} "
                f"with {self.num_heads} heads"
            )
        for key in ("mlp_ratio", "rope_theta", "embed_std"):
            if not (getattr(self, key) > 0 and math.isfinite(getattr(self, key))):
                raise UserError(f"model.{key} must be positive and finite, got {getattr(self, key)}")
        if not 0 <= self.dropout < 1:
            raise UserError(f"model.dropout must be in [0, 1), got {self.dropout}")
        if self.kernels not in KERNELS:
            raise UserError(f"model.kernels must be one of {', '.join(KERNELS)}, got {self.kernels!r}")

        if self.num_parameters > MOST_PARAMETERS:
            raise UserError(
                f"model.num_layers={self.num_layers} with model.width={self.width} makes {self.num_parameters} "
                f"parameters, more than {MOST_PARAMETERS}"
            )

    @property
    def num_parameters(self) -> int:
        """Number of parameters of the model, a tied embedding counted once."""
        norms = 2 * self.width + (2 * self.head_dim if self.qk_norm else 0)
        attention = self.width * self.head_dim * 2 * (self.num_heads + self.kv_heads)
        block = norms + attention + 3 * self.width * self.mlp_hidden
        embeddings = self.vocab_size * self.width * (1 if self.tie_embeddings else 2)
        return embeddings + self.num_layers * block + self.width

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.width // self.num_heads

    @property
    def kv_heads(self) -> int:
        """Number of heads of keys and values."""
        return self.num_kv_heads or self.num_heads

    @property
    def mlp_hidden(self) -> int:
        """Hidden width of the SwiGLU: its three matrices weigh about as much as two of mlp_ratio * width."""
        return max(32, round(self.mlp_ratio * self.width * 2 / 3 / 32) * 32)
