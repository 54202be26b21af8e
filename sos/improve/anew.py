"""Answers that are written on from a place in their middle: what guided and corrected answers have in common."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sos.improve.task import Task
from sos.improve.together import rolled_out
from sos.model.gpt import GPT
from sos.model.rollout import Rollout
from sos.rng import stream_key


def written_on(
    task: Task,
    model: GPT,
    prompts: Sequence[np.ndarray],
    answers: Sequence[int],
    *,
    number: int,
    turns: np.ndarray,
    stream: str,
) -> list[Rollout]:
    """Return the prompts, int32 (T,) each, with what the model writes behind them.

    Args:
        answers: which answer of round `number` each one is.
        turns: int64 (N,), of every answer of the round, how often it was written on before: a draw is a function of the
            seed, `stream`, the round, the answer and its turn.
    """
    if not prompts:
        return []
    options, context = task.options, task.system.context
    budgets = np.array([min(options.max_tokens or context, context - len(prompt)) for prompt in prompts])
    members = np.array(answers)
    with task.decoding(model.device):
        return rolled_out(
            task.ranks,
            model,
            prompts,
            max_tokens=budgets,
            temperature=options.temperature,
            seed=int(stream_key(task.seed, stream)),
            problem_indices=number * options.problems + members // options.group,
            sample_indices=members % options.group + options.group * turns[members],
            batch_size=task.batch_size,
        )


def joined(before: Rollout, cut: int, num_prompt: int, on: Rollout) -> Rollout:
    """Return an answer that goes on behind its first `cut` tokens and others, `num_prompt` in all, as one to the
    problem. Nobody wrote those between: their log-probabilities are NaN."""
    given = np.full(num_prompt - cut, np.nan, np.float32)
    logprobs = np.concatenate([before.logprobs[: cut - before.num_prompt], given, on.logprobs])
    return Rollout(on.tokens, before.num_prompt, on.finished, logprobs)
