"""Judging: rollouts are replayed exactly, and the teacher beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sos.data.coverage import coverage
from sos.judge.intervals import least_of_k, pass_at_k
from sos.judge.metrics import LEAST_OPTIMAL, Metric, chance_metric, mean_metric, rate_metric, ratio_metric
from sos.model.rollout import Rollout
from sos.stream.codec import DecodeStatus
from sos.stream.verify import Error, Verdict, verify_tokens
from sos.system import System
from sos.trace import KIND, Event, Outcome, Trace

ERRORS = [error for error in Error if error != Error.NONE]
MALFORMED, UNFINISHED = "malformed", "unfinished"


@dataclass(frozen=True)
class Judgement:
    """What the replay of R rollouts found; all arrays are over the rollouts."""

    solved: np.ndarray  # bool (R,): at the first goal, whatever comes after it, or by a refutation
    wrong_goal: np.ndarray  # bool (R,): a goal was claimed, and the first such claim is false
    generated_tokens: np.ndarray  # int32 (R,)
    tokens_to_goal: np.ndarray  # int32 (R,): generated tokens up to the goal, or a refutation's end; -1 if not solved
    errors: np.ndarray  # int32 (R, len(Error)): events with each Error; column `NONE` counts the right ones
    malformed: np.ndarray  # bool (R,): reading stopped at a token that no form of the dialect allows
    unfinished: np.ndarray  # bool (R,): the budget ran out before the end token
    nodes: np.ndarray  # int32 (R,): nodes expanded, the root included
    planned: np.ndarray  # bool (R,): by the plan, whatever the search before it says
    cost: np.ndarray  # int64 (R,): of the path to the goal, -1 if not solved; 0 where actions cost nothing
    plan_cost: np.ndarray  # int64 (R,): of the plan, -1 if it is none
    refuted: np.ndarray  # bool (R,): solved by a proof that there is no solution
    trace_valid: np.ndarray  # bool (R,): there is a search, and no mistake in it but returns that were not announced
    says: np.ndarray  # int8 (R,): that there is a solution (1), that there is none (0), or neither (-1)

    @property
    def num_errors(self) -> np.ndarray:
        """Mistakes of each rollout, int32 (R,): its wrong events, and one more where it becomes unreadable."""
        return (self.errors[:, 1:].sum(1) + self.malformed).astype(np.int32)


def judge(system: System, problems: np.ndarray, rollouts: Sequence[Rollout]) -> Judgement:
    """Decode and verify the rollouts, rollout r as an answer to `problems[r]` (int32 (R, P)). About 0.1 ms each."""
    num = len(rollouts)
    solved, wrong_goal, malformed, unfinished, planned, refuted, valid = (np.zeros(num, bool) for _ in range(7))
    says = np.full(num, -1, np.int8)
    generated, to_goal, nodes = (np.zeros(num, np.int32) for _ in range(3))
    errors = np.zeros((num, len(Error)), np.int32)
    cost, plan_cost = np.zeros(num, np.int64), np.zeros(num, np.int64)
    # On one thread: most of it is Python, and two threads took turns at it.
    for r, (problem, answer) in enumerate(zip(problems, rollouts, strict=True)):
        verdict, trace, align = verify_tokens(system.dialect, system.env, problem, answer.tokens)
        kinds = trace.events[:, KIND]
        solved[r], planned[r], refuted[r] = verdict.solved, verdict.planned, verdict.refuted
        says[r], valid[r] = _says(trace), _is_valid(trace, verdict)
        cost[r], plan_cost[r] = verdict.cost, verdict.plan_cost
        wrong_goal[r] = not verdict.solved and (kinds == Event.GOAL).any()
        malformed[r] = verdict.status == DecodeStatus.MALFORMED
        unfinished[r] = not answer.finished
        generated[r] = len(answer.tokens) - answer.num_prompt
        to_goal[r] = -1
        if verdict.solved:
            goal_end = int(np.flatnonzero(align == verdict.goal_event)[-1]) + 1
            to_goal[r] = goal_end - answer.num_prompt
        nodes[r] = np.count_nonzero(kinds == Event.EXPAND)
        errors[r] = np.bincount(verdict.errors, minlength=len(Error))
    counts = generated, to_goal, errors, malformed, unfinished, nodes
    return Judgement(solved, wrong_goal, *counts, planned, cost, plan_cost, refuted, valid, says)


def _is_valid(trace: Trace, verdict: Verdict) -> bool:
    """Say whether an answer ends, and its search is without a mistake; a plan alone is no search."""
    kinds = trace.events[:, KIND]
    wrong = ~np.isin(verdict.errors, (Error.NONE, Error.UNANNOUNCED)) & ~np.isin(kinds, (Event.PLAN, Event.END))
    return bool(verdict.status == DecodeStatus.OK and (kinds == Event.GENERATE).any() and not wrong.any())


def _says(trace: Trace) -> int:
    """Return what an answer says of its problem, as `Judgement.says`, with reasons or without."""
    claims = np.isin(trace.events[:, KIND], (Event.GOAL, Event.PLAN)).any() or trace.outcome == Outcome.SOLVED
    return 1 if claims else 0 if trace.outcome == Outcome.EXHAUSTED else -1


def summarize(judged: Judgement, plan: bool = False, optima: np.ndarray | None = None) -> dict[str, Metric]:
    """Return the metrics of one greedy rollout per problem, without the split in their names; with those of the `plan`
    where streams have one, and of optimal answers where `optima` int64 (R,) are the least costs."""
    metrics = {"solve": rate_metric(judged.solved)}
    if optima is not None:
        metrics["optimal"] = rate_metric(judged.solved & (judged.cost == optima))
        metrics["trace_valid"] = rate_metric(judged.trace_valid)
    if plan:
        metrics["plan"] = rate_metric(judged.planned)
    if plan and optima is not None:
        metrics["plan_optimal"] = rate_metric(judged.planned & (judged.plan_cost == optima))
    metrics |= {f"error/{error.name.lower()}": mean_metric(judged.errors[:, error]) for error in ERRORS}
    metrics[f"error/{MALFORMED}"] = rate_metric(judged.malformed)
    metrics[f"error/{UNFINISHED}"] = rate_metric(judged.unfinished)
    metrics["errors_per_trace"] = mean_metric(judged.num_errors)
    metrics["errors_per_solved"] = ratio_metric(judged.num_errors * judged.solved, judged.solved)
    metrics["first_goal_wrong"] = rate_metric(judged.wrong_goal)
    metrics["tokens"] = mean_metric(judged.generated_tokens)
    metrics["tokens_per_solved"] = ratio_metric(judged.generated_tokens, judged.solved)
    metrics["nodes"] = mean_metric(judged.nodes)
    return metrics


def pass_metrics(
    judged: Judgement,
    flops: np.ndarray,
    num_samples: int,
    pass_k: Sequence[int],
    plan: bool = False,
    optima: np.ndarray | None = None,
) -> dict[str, Metric]:
    """Return pass@k and what k samples of a problem cost, from `num_samples` consecutive rollouts per problem; with
    pass@k of the `plan` where streams have one, and, where `optima` int64 (P,) are the least costs, the chances that
    one, and that three, of k answers are optimal.

    `flops` (R,) are those of each rollout, its prompt included. Every k must be `num_samples` at most.
    """
    answers = {"pass": judged.solved} | ({"plan_pass": judged.planned} if plan else {})
    metrics: dict[str, Metric] = {}
    for name, right in answers.items():
        num_correct = right.reshape(-1, num_samples).sum(1)
        metrics |= {f"{name}@{k}": chance_metric(pass_at_k(num_samples, num_correct, k)) for k in pass_k}
    if optima is not None:
        least = optima.repeat(num_samples)
        answers = {"optimal": judged.solved & (judged.cost == least)}
        answers |= {"plan_optimal": judged.planned & (judged.plan_cost == least)} if plan else {}
        for name, right in answers.items():
            num_correct = right.reshape(-1, num_samples).sum(1)
            for k in pass_k:
                metrics[f"{name}@{k}"] = chance_metric(pass_at_k(num_samples, num_correct, k))
                if k >= LEAST_OPTIMAL:
                    chances = least_of_k(num_samples, num_correct, k, LEAST_OPTIMAL)
                    metrics[f"{name}_{LEAST_OPTIMAL}@{k}"] = chance_metric(chances)
    tokens, flops = (costs.reshape(-1, num_samples).mean(1) for costs in (judged.generated_tokens, flops))
    metrics |= {f"pass_tokens@{k}": mean_metric(k * tokens) for k in pass_k}
    return metrics | {f"pass_flops@{k}": mean_metric(k * flops) for k in pass_k}


def teacher_solves(
    system: System, problems: np.ndarray, max_tokens: int | None = None, taken: np.ndarray | int = 0
) -> np.ndarray:
    """Return whether the training strategy solves each problem in a full stream that fits the context, bool (P,).

    `max_tokens` bounds what follows the prompt, as in the rollouts; `taken` tokens of the context's room (one number,
    or int (P,)) are not the stream's. Of a mixture one strategy is drawn for each
    problem. Raises ValueError where the dialect cannot write a trace.
    """
    found = coverage(
        system.env,
        system.strategy,
        system.dialect,
        problems,
        max_tokens=system.context,
        max_nodes=system.max_nodes,
    )
    limit = system.context if max_tokens is None else max_tokens
    fits = (found.lengths >= 0) & (found.lengths + taken <= system.context)
    return found.solved & fits & (found.lengths - found.prompts <= limit)
