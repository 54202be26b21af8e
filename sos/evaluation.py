"""Evaluation: a model solves unseen problems, every rollout is replayed exactly, and all metrics get intervals.

Intervals are 95% over problems: Wilson's for rates, normal for means. The problems are the same for every run of an
environment. The headline is greedy; pass@k draws at `eval.temperature`.
"""

from __future__ import annotations

import io
import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from sos.analysis.intervals import mean_interval, pass_at_k, wilson
from sos.build import System
from sos.config import EvalConfig
from sos.data.splits import evaluation_problems
from sos.data.streams import Workspace, new_workspace
from sos.model.gpt import GPT
from sos.model.rollout import Rollout, rollout
from sos.search.protocol import search
from sos.stream.codec import ENCODE_ERRORS, DecodeStatus, encode_kernel
from sos.stream.text import annotate
from sos.stream.verify import Error, verify_tokens
from sos.trace import KIND, VALUE, Event, Outcome, Status

log = logging.getLogger(__name__)

Metric = dict[str, float | int | None]  # value, low, high (None where undefined) and num, the number of problems
Progress = Callable[[str, int, int], None]  # called with (phase, problems done, problems in all)

OK = int(Status.OK)
SOLVED = int(Outcome.SOLVED)
CURVE_START = 8  # generated tokens of the first point of a budget curve
ERRORS = [error for error in Error if error != Error.NONE]
MALFORMED, UNFINISHED = "malformed", "unfinished"


@dataclass(frozen=True)
class Judgement:
    """What the replay of R rollouts found; all arrays are over the rollouts."""

    solved: np.ndarray  # bool (R,): at the first goal, whatever comes after it
    wrong_goal: np.ndarray  # bool (R,): a goal was claimed, and the first such claim is false
    generated_tokens: np.ndarray  # int32 (R,)
    tokens_to_goal: np.ndarray  # int32 (R,): generated tokens up to the goal and with it; -1 if not solved
    errors: np.ndarray  # int32 (R, len(Error)): events with each Error; column `NONE` counts the right ones
    malformed: np.ndarray  # bool (R,): reading stopped at a token that no form of the dialect allows
    unfinished: np.ndarray  # bool (R,): the budget ran out before the end token
    nodes: np.ndarray  # int32 (R,): nodes expanded, the root included

    @property
    def num_errors(self) -> np.ndarray:
        """Mistakes of each rollout, int32 (R,): its wrong events, and one more where it becomes unreadable."""
        return (self.errors[:, 1:].sum(1) + self.malformed).astype(np.int32)


def judge(system: System, problems: np.ndarray, rollouts: Sequence[Rollout]) -> Judgement:
    """Decode and verify the rollouts, rollout r as an answer to `problems[r]` (int32 (R, P)). About 0.1 ms each."""
    num = len(rollouts)
    flags = np.zeros((4, num), bool)
    counts = np.zeros((3, num), np.int32)
    errors = np.zeros((num, len(Error)), np.int32)
    for r, (problem, answer) in enumerate(zip(problems, rollouts, strict=True)):
        verdict, trace, align = verify_tokens(system.dialect, system.env, problem, answer.tokens)
        kinds = trace.events[:, KIND]
        wrong_goal = not verdict.solved and bool((kinds == Event.GOAL).any())
        flags[:, r] = verdict.solved, wrong_goal, verdict.status == DecodeStatus.MALFORMED, not answer.finished
        goal_end = int(np.flatnonzero(align == verdict.goal_event)[-1]) + 1 if verdict.solved else answer.num_prompt - 1
        lengths = len(answer.tokens) - answer.num_prompt, goal_end - answer.num_prompt
        counts[:, r] = *lengths, np.count_nonzero(kinds == Event.EXPAND)
        errors[r] = np.bincount(verdict.errors, minlength=len(Error))
    return Judgement(flags[0], flags[1], counts[0], counts[1], errors, flags[2], flags[3], counts[2])


def rate_metric(successes: npt.ArrayLike) -> Metric:
    """Return the share of true values of a bool (P,), P > 0."""
    counted = np.asarray(successes, bool)
    interval = wilson(int(counted.sum()), counted.size)
    return {"value": float(counted.mean()), "low": interval.low, "high": interval.high, "num": counted.size}


def mean_metric(values: npt.ArrayLike) -> Metric:
    """Return the mean of numbers (P,), P > 0; without an interval for P = 1."""
    sample = np.asarray(values, np.float64)
    low, high = mean_interval(sample) or (None, None)
    return {"value": float(sample.mean()), "low": low, "high": high, "num": sample.size}


def chance_metric(chances: np.ndarray) -> Metric:
    """Return the mean of estimated chances (P,), P > 0: its normal interval, or Wilson's where all are the same."""
    metric = mean_metric(chances)
    low, high = metric["low"], metric["high"]
    if low is None or high is None or low == high:
        low, high = wilson(float(chances.sum()), chances.size)
    return metric | {"low": max(0.0, low), "high": min(1.0, high)}


def ratio_metric(costs: np.ndarray, successes: np.ndarray) -> Metric:
    """Return sum(costs) / sum(successes), both (P,), with the delta method's interval; None without a success."""
    total = int(successes.sum())
    if total == 0:
        return {"value": None, "low": None, "high": None, "num": len(costs)}
    value = float(costs.sum() / total)
    # To first order the ratio varies as the mean of these: its own value plus scaled residuals that sum to 0.
    linear = value + (costs - value * successes) * (len(costs) / total)
    return mean_metric(linear) | {"value": value}


def summarize(judged: Judgement) -> dict[str, Metric]:
    """Return the metrics of one greedy rollout per problem, without the split in their names."""
    metrics = {"solve": rate_metric(judged.solved)}
    metrics |= {f"error/{error.name.lower()}": mean_metric(judged.errors[:, error]) for error in ERRORS}
    metrics[f"error/{MALFORMED}"] = rate_metric(judged.malformed)
    metrics[f"error/{UNFINISHED}"] = rate_metric(judged.unfinished)
    metrics["errors_per_trace"] = mean_metric(judged.num_errors)
    metrics["first_goal_wrong"] = rate_metric(judged.wrong_goal)
    metrics["tokens"] = mean_metric(judged.generated_tokens)
    metrics["tokens_per_solved"] = ratio_metric(judged.generated_tokens, judged.solved)
    metrics["nodes"] = mean_metric(judged.nodes)
    return metrics


def pass_metrics(judged: Judgement, num_samples: int, pass_k: Sequence[int]) -> dict[str, Metric]:
    """Return pass@k and what k samples of a problem cost, from `num_samples` consecutive rollouts per problem.

    Every k must be `num_samples` at most.
    """
    num_correct = judged.solved.reshape(-1, num_samples).sum(1)
    tokens = judged.generated_tokens.reshape(-1, num_samples).mean(1)
    metrics = {f"pass@{k}": chance_metric(pass_at_k(num_samples, num_correct, k)) for k in pass_k}
    return metrics | {f"pass_tokens@{k}": mean_metric(k * tokens) for k in pass_k}


def budget_curve(tokens_to_goal: np.ndarray, limit: int, num_points: int) -> dict[str, list[float]]:
    """Return the share of problems solved within a budget of generated tokens, at log-spaced budgets up to `limit`.

    Keys `tokens` and `solved`. Few budgets may round to the same number: there are `num_points` points at most.
    """
    grid = np.unique(np.rint(np.geomspace(limit, min(CURVE_START, limit), num_points)).astype(np.int64))
    goals = np.sort(tokens_to_goal[tokens_to_goal >= 0])
    solved = np.searchsorted(goals, grid, side="right") / len(tokens_to_goal)
    return {"tokens": grid.tolist(), "solved": solved.tolist()}


@njit(cache=True, nogil=True)
def _teacher_kernel(env, strategy, program, context, max_tokens, problems, space, solved):
    """Search every problem and write its stream; mark what is solved and fits. Returns (problem, error) or (-1, 0)."""
    for p in range(len(problems)):
        solved[p] = False
        if search(strategy, env, problems[p], space.work, space.trace) != OK:
            continue
        events, nodes, states, counts = space.trace
        if events[counts[0] - 1, VALUE] != SOLVED:
            continue
        count, prompt = encode_kernel(
            program,
            problems[p],
            events[: counts[0]],
            nodes[: counts[1]],
            states[: counts[2]],
            space.tokens,
            space.align,
        )
        if count < -1:
            return p, count
        solved[p] = 0 <= count <= context and count - prompt <= max_tokens
    return -1, 0


def teacher_solves(system: System, problems: np.ndarray, max_tokens: int | None = None) -> np.ndarray:
    """Return whether the training strategy solves each problem in a full stream that fits the context, bool (P,).

    `max_tokens` bounds what follows the prompt, as in the rollouts. Raises ValueError where the dialect cannot write a trace.
    """
    dialect = system.dialect
    space: Workspace = new_workspace(system.env, system.max_nodes, system.context, dialect.program.max_event_tokens)
    solved = np.zeros(len(problems), bool)
    limit = system.context if max_tokens is None else max_tokens
    wrong, error = _teacher_kernel(
        system.env, system.strategy, dialect.program, system.context, limit, problems, space, solved
    )
    if wrong >= 0:
        row = problems[wrong].tolist()
        raise ValueError(f"dialect {dialect.name} cannot write the trace of problem {row}: {ENCODE_ERRORS[error]}")
    return solved


@dataclass(frozen=True)
class Evaluation:
    """Everything measured. `metrics` keys end in the split; `arrays` maps a split to the arrays of its npz file."""

    metrics: dict[str, Metric]
    budget_curve: dict[str, dict[str, list[float]]]
    arrays: dict[str, dict[str, np.ndarray]]
    texts: tuple[str, ...]  # Markdown of some rollouts, shared out evenly over the splits

    def write(self, folder: str | os.PathLike[str]) -> None:
        """Write rollouts_<split>.npz and, where there are texts, rollouts.md; each file whole or not at all."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        for split, arrays in self.arrays.items():
            content = io.BytesIO()
            np.savez_compressed(content, **arrays)  # type: ignore[arg-type]
            _write_whole(folder / f"rollouts_{split}.npz", content.getvalue())
        if self.texts:
            _write_whole(folder / "rollouts.md", "\n".join(self.texts).encode())

    def table(self) -> str:
        """Return the main metrics as an aligned table, the splits side by side."""
        splits = list(self.arrays)
        ks = sorted({int(name[5:].partition("/")[0]) for name in self.metrics if name.startswith("pass@")})
        names = {"solved": "solve", "teacher": "teacher"} | {f"pass@{k}": f"pass@{k}" for k in ks}
        names |= {"errors per trace": "errors_per_trace", UNFINISHED: f"error/{UNFINISHED}"}
        names |= {"tokens per solved": "tokens_per_solved", "nodes expanded": "nodes"}
        rows = [["", *splits], ["problems", *(str(self.metrics[f"solve/{split}"]["num"]) for split in splits)]]
        rows += [
            [title, *(_cell(name, self.metrics[f"{name}/{split}"]) for split in splits)]
            for title, name in names.items()
        ]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
        return "\n".join(line.rstrip() for line in lines)


def _cell(name: str, metric: Metric) -> str:
    """Format a metric: rates as percentages, means with two decimals, or one from 100 on."""
    value, low, high = metric["value"], metric["low"], metric["high"]
    if value is None:
        return "-"
    percent = name in ("solve", "teacher", f"error/{UNFINISHED}") or name.startswith("pass@")
    scale, digits = (100, 1) if percent else (1, 1 if value >= 100 else 2)
    interval = "" if low is None or high is None else f" [{scale * low:.{digits}f}, {scale * high:.{digits}f}]"
    return f"{scale * value:.{digits}f}{'%' if percent else ''}{interval}"


def evaluate(
    model: GPT,
    system: System,
    eval_config: EvalConfig,
    *,
    splits: Sequence[str] = ("val", "val_target"),
    progress: Progress | None = None,
) -> Evaluation:
    """Let `model` solve problems of each split, greedily and by samples, and measure.

    A split with fewer problems than asked for is used whole, with a warning; one without any is left out. Raises
    ValueError where the environment cannot supply a split's problems.
    """
    metrics: dict[str, Metric] = {}
    curves, arrays, texts = {}, {}, []
    for number, split in enumerate(splits):
        problems = _find_problems(system, eval_config, split)
        if not len(problems):
            continue
        prompts = [np.array(system.dialect.prompt_ids(problem), np.int32) for problem in problems]
        rollouts = _solve(model, prompts, eval_config, split, progress)
        judged = judge(system, problems, rollouts)
        found = summarize(judged)
        found["teacher"] = rate_metric(teacher_solves(system, problems, eval_config.max_tokens))
        if eval_config.pass_k:
            num_samples = max(eval_config.pass_k)
            chosen = slice(eval_config.pass_k_problems)
            samples = _solve(model, prompts[chosen], eval_config, f"{split} pass@k", progress, num_samples)
            sampled = judge(system, problems[chosen].repeat(num_samples, 0), samples)
            found |= pass_metrics(sampled, num_samples, eval_config.pass_k)
        metrics |= {f"{name}/{split}": metric for name, metric in found.items()}
        limit = max(1, min(system.context - min(map(len, prompts)), eval_config.max_tokens or system.context))
        curves[split] = budget_curve(judged.tokens_to_goal, limit, eval_config.curve_points)
        arrays[split] = {
            "problems": problems,
            "solved": judged.solved,
            "generated_tokens": judged.generated_tokens,
            "tokens_to_goal": judged.tokens_to_goal,
            "num_errors": judged.num_errors,
            "nodes": judged.nodes,
            "tokens": np.concatenate([answer.tokens for answer in rollouts]).astype(np.uint16),
            "offsets": np.cumsum([0, *(len(answer.tokens) for answer in rollouts)], dtype=np.int64),
        }
        share, rest = divmod(eval_config.num_rollout_texts, len(splits))
        for i in range(min(share + (number < rest), len(problems))):
            texts.append(f"## {split} {i}\n\n{rollout_text(system, problems[i], rollouts[i].tokens)}")
    return Evaluation(metrics, curves, arrays, tuple(texts))


def _find_problems(system: System, eval_config: EvalConfig, split: str) -> np.ndarray:
    """Return the problems of a split, int32 (P, W), fewer than asked for (with a warning) where it has no more."""
    if split == "val_target" and not len(system.splits.held_out):
        log.warning("split %s: no target is held out, so that it is left out", split)
        return np.zeros((0, system.env.problem_width), np.int32)
    problems = evaluation_problems(system.env, system.splits, split, eval_config.num_problems, seed=eval_config.seed)
    if len(problems) < eval_config.num_problems:
        log.warning(
            "split %s: eval.num_problems=%d asked for, %d distinct found",
            split,
            eval_config.num_problems,
            len(problems),
        )
    return problems


def _solve(
    model: GPT,
    prompts: Sequence[np.ndarray],
    eval_config: EvalConfig,
    phase: str,
    progress: Progress | None,
    num_samples: int = 0,
) -> list[Rollout]:
    """Return a greedy rollout per prompt, or `num_samples` drawn ones in a row for each."""
    count = max(1, num_samples)
    return rollout(
        model,
        [prompt for prompt in prompts for _ in range(count)],
        max_tokens=model.config.context if eval_config.max_tokens is None else eval_config.max_tokens,
        temperature=eval_config.temperature if num_samples else 0.0,
        seed=eval_config.seed,
        problem_indices=np.repeat(np.arange(len(prompts)), count),
        sample_indices=np.tile(np.arange(count), len(prompts)),
        batch_size=eval_config.batch_size,
        progress=None if progress is None else lambda done, total: progress(phase, done, total),
    )


def rollout_text(system: System, problem: np.ndarray, tokens: Any) -> str:
    """Return Markdown of one rollout, prompt included; see `sos.stream.text.annotate`."""
    return annotate(system.dialect, system.env, problem, tokens)


def write_metrics(
    folder: str | os.PathLike[str],
    *,
    name: str,
    overrides: Mapping[str, str],
    seed: int,
    config: Mapping[str, Any],
    config_hash: str,
    code_hash: str,
    train: Mapping[str, float],
    evaluation: Evaluation,
) -> Path:
    """Write metrics.json, which marks a run as finished, whole or not at all; return its path.

    `config` is the nested resolved config and `train` the totals of training (`tokens`, `problems`, ...). Raises
    ValueError for a number that JSON cannot hold (not finite).
    """
    content = {
        "name": name,
        "overrides": dict(overrides),
        "seed": seed,
        "config": dict(config),
        "config_hash": config_hash,
        "code_hash": code_hash,
        "train": dict(train),
        "metrics": evaluation.metrics,
        "budget_curve": evaluation.budget_curve,
    }
    path = Path(folder) / "metrics.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    _write_whole(path, json.dumps(content, indent=1, allow_nan=False).encode())
    return path


def _write_whole(path: Path, content: bytes) -> None:
    """Write next to `path` and rename, so that no reader and no kill ever leaves half a file."""
    partial = path.with_name(f"{path.name}.partial")
    partial.write_bytes(content)
    os.replace(partial, path)
