"""Where problems without a solution are posed, too: what is solved of each kind, and what the bare answer is worth.

A problem with a solution is solved by a checked path to a goal, one without by a checked refutation. Saying which kind
a problem is, is less: an answer is right with chance 1/2 where both kinds are as frequent. So it is counted apart, as
`answer`, beside what no search is needed for: always the more frequent answer (`answer_majority`), and the one that
the environment's cue suggests, a number that is seen at a glance (`answer_cue`).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sos.data.splits import sample_problems
from sos.envs import protocol as environment
from sos.envs.problems import which_solvable
from sos.envs.protocol import has, refutable
from sos.judge.metrics import Metric, rate_metric
from sos.judge.rollouts import Judgement
from sos.kernels import kernel
from sos.system import System

CUE_PROBLEMS = 1_000  # of training, from which it is learned what the cue suggests


@kernel
def _find_cues(env, problems, found):
    for p in range(len(problems)):
        found[p] = environment.cue(env, problems[p])


def _cues(env: Any, problems: np.ndarray) -> np.ndarray:
    found = np.zeros(len(problems), np.int64)
    _find_cues(env, problems, found)
    return found


def best_threshold(cues: np.ndarray, solvable: np.ndarray) -> tuple[int, bool]:
    """Return (threshold, direction) by which most are told apart: problems with cues from the threshold on have a
    solution, or, where the direction is False, have none."""
    best = (-1, 0, True)
    for threshold in [*np.unique(cues).tolist(), int(cues.max()) + 1]:
        right = int(((cues >= threshold) == solvable).sum())
        best = max(best, (right, threshold, True), (len(cues) - right, threshold, False))
    return best[1], best[2]


def answer_metrics(system: System, problems: np.ndarray, judged: Judgement) -> dict[str, Metric]:
    """Return the metrics of one greedy rollout per problem (int32 (P, W)) that tell the two kinds of problems apart,
    without the split in their names; none for an environment whose problems all have a solution."""
    env = system.env
    if not refutable(env):
        return {}
    solvable = which_solvable(env, problems)
    metrics = {"answer": rate_metric(judged.says == solvable)}
    for name, right, kind in (
        ("satisfied", judged.solved & ~judged.refuted, solvable),
        ("refuted", judged.refuted, ~solvable),
    ):
        if kind.any():
            metrics[name] = rate_metric(right[kind])
    metrics["answer_majority"] = rate_metric(solvable == (2 * solvable.sum() >= len(solvable)))
    if has("cue", type(env)):
        known = sample_problems(env, system.splits, "train", CUE_PROBLEMS)
        threshold, direction = best_threshold(_cues(env, known), which_solvable(env, known))
        metrics["answer_cue"] = rate_metric(((_cues(env, problems) >= threshold) == direction) == solvable)
    return metrics
