"""Comparison of finished runs: grouped into arms by what was varied, with intervals over seeds and over problems.

From Python: `print(compare(load_runs(["multirun/views"]), baseline="full").table())`.
"""

from __future__ import annotations

import csv
import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sos.analysis.intervals import Interval, seed_interval, welch_interval, wilson
from sos.analysis.runs import Metric, Run, as_text, is_counted, is_rate, load_runs, natural_key

__all__ = ["Arm", "Cell", "Comparison", "compare", "load_runs"]

_COLUMNS = (  # of the table, in this order and where present; comparison.csv holds every metric
    r"solve/val",
    r"solve/val_target",
    r"pass@\d+/val",
    r"errors_per_trace/val",
    r"tokens_per_solved/val",
    r"nodes/val",
    r"teacher/val",
)


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

    def table(self) -> str:
        """Return the comparison as Markdown tables, aligned to be read in a terminal too."""
        header = ["arm", "seeds", "training tokens", "problems", *(_titled(metric) for metric in self.columns)]
        rows = []
        for arm in self.arms:
            totals = [_amount(arm.mean_train("tokens")), _amount(arm.mean_train("problems"))]
            cells = [self._summary(arm, metric) for metric in self.columns]
            rows.append([arm.label, str(len(arm.runs)), *totals, *cells])
        blocks = [_markdown(header, rows)]
        for metric in self.columns:
            if metric.startswith("teacher/"):
                continue  # a ceiling, not a result of the arm
            points = ", points" if is_rate(metric) else ""
            header = [_titled(metric), "mean", "95% over seeds", "95% over problems", f"minus {self.baseline}{points}"]
            shown = 5 if len(self.arms) > 1 else 4  # a single arm has no difference
            blocks.append(_markdown(header[:shown], [self._details(arm, metric)[:shown] for arm in self.arms]))
        notes = [
            "± and intervals over seeds: 95%, Student's t (differences: Welch's).",
            "Intervals over problems pool the problems of all seeds as if they were independent.",
            *self.notes,
        ]
        return "\n\n".join([*blocks, "\n".join(f"- {note}" for note in notes)]) + "\n"

    def _summary(self, arm: Arm, metric: str) -> str:
        cell = self.cells[arm.label, metric]
        if cell.mean is None:
            return "-"
        half = ""
        if cell.over_seeds and not metric.startswith("teacher/"):  # which no seed of a run can change
            half = f" ± {_number(cell.over_seeds.high - cell.mean, metric)}"
        missing = f" ({len(cell.values)} of {len(arm.runs)} seeds)" if len(cell.values) < len(arm.runs) else ""
        return _number(cell.mean, metric) + half + missing

    def _details(self, arm: Arm, metric: str) -> list[str]:
        cell = self.cells[arm.label, metric]
        if cell.mean is None:
            return [arm.label, "-", "-", "-", "-"]
        difference = ""
        if cell.difference is not None:
            spread = _interval(cell.difference_over_seeds, metric) if cell.difference_over_seeds else "(one seed)"
            difference = f"{_number(cell.difference, metric, sign='+')} {spread}"
        over_seeds = _interval(cell.over_seeds, metric) if cell.over_seeds else "one seed"
        over_problems = _interval(cell.over_problems, metric) if cell.over_problems else "-"
        return [arm.label, _number(cell.mean, metric), over_seeds, over_problems, difference]

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

    def write(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Write comparison.csv, .md and .png, and budget_curves.png if there are curves; return their paths."""
        from sos.analysis import figures  # matplotlib takes a second to import

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        paths = [folder / "comparison.csv", folder / "comparison.md", folder / "comparison.png"]
        self._write_csv(paths[0])
        figures.arms_figure(self).savefig(paths[2])
        images = "![Solve rates](comparison.png)\n"
        splits = sorted({split for arm in self.arms for run in arm.runs for split in run.budget_curve})
        panels = {split: curves for split in splits if (curves := self.budget_curves(split))}
        if panels:
            paths.append(folder / "budget_curves.png")
            figures.budget_panels_figure(panels).savefig(paths[3])
            images += "\n![Solve rate against generated tokens](budget_curves.png)\n"
        paths[1].write_text(f"# Comparison\n\n{self.table()}\n{images}", encoding="utf-8")
        return paths

    def _write_csv(self, path: Path) -> None:
        """Write one row per arm and metric; rates and their differences are fractions, undefined numbers are empty."""
        keys = list(self.arms[0].settings)
        interval_names = [f"{name}_{end}" for name in ("seeds", "problems") for end in ("low", "high")]
        header = ["arm", *keys, "metric", "num_seeds", "mean", *interval_names, "num_problems", "baseline"]
        header += ["difference", "difference_low", "difference_high", "train_tokens", "train_problems"]
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(header)
            for arm in self.arms:
                for metric in self.metrics:
                    cell, none = self.cells[arm.label, metric], (None, None)
                    row = [arm.label, *arm.settings.values(), metric, len(cell.values), cell.mean]
                    row += [*(cell.over_seeds or none), *(cell.over_problems or none), cell.num, self.baseline]
                    row += [cell.difference, *(cell.difference_over_seeds or none)]
                    writer.writerow([*row, arm.mean_train("tokens"), arm.mean_train("problems")])


def compare(
    runs: Sequence[Run],
    metrics: Sequence[str] | None = None,
    baseline: str | None = None,
    allow_different_problems: bool = False,
) -> Comparison:
    """Group `runs` into arms and compare every arm with `baseline`, by default the first arm.

    Arms are told apart by the overrides that vary among the runs, the seed left out; without any overrides, by the
    config keys that vary. `metrics` limits the comparison (default: all); `baseline` is an arm's label or the value
    that only this arm has. Raises ValueError for no runs, an unknown metric or baseline, two runs of one arm with the
    same seed, and runs evaluated on different problems unless `allow_different_problems`.
    """
    if not runs:
        raise ValueError("no finished run to compare")
    notes = _check_problems(runs, allow_different_problems)
    arms = _group(runs)
    base = _find_baseline(arms, baseline)
    present = sorted({metric for run in runs for metric in run.metrics}, key=natural_key)
    for metric in metrics or ():
        if metric not in present:
            raise ValueError(f"no run has the metric {metric}; there are {', '.join(present)}")
    defaults = [metric for pattern in _COLUMNS for metric in present if re.fullmatch(pattern, metric)]
    columns = list(dict.fromkeys(metrics or defaults or present))
    rows = columns if metrics else [*columns, *(metric for metric in present if metric not in columns)]
    cells = {(arm.label, metric): _cell(arm, base, metric) for arm in arms for metric in rows}
    return Comparison(
        tuple(arms), base.label, tuple(rows), tuple(columns), cells, (*notes, *_matching(arms), *_mixtures(arms))
    )


def _check_problems(runs: Sequence[Run], allow: bool) -> list[str]:
    """Return a note, or raise ValueError, if two runs were evaluated on different problems of one split."""
    first: dict[str, Run] = {}
    for run in runs:
        for split, digest in run.problem_digests.items():
            other = first.setdefault(split, run)
            if other.problem_digests[split] != digest:
                message = f"different {split} problems: {other.folder} and {run.folder} were not evaluated on the same"
                if not allow:
                    raise ValueError(f"{message} (--allow-different-problems compares them all the same)")
                return [message]
    return []


def _group(runs: Sequence[Run]) -> list[Arm]:
    """Return the arms, in order of first appearance."""
    overridden = dict.fromkeys(key for run in runs for key in run.overrides if key != "seed")
    keys = [key for key in overridden if len({run.setting(key) for run in runs}) > 1]
    if not overridden:
        keys = _differing_config(runs)
    last = [key.rpartition(".")[2] for key in keys]
    names = [short if last.count(short) == 1 else key for key, short in zip(keys, last, strict=True)]
    members: dict[str, list[Run]] = {}
    for run in runs:
        label = ",".join(f"{name}={run.setting(key)}" for key, name in zip(keys, names, strict=True)) or "all runs"
        twin = next((other for other in members.setdefault(label, []) if other.seed == run.seed), None)
        if twin:
            differ = ", ".join(_differing_config([twin, run])) or "nothing"
            raise ValueError(
                f"seed {run.seed} twice in the arm {label!r}: {twin.folder} and {run.folder} differ in {differ}"
            )
        members[label].append(run)
    return [Arm(label, {k: arm[0].setting(k) for k in keys}, tuple(arm)) for label, arm in members.items()]


def _differing_config(runs: Sequence[Run]) -> list[str]:
    """Return the dotted config keys whose values differ; the seed, the name and folders (*_dir) do not count."""
    flat = [_flatten(run.config) for run in runs]
    keys = dict.fromkeys(key for config in flat for key in config)
    differing = [key for key in keys if len({config.get(key, "default") for config in flat}) > 1]
    return [key for key in differing if key not in ("seed", "name") and not key.endswith("_dir")]


def _flatten(config: dict[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in config.items():
        flat |= _flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: as_text(value)}
    return flat


def _find_baseline(arms: list[Arm], wanted: str | None) -> Arm:
    if wanted is None:
        return arms[0]
    matches = [arm for arm in arms if arm.label == wanted] or [arm for arm in arms if wanted in arm.settings.values()]
    if len(matches) != 1:
        reason = "fits several arms" if matches else "is no arm"
        raise ValueError(f"baseline {wanted!r} {reason}; there are {', '.join(arm.label for arm in arms)}")
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
    if metric.startswith("teacher/") and len(set(values)) == 1:
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
    return Interval(total / num - half, total / num + half)


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


def _titled(metric: str) -> str:
    return f"{metric}, %" if is_rate(metric) else metric


def _number(value: float, metric: str, sign: str = "") -> str:
    if is_rate(metric):
        return f"{100 * value:{sign}.1f}"
    decimals = 0 if abs(value) >= 1000 else 1 if abs(value) >= 100 else 2
    return f"{value:{sign},.{decimals}f}"


def _interval(interval: Interval, metric: str) -> str:
    return f"[{_number(interval.low, metric)}, {_number(interval.high, metric)}]"


def _amount(value: float) -> str:
    """Return a count in three digits or so: 950, 12.4k, 10.6M."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.1f}{unit}"
    return f"{value:.0f}"


def _markdown(header: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table, its first column left-aligned, the others right-aligned."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    pad = [str.ljust, *[str.rjust] * (len(widths) - 1)]
    lines = [[fill(text, width) for fill, text, width in zip(pad, row, widths, strict=True)] for row in (header, *rows)]
    lines.insert(1, ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
