"""Checkpoints: reading the file that a run wrote, and the model in it. Every problem is one line that names the
file.
"""

from __future__ import annotations

import pickle
import struct
import zipfile
import zlib
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sos.config import Config, config_from_dict
from sos.datasets.source import dialect_hash
from sos.errors import UserError, describe
from sos.files import parse_json
from sos.model.gpt import GPT
from sos.model.shape import GPTConfig
from sos.runs.storage import Refused, read_file
from sos.schema.registry import UnknownPart
from sos.stream.dialect.vocab import Vocabulary
from sos.system import System, build_system, gpt_config

MODEL_PREFIX = "model."
DATA = ("StreamDataModule", "PracticeData")  # what keeps the place in the training data, of a kind of run each
# What damage makes of zipfile and pickle. NotImplementedError: a zip of a version or with flags that Python does not
# know.
DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    pickle.UnpicklingError,
    EOFError,
    OSError,
    RuntimeError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    OverflowError,
    MemoryError,
    ImportError,
)
MOST_CONTEXT = 1 << 20  # tokens
MOST_WHOLE = 1 << 20  # the largest number that is a token
# Of the weights, by trainer.precision; float32 for bf16-mixed.
WEIGHTS = {"32-true": torch.float32, "64-true": torch.float64, "bf16-true": torch.bfloat16}


@dataclass(frozen=True)
class LoadedCheckpoint:
    """What a checkpoint says about its run."""

    config: dict[str, Any]  # resolved, plain and nested
    vocabulary: str  # Vocabulary.to_json()
    dialect_hash: str | None  # of the compiled dialect; None in checkpoints of before it was recorded
    state_dict: dict[str, Tensor]  # of the GPT, on the CPU, finite
    train: dict[str, int]  # steps, and tokens and problems as far as the data module recorded them
    path: Path
    content: dict[str, Any] = field(repr=False, default_factory=dict)  # all of it: plain values and tensors


def load_checkpoint(path: str | Path) -> LoadedCheckpoint:
    """Read a checkpoint: plain values and tensors only, no larger than the file (nothing in it is executed).

    Raises UserError that names the file if it is missing, damaged or cut short, not a checkpoint of this package, or
    holds weights that are not finite.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"no such checkpoint: {path}{' (a folder; name the file in it)' if path.is_dir() else ''}")
    content = _read(path)
    if not isinstance(content, dict):
        raise _foreign(path, f"it holds {type(content).__name__}")
    record = content.get("hyper_parameters")
    state = content.get("state_dict")
    if not isinstance(record, dict) or not isinstance(state, dict):
        raise _foreign(path, f"{'state_dict' if isinstance(record, dict) else 'hyper_parameters'} is missing")
    for key, kind in (("config", dict), ("vocabulary", str)):
        if not isinstance(record.get(key), kind):
            raise _foreign(path, f"hyper_parameters/{key} is missing")
    if not isinstance(record.get("dialect_hash"), (str, type(None))):
        raise _foreign(path, "hyper_parameters/dialect_hash is no text")
    odd = _odd_value(record["config"], "hyper_parameters/config")
    if odd:
        raise _foreign(path, odd)
    return LoadedCheckpoint(
        record["config"],
        record["vocabulary"],
        record.get("dialect_hash"),
        _weights(path, state),
        _progress(path, content),
        path,
        content,
    )


def _odd_value(value: Any, name: str) -> str:
    """Return what is no plain value in nested containers, a tensor say, by its name; empty where all are."""
    if isinstance(value, dict):
        found = [_odd_value(child, f"{name}/{key}") for key, child in value.items()]
    elif isinstance(value, list):
        found = [_odd_value(child, f"{name}/{number}") for number, child in enumerate(value)]
    else:
        plain = value is None or isinstance(value, (bool, int, float, str))
        found = [] if plain else [f"{name} is of type {type(value).__name__}"]
    return next(filter(None, found), "")


def _foreign(path: Path, reason: str) -> UserError:
    return UserError(f"{path} is not a checkpoint of sos: {reason}")


def _read(path: Path) -> Any:
    try:
        return read_file(path)
    except Refused as error:
        what = "is not a checkpoint of sos" if "more than tensors" in str(error) else "is damaged, or no checkpoint"
        raise UserError(f"{path} {what}: {error}") from error
    except DAMAGE as error:
        raise UserError(f"damaged or cut short, or no checkpoint: {path} ({describe(error)[:200]})") from error


def _weights(path: Path, state: dict[Any, Any]) -> dict[str, Tensor]:
    """Return the weights of the model by their names in it."""
    weights = {}
    for key, value in state.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise _foreign(path, "state_dict holds something else than named tensors")
        if key.startswith(MODEL_PREFIX):
            weights[key.removeprefix(MODEL_PREFIX)] = value
    if not weights:
        raise _foreign(path, "state_dict has no weights of the model")
    for name, weight in weights.items():
        if not bool(torch.isfinite(weight).all()):
            raise UserError(f"{path}: weight {name} is not finite (NaN or infinite): the training had diverged")
    return weights


def _progress(path: Path, content: dict[str, Any]) -> dict[str, int]:
    """Return how far the training had come."""
    found = {"steps": content.get("global_step", 0)}
    cursor = next((content[name] for name in DATA if isinstance(content.get(name), dict)), None)
    if cursor is not None:
        found |= {"tokens": cursor.get("tokens"), "problems": cursor.get("streams")}
    for key, value in found.items():
        if type(value) is not int or not 0 <= value < 2**62:
            raise _foreign(path, f"{key} is {value!r:.60}")
    return found


def config_of(loaded: LoadedCheckpoint) -> Config:
    """Return the config of a checkpoint's run. Raises UserError that names the file and the key."""
    try:
        config = config_from_dict(loaded.config)
    except UnknownPart:
        raise
    except ValueError as error:
        raise UserError(f"{loaded.path} was written under another schema: {error}") from error
    if config.data.context > MOST_CONTEXT:  # no weight tells it, and rollouts make room for it
        raise UserError(f"{loaded.path}: data.context={config.data.context} is more than {MOST_CONTEXT}")
    return config


def system_of(loaded: LoadedCheckpoint, config: Config) -> System:
    """Build what is symbolic of a checkpoint's run, whose config is `config`. Raises UserError that names the file, as
    where the file of a dialect is gone."""
    try:
        return build_system(config)
    except UnknownPart:
        raise
    except UserError as error:
        raise UserError(f"{loaded.path}: {error}") from error


def load_model(loaded: LoadedCheckpoint, system: System) -> GPT:
    """Build the model of a checkpoint on the CPU. `system` must be that of the checkpoint's config.

    Raises UserError where the dialect now compiles to other tokens or another grammar, and where a weight is missing,
    of another shape or of another type; before anything is allocated that the file does not hold.
    """
    config = config_of(loaded)
    check_model(loaded, config, system)
    model = GPT(gpt_config(config, len(system.dialect.vocab)))
    model.load_state_dict(loaded.state_dict)
    return model


def moved(model: GPT, device: str) -> GPT:
    """Put a model on the device that a user named."""
    try:
        return model.to(device)
    except (RuntimeError, AssertionError) as error:  # torch asserts where it was built without the device
        raise UserError(f"device={device}: {str(error).splitlines()[0]}") from error


def check_model(loaded: LoadedCheckpoint, config: Config, system: System) -> None:
    """Raise UserError where `load_model` would."""
    _check_vocabulary(loaded, system)
    try:
        shape = gpt_config(config, len(system.dialect.vocab))
    except UserError as error:
        raise UserError(f"{loaded.path}: its config asks for an impossible model: {error}") from error
    expected = _expected_weights(loaded, shape)
    dtype = WEIGHTS.get(config.trainer.precision, torch.float32)
    for name in sorted(expected.keys() | loaded.state_dict.keys()):
        have = tuple(loaded.state_dict[name].shape) if name in loaded.state_dict else "none"
        want = tuple(expected[name].shape) if name in expected else "none"
        if have != want:
            raise UserError(f"{loaded.path} does not fit its own config: weight {name} is {have}, the model has {want}")
        if loaded.state_dict[name].dtype != dtype:
            kind = f"{loaded.state_dict[name].dtype}, trainer.precision={config.trainer.precision}"
            raise UserError(f"{loaded.path} does not fit its own config: weight {name} is {kind}")


def _expected_weights(loaded: LoadedCheckpoint, shape: GPTConfig) -> dict[str, Tensor]:
    """Return the weights of a model of this shape, without their numbers."""
    if shape.num_layers > len(loaded.state_dict):
        raise UserError(
            f"{loaded.path} does not fit its own config: {len(loaded.state_dict)} weights, "
            f"model.num_layers={shape.num_layers}"
        )
    try:
        with torch.device("meta"):
            return GPT(shape).state_dict()
    except (RuntimeError, TypeError, OverflowError) as error:  # sizes that overflow
        raise UserError(f"{loaded.path}: its config asks for an impossible model ({describe(error)[:200]})") from error


def _check_vocabulary(loaded: LoadedCheckpoint, system: System) -> None:
    try:
        fields = parse_json(loaded.vocabulary)
        if not isinstance(fields, dict) or not 0 <= int(fields["whole_max"]) <= MOST_WHOLE:
            raise ValueError
        old = Vocabulary.from_json(loaded.vocabulary).tokens
    except (ValueError, LookupError, TypeError, RecursionError, AttributeError, OverflowError) as error:
        raise _foreign(loaded.path, "its vocabulary cannot be read") from error
    for number, (a, b) in enumerate(zip_longest(old, system.dialect.vocab.tokens)):
        if a != b:
            before, now = ("missing" if token is None else repr(token) for token in (a, b))
            raise UserError(
                f"{loaded.path} has another vocabulary: its token {number} is {before}, and {now} "
                f"in dialect {system.dialect.name}"
            )
    if loaded.dialect_hash not in (None, dialect_hash(system.dialect)):
        raise UserError(f"{loaded.path} was trained on another version of the dialect {system.dialect.name}")
