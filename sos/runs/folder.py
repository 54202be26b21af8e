"""Run folders: where everything of a run lies, what an earlier attempt left, and what went wrong."""

from __future__ import annotations

import os
import shutil
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sos.config import Config
from sos.errors import UserError, describe
from sos.files import LOCK, TEMPORARY, claim, read_json, written_whole
from sos.runs.identity import Identity, identity
from sos.schema.start import CHECKPOINTS, LAST

CONFIG = "config.yaml"
FAILED = "failed.txt"
METRICS = "metrics.json"
PROVENANCE = "provenance.json"
DIFF = "git.diff"
EARLIER = ".earlier"
_KEPT = (LOCK, EARLIER, ".hydra", ".submitit", CONFIG)


@dataclass(frozen=True)
class RunFolder:
    """The folder of a run and the paths in it."""

    path: Path

    @property
    def config(self) -> Path:
        return self.path / CONFIG

    @property
    def provenance(self) -> Path:
        return self.path / PROVENANCE

    @property
    def diff(self) -> Path:
        """What the code had besides its commit."""
        return self.path / DIFF

    @property
    def metrics(self) -> Path:
        """The result, the last file that a run writes."""
        return self.path / METRICS

    @property
    def failed(self) -> Path:
        return self.path / FAILED

    @property
    def checkpoint(self) -> Path:
        return self.path / CHECKPOINTS / LAST

    @property
    def evaluation(self) -> Path:
        """Where `evaluate` writes unless told otherwise."""
        return self.path / "evaluation"

    @classmethod
    def of_checkpoint(cls, path: Path) -> RunFolder:
        """Return the folder of the run that wrote a checkpoint."""
        return cls(path.parent.parent if path.parent.name == CHECKPOINTS else path.parent)

    @classmethod
    @contextmanager
    def claimed(cls, path: Path) -> Iterator[RunFolder]:
        """Hold the folder for this process. Raises UserError where another one holds it or where nothing can be
        written.

        Folders that were made for it and hold nothing at the end, as of a run that was refused, are removed.
        """
        with without_empty(path), claim(path, "run"):
            for half in (path / CHECKPOINTS).glob(f"{TEMPORARY}*-{LAST}"):  # of a killed process
                half.unlink(missing_ok=True)
            yield cls(path)

    def is_begun(self) -> bool:
        """Tell whether a run has begun here and not come to its end."""
        return self.config.exists() and not self.metrics.exists()

    def is_finished(self, identity: Identity) -> bool:
        """Tell whether the folder holds the result of this very run."""
        found = _recorded(self.metrics)
        same = (found.get("config_hash"), found.get("code_hash")) == (identity.config_hash, identity.code_hash)
        return same and self._is_of(identity)

    def holds(self, config: Config) -> bool:
        """Tell whether the folder holds the result of a run of this config; where there is a result, its dialect is
        compiled to see."""
        return self.metrics.exists() and self.is_finished(identity(config))

    @property
    def finished_line(self) -> str:
        """What is said where it holds the result of the very run that was asked for."""
        again = "to make it again, choose another folder: hydra.run.dir=FOLDER"
        return f"{self.path} holds the result of this run already; {again}"

    def unfinished_checkpoint(self, identity: Identity) -> Path | None:
        """Return the checkpoint with which an earlier attempt at this very run ended here, or None."""
        begun = self._is_of(identity) and self.checkpoint.is_file() and not self.metrics.exists()
        return self.checkpoint if begun else None

    def _is_of(self, identity: Identity) -> bool:
        found = _recorded(self.provenance)
        return all(found.get(key) == value for key, value in identity._asdict().items())

    def set_aside(self, kept: Path | None = None) -> Path | None:
        """Move what another run left here into a numbered folder in `.earlier`; return it, or None if nothing was
        there.

        The file `kept`, the checkpoint that this run continues, stays as well, if it lies here.
        """
        if not any((self.path / name).exists() for name in (PROVENANCE, METRICS, CHECKPOINTS)):
            return None
        number = 0
        while (home := self.path / EARLIER / str(number)).exists():
            number += 1
        home.mkdir(parents=True)
        for path in sorted(self.path.iterdir()):
            if path.name in _KEPT or path.suffix == ".log":
                continue
            if kept is not None and path.resolve() in (kept.resolve(), *kept.resolve().parents):
                _copy(path, home / path.name)
            else:
                path.rename(home / path.name)
        return home

    def record_failure(self, error: BaseException) -> None:
        """Write the reason, one line, and the traceback below it; where nothing can be written, nothing is said."""
        text = "".join(traceback.format_exception(error))
        with suppress(OSError), written_whole(self.failed) as partial:
            partial.write_text(f"{describe(error)}\n\n{text}", encoding="utf-8")

    def failure_reason(self) -> str:
        """Return the recorded reason, or what can be said without one."""
        with suppress(OSError, UnicodeDecodeError):
            if reason := self.failed.read_text(encoding="utf-8").partition("\n")[0]:
                return reason
        begun = self.config.exists()
        return "ended without a reason: killed, out of memory or out of time" if begun else "never started"


def missing_folders(path: Path) -> list[Path]:
    """Return the folders that have to be made for `path` to be one, itself first."""
    path = Path(os.path.abspath(path))
    return [folder for folder in (path, *path.parents) if not folder.exists()]


def remove_empty(folders: Iterable[Path]) -> None:
    """Remove the folders that hold nothing, in this order; what holds something stays."""
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


@contextmanager
def without_empty(path: Path) -> Iterator[None]:
    """At the end, remove what was made on the way to the folder `path` meanwhile and holds nothing."""
    missing = missing_folders(path)
    try:
        yield
    finally:
        remove_empty(missing)


def checkpoint_of(path: str | os.PathLike[str]) -> Path:
    """Return the checkpoint in a run folder, or the path itself where it is no folder."""
    path = Path(path)
    return RunFolder(path).checkpoint if path.is_dir() else path


def _copy(path: Path, target: Path) -> None:
    """Copy a file or a folder, by hard links where the file system has them: files here are replaced, never changed."""

    def link(old: str, new: str) -> str:
        try:
            os.link(old, new)
        except OSError:
            shutil.copy2(old, new)
        return new

    if path.is_dir():
        shutil.copytree(path, target, copy_function=link)
    else:
        link(str(path), str(target))


def _recorded(path: Path) -> dict[str, Any]:
    """Return the object in the file; an empty one where there is none or it is damaged, which is as good as none."""
    try:
        found: dict[str, Any] = read_json(path, missing={}, finite=False)
    except UserError:
        return {}
    return found
