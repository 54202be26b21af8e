"""Continuing a run: which checkpoint, and whether it is of the same run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sos.config import Config, to_dict, with_later_keys
from sos.errors import UserError, visible

if TYPE_CHECKING:  # it imports torch, which takes seconds
    from sos.runs.checkpoint import LoadedCheckpoint

# What may change when a run goes on. The first three do not decide what is trained; how rows are shared out does not,
# either.
FREE = ("resume", "start", "data.shards", "data.problems", "eval.", "trainer.", "logger.")
BOUND = ("trainer.batch_tokens", "data.problems_sha256", "start_sha256")


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
