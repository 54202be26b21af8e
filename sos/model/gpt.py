"""GPT: a decoder-only transformer, with packed rows and a key/value cache.

Pre-norm blocks, RMSNorm, rotary positions, SwiGLU, no biases: the shape of Llama. It knows tokens, positions and
document ids, and nothing about search, environments or training loops.

Shape suffixes: B rows, T tokens, C width, H heads, K heads of keys and values, D head width, F hidden width of the
MLP, V vocabulary, L layers, S positions of the cache. `x_BTC` is a tensor of shape (B, T, C).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sos.errors import UserError
from sos.model import cpu
from sos.model.attention import Mask, attention, flex_on, packed_mask, rotary, rotate, step_mask
from sos.model.cache import CacheSlice, KVCache
from sos.model.shape import GPTConfig

IGNORE = -100  # a target without a loss


class RMSNorm(nn.Module):
    """Divide by the root mean square over the last axis and multiply by a learned gain."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """Return the normed tensor, shape and dtype of x."""
        return F.rms_norm(x, self.weight.shape, self.weight.to(x.dtype), eps=1e-6)


class Attention(nn.Module):
    """Multi-head self-attention."""

    def __init__(self, config: GPTConfig, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.num_heads, self.num_kv_heads, self.head_dim = config.num_heads, config.kv_heads, config.head_dim
        self.qkv = nn.Linear(config.width, (self.num_heads + 2 * self.num_kv_heads) * self.head_dim, bias=False)
        self.out = nn.Linear(config.width, config.width, bias=False)
        self.q_norm = RMSNorm(config.head_dim) if config.qk_norm else None
        self.k_norm = RMSNorm(config.head_dim) if config.qk_norm else None

    def forward(self, x_BTC: Tensor, cos: Tensor, sin: Tensor, mask: Mask, cache: CacheSlice | None) -> Tensor:
        """Return what attention adds to the residual stream, (B, T, C)."""
        rows, num_tokens, width = x_BTC.shape
        heads = (self.num_heads, self.num_kv_heads)
        qkv = self.qkv(x_BTC).view(rows, num_tokens, -1, self.head_dim)
        qk, v = qkv.split((sum(heads), self.num_kv_heads), dim=2)
        if self.q_norm is not None and self.k_norm is not None:
            q, k = qk.split(heads, dim=2)
            qk = torch.cat((self.q_norm(q), self.k_norm(k)), dim=2)
        q, k = rotate(qk, cos, sin).type_as(v).transpose(1, 2).split(heads, dim=1)
        v = v.transpose(1, 2)
        y = attention(q, k, v, mask) if cache is None else cache.attend(self.layer, q, k, v)
        return self.out(y.transpose(1, 2).reshape(rows, num_tokens, width).type_as(qkv))


class MLP(nn.Module):
    """SwiGLU: down(silu(gate(x)) * up(x)), with gate and up in one matrix."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.gate_up = nn.Linear(config.width, 2 * config.mlp_hidden, bias=False)
        self.down = nn.Linear(config.mlp_hidden, config.width, bias=False)

    def forward(self, x_BTC: Tensor) -> Tensor:
        """Return what the MLP adds to the residual stream, (B, T, C)."""
        gate_BTF, up_BTF = self.gate_up(x_BTC).chunk(2, dim=-1)
        return self.down(F.silu(gate_BTF) * up_BTF)


class Block(nn.Module):
    """Attention, then MLP, each normed before and added to the residual stream."""

    def __init__(self, config: GPTConfig, layer: int) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(config.width)
        self.attention = Attention(config, layer)
        self.mlp_norm = RMSNorm(config.width)
        self.mlp = MLP(config)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x_BTC: Tensor, cos: Tensor, sin: Tensor, mask: Mask, cache: CacheSlice | None) -> Tensor:
        """Return the residual stream after this block, (B, T, C)."""
        x_BTC = x_BTC + self.dropout(self.attention(self.attention_norm(x_BTC), cos, sin, mask, cache))
        return x_BTC + self.dropout(self.mlp(self.mlp_norm(x_BTC)))


class GPT(nn.Module):
    """The model, for example `GPT(GPTConfig(vocab_size=100, context=256, **PRESETS["nano"]))`; seed torch before."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Embedding(config.vocab_size, config.width)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.num_layers))
        self.norm = RMSNorm(config.width)
        self.head = nn.Linear(config.width, config.vocab_size, bias=False)
        if config.tie_embeddings:
            self.head.weight = self.embed.weight
        self.init_weights()

    def init_weights(self) -> None:
        """Draw all weights anew from torch's global generator.

        Matrices: normal, std 1 / sqrt(inputs), but zero where they write to the residual stream, so every block starts
        as the identity. Embedding and head: normal, std 0.02, so the first logits are near 0; an embedding that is not
        the head, too, may have a larger `embed_std`. In 500 optimizer steps on a toy task of sums and look-ups (nano)
        this reached a loss of 1.92 and 3.01, where scaling by 1 / sqrt(2 * layers) instead of zeros reached 2.36 and
        3.78, and GPT-2's std of 0.02 reached 2.26 and 3.90 (one seed each).
        """
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear) and module is not self.head:
                writes_to_residual = name.endswith((".out", ".down"))
                nn.init.normal_(module.weight, std=0.0 if writes_to_residual else module.in_features**-0.5)
            elif isinstance(module, RMSNorm):
                nn.init.ones_(module.weight)
        nn.init.normal_(self.embed.weight, std=self.config.embed_std)
        if not self.config.tie_embeddings:
            nn.init.normal_(self.head.weight, std=0.02)

    def forward(
        self,
        tokens_BT: Tensor,
        positions_BT: Tensor | None = None,
        doc_ids_BT: Tensor | None = None,
        targets_BT: Tensor | None = None,
    ) -> Tensor:
        """Return logits (B, T, V) of the token after each token, or the loss of each target, float32 (B, T).

        tokens_BT: int64. positions_BT: int, position of each token in its document; None counts 0..T-1.
        doc_ids_BT: int, which document of a packed row a token belongs to: attention is causal and stays inside the
        document; None makes each row one document. targets_BT: int64, the tokens to predict; where they are -100,
        the loss is 0. Raises ValueError if T exceeds the context.
        """
        num_tokens = tokens_BT.shape[1]
        if num_tokens > self.config.context:
            raise UserError(f"rows of {num_tokens} tokens do not fit into model.context = {self.config.context}")
        if positions_BT is None:
            positions_BT = torch.arange(num_tokens, device=tokens_BT.device)[None]
        if doc_ids_BT is not None and cpu.available(self):
            return cpu.forward(self, tokens_BT, positions_BT, doc_ids_BT, targets_BT)
        mask = None if doc_ids_BT is None else packed_mask(doc_ids_BT)
        logits_BTV = self.head(self.norm(self._stream(tokens_BT, positions_BT, mask, None)))
        if targets_BT is None:
            return logits_BTV
        losses = F.cross_entropy(
            logits_BTV.flatten(0, 1).float(), targets_BT.flatten(), ignore_index=IGNORE, reduction="none"
        )
        return losses.view_as(targets_BT)

    def hidden(self, tokens_BT: Tensor, positions_BT: Tensor, doc_ids_BT: Tensor) -> Tensor:
        """Return what the head reads of packed rows, (B, T, C): the normed residual stream behind the last block."""
        if cpu.available(self):
            return self.norm(cpu.stream(self, tokens_BT, positions_BT, doc_ids_BT))
        return self.norm(self._stream(tokens_BT, positions_BT, packed_mask(doc_ids_BT), None))

    @torch.no_grad()
    def forward_cached(
        self,
        tokens_BT: Tensor,
        positions_BT: Tensor,
        cache: KVCache,
        slots_B: Tensor | None = None,
        span: int | None = None,
    ) -> Tensor:
        """Append tokens to traces whose earlier tokens are in the cache; return their logits (B, T, V).

        tokens_BT, positions_BT: int64; rows may be at different positions, and several tokens of a row must be at
        different ones. Shorter rows are padded on the right with any token at the positions that follow: what that
        leaves in the cache is overwritten before anything sees it. slots_B: int64, the slot of each row, all different;
        None: row b is slot b for all slots. span: attend to positions below this only; it must exceed every position.
        None takes the largest position from the tensor (on CUDA this waits for the device). FlexAttention, which takes
        steps of one token in every slot where packed rows do, needs no span: it reads of each slot what is there.
        """
        mask: Mask
        if slots_B is None and positions_BT.shape[1] == 1 and flex_on(positions_BT.device):
            span = cache.num_positions
            mask = step_mask(positions_BT[:, 0], span)
        else:
            span = int(positions_BT.max()) + 1 if span is None else span
            mask = (torch.arange(span, device=positions_BT.device) <= positions_BT[:, :, None])[:, None]
        kept = CacheSlice(cache, slots_B, positions_BT, span, mask)
        return self.head(self.norm(self._stream(tokens_BT, positions_BT, None, kept)))

    def _stream(self, tokens_BT: Tensor, positions_BT: Tensor, mask: Mask, cache: CacheSlice | None) -> Tensor:
        cos, sin = rotary(positions_BT, self.config.head_dim, self.config.rope_theta)
        x_BTC = self.dropout(self.embed(tokens_BT))
        for block in self.blocks:
            x_BTC = block(x_BTC, cos, sin, mask, cache)
        return x_BTC

    def has_finite_weights(self) -> bool:
        """Whether no weight is NaN or infinite: one pass over the weights, and one wait for their device."""
        # A sum over a tensor is not finite if one of its numbers is not. Finite numbers can overflow, which a second
        # look rules out.
        sums = torch.stack([weight.detach().sum(dtype=torch.float32) for weight in self.parameters()])
        return bool(sums.isfinite().all()) or all(bool(weight.isfinite().all()) for weight in self.parameters())

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.embed.weight.device

    def num_parameters(self) -> int:
        """Number of parameters, a tied embedding counted once."""
        return sum(parameter.numel() for parameter in self.parameters())

    def flops_per_token(self, num_tokens: int | None = None, backward: bool = True) -> int:
        """Floating-point operations per token in rows of `num_tokens` (default: the context).

        6 N + 12 L C T with the backward pass, a third of it without (Chowdhery et al. 2022, PaLM, appendix B). N are
        the parameters in matrix products: an untied input embedding is a look-up and does not count. The attention
        term counts the whole T x T square, as is the custom, although half of it is masked.
        """
        config = self.config
        num_tokens = config.context if num_tokens is None else num_tokens
        num_multiplied = self.num_parameters() - (0 if config.tie_embeddings else self.embed.weight.numel())
        forward = 2 * num_multiplied + 4 * config.num_layers * config.width * num_tokens
        return 3 * forward if backward else forward

    def answer_flops(self, num_prompt: npt.ArrayLike, num_generated: npt.ArrayLike) -> np.ndarray:
        """Floating-point operations of answers that were written with a cache: int64 arrays (R,) -> float64 (R,).

        All tokens but the last pass through the model once, token t attending to t + 1 of them: 2 N + 4 L C (t + 1)
        operations each, in the convention of `flops_per_token`, without the half that a mask hides. 0 where nothing
        was generated.
        """
        generated = np.asarray(num_generated, np.float64)
        num_passed = np.where(generated > 0, np.asarray(num_prompt) + generated - 1, 0.0)
        matrices = self.flops_per_token(0, backward=False)
        attention = 4 * self.config.num_layers * self.config.width
        return num_passed * matrices + attention * num_passed * (num_passed + 1) / 2
