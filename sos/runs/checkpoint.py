"""Checkpoints: reading the file that a run wrote, and the model in it. Every problem is one line that names the file."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
import zlib
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sos.config import config_from_dict
from sos.errors import UserError
from sos.model.gpt import GPT
from sos.stream.dialect.vocab import Vocabulary
from sos.system import System, gpt_config

MODEL_PREFIX = "model."
DATA = "StreamDataModule"


@dataclass(frozen=True)
class LoadedCheckpoint:
    """What a checkpoint says about its run."""

    config: dict[str, Any]  # resolved, plain and nested
    vocabulary: str  # Vocabulary.to_json()
    state_dict: dict[str, Tensor]  # of the GPT, on the CPU
    train: dict[str, int]  # steps, and tokens and problems as far as the data module recorded them
    path: Path


def load_checkpoint(path: str | Path) -> LoadedCheckpoint:
    """Read a checkpoint, its tensors only (nothing in the file is executed).

    Raises ValueError that names the file if it is missing, damaged or cut short, or not a checkpoint of this package.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"no such checkpoint: {path}{' (a folder; name the file in it)' if path.is_dir() else ''}")
    content = _read(path)
    if not isinstance(content, dict):
        raise UserError(f"{path} is not a checkpoint of sos: it holds {type(content).__name__}")
    record = content.get("hyper_parameters")
    state = content.get("state_dict")
    if not isinstance(record, dict) or not isinstance(state, dict):
        missing = "state_dict" if isinstance(record, dict) else "hyper_parameters"
        raise UserError(f"{path} is not a checkpoint of sos: {missing} is missing")
    for key, kind in (("config", dict), ("vocabulary", str)):
        if not isinstance(record.get(key), kind):
            raise UserError(f"{path} is not a checkpoint of sos: hyper_parameters/{key} is missing")
    weights = {k.removeprefix(MODEL_PREFIX): v for k, v in state.items() if k.startswith(MODEL_PREFIX)}
    if not weights:
        raise UserError(f"{path} is not a checkpoint of sos: state_dict has no weights of the model")
    train = {"steps": int(content.get("global_step", 0))}
    if isinstance(cursor := content.get(DATA), dict):
        train |= {"tokens": int(cursor["tokens"]), "problems": int(cursor["streams"])}
    return LoadedCheckpoint(record["config"], record["vocabulary"], weights, train, path)


def _read(path: Path) -> Any:
    """Return the content of the file. Torch sees only bytes whose checksums were verified, not the file's own index."""
    verified = io.BytesIO()
    try:
        with zipfile.ZipFile(path) as archive, zipfile.ZipFile(verified, "w", zipfile.ZIP_STORED) as copy:
            for name in archive.namelist():
                copy.writestr(name, archive.read(name))
        verified.seek(0)
        return torch.load(verified, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(f"{path} is not a checkpoint of sos: it holds more than tensors and plain values") from error
    except (
        zipfile.BadZipFile,
        zlib.error,
        struct.error,
        EOFError,
        OSError,
        RuntimeError,
        ValueError,
        KeyError,
    ) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"damaged or cut short, or no checkpoint: {path} ({reason})") from error


def load_model(loaded: LoadedCheckpoint, system: System) -> GPT:
    """Build the model of a checkpoint on the CPU. `system` must be that of the checkpoint's config.

    Raises ValueError where the dialect now compiles to other tokens, and where a weight is missing or of another shape.
    """
    _check_vocabulary(loaded, system)
    model = GPT(gpt_config(config_from_dict(loaded.config), len(system.dialect.vocab)))
    expected = model.state_dict()
    for name in sorted(expected.keys() | loaded.state_dict.keys()):
        have = tuple(loaded.state_dict[name].shape) if name in loaded.state_dict else "none"
        want = tuple(expected[name].shape) if name in expected else "none"
        if have != want:
            raise UserError(f"{loaded.path} does not fit its own config: weight {name} is {have}, the model has {want}")
    model.load_state_dict(loaded.state_dict)
    return model


def _check_vocabulary(loaded: LoadedCheckpoint, system: System) -> None:
    try:
        old = Vocabulary.from_json(loaded.vocabulary).tokens
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{loaded.path} is not a checkpoint of sos: its vocabulary cannot be read") from error
    for number, (a, b) in enumerate(zip_longest(old, system.dialect.vocab.tokens)):
        if a != b:
            before, now = ("missing" if token is None else repr(token) for token in (a, b))
            raise UserError(
                f"{loaded.path} has another vocabulary: its token {number} is {before}, and {now} in dialect {system.dialect.name}"
            )
