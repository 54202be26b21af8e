"""Evaluation: a model solves unseen problems, every rollout is replayed exactly, and all metrics get intervals.

Intervals are 95% over problems: Wilson's for rates, normal for means. The problems are the same for every run of an
environment. The headline is greedy; pass@k draws at `eval.temperature`.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sos.config import EvalConfig
from sos.data.coverage import view_ceiling
from sos.data.listed import num_in_val
from sos.files import written_whole
from sos.judge.answers import answer_metrics
from sos.judge.contexts import Posed, plan_metrics, pose
from sos.judge.first_action import first_costs
from sos.judge.markers import marker_metrics
from sos.judge.metrics import LEAST_OPTIMAL, Metric, budget_curve, format_metric, mean_metric, rate_metric, ratio_metric
from sos.judge.optima import optima
from sos.judge.problems import split_problems
from sos.judge.registry import MEASURES, registered
from sos.judge.rolling import held, roll
from sos.judge.rollouts import Judgement, judge, pass_metrics, summarize, teacher_solves
from sos.model.gpt import GPT
from sos.model.rollout import Rollout, rollout
from sos.schema.slot import NONE
from sos.stream.text import annotate
from sos.system import System

log = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]  # called with (phase, problems done, problems in all)


@dataclass
class Cost:
    """What an evaluation took, prompts not counted."""

    seconds: float = 0.0
    rollout_seconds: float = 0.0
    rollouts: int = 0
    generated_tokens: int = 0

    def __str__(self) -> str:
        rate = self.generated_tokens / self.rollout_seconds if self.rollout_seconds else 0.0
        done = f"{self.rollouts:,} rollouts, {self.generated_tokens:,} tokens at {rate:,.0f} tokens/s"
        return f"evaluated in {self.seconds:.0f} s: {done}"


@dataclass(frozen=True)
class Evaluation:
    """Everything measured. `metrics` keys end in the split, with a context in the split, a dot and the context, such as
    `val.plan`; so does what is kept of rollouts. `arrays` maps a split to the arrays of its npz file."""

    metrics: dict[str, Metric]
    budget_curve: dict[str, dict[str, list[float]]]
    arrays: dict[str, dict[str, np.ndarray]]  # rollout r is tokens[offsets[r]:offsets[r + 1]], its prompt included
    texts: tuple[str, ...]  # Markdown of some rollouts, shared out evenly over the splits
    cost: Cost
    not_begun: dict[str, int] = field(default_factory=dict)  # problems of a split that a limit of seconds left out

    def write(self, folder: str | os.PathLike[str]) -> None:
        """Write rollouts_<split>.npz and, where there are texts, rollouts.md: all of them or, after an error, none.

        What this evaluation does not have of these is removed: an earlier one left it.
        """
        folder, texts = Path(folder), Path(folder) / "rollouts.md"
        files = {folder / f"rollouts_{split}.npz": arrays for split, arrays in self.arrays.items()}
        old = {texts, *folder.glob("rollouts_*.npz")} - files.keys() - ({texts} if self.texts else set())
        with ExitStack() as renamed:  # at its end, when all are written
            for path, arrays in files.items():
                with open(renamed.enter_context(written_whole(path)), "wb") as file:
                    np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
            if self.texts:
                renamed.enter_context(written_whole(texts)).write_text("\n".join(self.texts), encoding="utf-8")
        for path in old:
            path.unlink(missing_ok=True)

    def table(self) -> str:
        """Return the main metrics as an aligned table, the splits side by side."""
        splits = list(self.arrays)
        rows = [["", *splits], ["problems", *map(self._num_problems, splits)]]
        for title, name in self._titles().items():
            found = (f"{name}/{split}" for split in splits)
            cells = (format_metric(key, self.metrics[key]) if key in self.metrics else "" for key in found)
            rows.append([title, *cells])
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
        return "\n".join(line.rstrip() for line in lines)

    def _num_problems(self, split: str) -> str:
        num, left = self.metrics[f"solve/{split}"].num, self.not_begun.get(split, 0)
        return f"{num} of {num + left}" if left else str(num)

    def _titles(self) -> dict[str, str]:
        """Return the rows of the table: title -> metric, as far as they were measured."""
        ks = sorted({int(name[5:].partition("/")[0]) for name in self.metrics if name.startswith("pass@")})
        titles = {
            "solved": "solve",
            "with a solution": "satisfied",
            "without one": "refuted",
            "right answer": "answer",
            "always the same": "answer_majority",
            "by the cue": "answer_cue",
            "optimal": "optimal",
            "planned": "plan",
            "optimal plans": "plan_optimal",
            "valid searches": "trace_valid",
            "sos_legacy": "legacy/solve",
            "teacher": "teacher",
            "ceiling": "ceiling",
        }
        titles |= {f"pass@{k}": f"pass@{k}" for k in ks}
        titles |= {f"planned@{k}": f"plan_pass@{k}" for k in ks}
        for kind, what in (("optimal", "optimal"), ("optimal plans", "plan_optimal")):
            titles |= {f"{kind}@{k}": f"{what}@{k}" for k in ks}
            titles |= {f"{LEAST_OPTIMAL} {kind}@{k}": f"{what}_{LEAST_OPTIMAL}@{k}" for k in ks}
        titles |= {"errors per trace": "errors_per_trace", "unfinished": "error/unfinished"}
        titles |= {"tokens per solved": "tokens_per_solved", "nodes expanded": "nodes"}
        titles |= {"entropy of the first action": "entropy_first"}
        titles |= {"nats a plan token": "plan_nll", "nats of the context": "plan_nats", "its tokens": "context_tokens"}
        titles |= {"markers": "marker/density"}
        measured = {name.rpartition("/")[0] for name in self.metrics}
        return {title: name for title, name in titles.items() if name in measured}


def evaluate(
    model: GPT,
    system: System,
    eval_config: EvalConfig,
    *,
    splits: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Let `model` solve problems of each split (default: those of the config), greedily and by samples, and measure.

    A split with fewer problems than asked for is used whole, with a warning; one without any is left out. Raises
    ValueError where the environment cannot supply a split's problems.
    """
    started = time.perf_counter()
    splits = eval_config.splits if splits is None else splits
    columns = pose_all(system, eval_config, splits)
    time_limit = Limit(eval_config.max_seconds, len(columns) * (2 if eval_config.pass_k else 1))
    asked = _Asked(model, system, eval_config, progress, Cost(), time_limit)
    evaluation = Evaluation({}, {}, {}, (), asked.cost)
    texts: list[str] = []
    share, rest = divmod(eval_config.num_rollout_texts, len(splits) * len(eval_config.context))
    for number, posed in enumerate(columns):
        texts += _evaluate(asked, posed, evaluation, share + (number < rest))
    asked.cost.seconds = time.perf_counter() - started
    return replace(evaluation, texts=tuple(texts))


def pose_all(system: System, eval_config: EvalConfig, splits: Sequence[str]) -> list[Posed]:
    """Return the problems of each split that has some, once for each of its contexts. Raises UserError as `pose`."""
    found = {split: _find_problems(system, eval_config, split) for split in splits}
    return [
        pose(system, split, problems, context, eval_config.seed)
        for split, problems in found.items()
        if len(problems)
        for context in eval_config.context
    ]


def _evaluate(asked: _Asked, posed: Posed, evaluation: Evaluation, num_texts: int) -> list[str]:
    """Add what the problems of one column show; return the Markdown of some rollouts."""
    model, system, config, label = asked.model, asked.system, asked.config, posed.label
    rollouts = _solve(asked, posed.prompts, label)
    if len(rollouts) < len(posed.problems):
        evaluation.not_begun[label] = len(posed.problems) - len(rollouts)
        posed = posed.first(len(rollouts))
    judged = judge(system, posed.problems, rollouts)
    flops = _flops(model, rollouts)
    found = _greedy_metrics(asked, posed, rollouts, judged)
    if config.pass_k:
        found |= _sample_metrics(asked, posed)
    if set(config.context) != {NONE}:
        found |= plan_metrics(model, system, posed)
    evaluation.metrics.update({f"{name}/{label}": metric for name, metric in found.items()})
    limit = max(1, min(system.context - min(map(len, posed.prompts)), config.max_tokens or system.context))
    evaluation.budget_curve[label] = budget_curve(judged.tokens_to_goal, limit, config.curve_points)
    evaluation.arrays[label] = _arrays(posed.problems, rollouts, judged, flops)
    if system.view.plan:
        evaluation.arrays[label]["planned"] = judged.planned
    shown = range(min(num_texts, len(rollouts)))
    return [f"## {label} {i}\n\n{rollout_text(system, posed.problems[i], rollouts[i].tokens)}" for i in shown]


class _Asked(NamedTuple):
    """Who is evaluated and how; the cost and the limit are added to."""

    model: GPT
    system: System
    config: EvalConfig
    progress: Progress | None
    cost: Cost
    limit: Limit


class Limit:
    """The seconds that rollouts may take, shared out evenly over what is still to be rolled out."""

    def __init__(self, seconds: float | None, num_shares: int) -> None:
        self._end = None if seconds is None else time.perf_counter() + seconds
        self._shares = num_shares

    def share(self) -> float | None:
        """Return the `time.perf_counter()` at which the next share ends, or None where there is no limit."""
        now, shares = time.perf_counter(), max(1, self._shares)
        self._shares -= 1
        return None if self._end is None else now + (self._end - now) / shares


def _greedy_metrics(asked: _Asked, posed: Posed, rollouts: Sequence[Rollout], judged: Judgement) -> dict[str, Metric]:
    """Return the metrics of a split's greedy rollouts, and what its teacher does on the same problems in as much
    room."""
    problems = posed.problems
    flops = _flops(asked.model, rollouts)
    found = summarize(judged, asked.system.view.plan, optima(asked.system.env, problems))
    found |= answer_metrics(asked.system, problems, judged)
    found |= marker_metrics(asked.system, rollouts)
    found |= {"flops": mean_metric(flops), "flops_per_solved": ratio_metric(flops, judged.solved)}
    if asked.system.erase:
        found["held"] = mean_metric(held(rollouts))
    found["teacher"] = rate_metric(teacher_solves(asked.system, problems, asked.config.max_tokens, posed.taken))
    # The teacher's row is about full streams; this is what a perfect imitator of the streams trained on would score.
    found["ceiling"] = rate_metric(view_ceiling(asked.system, problems, asked.config.max_tokens, posed.taken))
    if asked.config.legacy:
        found |= registered(MEASURES, "legacy")(asked.system, rollouts)
    return found


def _sample_metrics(asked: _Asked, posed: Posed) -> dict[str, Metric]:
    """Return pass@k and its costs, of samples on the first problems of a split."""
    num_samples = max(asked.config.pass_k)
    prompts = posed.prompts[: asked.config.pass_k_problems]
    samples = _solve(asked, prompts, f"{posed.label} pass@k", num_samples)
    problems = posed.problems[: len(samples) // num_samples]
    judged = judge(asked.system, problems.repeat(num_samples, 0), samples)
    flops, plan = _flops(asked.model, samples), asked.system.view.plan
    best = optima(asked.system.env, problems)
    found = pass_metrics(judged, flops, num_samples, asked.config.pass_k, plan, best)
    costs = first_costs(asked.system, samples) if asked.config.first_action else np.zeros(0)
    if len(costs):
        found["entropy_first"] = mean_metric(costs)
    return found


def _arrays(
    problems: np.ndarray, rollouts: Sequence[Rollout], judged: Judgement, flops: np.ndarray
) -> dict[str, np.ndarray]:
    """Return what rollouts_<split>.npz holds; see `sos.runs.rollouts`."""
    return {
        "problems": problems,
        "solved": judged.solved,
        "generated_tokens": judged.generated_tokens,
        "flops": flops,
        "tokens_to_goal": judged.tokens_to_goal,
        "num_errors": judged.num_errors,
        "nodes": judged.nodes,
        "tokens": np.concatenate([answer.tokens for answer in rollouts]).astype(np.uint16),
        "offsets": np.cumsum([0, *(len(answer.tokens) for answer in rollouts)], dtype=np.int64),
    }


def _flops(model: GPT, rollouts: Sequence[Rollout]) -> np.ndarray:
    """Return the operations that each rollout took, float64 (R,)."""
    spans = [answer.spans or ((answer.num_prompt, len(answer.tokens) - answer.num_prompt),) for answer in rollouts]
    before, written = np.array([span for of_answer in spans for span in of_answer]).reshape(-1, 2).T
    firsts = np.cumsum([0, *map(len, spans)])[:-1]
    return np.add.reduceat(model.answer_flops(before, written), firsts) if len(rollouts) else np.zeros(0)


def _find_problems(system: System, eval_config: EvalConfig, split: str) -> np.ndarray:
    """Return the problems of a split, int32 (P, W), fewer than asked for (with a warning) where it has no more."""
    if split == "val_target" and not len(system.splits.held_out):
        log.warning("split %s: no group of problems is held out, so that it is left out", split)
        return np.zeros((0, system.env.problem_width), np.int32)
    problems = split_problems(system, split, eval_config.num_problems, seed=eval_config.seed)
    if len(problems) < eval_config.num_problems:
        log.warning(
            "split %s: eval.num_problems=%d asked for, %d distinct found",
            split,
            eval_config.num_problems,
            len(problems),
        )
    seen = len(problems) - num_in_val(system.env, system.splits, problems) if split == "listed" else 0
    if seen:
        log.warning("split listed: %d of %d problems, or their twins, may have been trained on", seen, len(problems))
    return problems


def _solve(asked: _Asked, prompts: Sequence[np.ndarray], phase: str, num_samples: int = 0) -> list[Rollout]:
    """Return a greedy rollout per prompt, or `num_samples` drawn ones in a row for each; add to the cost.

    Where there is a limit they are those of the first prompts, of one at least.
    """
    model, config, progress = asked.model, asked.config, asked.progress
    if not asked.cost.rollouts and model.device.type == "cpu":
        rollout(model, prompts[:1], max_tokens=2)  # compiles kernels, which the rate is not to count
    count, started = max(1, num_samples), time.perf_counter()
    rollouts = roll(
        asked.system,
        model,
        [prompt for prompt in prompts for _ in range(count)],
        max_tokens=config.max_tokens,
        temperature=config.temperature if num_samples else 0.0,
        seed=config.seed,
        problem_indices=np.repeat(np.arange(len(prompts)), count),
        sample_indices=np.tile(np.arange(count), len(prompts)),
        batch_size=config.batch_size,
        progress=None if progress is None else lambda done, total: progress(phase, done, total),
        until=asked.limit.share(),
    )
    if len(rollouts) < count * len(prompts):
        rollouts = rollouts[: len(rollouts) // count * count]
        log.warning(
            "%s: eval.max_seconds=%g was enough for %d of %d problems",
            phase,
            config.max_seconds,
            len(rollouts) // count,
            len(prompts),
        )
    cost = asked.cost
    cost.rollout_seconds += time.perf_counter() - started
    cost.rollouts += len(rollouts)
    cost.generated_tokens += sum(len(answer.tokens) - answer.num_prompt for answer in rollouts)
    return rollouts


def rollout_text(system: System, problem: np.ndarray, tokens: Any) -> str:
    """Return Markdown of one rollout, prompt included; see `sos.stream.text.annotate`."""
    return annotate(system.dialect, system.env, problem, tokens)


def write_metrics(
    folder: str | os.PathLike[str],
    *,
    name: str,
    overrides: Mapping[str, str],
    config: Mapping[str, Any],
    config_hash: str,
    code_hash: str,
    train: Mapping[str, float],
    evaluation: Evaluation,
) -> Path:
    """Write metrics.json, which marks a run as finished, behind the rollouts (`Evaluation.write`); return its path.

    Either all of these files are replaced or, after an error such as a full disk, none. `config` is the nested resolved
    config, the seed in it, and `train` the totals of training (`tokens`, `problems`, ...). Raises ValueError for a
    number that JSON cannot hold (not finite).
    """
    content = {
        "name": name,
        "overrides": dict(overrides),
        "seed": config["seed"],
        "config": dict(config),
        "config_hash": config_hash,
        "code_hash": code_hash,
        "train": dict(train),
        "evaluation": asdict(evaluation.cost),
        "metrics": {key: metric._asdict() for key, metric in evaluation.metrics.items()},
        "budget_curve": evaluation.budget_curve,
    }
    path = Path(folder) / "metrics.json"
    text = json.dumps(content, indent=1, allow_nan=False)
    with written_whole(path) as partial:
        partial.write_text(text, encoding="utf-8")
        evaluation.write(folder)
    return path
