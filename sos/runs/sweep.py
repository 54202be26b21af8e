"""Sweeps as files: the jobs of a sweep, which of them are done, and what is said about those that failed.

A sweep file (`conf/sweep/*.yaml`) fills `hydra.sweeper`, which `sos.runs.sweeper` runs with any launcher.
"""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sos.config import Config
from sos.errors import UserError, train_words
from sos.runs.folder import RunFolder
from sos.schema.folders import searched
from sos.schema.naming import as_word, digest, run_name


@dataclass(frozen=True)
class Job:
    """One run of a sweep."""

    overrides: tuple[str, ...]  # as they could be typed
    arm: str | None
    folder: Path
    config: Config

    def is_finished(self) -> bool:
        return RunFolder(self.folder).holds(self.config)

    def command(self) -> str:
        """Return the command that runs this job alone, in its own folder."""
        arm = [f"hydra.sweeper.arm={self.arm}"] if self.arm else []
        return shell(*train_words(), *searched(), *self.overrides, *arm, as_word("hydra.run.dir", self.folder))


def shell(*words: str) -> str:
    """Return words as a command line; Hydra's quotes go into double ones, which are easy to read."""
    return " ".join(
        f'"{word}"' if "'" in word and not set(word) & set('"$`\\!') else shlex.quote(word) for word in words
    )


def key_of(override: str) -> str:
    """Return the key of `key=value`, without the signs of Hydra's grammar."""
    return override.partition("=")[0].lstrip("+~")


def expand(
    typed: Sequence[Sequence[str]], arms: Mapping[str, Sequence[str]], seeds: Sequence[int]
) -> list[tuple[str | None, tuple[str, ...]]]:
    """Return (arm, overrides) of every run: the typed alternatives times the arms times the seeds, seed by seed.

    `typed` holds the alternatives of each typed override. A typed seed replaces `seeds`. Raises ValueError where an
    arm and the command line set the same key, and for an arm that is not a list of `key=value`.
    """
    for arm, overrides in arms.items():
        for override in overrides:
            if "=" not in override or override.startswith("hydra"):
                raise UserError(f"sweep: arm {arm} holds {override!r}, which is not key=value")
            clash = next((other[0] for other in typed if key_of(other[0]) == key_of(override)), None)
            if clash:
                raise UserError(f"sweep: {clash} was typed, but arm {arm} decides {key_of(override)}")
    fixed = [alternatives for alternatives in typed if key_of(alternatives[0]) != "seed"]
    seeded = [alternatives for alternatives in typed if key_of(alternatives[0]) == "seed"]
    if not seeded and seeds:
        seeded = [[f"seed={seed}" for seed in seeds]]
    jobs: list[tuple[str | None, tuple[str, ...]]] = []
    named: list[tuple[str | None, Sequence[str]]] = [*arms.items()] or [(None, ())]
    for seed in itertools.product(*seeded):
        for name, overrides in named:
            jobs += [(name, (*values, *overrides, *seed)) for values in itertools.product(*fixed)]
    return jobs


def folder_name(arm: str | None, varying: Sequence[str]) -> str:
    """Return the name of a run's folder, also in TensorBoard: the arm, and what else differs between runs."""
    name = run_name(varying)
    if arm is None:
        return name
    return arm if name == "default" else f"{arm}__{name}"


def unique_names(runs: Sequence[tuple[str | None, Sequence[str]]]) -> list[str]:
    """Return the folder names of runs, given as (arm, what differs); names that come out alike get a hash each."""
    names = [folder_name(arm, words) for arm, words in runs]
    return [
        f"{name}__{digest(words)}" if names.count(name) > 1 else name
        for name, (_, words) in zip(names, runs, strict=True)
    ]


def list_failures(jobs: Sequence[Job], launcher_error: str | None = None) -> list[str]:
    """Return the lines about the jobs without a result: their reason and the command that runs them alone."""
    failed = [job for job in jobs if not job.is_finished()]
    if not failed:
        return []
    lines = [f"{len(failed)} of {len(jobs)} runs failed:"]
    for job in failed:
        lines += [f"- {job.folder.name}: {RunFolder(job.folder).failure_reason()}", f"    {job.command()}"]
    if launcher_error:
        lines.append(f"the launcher said: {launcher_error}")
    return [*lines, "the finished runs are kept: the same sweep command runs only what is missing"]


def check_ranks(config: Config, launcher: Any) -> None:
    """Refuse a job with several processes where the launcher starts one: its children would start the sweep again.

    Raises ValueError. `launcher` is the composed `hydra.launcher`.
    """
    ranks = (config.trainer.devices, config.trainer.num_nodes)
    started = (launcher.get("tasks_per_node", 1), launcher.get("nodes", 1))
    is_slurm = str(launcher.get("_target_", "")).endswith("SlurmLauncher")
    if ranks != (1, 1) and (not is_slurm or started != ranks):
        raise UserError(
            f"trainer.devices={ranks[0]} trainer.num_nodes={ranks[1]} in a sweep needs a launcher that "
            "starts as many tasks: "
            "hydra/launcher=slurm_node or slurm_nodes, or one device per run"
        )
    if is_slurm and ranks == (1, 1) and started != (1, 1):
        raise UserError(f"hydra.launcher starts {started[0]} tasks on {started[1]} nodes, this run has one device")
