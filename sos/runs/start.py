"""The weights that a run begins with: the checkpoint that `start` names, checked against the run."""

from __future__ import annotations

import dataclasses

from sos.config import SHAPE, Config, to_dict, with_later_keys
from sos.errors import UserError, visible
from sos.runs.checkpoint import WEIGHTS, LoadedCheckpoint, check_model, config_of, load_checkpoint
from sos.runs.resume import flatten
from sos.schema.data import checksum
from sos.schema.keys import as_typed
from sos.schema.start import find_checkpoint
from sos.system import System

# What a run shares with the one whose weights it takes: the task, the length of a row, and which problems are kept for
# the evaluation. That the wording is the same, the vocabulary and the dialect's hash say.
SHARED = ("env.", "data.context", "data.val_fraction", "data.held_out", "data.problems_sha256")


def load_start(config: Config, system: System) -> LoadedCheckpoint | None:
    """Return the checkpoint that `start` names, or None where it names none.

    Raises UserError in one line where it is missing, damaged, another one than the run began with, of another
    environment, vocabulary, dialect, context or split, or of another type of numbers.
    """
    if config.start is None:
        return None
    path = find_checkpoint(config.start, "start")
    if checksum(str(path), "start") != config.start_sha256:
        raise UserError(f"start={config.start}: {path} is another checkpoint than the one with which the run began")
    loaded = load_checkpoint(path)
    current = to_dict(config)
    old, new = flatten(with_later_keys(loaded.config, current)), flatten(current)
    for key in sorted(
        old.keys() | new.keys(), key=lambda name: (name != "env.name", not name.startswith("env."), name)
    ):
        if key.startswith(SHARED) and old.get(key) != new.get(key):
            before, now = (visible(f"{key}={as_typed(values.get(key))}") for values in (old, new))
            raise UserError(f"start={config.start}: it was trained with {before}, this run has {now}")
    check_model(loaded, config_of(loaded), system)
    _check_type(config, config_of(loaded))
    return loaded


def _check_type(config: Config, started: Config) -> None:
    """Raise UserError for weights of another type of numbers."""
    types = [WEIGHTS.get(found.trainer.precision, WEIGHTS["32-true"]) for found in (config, started)]
    if types[0] != types[1]:
        raise UserError(
            f"trainer.precision={config.trainer.precision}: the weights of start={config.start} were trained with "
            f"{started.trainer.precision}"
        )


def with_shape_of(config: Config, start: LoadedCheckpoint | None) -> Config:
    """Return the config with the shape of the model that the run begins with."""
    if start is None:
        return config
    found = config_of(start).model
    model = dataclasses.replace(config.model, **{name: getattr(found, name) for name in SHAPE})
    return dataclasses.replace(config, model=model)
