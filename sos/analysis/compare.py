"""Comparison of finished runs: grouped into arms by what was varied, with intervals over seeds and over problems.

From Python: `print(markdown(compare(load_runs(["multirun/views"]), baseline="full")))`, with
`sos.analysis.tables.markdown`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sos.config import with_later_keys
from sos.errors import UserError, visible
from sos.judge.intervals import Interval, seed_interval, welch_interval, wilson
from sos.judge.metrics import CEILINGS, Metric, is_counted, is_rate
from sos.runs.finished import Run, as_text, load_runs, natural_key

__all__ = ["Arm", "Cell", "Comparison", "compare", "load_runs"]

_COLUMNS = (  # of the table, in this order and where present; comparison.csv holds every metric
    r"solve/val",
    r"solve/val_target",
    r"plan/val",
    r"plan/val_target",
    r"optimal/val",
    r"plan_optimal/val",
    r"pass@\d+/val",
    r"plan_pass@\d+/val",
    r"plan_optimal@\d+/val",
    r"plan_optimal_3@\d+/val",
    r"errors_per_trace/val",
    r"tokens_per_solved/val",
    r"nodes/val",
    r"teacher/val",
    r"ceiling/val",
)

# What is looked at beside training: it names no arm as long as anything else does.
OBSERVING = ("trainer.probe_every", "trainer.probe_problems", "eval.pass_k", "eval.pass_k_problems")


@dataclass(frozen=True)
class Arm:
    """Runs that differ in nothing but the seed, as far as their overrides tell."""

    label: str
    settings: dict[str, str]  # the varied keys only
    runs: tuple[Run, ...]

    def mean_train(self, key: str) -> float:
        """Return the mean over runs of a training total, such as "tokens" or "problems"."""
        return math.fsum(run.train[key] for run in self.runs) / len(self.runs)


@dataclass(frozen=True)
class Cell:
    """One metric of one arm; rates are fractions, not percentages."""

    values: tuple[float, ...]  # one per seed that has the metric
    mean: float | None
    over_seeds: Interval | None  # Student's t; None with fewer than 2 seeds
    num: int  # problems, summed over seeds
    over_problems: Interval | None  # problems of all seeds pooled, taken as independent
    difference: float | None  # mean - mean of the baseline; None for the baseline itself
    difference_over_seeds: Interval | None  # Welch's t


@dataclass(frozen=True)
class Comparison:
    """Arms and their metrics; `cells` is keyed by (arm label, metric)."""

    arms: tuple[Arm, ...]
    baseline: str
    metrics: tuple[str, ...]
    columns: tuple[str, ...]  # the metrics that the table shows
    cells: dict[tuple[str, str], Cell]
    notes: tuple[str, ...]
    primary: str  # the metric that answers the question
    question: str = ""  # of the sweep, if all runs come from one
    expect: tuple[str, ...] = ()  # what its file expects: see `sos.runs.expectations`

    def views(self) -> dict[str, str]:
        """Return the view of each arm, by label, which decides its colour in every figure."""
        return {arm.label: arm.runs[0].setting("stream.view") for arm in self.arms}

    def budget_curves(self, split: str) -> dict[str, dict[str, list[float]]]:
        """Return per arm label the solve rate against generated tokens: tokens, solved, low and high, each (n,).

        Mean, minimum and maximum over the seeds, at the budgets that all of them were measured at. Arms without a
        curve of `split` are left out.
        """
        curves = {}
        for arm in self.arms:
            found = [run.budget_curve[split] for run in arm.runs if split in run.budget_curve]
            shared = set.intersection(*(set(curve["tokens"]) for curve in found)) if found else set()
            if shared:
                solved = np.array(
                    [[dict(zip(c["tokens"], c["solved"], strict=True))[t] for t in sorted(shared)] for c in found]
                )
                lines = {"solved": solved.mean(0), "low": solved.min(0), "high": solved.max(0)}
                curves[arm.label] = {"tokens": sorted(shared)} | {name: y.tolist() for name, y in lines.items()}
        return curves


def compare(
    runs: Sequence[Run],
    metrics: Sequence[str] | None = None,
    baseline: str | None = None,
    allow_different_problems: bool = False,
) -> Comparison:
    """Group `runs` into arms and compare every arm with `baseline`, by default the first arm.

    Runs of one sweep file belong to its arms. Other arms are told apart by the overrides that vary among the runs,
    the seed left out; without any overrides, by the config keys that vary. `metrics` limits the comparison (default:
    all); `baseline` is an arm's label or the value that only this arm has. Raises ValueError for no runs, an unknown
    metric or baseline, two runs of one arm with the same seed, and runs evaluated on different problems unless
    `allow_different_problems`.
    """
    if not runs:
        raise UserError("no finished run to compare")
    notes = _check_problems(runs, allow_different_problems)
    sweep = _common_sweep(runs)
    arms = _group(runs, sweep)
    base = _find_baseline(arms, baseline, sweep)
    present = sorted({metric for run in runs for metric in run.metrics}, key=natural_key)
    for metric in metrics or ():
        if metric not in present:
            raise UserError(f"no run has the metric {metric}; there are {', '.join(present)}")
    defaults = [metric for pattern in _COLUMNS for metric in present if re.fullmatch(pattern, metric)]
    primary = str(sweep.get("primary") or (defaults or present)[0])
    if primary not in present:
        raise UserError(f"the sweep's primary metric {primary} is in no run; there are {', '.join(present)}")
    columns = list(dict.fromkeys(metrics or [primary, *(defaults or present)]))
    rows = columns if metrics else [*columns, *(metric for metric in present if metric not in columns)]
    cells = {(arm.label, metric): _cell(arm, base, metric) for arm in arms for metric in {*rows, primary}}
    return Comparison(
        tuple(arms),
        base.label,
        tuple(rows),
        tuple(columns),
        cells,
        (*notes, *_matching(arms), *_mixtures(arms)),
        primary,
        str(sweep.get("question", "")),
        tuple(sweep.get("expect") or ()),
    )


def _common_sweep(runs: Sequence[Run]) -> dict[str, Any]:
    """Return the record of the sweep file that all runs come from, or an empty dict."""
    first = runs[0].sweep
    if not first or any(not run.sweep or run.sweep["name"] != first["name"] for run in runs):
        return {}
    return dict(first)


def _check_problems(runs: Sequence[Run], allow: bool) -> list[str]:
    """Return a note, or raise ValueError, if two runs were evaluated on different problems of one split."""
    first: dict[str, Run] = {}
    for run in runs:
        for split, digest in run.problem_digests.items():
            other = first.setdefault(split, run)
            if other.problem_digests[split] != digest:
                message = f"different {split} problems: {other.folder} and {run.folder} were not evaluated on the same"
                if not allow:
                    raise UserError(f"{message} (different_problems=true compares them all the same)")
                return [message]
    return []


def _group(runs: Sequence[Run], sweep: dict[str, Any]) -> list[Arm]:
    """Return the arms, in the order of the sweep file or of first appearance. Labels given by the user are the arms."""
    labelled = [bool(run.label) for run in runs]
    if any(labelled) and not all(labelled):
        raise UserError(f"{runs[labelled.index(False)].folder} has no label, which the others have: LABEL=FOLDER")
    overridden = dict.fromkeys(key for run in runs for key in run.overrides if key != "seed")
    keys = [key for key in overridden if len({run.setting(key) for run in runs}) > 1]
    if not overridden:
        keys = _differing_config(runs)
    keys = [key for key in keys if key not in OBSERVING] or keys
    last = [key.rpartition(".")[2] for key in keys]
    names = [short if last.count(short) == 1 else key for key, short in zip(keys, last, strict=True)]
    members: dict[str, list[Run]] = {}
    if sweep:  # an arm's name stands for its overrides; what else varies is added
        order = {arm: number for number, arm in enumerate(sweep["arms"])}
        runs = sorted(runs, key=lambda run: order.get(run.arm, len(order)))
    for run in runs:
        twins = [other for other in runs if sweep and other.arm == run.arm]
        shown = [(key, name) for key, name in zip(keys, names, strict=True) if not sweep or _varies(twins, key)]
        parts = [*([run.arm] if sweep else []), *(f"{name}={run.setting(key)}" for key, name in shown)]
        label = visible(run.label or ",".join(parts)) or "all runs"
        twin = next((other for other in members.setdefault(label, []) if other.seed == run.seed), None)
        if twin:
            differ = ", ".join(_differing_config([twin, run])) or "nothing"
            raise UserError(
                f"seed {run.seed} twice in the arm {label!r}: {twin.folder} and {run.folder} differ in {differ}"
            )
        members[label].append(run)
    return [Arm(label, {k: arm[0].setting(k) for k in keys}, tuple(arm)) for label, arm in members.items()]


def _varies(runs: Sequence[Run], key: str) -> bool:
    """Say whether runs of one arm differ in a key. A start of its own for each seed tells no arms apart."""
    if key == "start":
        return len({(run.seed, run.setting(key)) for run in runs}) > len({run.seed for run in runs})
    return len({run.setting(key) for run in runs}) > 1


def _differing_config(runs: Sequence[Run]) -> list[str]:
    """Return the dotted config keys whose values differ; the seed, the name and folders (*_dir) do not count. A record
    from before a key came has its default."""
    newest = max((run.config for run in runs), key=lambda config: len(_flatten(config)))
    flat = [_flatten(with_later_keys(run.config, newest)) for run in runs]
    keys = dict.fromkeys(key for config in flat for key in config)
    differing = [key for key in keys if len({config.get(key, "default") for config in flat}) > 1]
    return [key for key in differing if key not in ("seed", "name") and not key.endswith("_dir")]


def _flatten(config: dict[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in config.items():
        flat |= _flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: as_text(value)}
    return flat


def _find_baseline(arms: list[Arm], wanted: str | None, sweep: dict[str, Any]) -> Arm:
    if wanted is None:
        names = [arm for arm in arms if arm.runs[0].arm == sweep.get("baseline")] if sweep.get("baseline") else []
        return (names or arms)[0]
    matches = [arm for arm in arms if arm.label == wanted] or [arm for arm in arms if wanted in arm.settings.values()]
    if len(matches) != 1:
        reason = "fits several arms" if matches else "is no arm"
        raise UserError(f"baseline {wanted!r} {reason}; there are {', '.join(arm.label for arm in arms)}")
    return matches[0]


def _cell(arm: Arm, base: Arm, metric: str) -> Cell:
    entries = [run.metrics[metric] for run in arm.runs if metric in run.metrics]
    entries = [entry for entry in entries if entry.value is not None]
    values = _values(arm, metric)
    others = _values(base, metric)
    mean = math.fsum(values) / len(values) if values else None
    difference = spread = None
    if arm is not base and mean is not None and others:
        difference = mean - math.fsum(others) / len(others)
        spread = welch_interval(values, others)
    if metric.startswith(CEILINGS) and len(set(values)) == 1:
        entries = entries[:1]  # the same search on the same problems, whatever the seed of the run
    num = sum(entry.num for entry in entries)
    return Cell(values, mean, seed_interval(values), num, _pooled_interval(metric, entries), difference, spread)


def _values(arm: Arm, metric: str) -> tuple[float, ...]:
    found = (run.metrics[metric].value for run in arm.runs if metric in run.metrics)
    return tuple(value for value in found if value is not None)


def _pooled_interval(metric: str, entries: list[Metric]) -> Interval | None:
    """Return the interval over the problems of all seeds, taken as independent.

    Wilson's on the summed counts of a counted rate. Else the interval that the runs' own intervals imply for the
    mean of all problems, their standard errors added in squares.
    """
    num = sum(entry.num for entry in entries)
    if not num:
        return None
    values = [entry.value or 0.0 for entry in entries]
    total = math.fsum(entry.num * value for entry, value in zip(entries, values, strict=True))
    if is_counted(metric) and all(0 <= value <= 1 for value in values):
        return wilson(min(total, num), num)
    widths = [
        entry.num * (entry.high - entry.low) for entry in entries if entry.low is not None and entry.high is not None
    ]
    if len(widths) < len(entries):
        return None
    half = math.hypot(*widths) / 2 / num
    low, high = total / num - half, total / num + half
    return Interval(max(0.0, low), min(1.0, high)) if is_rate(metric) else Interval(low, high)


def _matching(arms: list[Arm]) -> list[str]:
    """Return a note on what the arms have in common, equal within 1%."""
    if len(arms) < 2:
        return []
    equal = []
    for key in ("tokens", "problems"):
        totals = [arm.mean_train(key) for arm in arms]
        if max(totals) - min(totals) <= 0.01 * max(totals):
            equal.append(f"training {key}")
    return [f"The arms are matched on {' and '.join(equal) or 'neither training tokens nor problems'}."]


def _mixtures(arms: list[Arm]) -> list[str]:
    """Return notes on runs that differ in more than their arm and seed."""
    differing = {arm.label: _differing_config(arm.runs) for arm in arms}
    notes = [
        f"Within {label!r} the runs also differ in {', '.join(keys)}." for label, keys in differing.items() if keys
    ]
    if len({run.code_hash for arm in arms for run in arm.runs}) > 1:
        notes.append("The runs come from different versions of the code.")
    return notes
