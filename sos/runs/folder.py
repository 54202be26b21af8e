"""Run and sweep folders: one writer at a time, what an earlier attempt left, and what went wrong."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any

from sos.errors import UserError, describe
from sos.files import LOCK, read_json

FAILED = "failed.txt"
METRICS = "metrics.json"
PROVENANCE = "provenance.json"
EARLIER = ".earlier"
_KEPT = (LOCK, EARLIER, ".hydra", ".submitit", "config.yaml")


def _recorded(path: Path) -> dict[str, Any]:
    """Return the object in the file; an empty one where there is none or it is damaged, which is as good as none."""
    try:
        found: dict[str, Any] = read_json(path, missing={}, finite=False)
    except UserError:
        return {}
    return found


def is_finished(folder: Path, config_hash: str, code_hash: str) -> bool:
    """Tell whether `folder` holds the result of this config, made by this version of the code."""
    found = _recorded(folder / METRICS)
    return (found.get("config_hash"), found.get("code_hash")) == (config_hash, code_hash)


def unfinished_checkpoint(folder: Path, config_hash: str, code_hash: str) -> Path | None:
    """Return the checkpoint with which an earlier attempt at this very run ended in `folder`, or None."""
    found = _recorded(folder / PROVENANCE)
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
