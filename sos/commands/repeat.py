"""`sos repeat RUN`: a run made again and checked against its record."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sos import source_hash
from sos.commands.output import check_out
from sos.commands.words import option, places
from sos.config import Config, config_from_dict, config_hash
from sos.errors import UserError
from sos.files import damaged, read_json
from sos.runs.finished import read_metrics
from sos.runs.folder import METRICS, PROVENANCE, RunFolder
from sos.runs.provenance import Origin, versions
from sos.runs.results import provenance_complaint
from sos.schema.registry import UnknownPart

if TYPE_CHECKING:
    from torch import Tensor

SHOWN = 8  # differences listed by name
# What a busy machine changes: seconds, rates and shares of time, peaks.
MEASURES_TIME = re.compile(r"seconds|per_s$|^data_share$|^peak_|^mfu$")


@dataclass
class Options:
    """The run is made again from its resolved config. On a CPU the weights must be equal bit for bit and all metrics
    the same numbers; elsewhere the differences are listed. Exit status 1 if anything differs."""

    run: list[str] = places("RUN", "the folder of a finished run", most=1)
    out: str | None = option(None, "make it in this folder; null: repeat, in the run's")
    keep_going: bool = option(False, "repeat it although code, versions or data have changed")


def read_record(run: Path) -> tuple[Config, dict[str, Any], dict[str, Any]]:
    """Return the config, provenance and metrics of a finished run. Raises UserError, naming what is missing, damaged or
    does not fit."""
    if not run.is_dir():
        raise UserError(f"no such run folder: {run}")
    for name in (PROVENANCE, METRICS):
        if not (run / name).is_file():
            raise UserError(f"{run} cannot be repeated: {name} is missing")
    metrics = read_metrics(run)
    path = run / PROVENANCE
    provenance: dict[str, Any] = read_json(path)
    if complaint := provenance_complaint(provenance):
        raise damaged(path, complaint)
    try:
        config = config_from_dict(metrics["config"] | {"resume": None})
    except UnknownPart:
        raise
    except ValueError as error:
        raise UserError(f"{run / METRICS} was written under another schema: {error}") from error
    if config_hash(metrics["config"]) != metrics.get("config_hash"):
        raise UserError(f"{run / METRICS}: the config does not fit its hash; was it edited?")
    return config, provenance, metrics


def changed_surroundings(provenance: dict[str, Any]) -> list[str]:
    """Return what is not as it was when the run was made: the code and the versions of what it uses."""
    lines = []
    if provenance.get("code_hash") != source_hash():
        commit = (provenance.get("git") or {}).get("commit")
        lines.append(f"the code is another (the run was made at commit {commit or 'unknown'})")
    now = versions()
    for name, version in provenance["versions"].items():
        if now.get(name) != version:
            lines.append(f"{name} is {now.get(name)}, was {version}")
    return lines


def changed_data(config: Config, provenance: dict[str, Any]) -> list[str]:
    """Return the parts of the data whose hashes are not those of the record."""
    from sos.datasets.source import build_source
    from sos.runs.provenance import data_hashes, first_block
    from sos.system import build_system

    system = build_system(config)
    now = data_hashes(config, system, first_block(config, build_source(config, system)))
    old = provenance["data_hashes"]
    return [
        f"{name}: the data are others" for name in sorted(now.keys() | old.keys()) if now.get(name) != old.get(name)
    ]


def differences(old: Any, new: Any, prefix: str = "") -> list[str]:
    """Return what differs between two JSON values, by path; times do not count."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = [key for key in dict.fromkeys([*old, *new]) if not MEASURES_TIME.search(key)]
        return [line for key in keys for line in differences(old.get(key), new.get(key), f"{prefix}/{key}")]
    return [] if old == new else [f"{prefix.lstrip('/')}: {old} before, {new} now"]


def weights_of(run: Path) -> dict[str, Tensor]:
    """Return the weights of a run's last checkpoint. Raises UserError that names the file."""
    from sos.runs.checkpoint import load_checkpoint

    return load_checkpoint(RunFolder(run).checkpoint).state_dict


def compare_weights(old: dict[str, Tensor], new: dict[str, Tensor]) -> list[str]:
    """Return what differs between two checkpoints."""
    import torch

    lines = []
    for name in sorted(old.keys() | new.keys()):
        if name not in old or name not in new:
            lines.append(f"weight {name}: in one of the two only")
        elif not torch.equal(old[name], new[name]):
            same = old[name].shape == new[name].shape
            largest = (old[name].double() - new[name].double()).abs().max().item() if same else float("inf")
            lines.append(f"weight {name}: differs by up to {largest:.3g}")
    return lines


def repeat(run: Path, out: Path, keep_going: bool) -> list[str]:
    """Make the run again in `out` and return what differs. Raises ValueError for what cannot be repeated as it was."""
    config, provenance, metrics = read_record(run)
    weights = weights_of(run)
    changed = [*changed_surroundings(provenance), *changed_data(config, provenance)]
    for line in changed:
        print(f"changed since: {line}", file=sys.stderr)
    changed += [f"{key} follows the clock" for key in config.timed]
    if changed and not keep_going:
        raise UserError(
            f"{run} cannot be repeated as it was: {'; '.join(changed)} (keep_going=true repeats it all the same)"
        )

    from sos.train.pretrain import pretrain

    name = f"repeat of {provenance.get('name') or run.name}"
    evaluation = pretrain(config, out, Origin(name, metrics.get("overrides", {}), f"sos repeat {run}"), again=True)
    if evaluation is None:  # another rank compares
        return []
    again = read_json(out / METRICS, finite=False)
    lines = compare_weights(weights, weights_of(out))
    lines += [
        line for key in ("train", "metrics", "budget_curve") for line in differences(metrics.get(key), again[key], key)
    ]
    if not lines:
        print(f"the same: {len(weights)} weights bit for bit, {len(again['metrics'])} metrics")
    return lines


def run(options: Options) -> int:
    """Repeat the run and print what differs; return 1 if anything does."""
    check_out(options.out, folder=True, inputs=options.run)
    folder = Path(options.run[0])
    lines = repeat(folder, Path(options.out) if options.out else folder / "repeat", options.keep_going)
    for line in lines[:SHOWN]:
        print(f"differs: {line}")
    if len(lines) > SHOWN:
        print(f"... and {len(lines) - SHOWN} more")
    return 1 if lines else 0
