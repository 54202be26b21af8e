"""Run and sweep folders: one writer at a time, what an earlier attempt left, and what went wrong."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sos.errors import UserError, describe

LOCK = ".lock"
FAILED = "failed.txt"
METRICS = "metrics.json"
PROVENANCE = "provenance.json"
EARLIER = ".earlier"
_KEPT = (LOCK, EARLIER, ".hydra", ".submitit", "config.yaml")


@contextmanager
def claim(folder: Path, what: str) -> Iterator[None]:
    """Hold `folder` for this process, and make it where it is missing.

    The lock is the kernel's: it ends with the process, however that ends. Raises ValueError where another process holds it
    or where nothing can be written.
    """
    path = folder / LOCK
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = path.open("a+")
    except OSError as error:
        raise UserError(f"cannot write into {folder}: {error.strerror}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise UserError(f"another {what} is writing into {folder} ({holder}); choose another folder") from error
        file.seek(0)
        file.truncate()
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in the file, or an empty dict where the file is missing, cut short or of another kind."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def is_finished(folder: Path, config_hash: str, code_hash: str) -> bool:
    """Tell whether `folder` holds the result of this config, made by this version of the code."""
    found = read_json(folder / METRICS)
    return (found.get("config_hash"), found.get("code_hash")) == (config_hash, code_hash)


def unfinished_checkpoint(folder: Path, config_hash: str, code_hash: str) -> Path | None:
    """Return the checkpoint with which an earlier attempt at this very run ended in `folder`, or None."""
    found = read_json(folder / PROVENANCE)
    path = folder / "checkpoints" / "last.ckpt"
    same = (found.get("config_hash"), found.get("code_hash")) == (config_hash, code_hash)
    return path if same and path.is_file() and not (folder / METRICS).exists() else None


def set_aside(folder: Path) -> Path | None:
    """Move what another run left in `folder` into a numbered folder in `.earlier`; return it, or None if nothing was there."""
    if not any((folder / name).exists() for name in (PROVENANCE, METRICS, "checkpoints")):
        return None
    number = 0
    while (home := folder / EARLIER / str(number)).exists():
        number += 1
    home.mkdir(parents=True)
    for path in sorted(folder.iterdir()):
        if path.name not in _KEPT and path.suffix != ".log":
            path.rename(home / path.name)
    return home


def record_failure(folder: Path, error: BaseException) -> None:
    """Write the reason, one line, and the traceback below it."""
    text = "".join(traceback.format_exception(error))
    (folder / FAILED).write_text(f"{describe(error)}\n\n{text}", encoding="utf-8")


def failure_reason(folder: Path) -> str:
    """Return the recorded reason, or what can be said without one."""
    try:
        return (folder / FAILED).read_text(encoding="utf-8").partition("\n")[0]
    except OSError:
        pass
    begun = (folder / "config.yaml").exists()
    return "ended without a reason: killed, out of memory or out of time" if begun else "never started"
