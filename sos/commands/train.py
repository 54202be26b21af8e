"""Search, serialize, pretrain, evaluate: `python train.py [key=value]`, `-m` for a sweep, `-m +sweep=NAME` for a file
of conf/sweep."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sos.commands.cli import is_sweep_job, refusals, run_hydra
from sos.compose import refuse_foreign, register, to_object
from sos.config import Config
from sos.errors import UserError, train_words
from sos.files import read_json
from sos.runs.folder import RunFolder
from sos.runs.plugin import register_sweeper
from sos.runs.provenance import Origin
from sos.schema.folders import search_also
from sos.schema.naming import run_name


def describe_run() -> tuple[Path, Origin]:
    """Return the run's folder, and how it was asked for as Hydra has it. Raises ValueError for a sweep file without
    `-m`."""
    from hydra.core.hydra_config import HydraConfig

    hydra_config = HydraConfig.get()
    search_also(hydra_config.overrides.hydra)  # a launcher's process knows them from here alone
    typed = [override for override in hydra_config.overrides.task if "=" in override]
    sweep = hydra_config.sweeper if "arms" in hydra_config.sweeper and hydra_config.sweeper.arms else None
    folder = Path(hydra_config.runtime.output_dir)
    if sweep is not None and sweep.arm is None:
        raise UserError(f"+sweep={sweep.name} is a sweep: {' '.join(train_words())} -m +sweep={sweep.name}")
    name = folder.name if is_sweep_job() or sweep is not None else run_name(typed)
    return folder, Origin.of(name, typed, sweep, folder)


def job(composed: Any) -> float:
    """Run one job and return its solve rate on `val`, for sweepers that optimize."""
    with refusals():
        return _job(composed)


def _job(composed: Any) -> float:
    from hydra.core.hydra_config import HydraConfig

    asked = HydraConfig.get()
    refuse_foreign(asked, "hydra.")
    # Of a job of a sweep, and of one that runs again by itself, the sweeper has looked at the words.
    in_sweep = is_sweep_job() or asked.sweeper.get("arm") is not None
    typed = asked.overrides.task
    config = to_object(composed, *((), typed) if in_sweep else (typed,))
    folder, origin = describe_run()
    home = RunFolder(folder)
    if home.holds(config):
        print(home.finished_line)
        return _rate(_recorded(home.metrics))
    # Torch and Lightning take seconds to import: --help and --cfg do without them.
    from sos.train.pretrain import AlreadyFinished, pretrain

    try:
        evaluation = pretrain(config, folder, origin)
    except AlreadyFinished as finished:
        print(finished)
        return _rate(_recorded(RunFolder(folder).metrics))
    except Exception as error:
        if is_sweep_job():  # which lists the reasons, also of runs that were refused
            RunFolder(folder).record_failure(error)
        raise
    if evaluation is None:  # another rank prints it
        return 0.0
    print(f"\n{origin.name}\n{evaluation.table()}\n\n{evaluation.cost}\nrun folder: {folder}")
    return _rate({name: metric.value for name, metric in evaluation.metrics.items()})


def _recorded(path: Path) -> dict[str, Any]:
    """Return the values of the metrics in a metrics.json."""
    metrics = read_json(path, finite=False).get("metrics", {})
    return {name: metric["value"] for name, metric in metrics.items()}


def _rate(values: Mapping[str, Any]) -> float:
    """Return the rate of right answers on `val`, or else on the first split that was evaluated: by the plan where there
    is one, or else by the search."""
    for answer in ("plan/", "solve/"):
        rates = [value for name, value in values.items() if name.startswith(answer)]
        if rates:
            return float(values.get(f"{answer}val", rates[0]) or 0.0)
    return 0.0


def main() -> None:
    """Run what the process's words say: one run, or with -m a sweep."""
    logging.raiseExceptions = False  # a log file that cannot be written is no reason for tracebacks
    try:
        run_hydra("config", Config, job, register, register_sweeper)
    finally:
        if fresh := sys.modules.get("sos.runs.fresh"):  # Hydra imports it where a run starts
            fresh.remove_unused()
