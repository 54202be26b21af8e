"""Rollouts: a model answers many problems in one batch whose slots are refilled as problems finish.

A rollout is a function of the weights, its prompt, its budget and (seed, problem index, sample index): token t of a
sampled rollout uses number t of that problem's own random stream. Neither the batch size nor the neighbours in the
batch can change it, up to the last bits of a matrix product.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice, takewhile
from typing import NamedTuple, Protocol

import numpy as np
import torch

from sos.errors import UserError
from sos.kernels import kernel
from sos.model import cpu
from sos.model.gpt import GPT
from sos.model.steps import Steps
from sos.rng import fold, stream_key


@dataclass(frozen=True)
class Rollout:
    """One answer to a problem.

    tokens: int32 (N,), the prompt, then what the model wrote, with the end token if it came to that.
    num_prompt: how many of them are the prompt.
    finished: the end token was written; otherwise the budget or the context ran out.
    logprobs: float32 (N - num_prompt,), log probability of each written token under the distribution it was drawn
        from (softmax of logits / temperature; of the logits for greedy ones).
    spans: of an answer that was written piece by piece, how many tokens the model had before it and how many it wrote
        then; see `sos.judge.rolling`.
    """

    tokens: np.ndarray
    num_prompt: int
    finished: bool
    logprobs: np.ndarray
    spans: tuple[tuple[int, int], ...] = ()


class Engine(Protocol):
    """What writes tokens in a number of slots: `sos.model.steps.Steps`, or `sos.model.cpu.passes.Passes`."""

    refill_share: int  # new traces begin when this many times the free slots are all of them

    @property
    def live(self) -> np.ndarray:
        """Which slots hold a trace that is not complete, bool (num_slots,)."""

    def start(self, slots: np.ndarray, prompts: list[np.ndarray], limits: np.ndarray, keys: np.ndarray) -> None:
        """Begin new traces in free slots: prompts, lengths at which they stop, uint64 random streams."""

    def run(self) -> None:
        """Write some tokens in all live slots; what is complete after them is not live any more."""

    def results(self, slots: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return all tokens, int32, and their log probabilities, float32, of complete traces."""


class _Problems(NamedTuple):
    """What is to be rolled out, and what came of it."""

    prompts: list[np.ndarray]
    limits: np.ndarray  # lengths at which they stop, int64
    keys: np.ndarray  # random streams, uint64
    eos_id: int
    results: list[Rollout | None]


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
    until: float | None = None,
    device: torch.device | str | None = None,
) -> list[Rollout]:
    """Continue all prompts until the end token, their budget or the model's context; return them in the same order.

    Args:
        model: computes in the dtype of its weights, or of the surrounding `torch.autocast`.
        prompts: integer arrays (num_prompt,), not empty, as long as the context at most.
        max_tokens: budget of written tokens, the end token included: one for all or an int array (len(prompts),).
        eos_id: the token that ends a rollout.
        temperature: 0 takes the most likely token; otherwise draws from softmax(logits / temperature).
        seed, problem_indices, sample_indices: name the random stream of each rollout; used if temperature > 0. Int
            arrays (len(prompts),), >= 0; None means 0, 1, 2, ... for problems and 0 for samples. To draw k times from a
            problem, repeat its prompt and problem index with sample indices 0..k-1.
        batch_size: largest number of slots, each with its part of a key/value cache as long as the longest rollout
            allowed; on a CPU fewer are faster, and only some are taken for each of torch's threads.
        progress: called with (problems done, problems in all) whenever some were completed.
        until: the `time.perf_counter()` from which on no rollout is begun but the first `batch_size`; those that were
            are finished and returned, which are the first of the prompts. None begins all.
        device: moves the model there first; None leaves it where it is.

    Raises ValueError, naming the value, if an argument is out of range or a prompt does not fit into the context.
    """
    prompts = [np.asarray(prompt) for prompt in prompts]
    budgets = _checked_budgets(model, prompts, max_tokens, temperature, batch_size)
    keys = _stream_keys(seed, len(prompts), problem_indices, sample_indices)
    if device is not None:
        model.to(device)
    problems = _Problems(prompts, budgets + [len(prompt) for prompt in prompts], keys, eos_id, [None] * len(prompts))
    for i in np.flatnonzero(budgets == 0):
        problems.results[i] = Rollout(prompts[i].astype(np.int32), len(prompts[i]), False, np.zeros(0, np.float32))
    todo = np.flatnonzero(budgets > 0)
    if progress is not None and len(todo) < len(prompts):
        progress(len(prompts) - len(todo), len(prompts))
    if len(todo) > 0:
        with _evaluating(model), torch.inference_mode():
            engines = _engines(model, min(batch_size, len(todo)), int(problems.limits.max()), eos_id, temperature)
            queue = _Queue(todo.tolist(), batch_size, until)  # the engines share it
            _join([_work(engine, queue, problems) for engine in engines], queue, problems.results, progress)
    return list(takewhile(lambda result: result is not None, problems.results))  # type: ignore[arg-type]


class _Queue(Iterator[int]):
    """Gives every item once, to any number of threads, and none behind the first `least` from `until` on."""

    def __init__(self, items: Sequence[int], least: int, until: float | None) -> None:
        self._first, self._others, self._until = iter(items[:least]), iter(items[least:]), until

    def __next__(self) -> int:
        item = next(self._first, None)
        if item is not None:
            return item
        if self._until is not None and time.perf_counter() >= self._until:
            raise StopIteration
        return next(self._others)


@contextmanager
def _evaluating(model: GPT) -> Iterator[None]:
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


def _engines(model: GPT, num_slots: int, num_positions: int, eos_id: int, temperature: float) -> Sequence[Engine]:
    if cpu.available(model):
        return cpu.engines(model, num_slots, num_positions, eos_id, temperature)
    return [Steps(model, num_slots, num_positions, eos_id, temperature)]


def _work(engine: Engine, queue: Iterator[int], problems: _Problems) -> Iterator[None]:
    """Roll out problems of the queue until there are none; yields now and then."""
    in_slots = np.zeros(len(engine.live), np.int64)  # the problem in each slot
    while True:
        free = np.flatnonzero(~engine.live)
        if len(free) * engine.refill_share >= len(in_slots) and (new := list(islice(queue, len(free)))):
            slots = free[: len(new)]
            in_slots[slots] = new
            prompts = [problems.prompts[i] for i in new]
            engine.start(slots, prompts, problems.limits[new], problems.keys[new])
        live = np.flatnonzero(engine.live)
        if len(live) == 0:
            return
        engine.run()
        done = live[~engine.live[live]]
        for i, (tokens, logprobs) in zip(in_slots[done], engine.results(done), strict=True):
            start = len(problems.prompts[i])
            finished = bool(tokens[-1] == problems.eos_id)
            problems.results[i] = Rollout(tokens, start, finished, logprobs[start:])
        yield


def _join(
    workers: Sequence[Iterator[None]],
    queue: Iterator[int],
    results: list[Rollout | None],
    progress: Callable[[int, int], None] | None,
) -> None:
    """Run the workers, the first of them in this thread, which reports progress."""
    num_done = sum(result is not None for result in results)
    with ThreadPoolExecutor(max(1, len(workers) - 1), thread_name_prefix="rollout") as pool:
        try:
            others = [pool.submit(deque, worker, 0) for worker in workers[1:]]
            for _ in chain(workers[0], (future.result() for future in others)):
                before, num_done = num_done, sum(result is not None for result in results)
                if progress is not None and num_done > before:
                    progress(num_done, len(results))
        finally:
            deque(queue, 0)  # if this thread fails, the others come to an end


def _stream_keys(
    seed: int, num_problems: int, problem_indices: np.ndarray | None, sample_indices: np.ndarray | None
) -> np.ndarray:
    """Return the uint64 key of each rollout's random stream."""
    problems = np.arange(num_problems) if problem_indices is None else problem_indices
    samples = np.zeros(num_problems, np.int64) if sample_indices is None else sample_indices
    keys = np.empty(num_problems, np.uint64)
    indices = (_indices("problem", problems, num_problems), _indices("sample", samples, num_problems))
    _fold_keys(stream_key(seed, "rollout"), *indices, keys)
    return keys


@kernel
def _fold_keys(key, problems, samples, keys):
    """Derive the key of each (problem index, sample index), both int64 (P,)."""
    for i in range(len(problems)):
        keys[i] = fold(fold(key, problems[i]), samples[i])


def _indices(name: str, values: np.ndarray, num_problems: int) -> np.ndarray:
    indices = np.asarray(values, dtype=np.int64)
    if indices.shape != (num_problems,):
        raise UserError(f"{name}_indices must have shape ({num_problems},), one per prompt, got {indices.shape}")
    if (indices < 0).any():
        raise UserError(f"{name}_indices must not be negative, got {indices.min()}")
    return indices


def _checked_budgets(
    model: GPT, prompts: Sequence[np.ndarray], max_tokens: int | np.ndarray, temperature: float, batch_size: int
) -> np.ndarray:
    """Check the arguments; return how many tokens each rollout may write, int64 (len(prompts),)."""
    context, vocab_size = model.config.context, model.config.vocab_size
    if batch_size < 1:
        raise UserError(f"batch_size must be at least 1, got {batch_size}")
    if not (temperature >= 0 and np.isfinite(temperature)):
        raise UserError(f"temperature must be finite and not negative, got {temperature}")
    for i, prompt in enumerate(prompts):
        if prompt.ndim != 1 or len(prompt) == 0:
            raise UserError(f"prompt {i} must be a non-empty one-dimensional array, got shape {prompt.shape}")
        if len(prompt) > context:
            raise UserError(f"prompt {i} has {len(prompt)} tokens, more than model.context = {context}")
        if prompt.min() < 0 or prompt.max() >= vocab_size:
            raise UserError(f"prompt {i} has a token outside 0..{vocab_size - 1} (model.vocab_size = {vocab_size})")
    budgets = np.asarray(max_tokens, dtype=np.int64)
    if budgets.ndim and budgets.shape != (len(prompts),):
        raise UserError(f"max_tokens must be one number or have shape ({len(prompts)},), got {budgets.shape}")
    if (budgets < 0).any():
        raise UserError(f"max_tokens must not be negative, got {budgets.min()}")
    room = np.array([context - len(prompt) for prompt in prompts], dtype=np.int64)
    return np.minimum(budgets, room)
