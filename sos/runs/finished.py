"""Finished runs: finding run folders and reading what they hold, checked."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from sos.config import Config, config_from_dict
from sos.errors import UserError
from sos.files import damaged, read_json
from sos.judge.intervals import mean_interval
from sos.judge.metrics import Metric
from sos.runs.folder import METRICS, PROVENANCE
from sos.runs.results import impossible, schema_complaint, sweep_complaint
from sos.runs.rollouts import read_rollouts
from sos.schema.registry import UnknownPart

_log = logging.getLogger(__name__)

_COLUMNS = ("num_errors", "solved", "generated_tokens")  # of the rollouts


@dataclass(frozen=True)
class Run:
    """A finished run, as read from its folder."""

    folder: Path
    name: str
    overrides: dict[str, str]
    seed: int
    config: dict[str, Any]
    train: dict[str, float]  # tokens, problems, ...
    metrics: dict[str, Metric]
    budget_curve: dict[str, dict[str, list[float]]]  # split -> tokens (n,) and solved (n,)
    problem_digests: dict[str, str]  # split -> hash of the evaluation problems, whatever their order
    solved: dict[str, np.ndarray]  # split -> bool (P,), in an order that depends on the problems only
    planned: dict[str, np.ndarray]  # split -> bool (P,), in the same order, of the splits whose rollouts have plans
    generated: dict[str, np.ndarray]  # split -> generated tokens, int32 (P,), in the same order
    code_hash: str | None
    sweep: dict[str, Any] | None  # what its sweep file says: name, question, primary, baseline, arms
    label: str = ""  # of its arm, where the user names it

    @property
    def arm(self) -> str:
        """The arm of its sweep file that the run belongs to; empty for other runs."""
        return str((self.sweep or {}).get("arm") or "")

    def right(self, metric: str) -> np.ndarray | None:
        """Return which problems were answered rightly, bool (P,), as the rate `metric` (`solve/val`, `plan/val`) counts
        it; None where that was not kept."""
        answer, _, split = metric.partition("/")
        return {"solve": self.solved, "plan": self.planned}.get(answer, {}).get(split)

    def setting(self, key: str) -> str:
        """Return the value of an override as text, from the resolved config where it is one value in there."""
        node: Any = self.config
        for part in key.split("."):
            node = node.get(part, {}) if isinstance(node, dict) else {}
        if node is None or isinstance(node, dict):  # a config group, such as `stream=dose`
            return self.overrides.get(key, "null" if node is None else "default")
        return as_text(node)


def load_runs(paths: Iterable[str | os.PathLike[str]]) -> list[Run]:
    """Read the runs in `paths`: run folders, or folders searched for run folders, in natural order of their names.

    `LABEL=FOLDER` labels the runs of a folder (a folder whose own name has such a form is taken first).
    A run folder that holds config.yaml but no metrics.json is not finished: it is logged as a warning and left out.
    Raises ValueError, naming the file and the reason, for a path without runs, a damaged file or another schema, and
    when no run is finished.
    """
    folders: dict[Path, tuple[Path, str]] = {}  # keyed by the resolved path: a run named twice is one run
    unfinished: dict[Path, Path] = {}
    for word in map(str, paths):
        label, path = _labelled(word)
        if not path.is_dir():
            raise UserError(f"no such run folder: {path}")
        finished, begun = _find_runs(path)
        if not finished and not begun:
            raise UserError(f"no run found in {path}: neither it nor a folder below it holds metrics.json")
        folders |= {folder.resolve(): (folder, label) for folder in finished}
        unfinished |= {folder.resolve(): folder for folder in begun}
    for folder in unfinished.values():
        _log.warning("unfinished run left out (config.yaml but no metrics.json): %s", folder)
    if not folders:
        raise UserError(f"no finished run; unfinished: {', '.join(map(str, unfinished.values())) or 'none'}")
    return [replace(_load_run(folder), label=label) for folder, label in folders.values()]


def _labelled(word: str) -> tuple[str, Path]:
    """Return the label and the folder of LABEL=FOLDER; no label for a folder, or what could be none other."""
    label, equals, place = word.partition("=")
    return ("", Path(word)) if Path(word).is_dir() or not equals else (label, Path(place))


def _find_runs(root: Path) -> tuple[list[Path], list[Path]]:
    """Return the finished and the unfinished run folders at or below `root`; hidden folders are not searched."""
    finished, begun = [], []
    for place, subfolders, files in os.walk(root):
        subfolders[:] = sorted((name for name in subfolders if not name.startswith(".")), key=natural_key)
        if "metrics.json" in files:
            finished.append(Path(place))
            subfolders.clear()
        elif "config.yaml" in files:
            begun.append(Path(place))
    return finished, [folder for folder in begun if not any(folder in run.parents for run in finished)]


def read_metrics(folder: Path) -> dict[str, Any]:
    """Return what the metrics.json of a run says, checked. Raises UserError that names the file."""
    path = folder / METRICS
    content: dict[str, Any] = read_json(path, kind=object, finite=False)
    complaint = schema_complaint(content)
    if complaint:
        raise UserError(f"{path} is not of this metric schema: {complaint}")
    complaint = impossible(content)
    if complaint:
        raise damaged(path, complaint)
    return content


def _load_run(folder: Path) -> Run:
    content = read_metrics(folder)
    metrics = {name: _read_metric(entry) for name, entry in content["metrics"].items()}
    digests, solved, planned, generated = {}, {}, {}, {}
    for rollouts in sorted(folder.glob("rollouts_*.npz")):
        split = rollouts.stem.removeprefix("rollouts_")
        digests[split], columns = _read_columns(rollouts)
        num_errors, solved[split], generated[split] = (columns[name] for name in _COLUMNS)
        if "planned" in columns:
            planned[split] = columns["planned"]
        low, high = mean_interval(num_errors) or (None, None)
        errors = Metric(float(num_errors.mean()), low, high, num_errors.size)
        metrics.setdefault(f"errors_per_trace/{split}", errors)
    return Run(
        folder=folder,
        name=content["name"],
        overrides={key.lstrip("+"): str(value) for key, value in content["overrides"].items()},
        seed=content["seed"],
        config=content["config"],
        train=content["train"],
        metrics=metrics,
        budget_curve=content.get("budget_curve") or {},
        problem_digests=digests,
        solved=solved,
        planned=planned,
        generated=generated,
        code_hash=content.get("code_hash"),
        sweep=_read_sweep(folder),
    )


def _read_metric(entry: dict[str, Any]) -> Metric:
    """Return a checked entry."""
    return Metric(entry["value"], entry.get("low"), entry.get("high"), entry["num"])


def _read_sweep(folder: Path) -> dict[str, Any] | None:
    """Return what provenance.json says about the sweep of a run, or None for a run of no sweep file."""
    path = folder / PROVENANCE
    sweep = read_json(path, missing={}).get("sweep")
    complaint = sweep_complaint(sweep)
    if complaint:
        raise damaged(path, complaint)
    return sweep if sweep and all(sweep.get(key) is not None for key in ("name", "arm", "arms")) else None


def _read_columns(path: Path) -> tuple[str, dict[str, np.ndarray]]:
    """Return a hash of the problems, whatever their order, and the columns (P,), in an order that only they decide."""
    problems, columns = read_rollouts(path)
    order = np.lexsort(problems.T)
    rows = problems[order].astype("<i8")
    digest = hashlib.sha256(str(rows.shape).encode() + rows.tobytes()).hexdigest()
    kept = [name for name in (*_COLUMNS, "planned") if name in columns]
    return digest, {name: columns[name][order] for name in kept}


def config_of(run: Run) -> Config:
    """Return a run's config as this version reads it. Raises UserError that names the file where it cannot."""
    try:
        return config_from_dict(run.config)
    except UnknownPart:
        raise
    except ValueError as error:
        raise UserError(f"{run.folder / METRICS} was written under another schema: {error}") from error


def as_text(value: Any) -> str:
    """Return a config value as it is written in YAML: null, true, 0.5, full."""
    return value if isinstance(value, str) else json.dumps(value)


def natural_key(name: str) -> list[tuple[str, int]]:
    """Return a sort key that puts 2 before 10."""
    return [(text, int(digits or -1)) for text, digits in re.findall(r"(\D*)(\d*)", name)]
