"""Rollouts by the model's own modules, on any device and in any dtype, in steps whose shapes do not depend on the data.

A step writes one token in every slot: it reads and writes tensors that stay where they are, and nothing in it waits
for the host. So on CUDA it is captured as a graph and replayed. FlexAttention reads of every slot what its trace has
written; other kernels read the same span of all slots, a power of two, and each has its graph. Capture is exercised by
the tests where they find a CUDA device; its speed has not been measured yet.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from sos.model.attention import flex_on
from sos.model.cache import KVCache
from sos.model.gpt import GPT

PASSES = 8  # steps between two looks at what is complete
SMALLEST_SPAN = 64


class Steps:
    """The slots of rollouts, with their state on the model's device; an `Engine` of `sos.model.rollout`."""

    refill_share = 8  # prompts are read in passes of their own, which should be few

    def __init__(self, model: GPT, num_slots: int, num_positions: int, eos_id: int, temperature: float) -> None:
        self.model, self.num_positions, self.eos_id, self.temperature = model, num_positions, eos_id, temperature
        self.device = device = model.device
        self.autocast = torch.is_autocast_enabled(device.type)
        dtype = torch.get_autocast_dtype(device.type) if self.autocast else model.embed.weight.dtype
        self.cache = KVCache(model.config, num_slots, num_positions, device, dtype)
        # A step writes in every slot: beyond the end of what is complete, for which there is one more place.
        self.tokens_BT = torch.zeros(num_slots, num_positions + 1, dtype=torch.int64, device=device)
        self.logprobs_BT = torch.zeros(num_slots, num_positions + 1, device=device)
        self.lengths_B = torch.ones(num_slots, dtype=torch.int64, device=device)
        self.limits_B = torch.ones_like(self.lengths_B)
        self.keys_B = torch.zeros_like(self.lengths_B)
        self.live_B = torch.zeros(num_slots, dtype=torch.bool, device=device)
        self.live, self.lengths = np.zeros(num_slots, bool), np.ones(num_slots, np.int64)
        self.graphs: dict[int, torch.cuda.CUDAGraph] = {}

    def start(self, slots: np.ndarray, prompts: list[np.ndarray], limits: np.ndarray, keys: np.ndarray) -> None:
        """Begin new traces in free slots and read their prompts; see `Engine.start`."""
        lengths = np.array([len(prompt) for prompt in prompts])
        width = int(lengths.max())
        tokens = np.zeros((len(slots), width), np.int64)
        for row, prompt in zip(tokens, prompts, strict=True):
            row[: len(prompt)] = prompt
        self.live[slots], self.lengths[slots] = True, lengths
        at_N, tokens_NT = self._to_device(slots), self._to_device(tokens)
        self.tokens_BT[at_N, :width] = tokens_NT
        self.lengths_B[at_N], self.limits_B[at_N] = self._to_device(lengths), self._to_device(limits)
        self.keys_B[at_N], self.live_B[at_N] = self._to_device(keys.view(np.int64)), True
        # The first step reads the last token of each prompt again, to the same effect.
        positions_NT = torch.arange(width, device=self.device).expand(len(slots), width)
        self.model.forward_cached(tokens_NT, positions_NT, self.cache, at_N, span=width)

    def run(self) -> None:
        """Take some steps; what is complete after them is not live any more."""
        span = self.num_positions
        if not flex_on(self.device):
            longest = int(self.lengths[self.live].max()) + PASSES - 1
            span = min(max(SMALLEST_SPAN, 1 << (longest - 1).bit_length()), span)
        graph = self._graph(span) if self.device.type == "cuda" else None
        for _ in range(PASSES):
            if graph is None:
                self._step(span)
            else:
                graph.replay()
        self.live[:], self.lengths[:] = self.live_B.cpu().numpy(), self.lengths_B.cpu().numpy()

    def results(self, slots: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return all tokens, int32, and their log probabilities, float32, of complete traces."""
        at = self._to_device(slots)
        tokens, logprobs = self.tokens_BT[at].int().cpu().numpy(), self.logprobs_BT[at].cpu().numpy()
        lengths = self.lengths[slots]
        return [(t[:n].copy(), p[:n].copy()) for t, p, n in zip(tokens, logprobs, lengths, strict=True)]

    def _step(self, span: int) -> None:
        last_B1 = self.lengths_B[:, None] - 1  # has not been read yet
        with torch.autocast(
            self.device.type, enabled=self.autocast, cache_enabled=False
        ):  # a graph must not keep casts
            read_B1 = self.tokens_BT.gather(1, last_B1)
            logits_BV = self.model.forward_cached(read_B1, last_B1, self.cache, span=span)[:, 0]
        draws_B = uniforms(self.keys_B, self.lengths_B) if self.temperature > 0 else None
        tokens_B, logprobs_B = choose_tokens(logits_BV, self.temperature, draws_B)
        self.tokens_BT.scatter_(1, self.lengths_B[:, None], tokens_B[:, None])
        self.logprobs_BT.scatter_(1, self.lengths_B[:, None], logprobs_B[:, None])
        self.lengths_B += self.live_B
        self.live_B &= (tokens_B != self.eos_id) & (self.lengths_B < self.limits_B)

    def _graph(self, span: int) -> torch.cuda.CUDAGraph:
        """The step over `span` positions as a graph, captured when it is first needed."""
        if span not in self.graphs:
            live_B = self.live_B.clone()
            self.live_B.zero_()  # so that the steps which warm up change nothing that is read
            with torch.cuda.device(self.device):
                side, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
                side.wait_stream(torch.cuda.current_stream())
                with torch.cuda.stream(side):
                    for _ in range(2):
                        self._step(span)
                torch.cuda.current_stream().wait_stream(side)
                pool = next(iter(self.graphs.values())).pool() if self.graphs else None
                with torch.cuda.graph(graph, pool=pool):
                    self._step(span)
            self.live_B.copy_(live_B)
            self.graphs[span] = graph
        return self.graphs[span]

    def _to_device(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(self.device)


def choose_tokens(logits_BV: Tensor, temperature: float, draws_B: Tensor | None) -> tuple[Tensor, Tensor]:
    """Choose a token per row: the most likely one, or the inverse of the cumulative distribution at draws_B[b].

    logits_BV: any float dtype. draws_B: float64 uniform on [0, 1), or None for greedy. Returns tokens int64 (B,)
    and their log probabilities float32 (B,) as `Rollout.logprobs` has them.
    """
    if draws_B is None:
        logprobs_BV = logits_BV.float().log_softmax(-1)
        tokens_B = logprobs_BV.argmax(-1)
    else:
        logprobs_BV = (logits_BV.double() / temperature).log_softmax(-1)
        cumulative_BV = logprobs_BV.exp().cumsum(-1)
        targets_B1 = draws_B[:, None] * cumulative_BV[:, -1:]
        tokens_B = torch.searchsorted(cumulative_BV, targets_B1, right=True)[:, 0].clamp(max=logits_BV.shape[1] - 1)
    return tokens_B, logprobs_BV.gather(1, tokens_B[:, None])[:, 0].float()


def uniforms(keys_B: Tensor, counters_B: Tensor) -> Tensor:
    """`sos.rng.uniform` of each (key, counter): int64 with the bits of the uint64 keys -> float64 on [0, 1)."""

    def shift(x: Tensor, by: int) -> Tensor:
        return (x >> by) & ((1 << (64 - by)) - 1)

    x = keys_B + (counters_B + 1) * -0x61C8864680B583EB
    x = (x ^ shift(x, 30)) * -0x40A7B892E31B1A47
    x = (x ^ shift(x, 27)) * -0x6B2FB644ECCEEE15
    return shift(x ^ shift(x, 31), 11).double() * 2.0**-53
