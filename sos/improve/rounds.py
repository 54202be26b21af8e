"""A round of practice: draw problems, roll out, verify, select, weight, and pack."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import numpy as np
import torch

from sos.data.splits import sample_problems
from sos.improve.advantages import group_advantages, grouping
from sos.improve.loader import Round
from sos.improve.rows import Kept, minibatch, minibatches
from sos.judge.rollouts import ERRORS, Judgement, judge
from sos.model.gpt import GPT
from sos.model.rollout import Rollout, rollout
from sos.rng import fold, stream_key
from sos.schema.improve import NLL, ImproveConfig
from sos.stream.codec import encode_prompt
from sos.system import System

ROLLOUTS_AT_ONCE = 256  # whose log-probabilities are computed together


class Task(NamedTuple):
    """What is practised, and how."""

    system: System
    options: ImproveConfig
    seed: int
    batch_size: int  # rollouts that are written together
    decoding: Callable[[torch.device], AbstractContextManager[Any]]  # in what the model computes them


class Written(NamedTuple):
    """The rollouts of a round. N = problems x group, those of a problem one after the other."""

    rollouts: list[Rollout]
    groups: np.ndarray  # int64 (N,)
    judged: Judgement
    rewards: np.ndarray  # float64 (N,)


class Practice:
    """Makes rounds with a model: `Rounds` of `sos.improve.loader`. `reference` is what the model began as."""

    def __init__(self, task: Task, model: GPT, reference: GPT | None = None) -> None:
        self.task, self.options, self.model, self.reference = task, task.options, model, reference

    def make(self, number: int) -> Round:
        """Return round `number`, made by the model as it is. Raises UserError where there are no problems to draw."""
        options = self.options
        problems = draw(self.task, number)
        started = time.perf_counter()
        rollouts = write(self.task, self.model, problems, number)
        rolled_out = time.perf_counter()
        written = verify(self.task, problems.repeat(options.group, 0), rollouts)
        verified = time.perf_counter()
        key = stream_key(self.task.seed, "practice selection")
        chosen = select(options, written, np.uint64(fold(key, number)))
        metrics = describe(written, options, chosen)
        batches: list[list[dict[str, Any]]] = []
        if len(chosen) >= options.minibatches:
            batches = self._batches(written, chosen, number)
        metrics |= {
            "seconds/rollout": rolled_out - started,
            "seconds/verify": verified - rolled_out,
            "seconds/rows": time.perf_counter() - verified,
        }
        return Round(
            batches,
            metrics,
            len(rollouts),
            int(written.judged.generated_tokens.sum()),
            rolled_out - started,
            verified - rolled_out,
            why_nothing(options, written, chosen),
        )

    def _batches(self, written: Written, chosen: np.ndarray, number: int) -> list[list[dict[str, Any]]]:
        options, context = self.options, self.task.system.context
        kept = kept_of(written, chosen, options)
        if options.loss != NLL and options.steps > 1 and options.temperature != 1:
            kept = kept._replace(old=logprobs(self.model, kept, context))
        if options.loss == NLL or options.steps == 1:  # the first step is of the policy that wrote them
            kept = kept._replace(old=None)
        if self.reference is not None:
            kept = kept._replace(ref=logprobs(self.reference, kept, context))
        key = np.uint64(fold(stream_key(self.task.seed, "practice rows"), number))
        return [
            minibatches(kept, options.minibatches, context, np.uint64(fold(key, epoch)))
            for epoch in range(options.epochs)
        ]


def draw(task: Task, number: int) -> np.ndarray:
    """Return the problems of a round, int32 (P, W), of the training split: a function of the seed and the round."""
    num = task.options.problems
    # Of a stream of its own: that of the seed is what pretraining has seen.
    seed = int(stream_key(task.seed, "practice"))
    return sample_problems(task.system.env, task.system.splits, "train", num, seed=seed, start=number * num)


def write(task: Task, model: GPT, problems: np.ndarray, number: int) -> list[Rollout]:
    """Return `group` rollouts of each problem, one after the other."""
    options, system = task.options, task.system
    prompts = [np.array(encode_prompt(system.dialect, problem), np.int32) for problem in problems]
    first = number * len(problems)
    with task.decoding(model.device):
        return rollout(
            model,
            [prompt for prompt in prompts for _ in range(options.group)],
            max_tokens=options.max_tokens or system.context,
            temperature=options.temperature,
            seed=int(stream_key(task.seed, "practice")),
            problem_indices=np.repeat(np.arange(first, first + len(problems)), options.group),
            sample_indices=np.tile(np.arange(options.group), len(problems)),
            batch_size=task.batch_size,
        )


def verify(task: Task, problems: np.ndarray, rollouts: Sequence[Rollout]) -> Written:
    """Judge rollouts, rollout r as an answer to `problems[r]`. What did not end counts as not solved."""
    judged = judge(task.system, problems, rollouts)
    rewards = (judged.solved & ~judged.unfinished).astype(np.float64)
    groups = np.repeat(np.arange(len(rollouts) // task.options.group), task.options.group)
    return Written(list(rollouts), groups, judged, rewards)


def select(options: ImproveConfig, written: Written, key: np.uint64) -> np.ndarray:
    """Return the rollouts that are learned from, int64 indices."""
    rewards = written.rewards
    if options.loss != NLL and options.drop_equal:
        mixed = ~uniform(written)
    else:
        mixed = np.ones(len(rewards), bool)
    return np.flatnonzero(mixed & ((rewards > 0) | (options.selection == "all")))


def uniform(written: Written) -> np.ndarray:
    """Return of which rollouts all of the group have the same reward, bool (N,)."""
    return grouping(written.groups).uniform(written.rewards)[grouping(written.groups).of]


def kept_of(written: Written, chosen: np.ndarray, options: ImproveConfig) -> Kept:
    """Return the rollouts of these indices with their weights: 1, or the advantage within the group of those kept."""
    rollouts = [written.rollouts[i] for i in chosen]
    weights = np.ones(len(chosen))
    if options.loss != NLL:
        weights = group_advantages(
            written.rewards[chosen], written.groups[chosen], baseline=options.baseline, scale=options.scale
        )
    prompts = np.array([answer.num_prompt for answer in rollouts], np.int32)
    return Kept(
        np.concatenate([answer.tokens for answer in rollouts]),
        np.cumsum([0, *(len(answer.tokens) for answer in rollouts)], dtype=np.int64),
        prompts,
        weights.astype(np.float32),
        np.concatenate([np.pad(answer.logprobs, (answer.num_prompt, 0)) for answer in rollouts]),
    )


@torch.no_grad()
def logprobs(model: GPT, kept: Kept, context: int) -> np.ndarray:
    """Return the log-probability of each written token under a model at temperature 1, float32 (M,); 0 at prompts."""
    found = np.zeros(len(kept.tokens), np.float32)
    at = 0
    for first in range(0, len(kept.prompts), ROLLOUTS_AT_ONCE):
        part = kept.part(np.arange(first, min(first + ROLLOUTS_AT_ONCE, len(kept.prompts))))
        batch = minibatch(part, context, np.uint64(0))
        rows = (batch[name].to(model.device) for name in ("tokens", "positions", "doc_ids", "targets"))
        losses = model(*rows).float().cpu().numpy().ravel()
        mask = batch["mask"].numpy()
        lengths = np.diff(part.offsets)
        target = np.arange(len(part.tokens)) >= np.repeat(part.offsets[:-1] + part.prompts, lengths)
        found[at : at + len(part.tokens)][target] = -losses[batch["places"].numpy()[mask]]
        at += len(part.tokens)
    return found


def describe(written: Written, options: ImproveConfig, chosen: np.ndarray) -> dict[str, float]:
    """Return what is worth logging of a round, by its name behind `improve/`."""
    judged, rewards = written.judged, written.rewards.reshape(-1, options.group)
    right = judged.solved & (written.rewards > 0)
    tokens = np.concatenate([answer.logprobs for answer in written.rollouts])
    metrics = {
        "reward": float(rewards.mean()),
        "solved": float(judged.solved.mean()),
        "zero_variance/all_right": float((rewards == 1).all(1).mean()),
        "zero_variance/all_wrong": float((rewards == 0).all(1).mean()),
        "kept": len(chosen) / len(written.rollouts),
        "entropy": -float(tokens.mean()) if len(tokens) else 0.0,
        "tokens": float(judged.generated_tokens.mean()),
        "tokens_right": float(judged.generated_tokens[right].mean()) if right.any() else 0.0,
        "unfinished": float(judged.unfinished.mean()),
        "errors": float(judged.num_errors.mean()),
        "errors_right": float(judged.num_errors[right].mean()) if right.any() else 0.0,
    }
    for error in ERRORS:
        count = judged.errors[right, error]
        metrics[f"error_right/{error.name.lower()}"] = float(count.mean()) if right.any() else 0.0
    return metrics


def why_nothing(options: ImproveConfig, written: Written, chosen: np.ndarray) -> str:
    """Say what is left of a round."""
    groups = int(uniform(written).sum()) // options.group
    solved = int((written.rewards > 0).sum())
    return (
        f"improve.selection={options.selection} left {len(chosen)} of {len(written.rollouts)} rollouts for "
        f"improve.minibatches={options.minibatches}; {solved} were solved, and {groups} of {options.problems} problems "
        "had equal rewards throughout"
    )
