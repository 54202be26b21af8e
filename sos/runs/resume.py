"""Continuing a run: which checkpoint, and whether it is of the same run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from sos.config import Config, to_dict, with_later_keys
from sos.errors import UserError, visible
from sos.runs.folder import LAST, RunFolder

if TYPE_CHECKING:  # it imports torch, which takes seconds
    from sos.runs.checkpoint import LoadedCheckpoint

# What may change when a run goes on. The first three do not decide what is trained; how rows are shared out does not,
# either.
FREE = ("resume", "data.shards", "data.problems", "eval.", "trainer.")
BOUND = ("trainer.batch_tokens", "data.problems_sha256")


def find_checkpoint(path: str | Path) -> Path:
    """Return the checkpoint of a run folder, or the path itself if it is one. Raises UserError where there is none."""
    path = Path(path)
    candidates = [path, path / LAST, RunFolder(path).checkpoint] if path.is_dir() else [path]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise UserError(f"resume={path}: no checkpoint there")


def flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a nested dict with dotted keys."""
    result: dict[str, Any] = {}
    for key, value in values.items():
        result |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return result


def check_same_run(config: Config, loaded: LoadedCheckpoint) -> None:
    """Raise UserError, naming the key, where a checkpoint is of another run than `config`."""
    current = to_dict(config)
    old, new = flatten(with_later_keys(loaded.config, current)), flatten(current)
    for key in sorted(old.keys() | new.keys(), key=lambda name: (not name.startswith("env."), name)):
        if (key in BOUND or not key.startswith(FREE)) and old.get(key) != new.get(key):
            raise UserError(
                f"resume={loaded.path}: it was trained with {visible(f'{key}={old.get(key)}')}, this run has "
                f"{visible(f'{key}={new.get(key)}')}"
            )
