"""The sweeper of this package: Hydra's basic one, with arms, without what is done, and with failures listed at the end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from sos.errors import UserError


class ArmSweeper(BasicSweeper):
    """Runs the product of the typed alternatives, the arms and the seeds of a sweep file, with any launcher.

    Every job is composed and checked before the first starts. What `metrics.json` shows as done with the same config and code
    is left out; what fails is listed with its reason once all others are done, and the comparison is made of the rest.
    """

    __module__ = "hydra_plugins.sos"  # see `sos.runs.plugin.register_sweeper`

    def __init__(self, max_batch_size: int | None, params: dict[str, str] | None = None, **sweep: Any) -> None:
        super().__init__(max_batch_size, params)
        self.sweep_file = sweep

    def sweep(self, arguments: list[str]) -> Any:
        from sos.errors import Failures, describe
        from sos.files import claim
        from sos.runs.folder import RunFolder
        from sos.runs.sweep import check_ranks, list_failures

        assert self.config is not None
        assert self.launcher is not None
        assert self.hydra_context is not None
        jobs, commands, fixed = self._jobs(arguments)
        for job in jobs:
            check_ranks(job.config, self.config.hydra.launcher)
        home = Path(self.config.hydra.sweep.dir)
        with claim(home, "sweep"):
            self._check_home(home, fixed)
            OmegaConf.save(self.config, home / "multirun.yaml")
            missing = [i for i, job in enumerate(jobs) if not job.is_finished()]
            if len(missing) < len(jobs):
                print(f"{len(jobs) - len(missing)} of {len(jobs)} runs are finished already")
            for i in missing:
                RunFolder(jobs[i].folder).failed.unlink(missing_ok=True)
            said = None
            returns = []
            size = self.max_batch_size or max(1, len(missing))
            for start in range(0, len(missing), size):
                batch = [commands[i] for i in missing[start : start + size]]
                try:
                    returns.append(self.launcher.launch(batch, initial_job_idx=start))
                except Exception as error:  # such as a job that the cluster killed: the folders say which
                    said = describe(error)
            failures = list_failures(jobs, said)
        if failures:
            try:
                # Hydra calls it after a sweep without failures.
                self.hydra_context.callbacks.on_multirun_end(config=self.config, config_name=None)
            finally:
                raise Failures("\n".join(failures))
        return returns

    def _check_home(self, home: Path, fixed: list[str]) -> None:
        """Refuse a folder that holds this sweep file run with other overrides, which its runs' names do not show."""
        from sos.files import read_json

        if not self.sweep_file["arms"]:
            return
        record = {"name": self.sweep_file["name"], "overrides": sorted(fixed)}
        path = home / "sweep.json"
        found = read_json(path, missing={})
        if found and found != record:
            earlier = " ".join([str(found.get("name")), *found.get("overrides", [])])
            raise UserError(
                f"{home} holds the sweep {earlier}, not {' '.join([record['name'], *record['overrides']])}: "
                "choose another hydra.sweep.dir"
            )
        path.write_text(json.dumps(record, indent=1), encoding="utf-8")

    def _jobs(self, arguments: list[str]) -> tuple[list[Any], list[list[str]], list[str]]:
        """Return the jobs, composed and checked, what the launcher is told for each, and the overrides that all share."""
        from sos.compose import to_object
        from sos.runs.sweep import Job, expand, folder_name, key_of, quoted

        assert self.config is not None
        assert self.hydra_context is not None
        loader = self.hydra_context.config_loader
        parsed = OverridesParser.create(config_loader=loader).parse_overrides([*self._parse_config(), *arguments])
        if any(override.is_sweep_override() for override in parsed if key_of(override.get_key_element()) == "sweep"):
            raise UserError("one sweep at a time: +sweep=NAME")
        typed = []
        for override in parsed:
            chunks = self.split_arguments([override], None)[0]
            typed.append([words[0] for words in chunks])
        fixed = [words[0] for words in typed if len(words) == 1 and key_of(words[0]) not in ("sweep", "seed")]
        arms = {arm: list(overrides) for arm, overrides in self.sweep_file["arms"].items()}
        jobs, commands = [], []
        for number, (arm, overrides) in enumerate(expand(typed, arms, list(self.sweep_file["seeds"]))):
            composed = loader.load_sweep_config(self.config, list(overrides))
            with read_write(composed), open_dict(composed):
                composed.hydra.job.id = composed.hydra.job.num = number
            name = folder_name(arm, overrides, (*arms[arm], *fixed)) if arm else str(composed.hydra.sweep.subdir)
            try:
                config = to_object(_without_hydra(composed))
            except ValueError as error:
                raise UserError(f"{name}: {error}") from error
            jobs.append(Job(tuple(overrides), arm, Path(self.config.hydra.sweep.dir) / name, config))
            extra = [f"hydra.sweeper.arm={quoted(arm)}"] if arm else []
            commands.append([*overrides, *extra, f"hydra.sweep.subdir={quoted(name)}"])
        folders = [job.folder for job in jobs]
        twice = next((folder for folder in folders if folders.count(folder) > 1), None)
        if twice:
            raise UserError(f"two runs of this sweep would write into {twice}")
        return jobs, commands, fixed


def _without_hydra(composed: DictConfig) -> DictConfig:
    with read_write(composed), open_dict(composed):
        del composed["hydra"]
    return composed
