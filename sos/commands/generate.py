"""`sos generate out=FOLDER`: a data set of traces or of tokens."""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from sos.commands.cli import refusals, run_hydra
from sos.compose import SCHEMAS, store_schema, to_object
from sos.config import Config
from sos.errors import UserError
from sos.schema.keys import key

KINDS = ("traces", "tokens")
SPLITS = ("train", "val", "val_target")


@dataclass
class GenerateConfig:
    """What to write, where, and which part of it."""

    out: str = key("???", "The folder that is written.", path=True)
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
        for name, choices in (("kind", KINDS), ("split", SPLITS)):
            if getattr(self, name) not in choices:
                raise UserError(f"generate.{name} must be one of {', '.join(choices)}, got {getattr(self, name)!r}")
        for name, low in (("visits", 1), ("shard_size", 1), ("workers", 0), ("part", 0), ("parts", 1)):
            if getattr(self, name) < low:
                raise UserError(f"generate.{name} must be at least {low}, got {getattr(self, name)}")
        if self.part >= self.parts:
            raise UserError(f"generate.part={self.part} must be below generate.parts={self.parts}")


@dataclass
class GenerateRoot(Config):
    """A run's config and what to generate."""

    generate: GenerateConfig = field(default_factory=GenerateConfig)


def register() -> None:
    """Put the root schema into Hydra's ConfigStore as `generate_schema`."""
    store_schema(SCHEMAS["generate"], GenerateRoot)


def execute(config: GenerateRoot) -> str:
    """Do what the config says; return a line for the user. Raises ValueError and OSError in one line."""
    options = config.generate
    from sos.datasets.make import compiled_beside, generate, make_job, merge
    from sos.datasets.verify import verify_set

    folder = Path(options.out)
    beside = nullcontext(lambda: None) if options.merge else compiled_beside(config, options.kind)
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


def job(composed: Any) -> None:
    """Make one data set, or one part of it."""
    with refusals():
        from hydra.core.hydra_config import HydraConfig

        config = to_object(composed, HydraConfig.get().overrides.task)
        assert isinstance(config, GenerateRoot)
        print(execute(config))


def full_key(word: str) -> str:
    """Return a word with its key as conf/generate.yaml has it: `out=` is `generate.out=`."""
    known = {f.name for f in fields(GenerateConfig)}
    return f"generate.{word}" if word.partition("=")[0] in known else word


def main() -> None:
    """Run what the process's words say: one job, or with -m several."""
    words = [full_key(word) for word in sys.argv[1:]]
    asks = {"-h", "--help", "-c", "--cfg", "--info"} & set(words)
    if not asks and not any(word.lstrip("+").startswith("generate.out=") for word in words):
        raise UserError("out=FOLDER is missing: where the data set goes")
    sys.argv[1:] = words
    run_hydra("generate", GenerateRoot, job, register)
