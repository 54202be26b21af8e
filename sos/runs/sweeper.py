"""The sweeper of this package: Hydra's basic one, with arms, without what is done, and with a list of failures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from sos.errors import UserError

if TYPE_CHECKING:  # Hydra loads this module with its plugins, also for --help
    from sos.runs.sweep import Job

ARM = "~hydra.sweeper.arms."


class ArmSweeper(BasicSweeper):
    """Runs the product of the typed alternatives, the arms and the seeds of a sweep file, with any launcher.

    Every job is composed and checked before the first starts. What `metrics.json` shows as done with the same config
    and code is left out; what fails is listed with its reason once all others are done, and the comparison is made of
    the rest.
    """

    __module__ = "hydra_plugins.sos"  # see `sos.runs.plugin.register_sweeper`

    def __init__(self, max_batch_size: int | None, params: dict[str, str] | None = None, **sweep: Any) -> None:
        super().__init__(max_batch_size, params)
        self.sweep_file = sweep

    def sweep(self, arguments: list[str]) -> Any:
        from sos.errors import Failures, describe
        from sos.files import claim, written_whole
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
            with written_whole(home / "multirun.yaml") as partial:
                OmegaConf.save(self.config, partial)
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
                except KeyboardInterrupt as stopped:
                    done = sum(job.is_finished() for job in jobs)
                    kept = f"{done} of {len(jobs)} runs are finished"
                    stopped.args = (f"interrupted: {kept}; the same sweep command goes on",)
                    raise
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
        """Refuse a folder that holds a sweep with other shared overrides, which its runs' names do not show."""
        from sos.files import read_json, write_json

        record = {"name": self.sweep_file["name"] if self.sweep_file["arms"] else None, "overrides": sorted(fixed)}
        path = home / "sweep.json"
        found = read_json(path, missing={})
        if found and found != record:
            raise UserError(
                f"{home} holds the sweep {_shown(found)}, not {_shown(record)}: choose another hydra.sweep.dir"
            )
        write_json(path, record)

    def _jobs(self, arguments: list[str]) -> tuple[list[Any], list[list[str]], list[str]]:
        """Return the jobs, composed and checked, what the launcher is told for each, and what all share."""
        from sos.compose import refuse_foreign
        from sos.runs.expectations import read_expectations
        from sos.runs.sweep import expand, key_of, unique_names

        assert self.config is not None
        refuse_foreign(self.config.hydra, "hydra.")
        typed = self._typed(arguments)
        shared = [words[0] for words in typed if len(words) == 1]
        fixed = [word for word in shared if key_of(word) not in ("sweep", "seed")]
        arms = {arm: list(overrides) for arm, overrides in self.sweep_file["arms"].items()}
        known = [*arms, *self.sweep_file["stages"], *self._left_out()]
        read_expectations(self.sweep_file["expect"], known, self.sweep_file["primary"])
        expanded = expand(typed, arms, list(self.sweep_file["seeds"]))
        varying = [
            (arm, [word for word in words if word not in [*fixed, *(arms[arm] if arm else [])]])
            for arm, words in expanded
        ]
        if len(expanded) == 1 and not arms:
            varying = [(None, list(expanded[0][1]))]
        names = self._subdirs(expanded) or unique_names(varying)
        jobs = []
        for number, (arm, words) in enumerate(expanded):
            checked = [word for word in words if arm is None or word not in fixed]
            jobs.append(self._job(number, names[number], arm, words, checked))
        _refuse_unused_by_all(fixed, jobs)
        folders = [job.folder for job in jobs]
        twice = next((folder for folder in folders if folders.count(folder) > 1), None)
        if twice:
            raise UserError(f"two runs of this sweep would write into {twice}")
        return jobs, [_told(job, name) for job, name in zip(jobs, names, strict=True)], fixed

    def _left_out(self) -> list[str]:
        """Return the arms that the command line takes out of the file: `~hydra.sweeper.arms.NAME`."""
        assert self.config is not None
        return [word.removeprefix(ARM) for word in self.config.hydra.overrides.hydra if word.startswith(ARM)]

    def _typed(self, arguments: list[str]) -> list[list[str]]:
        """Return the alternatives of each typed override."""
        from sos.runs.sweep import key_of

        assert self.hydra_context is not None
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        parsed = parser.parse_overrides([*self._parse_config(), *arguments])
        if any(override.is_sweep_override() for override in parsed if key_of(override.get_key_element()) == "sweep"):
            raise UserError("one sweep at a time: +sweep=NAME")
        return [[words[0] for words in self.split_arguments([override], None)[0]] for override in parsed]

    def _subdirs(self, expanded: list[tuple[str | None, tuple[str, ...]]]) -> list[str] | None:
        """Return the folders of the jobs within that of the sweep where `hydra.sweep.subdir` was typed, else None."""
        assert self.config is not None
        assert self.hydra_context is not None
        if not any(word.lstrip("+").startswith("hydra.sweep.subdir=") for word in self.config.hydra.overrides.hydra):
            return None
        loader = self.hydra_context.config_loader
        found = []
        for number, (_, words) in enumerate(expanded):
            composed = loader.load_sweep_config(self.config, list(words))
            with read_write(composed), open_dict(composed):
                composed.hydra.job.id = composed.hydra.job.num = number
            found.append(str(composed.hydra.sweep.subdir))
        return found

    def _job(self, number: int, name: str, arm: str | None, words: tuple[str, ...], checked: list[str]) -> Job:
        """Compose and check one job; what `checked` holds must have a use in it."""
        from sos.compose import to_object
        from sos.runs.sweep import Job

        assert self.config is not None
        assert self.hydra_context is not None
        composed = self.hydra_context.config_loader.load_sweep_config(self.config, list(words))
        with read_write(composed), open_dict(composed):
            composed.hydra.job.id = composed.hydra.job.num = number
        try:
            config = to_object(_without_hydra(composed), checked, words)
        except UserError as error:
            raise UserError(f"{name}: {error}") from error
        return Job(words, arm, Path(self.config.hydra.sweep.dir) / name, config)


def _told(job: Job, name: str) -> list[str]:
    """Return what the launcher is told for a job."""
    from sos.schema.naming import as_word

    arm = [as_word("hydra.sweeper.arm", job.arm)] if job.arm else []
    return [*job.overrides, *arm, as_word("hydra.sweep.subdir", name)]


def _refuse_unused_by_all(words: list[str], jobs: list[Job]) -> None:
    """Refuse a word that all jobs share and none has a use for: some arms of a sweep file may well have none."""
    from sos.compose import unused_word

    for word in words:
        reasons = [unused_word(job.config, word) for job in jobs]
        if all(reasons):
            raise UserError(f"{word} {reasons[0]}")


def _shown(record: dict[str, Any]) -> str:
    return " ".join([str(record.get("name") or "of"), *map(str, record.get("overrides", []))])


def _without_hydra(composed: DictConfig) -> DictConfig:
    with read_write(composed), open_dict(composed):
        del composed["hydra"]
    return composed
