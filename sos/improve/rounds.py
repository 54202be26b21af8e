"""A round of practice: draw problems, roll out, verify, select, weight, and pack."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from sos.data.splits import sample_problems
from sos.improve.advantages import group_advantages, group_counts, grouping
from sos.improve.attempts_practice import second_attempts
from sos.improve.corrected import correct
from sos.improve.critic import Critic
from sos.improve.experience import Experience, from_rollouts
from sos.improve.guided import guide
from sos.improve.loader import Round
from sos.improve.pool import Pool, begun, chosen_problems, profile
from sos.improve.rows import Kept, shared_out
from sos.improve.selections import select
from sos.improve.selections_options import BY_NUM, RESAMPLING, Selection
from sos.improve.task import Task
from sos.improve.teacher import Contexts, behind_contexts, make_contexts, without_context
from sos.improve.together import part_of_minibatch, rolled_out
from sos.improve.values import logprobs, with_advantages
from sos.judge.first_action import first_costs, first_end
from sos.judge.rollouts import ERRORS
from sos.model.gpt import GPT
from sos.model.rollout import Rollout
from sos.published.metric import rate
from sos.published.wording import published_text
from sos.rng import fold, stream_key
from sos.schema.improve import ImproveConfig
from sos.schema.improve_words import DISTILLATION, MISTAKES, NLL, NODES, NONE, POLICY_LOSSES
from sos.schema.slot import NONE as NO_CONTEXT
from sos.stream.codec import encode_prompt
from sos.stream.verify import Error
from sos.system import System


class Practice:
    """Makes rounds with a model: `Rounds` of `sos.improve.loader`. `reference` is what the model began as; a critic has
    its own. `start` makes the model that problems are chosen by, where they are.
    """

    def __init__(
        self,
        task: Task,
        model: GPT,
        reference: GPT | None = None,
        critic: Critic | None = None,
        start: Callable[[], GPT] | None = None,
    ) -> None:
        self.task, self.options, self.model, self.reference = task, task.options, model, reference
        self.critic = critic
        self._start = start
        self._pool: Pool | None = None

    def make(self, number: int) -> Round:
        """Return round `number`, made by the model as it is. Raises UserError where there are no problems to draw."""
        options = self.options
        asked = time.perf_counter()
        problems = self._drawn(number)
        contexts = make_contexts(self.task, problems, number)
        started = time.perf_counter()
        rollouts = write(self.task, self.model, problems, number, contexts if options.loss == NLL else None)
        rolled_out = time.perf_counter()
        experience = verified(self.task, problems, rollouts, number)
        judged = time.perf_counter()
        metrics, num_tokens = describe(experience, options), int(experience.lengths.sum())
        metrics["entropy_first"] = _mean(first_costs(self.task.system, rollouts))
        if options.context != NO_CONTEXT:
            metrics |= contexts.metrics() | {"seconds/context": started - asked}
        if self._pool is not None:
            num_tokens += self._pool.tokens if number == 0 else 0
            metrics |= {f"pool/{name}": share for name, share in self._pool.shares().items()}
            metrics["pool/mixed"] = self._pool.mixed
        if options.writes_anew:
            experience, found, more = self._anew(problems, rollouts, experience, number)
            metrics, num_tokens = metrics | found, num_tokens + more
            rolled_out += time.perf_counter() - judged
            judged = time.perf_counter()
        key = np.uint64(fold(stream_key(self.task.seed, "practice selection"), number))
        chosen = chosen_of(experience, options, key)
        metrics["kept"] = len(chosen) / len(experience)
        batches: list[list[dict[str, Any]]] = []
        of_rows: dict[str, float] = {}
        if len(chosen) >= options.minibatches:
            batches, of_rows = self._batches(experience.select(chosen), number, contexts)
        metrics |= of_rows | {
            "seconds/rollout": rolled_out - started,
            "seconds/verify": judged - rolled_out,
            "seconds/rows": time.perf_counter() - judged,
        }
        why = "" if batches else why_nothing(experience, options, len(chosen))
        return Round(batches, metrics, len(rollouts), num_tokens, rolled_out - started, judged - rolled_out, why)

    def _drawn(self, number: int) -> np.ndarray:
        """Return the problems of a round, int32 (P, W)."""
        options = self.options
        if options.profiles and self._pool is None:
            assert self._start is not None
            self._pool = profile(self.task, self._start().to(self.model.device))
        if self._pool is None or not options.classes:
            return draw(self.task, number)
        return chosen_problems(self.task, self._pool, number)

    def _anew(
        self, problems: np.ndarray, rollouts: Sequence[Rollout], experience: Experience, number: int
    ) -> tuple[Experience, dict[str, float], int]:
        """Return the answers with some of them written anew, what is worth logging of that, and the tokens it took."""
        if self.options.guided:
            return self._guided(problems, rollouts, experience, number)
        if self.options.corrected != NONE:
            return self._corrected(problems, rollouts, number)
        return self._tried_again(problems, rollouts, experience, number)

    def _guided(
        self, problems: np.ndarray, rollouts: Sequence[Rollout], experience: Experience, number: int
    ) -> tuple[Experience, dict[str, float], int]:
        """Return the answers with the wrong ones guided, and the same as `_anew`."""
        found = guide(self.task, self.model, problems, rollouts, experience.rewards > 0, number)
        guided = found.landmarks > 0
        metrics = {
            "guided": float(guided.mean()),
            "guided_solved": _mean(found.right[guided]),
            "landmarks": _mean(found.landmarks[guided]),
        }
        return verified(self.task, problems, found.rollouts, number), metrics, found.tokens

    def _corrected(
        self, problems: np.ndarray, rollouts: Sequence[Rollout], number: int
    ) -> tuple[Experience, dict[str, float], int]:
        """Return the answers with their mistakes corrected, and the same as `_anew`."""
        found = correct(self.task, self.model, problems, rollouts, number)
        made = found.corrections > 0
        metrics = {
            "corrected": float(made.mean()),
            "corrected_solved": _mean(found.right[made]),
            "corrections": _mean(found.corrections[made]),
        }
        return verified(self.task, problems, found.rollouts, number), metrics, found.tokens

    def _tried_again(
        self, problems: np.ndarray, rollouts: Sequence[Rollout], experience: Experience, number: int
    ) -> tuple[Experience, dict[str, float], int]:
        """Return the answers with a second attempt in the place of the wrong ones, and the same as `_anew`."""
        found = second_attempts(self.task, self.model, problems, rollouts, experience.rewards > 0, number)
        after = verified(self.task, problems, found.rollouts, number)
        metrics = {
            "second": float(found.second.mean()),
            "second_refined": _mean(found.refined[found.second]),
            "second_solved": _mean(after.rewards[found.second] > 0),
        }
        return after, metrics, found.tokens

    def _batches(
        self, experience: Experience, number: int, contexts: Contexts
    ) -> tuple[list[list[dict[str, Any]]], dict[str, float]]:
        """Return the epochs of minibatches, and what is worth logging of them."""
        options, context = self.options, self.task.system.context
        kept = weighted(experience, options)
        metrics: dict[str, float] = {}
        if options.loss in POLICY_LOSSES:
            metrics["lone_weight"] = lone_weight(experience, kept.weights)
        if not options.needs_old:
            kept = kept._replace(old=None)
        elif options.temperature != 1:
            kept = kept._replace(old=self._logprobs(self.model, kept))
        if options.loss == DISTILLATION:
            kept, metrics["cut"] = self._behind(experience, kept, contexts)
        if self.reference is not None:
            kept = kept._replace(ref=self._logprobs(self.reference.to(self.model.device), kept))
        if self.critic is not None:
            with self.task.decoding(self.model.device):
                kept, metrics = with_advantages(kept, experience.rewards, self.model, self.critic, options, context)
        key = np.uint64(fold(stream_key(self.task.seed, "practice rows"), number))
        return [
            [
                part_of_minibatch(part, context, of_part, self.task.ranks, options.aggregation)
                for part, of_part in shared_out(kept, options.minibatches, np.uint64(fold(key, epoch)))
            ]
            for epoch in range(options.epochs)
        ], metrics

    def _behind(self, experience: Experience, kept: Kept, contexts: Contexts) -> tuple[Kept, float]:
        """Return rollouts as the teacher reads them, too, and the share of what is written that it has no room for."""
        system, num = self.task.system, len(experience)
        firsts = [first_end(system, experience.tokens_of(k), int(experience.num_prompt[k])) for k in range(num)]
        before = [contexts.tokens[group] for group in experience.groups]
        return behind_contexts(kept._replace(firsts=np.array(firsts)), before, system.context)

    def _logprobs(self, model: GPT, kept: Kept) -> np.ndarray:
        with self.task.decoding(model.device):
            return logprobs(model, kept, self.task.system.context)


def draw(task: Task, number: int) -> np.ndarray:
    """Return the problems of a round, int32 (P, W), of the training split: a function of the seed and the round."""
    num = task.options.problems
    # Of a stream of its own: that of the seed is what pretraining has seen.
    seed = int(stream_key(task.seed, "practice"))
    return sample_problems(task.system.env, task.system.splits, "train", num, seed=seed, start=number * num)


def write(task: Task, model: GPT, problems: np.ndarray, number: int, contexts: Contexts | None = None) -> list[Rollout]:
    """Return `group` rollouts of each problem, one after the other. What is written behind contexts is returned without
    them."""
    options, system = task.options, task.system
    before = [None] * len(problems) if contexts is None else contexts.tokens
    if options.prefix:
        prompts = [begun(system, problem, options.prefix) for problem in problems]
    else:
        prompts = [
            np.array(encode_prompt(system.dialect, problem, tokens), np.int32)
            for problem, tokens in zip(problems, before, strict=True)
        ]
    first = number * len(problems)
    with task.decoding(model.device):
        written = rolled_out(
            task.ranks,
            model,
            [prompt for prompt in prompts for _ in range(options.group)],
            max_tokens=options.max_tokens or system.context,
            temperature=options.temperature,
            seed=int(stream_key(task.seed, "practice")),
            problem_indices=np.repeat(np.arange(first, first + len(problems)), options.group),
            sample_indices=np.tile(np.arange(options.group), len(problems)),
            batch_size=task.batch_size,
        )
    taken = [0 if tokens is None else len(tokens) for tokens in before for _ in range(options.group)]
    return [without_context(answer, num) for answer, num in zip(written, taken, strict=True)]


def verified(task: Task, problems: np.ndarray, rollouts: Sequence[Rollout], number: int) -> Experience:
    """Read and judge the rollouts of the problems of a round. What did not end counts as wrong."""
    num, group = len(problems), task.options.group
    indices = np.repeat(number * num + np.arange(num), group)
    groups = np.repeat(np.arange(num), group)
    found = from_rollouts(task.system, problems.repeat(group, 0), rollouts, groups=groups, indices=indices, step=number)
    right = legacy_solved(task.system, rollouts) if task.options.reward == "sos_legacy" else found.solved
    rewards = (right & found.finished).astype(np.float64)
    if task.options.reward == NODES:
        rewards *= np.maximum(0, 1 - found.nodes / task.options.most_nodes)
    return found.replace(rewards=rewards - task.options.penalty * found.error_penalties)


def legacy_solved(system: System, rollouts: Sequence[Rollout]) -> np.ndarray:
    """Return which rollouts the published metric rates above 0, bool (N,), with its defects. A few ms each."""
    texts = (published_text(system.dialect, system.env, answer.tokens) for answer in rollouts)
    return np.array([(rate(text).rating or 0.0) > 0 for text in texts], bool)


def chosen_of(experience: Experience, options: ImproveConfig, key: np.uint64) -> np.ndarray:
    """Return the rollouts that are learned from, int64 indices; draws are functions of `key`."""
    keep = options.keep if options.selection in BY_NUM else None
    if options.selection in RESAMPLING:
        selection = Selection(kind=options.selection, num=keep, reject_equal=options.drop_equal)
    else:
        selection = Selection(kind=options.selection, num=keep)
    chosen = _as_many(experience, select(experience, selection, key), options)
    if options.loss not in POLICY_LOSSES or not options.drop_equal:
        return chosen
    grouped = grouping(experience.groups[chosen])
    return chosen[~grouped.uniform(experience.rewards[chosen] > 0)[grouped.of]]


def _as_many(experience: Experience, chosen: np.ndarray, options: ImproveConfig) -> np.ndarray:
    """Return the first of the chosen rollouts, `improve.examples` or as many as have `improve.most_tokens` together;
    none where there are fewer examples."""
    if options.most_tokens is not None:
        chosen = chosen[np.cumsum(experience.lengths[chosen]) <= options.most_tokens]
    if options.examples is not None:
        chosen = chosen[: options.examples if len(chosen) >= options.examples else 0]
    return chosen


def weighted(experience: Experience, options: ImproveConfig) -> Kept:
    """Return rollouts with their weights: 1, or their advantage in their group."""
    weights = np.ones(len(experience))
    if options.loss in POLICY_LOSSES:
        weights = group_advantages(
            experience.rewards,
            experience.groups,
            baseline=options.baseline,
            scale=options.scale,
            outcomes_N=experience.rewards > 0,
            lengths_N=experience.lengths,
        )
    columns = (experience.tokens, experience.offsets, experience.num_prompt, weights.astype(np.float32))
    of_tokens = blamed(experience, weights) if options.blame == MISTAKES else None
    return Kept(*columns, old=experience.logprobs, advantages=of_tokens)


def blamed(experience: Experience, weights_N: np.ndarray) -> np.ndarray:
    """Return advantages of tokens, float32 (T,): those of the rollouts, but below 0 only at tokens of mistakes. A false
    goal is none: the step before it is."""
    wrong = ~np.isin(experience.token_errors, (Error.NONE, Error.FALSE_GOAL))
    of_tokens = np.repeat(weights_N, np.diff(experience.offsets))
    return np.where((of_tokens > 0) | wrong, of_tokens, 0.0).astype(np.float32)


def describe(experience: Experience, options: ImproveConfig) -> dict[str, float]:
    """Return what is worth logging of a round, by its name behind `improve/`; means over the right ones are 0 where
    none is.
    """
    rewards, errors = experience.rewards, experience.num_errors
    right = rewards > 0
    counts = group_counts(right, experience.groups)
    written = int(experience.lengths.sum())
    metrics = {
        "reward": rewards.mean(),
        "solved": experience.solved.mean(),
        "zero_variance/all_right": counts.all_right / options.problems,
        "zero_variance/all_wrong": counts.all_wrong / options.problems,
        "entropy": -experience.logprobs.sum(dtype=np.float64) / max(1, written),
        "tokens": experience.lengths.mean(),
        "tokens_right": _mean(experience.lengths[right]),
        "unfinished": 1 - experience.finished.mean(),
        "errors": errors.mean(),
        "errors_right": _mean(errors[right]),
    }
    of_right = np.repeat(right, np.diff(experience.event_offsets))
    kinds = np.bincount(experience.event_errors[of_right], minlength=len(Error))
    for error in ERRORS:
        metrics[f"error_right/{error.name.lower()}"] = kinds[error] / max(1, right.sum())
    return {name: float(value) for name, value in metrics.items()}


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else 0.0


def lone_weight(experience: Experience, weights_N: np.ndarray) -> float:
    """Return the share of all weight, times tokens, that falls on answers which alone of their group are right."""
    grouped = grouping(experience.groups)
    right = experience.rewards > 0
    lone = right & (grouped.sums(right)[grouped.of] == 1) & (grouped.sizes[grouped.of] > 1)
    sizes = np.abs(weights_N.astype(np.float64)) * experience.lengths
    return float(sizes[lone].sum() / max(1e-12, sizes.sum()))


def why_nothing(experience: Experience, options: ImproveConfig, num: int) -> str:
    """Say what is left of a round: `num` rollouts."""
    counts = group_counts(experience.rewards > 0, experience.groups)
    return (
        f"improve.selection={options.selection} left {num} of {len(experience)} rollouts for "
        f"improve.minibatches={options.minibatches}{_wanted(options)}; of {options.problems} problems, the rollouts of "
        f"{counts.all_wrong} were all wrong and those of {counts.all_right} all right"
    )


def _wanted(options: ImproveConfig) -> str:
    return "".join(
        f" and improve.{name}={getattr(options, name)}"
        for name in ("examples", "most_tokens")
        if getattr(options, name) is not None
    )
