"""Where a run folder keeps its checkpoint, and the file that a path of `start` or `resume` means."""

from __future__ import annotations

from pathlib import Path

from sos.errors import UserError

CHECKPOINTS = "checkpoints"
LAST = "last.ckpt"


def find_checkpoint(path: str | Path, key: str = "resume") -> Path:
    """Return the checkpoint of a run folder, or the path itself if it is one. Raises UserError with the `key` of the
    path where there is none.
    """
    path = Path(path)
    candidates = [path, path / LAST, path / CHECKPOINTS / LAST] if path.is_dir() else [path]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise UserError(f"{key}={path}: no checkpoint there")
