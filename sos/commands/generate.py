"""Write a data set: `python -m sos.commands.generate generate.out=FOLDER generate.visits=500000 [env=... search=... stream=...]`.

The keys of conf/generate.yaml, and env, search, stream, data and experiment as in train.py:

    generate.kind=traces            whole searches; tokens: the streams of one view and dialect, which data.shards=FOLDER trains on
    generate.verify=true            read everything again, with an exact replay of every trace
    -m "generate.part=range(0,4)" generate.parts=4      one job for each of four machines; then generate.parts=4 generate.merge=true

The same command continues after a kill; the result is the same bytes with any number of workers and parts.
"""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import hydra
from omegaconf import DictConfig

from sos.commands.cli import is_sweep_job, refusals, run
from sos.compose import config_folder
from sos.config import Config, to_object
from sos.errors import UserError

KINDS = ("traces", "tokens")
SPLITS = ("train", "val", "val_target")


@dataclass
class GenerateConfig:
    """What to write, where, and which part of it."""

    out: str = "???"
    kind: str = "traces"
    split: str = "train"
    visits: int = 10_000  # problems, or with data.num_problems the visits of all epochs
    shard_size: int = 4096  # visits
    workers: int = 0  # processes; 0: one for each core
    part: int = 0  # this job makes shards part, part + parts, ...
    parts: int = 1
    merge: bool = False  # check what all parts made, and complete the manifest
    verify: bool = False

    def __post_init__(self) -> None:
        for key, choices in (("kind", KINDS), ("split", SPLITS)):
            if getattr(self, key) not in choices:
                raise UserError(f"generate.{key} must be one of {', '.join(choices)}, got {getattr(self, key)!r}")
        for key, low in (("visits", 1), ("shard_size", 1), ("workers", 0), ("part", 0), ("parts", 1)):
            if getattr(self, key) < low:
                raise UserError(f"generate.{key} must be at least {low}, got {getattr(self, key)}")
        if self.part >= self.parts:
            raise UserError(f"generate.part={self.part} must be below generate.parts={self.parts}")


@dataclass
class GenerateRoot(Config):
    """A run's config and what to generate."""

    generate: GenerateConfig = field(default_factory=GenerateConfig)


def register() -> None:
    """Put the root schema into Hydra's ConfigStore as `generate_schema`."""
    from hydra.core.config_store import ConfigStore

    ConfigStore.instance().store(name="generate_schema", node=GenerateRoot)


def execute(config: GenerateRoot) -> str:
    """Do what the config says; return a line for the user. Raises ValueError and OSError in one line."""
    options = config.generate
    from sos.datasets.make import compiled_beside, generate, make_job, merge
    from sos.datasets.verify import verify_set

    folder = Path(options.out)
    beside = nullcontext(lambda: None) if options.merge else compiled_beside(config)
    with beside as ready:
        job = make_job(
            config,
            kind=options.kind,
            split=options.split,
            folder=folder,
            visits=options.visits,
            shard_size=options.shard_size,
            part=options.part,
            parts=options.parts,
        )
        if options.merge:
            counts = merge(job)["counts"]
            line = f"{folder}: complete, {counts}"
        else:
            made = generate(job, options.workers or len(os.sched_getaffinity(0)), ready)
            line = f"{folder}: {made} {'traces' if options.kind == 'traces' else 'streams'} made, "
            line += "complete" if options.parts == 1 else f"part {options.part} of {options.parts} is there"
    if options.verify:
        line += f"; {verify_set(job)} verified"
    return line


register()


@hydra.main(version_base="1.3", config_path=str(config_folder()), config_name="generate")
def main(composed: DictConfig) -> None:
    """Run one job."""
    with refusals():
        config = to_object(composed)
        assert isinstance(config, GenerateRoot)
        try:
            print(execute(config))
        except (PermissionError, NotADirectoryError, FileExistsError) as error:
            raise UserError(f"generate.out={config.generate.out}: {error.strerror}") from error
        except OSError as error:  # a full disk, a killed worker
            if is_sweep_job():
                raise
            print(f"error: {error.strerror or error}", file=sys.stderr)
            sys.exit(1)


if __name__ == "__main__":
    sys.exit(run(main))
