"""Second attempts as a stage of practice: a wrong answer is tried once more, and what solves then is learned.

The row of a refinement is the problem, what was kept of the failed attempt, and what the model wrote behind it; only
the last part is in the loss: what is learned is how to go on. The mistakes were cut off. A pivot's row is a whole
answer that begins with another action. No token tells the decision: the verifier makes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sos.improve.attempts import Attempt, Decision, Diagnosis, diagnose, tried_at_root
from sos.improve.attempts_chains import Chain, Settings, Start, Writer, chosen
from sos.improve.task import Task
from sos.model.gpt import GPT
from sos.model.rollout import Rollout


class Second(NamedTuple):
    """Answers with second attempts in the place of the wrong ones. N answers."""

    rollouts: list[Rollout]
    second: np.ndarray  # bool (N,): which were tried again
    refined: np.ndarray  # bool (N,): of these, which went on from a sound place
    tokens: int  # written for the second attempts


def second_attempts(
    task: Task, model: GPT, problems: np.ndarray, rollouts: Sequence[Rollout], right: np.ndarray, number: int
) -> Second:
    """Return the answers of round `number` (N) to its problems, int32 (P, W), each that does not solve its problem
    tried once more as `improve.second` says.

    `right` bool (N,); answers to one problem lie together. Draws are functions of the seed, the round and the answer.
    What stands there before the model writes counts as the prompt of a second attempt.
    """
    options, system = task.options, task.system
    settings = Settings(options.temperature, task.seed, options.max_tokens, batch_size=task.batch_size)
    writer = Writer(system, model, settings, task.decoding)
    going: dict[int, Chain] = {}
    for i in np.flatnonzero(~right).tolist():
        k = i // options.group
        chain, answer = Chain(problems[k], number * options.problems + k, i % options.group), rollouts[i]
        length = answer.num_prompt
        first = Attempt(answer.tokens, length, length, 0, answer.finished, answer.logprobs, Decision.FIRST)
        finding = diagnose(system, problems[k], first)
        if finding.diagnosis == Diagnosis.SOLVED:
            continue  # it did not come to its end, and has nothing to be tried again
        chain.attempts, chain.findings = [first], [finding]
        chain.tried = tried_at_root(system, finding)
        going[i] = chain
    starts = _starts(writer, options.second, list(going.values()))
    found, second, refined = list(rollouts), np.zeros(len(rollouts), bool), np.zeros(len(rollouts), bool)
    if not starts:
        return Second(found, second, refined, 0)
    attempts = writer.write(list(going.values()), starts, [system.context] * len(starts), 1)
    for i, attempt in zip(going, attempts, strict=True):
        written = attempt.logprobs[attempt.kept - attempt.num_prompt :]
        forced = np.full(attempt.charged - len(written), np.nan, np.float32)
        found[i] = Rollout(attempt.tokens, attempt.kept, attempt.finished, np.concatenate([forced, written]))
        second[i], refined[i] = True, attempt.decision == Decision.REFINE
    return Second(found, second, refined, sum(attempt.charged for attempt in attempts))


def _starts(writer: Writer, policy: str, chains: Sequence[Chain]) -> list[Start]:
    writer.score([chain.problem for chain in chains])
    return [chosen(policy, writer.settings, chain, writer.options_of(chain))[0] for chain in chains]
