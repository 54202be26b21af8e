"""Rollouts: decode many problems in one batch whose slots are refilled as problems finish.

A rollout is a function of the weights, its prompt, its budget and (seed, problem index, sample index): token t of a
sampled rollout uses number t of that problem's own random stream. Neither the batch size nor the neighbours in the
batch can change it, up to the last bits of a matrix product.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor

from sos.model.cpu_decode import CPUDecoder, pack
from sos.model.cpu_kernels import BLOCK_ROWS, Weights
from sos.model.gpt import GPT, KVCache
from sos.rng import fold, stream_key, uniform

SPAN_STEP = 16  # attention covers the longest live trace, rounded up to this many positions
# Slots of a thread on the CPU. While the weights stay in the processor's cache, more slots would only push out keys and values;
# larger weights are read from memory in every pass, which pays for many rows.
FEW_SLOTS, MANY_SLOTS, SMALL_WEIGHTS = 6, 36, 8e6
PROMPT_ROWS = 60  # tokens of prompts read beside one token of each slot


@dataclass(frozen=True)
class Rollout:
    """One decoded problem.

    tokens: int32 (N,), the prompt, then what the model wrote, with the end token if it came to that.
    num_prompt: how many of them are the prompt.
    finished: the end token was written; otherwise the budget or the context ran out.
    logprobs: float32 (N - num_prompt,), log probability of each written token under the distribution it was drawn
        from (softmax of logits / temperature; of the logits when decoding greedily).
    """

    tokens: np.ndarray
    num_prompt: int
    finished: bool
    logprobs: np.ndarray


def rollout(
    model: GPT,
    prompts: Sequence[np.ndarray],
    *,
    max_tokens: int | np.ndarray,
    eos_id: int = 2,
    temperature: float = 0.0,
    seed: int = 0,
    problem_indices: np.ndarray | None = None,
    sample_indices: np.ndarray | None = None,
    batch_size: int = 256,
    progress: Callable[[int, int], None] | None = None,
    device: torch.device | str | None = None,
) -> list[Rollout]:
    """Decode all prompts until the end token, their budget or the model's context; return them in the same order.

    Args:
        model: decodes in the dtype of its weights, or of the surrounding `torch.autocast`.
        prompts: integer arrays (num_prompt,), not empty, as long as the context at most.
        max_tokens: budget of written tokens, the end token included: one for all or an int array (len(prompts),).
        eos_id: the token that ends a rollout.
        temperature: 0 takes the most likely token; otherwise draws from softmax(logits / temperature).
        seed, problem_indices, sample_indices: name the random stream of each rollout; used if temperature > 0. Int
            arrays (len(prompts),), >= 0; None means 0, 1, 2, ... for problems and 0 for samples. To draw k times from a
            problem, repeat its prompt and problem index with sample indices 0..k-1.
        batch_size: number of slots, each with its part of a key/value cache as long as the longest rollout allowed.
        progress: called with (problems done, problems in all) whenever some were completed.
        device: moves the model there first; None leaves it where it is.

    Raises ValueError, naming the value, if an argument is out of range or a prompt does not fit into the context.
    """
    prompts = [np.asarray(prompt) for prompt in prompts]
    budgets = _checked_budgets(model, prompts, max_tokens, temperature, batch_size)
    num_problems = len(prompts)
    problems = (
        np.arange(num_problems) if problem_indices is None else _indices("problem", problem_indices, num_problems)
    )
    samples = (
        np.zeros(num_problems, int) if sample_indices is None else _indices("sample", sample_indices, num_problems)
    )
    keys = _stream_keys(stream_key(seed, "rollout"), problems, samples)
    if device is not None:
        model.to(device)

    results: list[Rollout | None] = [None] * num_problems
    for i in np.flatnonzero(budgets == 0):
        results[i] = Rollout(prompts[i].astype(np.int32), len(prompts[i]), False, np.zeros(0, np.float32))
    todo: list[int] = np.flatnonzero(budgets > 0).tolist()

    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            batch = (prompts, budgets, keys, eos_id, temperature)
            batch_size = min(batch_size, len(todo))
            workers = _cpu_workers(model, batch_size, *batch) if CPUDecoder.fits(model) else None
            _decode(workers or [_TorchSlots(model, batch_size, *batch)], todo, results, progress)
    finally:
        model.train(was_training)
    return [result for result in results if result is not None]


def _decode(
    workers: Sequence[_Slots],
    todo: list[int],
    results: list[Rollout | None],
    progress: Callable[[int, int], None] | None,
) -> None:
    """Let the workers decode these problems into `results`, the first of them in this thread."""
    queue = iter(todo)  # the workers share it: a list's iterator gives every item once
    num_done = len(results) - len(todo)
    if progress is not None and num_done:
        progress(num_done, len(results))

    def work(slots: _Slots) -> Iterator[None]:
        while True:
            num_free = int(np.count_nonzero(~slots.live))
            done = []
            if num_free * slots.refill_share >= len(slots.live) and (problems := list(islice(queue, num_free))):
                done += slots.fill(problems)
            if not done and not slots.live.any():
                return
            done += slots.advance()
            for problem, result in done:
                results[problem] = result
            yield

    with ThreadPoolExecutor(max(1, len(workers) - 1), thread_name_prefix="rollout") as pool:
        try:
            others = [pool.submit(deque, work(slots), 0) for slots in workers[1:]]
            for _ in chain(work(workers[0]), (future.result() for future in others)):
                before, num_done = num_done, sum(result is not None for result in results)
                if progress is not None and num_done > before:
                    progress(num_done, len(results))
        finally:
            deque(queue, 0)  # where this thread fails, the others end


class _Slots:
    """The batch: the state of each slot on the host, arrays over slots. A subclass runs the model."""

    refill_share = 1  # refill once this fraction (1 / refill_share) of the slots is free

    def __init__(
        self,
        num_slots: int,
        prompts: Sequence[np.ndarray],
        budgets: np.ndarray,
        keys: np.ndarray,
        eos_id: int,
        temperature: float,
    ) -> None:
        self.prompts, self.keys = prompts, keys
        self.eos_id, self.temperature = eos_id, temperature
        self.num_prompts = np.array([len(prompt) for prompt in prompts], np.int64)
        self.limits = self.num_prompts + budgets
        longest = int(self.limits.max(initial=0))
        self.live = np.zeros(num_slots, bool)
        self.problem = np.zeros(num_slots, np.int64)  # index into prompts
        self.length = np.ones(num_slots, np.int64)  # tokens so far; the last of them is not in the cache yet
        self.tokens = np.zeros((num_slots, longest), np.int32)
        self.logprobs = np.zeros((num_slots, longest), np.float32)

    def fill(self, problems: list[int]) -> list[tuple[int, Rollout]]:
        """Start these problems in free slots; return the ones that this completes."""
        raise NotImplementedError

    def advance(self) -> list[tuple[int, Rollout]]:
        """Write one more token in every live slot that has read its prompt; return the problems that this completes."""
        raise NotImplementedError

    def _occupy(self, problems: list[int]) -> np.ndarray:
        """Put the prompts of these problems into free slots; return the slots."""
        slots = np.flatnonzero(~self.live)[: len(problems)]
        for slot, i in zip(slots, problems, strict=True):
            self.tokens[slot, : len(self.prompts[i])] = self.prompts[i]
        self.problem[slots] = problems
        self.live[slots] = True
        self.length[slots] = self.num_prompts[problems]
        return slots

    def _draws(self, slots: np.ndarray) -> np.ndarray | None:
        """The uniform number that decides the next token of each of these slots; None when decoding greedily."""
        return uniforms(self.keys[self.problem[slots]], self.length[slots]) if self.temperature > 0 else None

    def _append(self, slots: np.ndarray, tokens: np.ndarray, logprobs: np.ndarray) -> list[tuple[int, Rollout]]:
        """Add a token to each of these slots; return the problems that this completes and free their slots."""
        at = self.length[slots]
        self.tokens[slots, at] = tokens
        self.logprobs[slots, at] = logprobs
        self.length[slots] = at + 1

        problems = self.problem[slots]
        done = slots[(tokens == self.eos_id) | (at + 1 == self.limits[problems])]
        self.live[done] = False
        return [self._result(slot) for slot in done]

    def _result(self, slot: int) -> tuple[int, Rollout]:
        """The problem in this slot and what has been written."""
        i, end = int(self.problem[slot]), self.length[slot]
        start = int(self.num_prompts[i])
        tokens = self.tokens[slot, :end].copy()
        return i, Rollout(tokens, start, bool(tokens[-1] == self.eos_id), self.logprobs[slot, start:end].copy())


class _CPUSlots(_Slots):
    """The model as `CPUDecoder`: new slots read their prompts in the same pass in which the others write."""

    refill_share = 64

    def __init__(self, weights: Weights, num_slots: int, *rest: Any) -> None:
        super().__init__(num_slots, *rest)
        longest = self.tokens.shape[1]
        self.decoder = CPUDecoder(weights, num_slots, longest, num_slots + PROMPT_ROWS)
        batch = self.decoder.batch
        self.live, self.tokens, self.logprobs, self.length = (
            batch.live,
            batch.tokens_BT,
            batch.logprobs_BT,
            batch.lengths,
        )

    def fill(self, problems: list[int]) -> list[tuple[int, Rollout]]:
        slots, batch = self._occupy(problems), self.decoder.batch
        batch.num_read[slots] = 0
        batch.limits[slots] = self.limits[problems]
        batch.keys[slots] = self.keys[problems]
        return []

    def advance(self) -> list[tuple[int, Rollout]]:
        slots = np.flatnonzero(self.live)
        self.decoder.run(self.eos_id, self.temperature)
        return [self._result(slot) for slot in slots[~self.live[slots]]]


def _cpu_workers(model: GPT, batch_size: int, *batch: Any) -> list[_CPUSlots]:
    """Return a worker for each of torch's threads, as far as there is work for it."""
    weights = pack(model, model.config.context)
    small = sum(parameter.nbytes for parameter in model.parameters()) < SMALL_WEIGHTS
    most = FEW_SLOTS if small else MANY_SLOTS
    num_workers = min(torch.get_num_threads(), max(1, batch_size // BLOCK_ROWS))
    num_slots = min(-(-batch_size // num_workers), most)
    return [_CPUSlots(weights, num_slots, *batch) for _ in range(num_workers)]


class _TorchSlots(_Slots):
    """The model's own `forward_cached`, on any device and in any dtype; free slots are computed too."""

    refill_share = 8  # prefills are then few and batched

    def __init__(self, model: GPT, num_slots: int, *rest: Any) -> None:
        super().__init__(num_slots, *rest)
        self.model = model
        self.device = model.embed.weight.device
        autocast = torch.is_autocast_enabled(self.device.type)
        dtype = torch.get_autocast_dtype(self.device.type) if autocast else model.embed.weight.dtype
        self.cache = KVCache(model.config, len(self.live), self.tokens.shape[1], self.device, dtype)

    def fill(self, problems: list[int]) -> list[tuple[int, Rollout]]:
        """Start these problems: one forward pass over their prompts, then their first token."""
        slots = self._occupy(problems)
        lengths = self.length[slots]
        width = int(lengths.max())
        logits_BTV = self.model.forward_cached(
            self._to_device(self.tokens[slots, :width]),
            torch.arange(width, device=self.device).expand(len(slots), width),
            self.cache,
            self._to_device(slots),
            span=width,
        )
        last = self._to_device(lengths - 1)
        return self._choose(slots, logits_BTV[torch.arange(len(slots), device=self.device), last])

    def advance(self) -> list[tuple[int, Rollout]]:
        """Write one more token in every live slot; where half of the slots are free, first drop those."""
        live = np.flatnonzero(self.live)
        if len(live) == 0:
            return []
        if len(live) * 2 <= len(self.live):
            self._drop_free()
            live = np.arange(len(live))
        positions = np.where(self.live, self.length - 1, 0)
        span = min(-(-int(positions.max() + 1) // SPAN_STEP) * SPAN_STEP, self.tokens.shape[1])
        last_tokens = self.tokens[np.arange(len(positions)), positions]
        logits_BTV = self.model.forward_cached(
            self._to_device(last_tokens)[:, None], self._to_device(positions)[:, None], self.cache, span=span
        )
        logits_BV = logits_BTV[:, 0]
        return self._choose(live, logits_BV if len(live) == len(positions) else logits_BV[self._to_device(live)])

    def _choose(self, slots: np.ndarray, logits_BV: Tensor) -> list[tuple[int, Rollout]]:
        return self._append(slots, *choose(logits_BV, self.temperature, self._draws(slots)))

    def _drop_free(self) -> None:
        """Shrink the batch to its live slots."""
        live = np.flatnonzero(self.live)
        self.cache.keep(self._to_device(live))
        for name in ("live", "problem", "length", "tokens", "logprobs"):
            setattr(self, name, getattr(self, name)[live])

    def _to_device(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array.astype(np.int64)).to(self.device)


def choose(logits_BV: Tensor, temperature: float, draws: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Choose a token per row: the most likely one, or the inverse of the cumulative distribution at draws[b].

    logits_BV: any float dtype. draws: float64 (B,) uniform on [0, 1), or None for greedy. Returns tokens int64 (B,)
    and their log probabilities float32 (B,) as `Rollout.logprobs` has them.
    """
    if draws is None:
        logprobs_BV = logits_BV.float().log_softmax(-1)
        tokens_B = logprobs_BV.argmax(-1)
    else:
        logprobs_BV = (logits_BV.double() / temperature).log_softmax(-1)
        cumulative_BV = logprobs_BV.exp().cumsum(-1)
        targets_B1 = torch.from_numpy(draws).to(logits_BV.device)[:, None] * cumulative_BV[:, -1:]
        tokens_B = torch.searchsorted(cumulative_BV, targets_B1, right=True)[:, 0].clamp(max=logits_BV.shape[1] - 1)
    logprobs_B = logprobs_BV.gather(1, tokens_B[:, None])[:, 0]
    return tokens_B.cpu().numpy(), logprobs_B.float().cpu().numpy()


@njit(cache=True, nogil=True)
def uniforms(keys, counters):
    """Draw number counters[i] of stream keys[i]: uint64 (B,), int64 (B,) -> float64 (B,) on [0, 1)."""
    draws = np.empty(len(keys))
    for i in range(len(keys)):
        draws[i] = uniform(keys[i], counters[i])
    return draws


@njit(cache=True, nogil=True)
def _stream_keys(key, problems, samples):
    """Derive the uint64 key of each (problem index, sample index), both int64 (P,)."""
    keys = np.empty(len(problems), np.uint64)
    for i in range(len(problems)):
        keys[i] = fold(fold(key, problems[i]), samples[i])
    return keys


def _indices(name: str, values: np.ndarray, num_problems: int) -> np.ndarray:
    indices = np.asarray(values, dtype=np.int64)
    if indices.shape != (num_problems,):
        raise ValueError(f"{name}_indices must have shape ({num_problems},), one per prompt, got {indices.shape}")
    if (indices < 0).any():
        raise ValueError(f"{name}_indices must not be negative, got {indices.min()}")
    return indices


def _checked_budgets(
    model: GPT, prompts: Sequence[np.ndarray], max_tokens: int | np.ndarray, temperature: float, batch_size: int
) -> np.ndarray:
    """Check the arguments; return how many tokens each rollout may write, int64 (len(prompts),)."""
    context, vocab_size = model.config.context, model.config.vocab_size
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    if not (temperature >= 0 and np.isfinite(temperature)):
        raise ValueError(f"temperature must be finite and not negative, got {temperature}")
    for i, prompt in enumerate(prompts):
        if prompt.ndim != 1 or len(prompt) == 0:
            raise ValueError(f"prompt {i} must be a non-empty one-dimensional array, got shape {prompt.shape}")
        if len(prompt) > context:
            raise ValueError(f"prompt {i} has {len(prompt)} tokens, more than model.context = {context}")
        if prompt.min() < 0 or prompt.max() >= vocab_size:
            raise ValueError(f"prompt {i} has a token outside 0..{vocab_size - 1} (model.vocab_size = {vocab_size})")
    budgets = np.asarray(max_tokens, dtype=np.int64)
    if budgets.ndim and budgets.shape != (len(prompts),):
        raise ValueError(f"max_tokens must be one number or have shape ({len(prompts)},), got {budgets.shape}")
    if (budgets < 0).any():
        raise ValueError(f"max_tokens must not be negative, got {budgets.min()}")
    room = np.array([context - len(prompt) for prompt in prompts], dtype=np.int64)
    return np.minimum(budgets, room)
