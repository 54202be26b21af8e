"""Provenance: what a run was made of, written into its folder before it starts as `provenance.json`."""

from __future__ import annotations

import hashlib
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sos import ROOT
from sos.config import Config
from sos.errors import train_words
from sos.files import write_json, written_whole
from sos.runs.folder import RunFolder
from sos.runs.identity import Identity
from sos.runs.sweep import shell
from sos.schema.folders import searched
from sos.schema.naming import as_word

if TYPE_CHECKING:  # they import torch and numba, which takes seconds
    from sos.data.chunks import Chunk
    from sos.data.loader import Source
    from sos.system import System

_PACKAGES = ("torch", "lightning", "numpy", "numba", "tokenizers", "hydra-core", "tensorboard")


@dataclass(frozen=True)
class Origin:
    """How a run was asked for."""

    name: str
    overrides: dict[str, str] = field(default_factory=dict)
    command: str = ""  # that repeats it, into the same folder
    sweep: dict[str, Any] | None = None  # name, question, primary, baseline, arms (names, in order), expect, arm

    @classmethod
    def of(cls, name: str, typed: Sequence[str], sweep: Mapping[str, Any] | None, folder: Path) -> Origin:
        """Build from the typed overrides and, for a run of a sweep file, the composed `hydra.sweeper`."""
        overrides = dict(override.lstrip("+~").split("=", 1) for override in typed)
        overrides.pop("sweep", None)
        extra = []
        record = None
        if sweep is not None:
            record = {key: sweep[key] for key in ("name", "question", "primary", "baseline", "arm")}
            record |= {"arms": [*sweep["arms"], *sweep.get("stages", [])], "expect": list(sweep["expect"])}
            extra = [f"hydra.sweeper.arm={sweep['arm']}"]
        if folder.is_relative_to(Path.cwd()):
            folder = folder.relative_to(Path.cwd())
        command = shell(*train_words(), *searched(), *typed, *extra, as_word("hydra.run.dir", folder))
        return cls(name, overrides, command, record)


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that decide results."""
    return {"python": platform.python_version()} | {name: metadata.version(name) for name in _PACKAGES}


def git_state(repository: Path = ROOT.parent) -> tuple[dict[str, Any] | None, str]:
    """Return (commit, dirty flag and untracked files; the difference to the commit), or (None, "") outside a
    repository.
    """

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(repository), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout

    try:
        if Path(git("rev-parse", "--show-toplevel").strip()).resolve() != repository.resolve():
            return None, ""  # an installed package lies in somebody's repository
        commit = git("rev-parse", "HEAD").strip()
        untracked = git("ls-files", "--others", "--exclude-standard").splitlines()
        difference = git("diff", "HEAD", "--binary")
    except (OSError, subprocess.SubprocessError):
        return None, ""
    return {"commit": commit, "dirty": bool(difference or untracked), "untracked": untracked[:100]}, difference


def first_block(config: Config, source: Source) -> Chunk:
    """Return the streams of the first visits that are packed together."""
    data = config.data
    return source.chunk(0, min(data.block, data.train_problems) if data.match == "problems" else data.block)


def data_hashes(config: Config, system: System, first: Chunk) -> dict[str, str]:
    """Return hashes of the first block of training streams and of the evaluation problems of each split."""
    from sos.data.splits import evaluation_problems

    digest = hashlib.sha256(first.offsets.astype("<i8").tobytes() + first.tokens.astype("<u2").tobytes())
    hashes = {"train": digest.hexdigest()}
    for split in ("val", "val_target"):
        if split == "val_target" and not len(system.splits.held_out):
            continue
        problems = evaluation_problems(
            system.env, system.splits, split, config.eval.num_problems, seed=config.eval.seed
        )
        hashes[split] = hashlib.sha256(problems.astype("<i4").tobytes()).hexdigest()
    if len(system.listed):
        hashes["listed"] = hashlib.sha256(system.listed.astype("<i4").tobytes()).hexdigest()
    return hashes


def write_provenance(
    folder: RunFolder, config: Config, origin: Origin, identity: Identity, hashes: Mapping[str, str]
) -> None:
    """Write provenance.json, and git.diff where the code differs from its commit; `hashes` are those of
    `data_hashes`.
    """
    state, difference = git_state()
    content = asdict(origin) | {
        **identity._asdict(),
        "seeds": {"run": config.seed, "evaluation": config.eval.seed},
        "versions": versions(),
        "machine": {"platform": platform.platform(), "processor": platform.machine()},
        "git": state,
        "data_hashes": dict(hashes),
    }
    write_json(folder.provenance, content)
    if difference:
        with written_whole(folder.diff) as partial:
            partial.write_text(difference, encoding="utf-8")
