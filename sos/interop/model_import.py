"""A model of transformers becomes a run: `sos import FOLDER out=RUN [like=RUN]`.

The folder is one of `sos export`, as it was or trained on, by TRL say: the entry `sos` of its config.json says what run
the model is of. A model that was made there from our tokenizer, of any size, has none; `like` names a run in its place.

What comes from elsewhere is compared before it is believed: the vocabulary token by token, the config key by key, the
names, shapes and types in model.safetensors against those of the model, before anything is allocated. Weights keep
their bits; float16 and bfloat16 become float32, which holds them exactly, unless the run itself has bfloat16.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from sos import source_hash
from sos.config import Config, config_hash, to_dict
from sos.datasets.source import dialect_hash
from sos.errors import UserError, describe, install_hint
from sos.files import damaged, read_json, write_json, written_whole
from sos.interop.model_folder import RECORD, record_of
from sos.interop.transformers import named_weights, other_model, plain_config, shape_of
from sos.model.gpt import GPT
from sos.model.shape import GPTConfig
from sos.runs.checkpoint import MODEL_PREFIX, LoadedCheckpoint, check_model, config_of, load_checkpoint
from sos.runs.folder import RunFolder, checkpoint_of
from sos.runs.provenance import versions
from sos.stream.dialect.vocab import Vocabulary
from sos.system import build_system, gpt_config

WEIGHTS = "model.safetensors"
CONFIG = "config.json"
HEAD, EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"
TYPES = {"F64", "F32", "BF16", "F16"}  # of weights, by their names in the file
# The type of a run's weights by trainer.precision, where it is not float32.
DTYPES = {"64-true": torch.float64, "bf16-true": torch.bfloat16}


def import_model(folder: Path, out: Path, like: str | None = None) -> RunFolder:
    """Make a run of a folder of transformers; return it.

    Raises UserError in one line, before anything is written: for a missing or damaged file, for another vocabulary or
    architecture, for weights that are not finite, and where nothing says what run the model is of.
    """
    found = plain_config(_config(folder))
    record = _record(folder, found, like)
    config = config_of(record)
    model = config.model
    if other_model(found, _shape(config, record)):
        model = dataclasses.replace(model, **shape_of(found))
    config = dataclasses.replace(config, model=model, resume=None)
    shape = _shape(config, record)
    _check_vocabulary(folder, record)
    if different := other_model(found, shape):
        raise UserError(f"{folder / CONFIG} is of another model: {different}")
    precision, state = _weights(folder / WEIGHTS, shape, config.trainer.precision)
    config = dataclasses.replace(config, trainer=dataclasses.replace(config.trainer, precision=precision))
    system = build_system(config)
    loaded = dataclasses.replace(record, config=to_dict(config), state_dict=state)
    check_model(loaded, config, system)
    return _write(loaded, config, dialect_hash(system.dialect), folder, out)


def _config(folder: Path) -> dict[str, Any]:
    """Return config.json. Raises UserError where the folder holds no whole model."""
    if not folder.is_dir():
        raise UserError(f"no such folder: {folder}")
    if (folder / "adapter_config.json").exists():
        raise UserError(f"{folder} holds an adapter: merge it into its model first (merge_and_unload of peft)")
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            parts = (folder / f"{WEIGHTS}.index.json").exists()
            why = "its weights lie in several files; save with a larger max_shard_size" if parts else f"no {name} there"
            raise UserError(f"{folder} is no model of transformers: {why}")
    found: dict[str, Any] = read_json(folder / CONFIG, most=1 << 22)
    return found


def _record(folder: Path, found: dict[str, Any], like: str | None) -> LoadedCheckpoint:
    """Return what run the model is of, as a checkpoint without weights."""
    if like is not None:
        path = checkpoint_of(like)
        record: Any = record_of(load_checkpoint(path))
    else:
        path, record = folder / CONFIG, found.get(RECORD)
        if record is None:
            raise UserError(f"{path} says nothing of a run ({RECORD} is missing): name one of the same task, like=RUN")
    kinds = {"config": dict, "vocabulary": str, "train": dict}
    wrong = [
        key for key, kind in kinds.items() if not isinstance(record, dict) or not isinstance(record.get(key), kind)
    ]
    if wrong or not isinstance(record.get("dialect_hash"), (str, type(None))):
        raise damaged(path, f"{RECORD}/{[*wrong, 'dialect_hash'][0]} is missing or of the wrong type")
    train = record["train"]
    if any(type(value) is not int or not 0 <= value < 2**62 for value in train.values()) or "steps" not in train:
        raise damaged(path, f"{RECORD}/train is {train!r:.60}")
    return LoadedCheckpoint(record["config"], record["vocabulary"], record.get("dialect_hash"), {}, train, path)


def _shape(config: Config, record: LoadedCheckpoint) -> GPTConfig:
    return gpt_config(config, len(Vocabulary.from_json(record.vocabulary)))


def _check_vocabulary(folder: Path, record: LoadedCheckpoint) -> None:
    """Raise UserError where tokenizer.json, if it is there, has other tokens than the run."""
    path = folder / "tokenizer.json"
    if not path.exists():
        return
    content = read_json(path)
    model, added = content.get("model"), content.get("added_tokens", [])
    theirs = model.get("vocab") if isinstance(model, dict) else None
    if not isinstance(theirs, dict) or not isinstance(added, list) or not all(isinstance(a, dict) for a in added):
        raise damaged(path, "it holds no vocabulary")
    theirs = theirs | {str(token.get("content")): token.get("id") for token in added}
    ours = Vocabulary.from_json(record.vocabulary).ids
    for token in [*ours, *theirs]:
        if theirs.get(token) != ours.get(token):
            place = f"{theirs.get(token, 'missing')!r:.20}, in the run {ours.get(token, 'missing')}"
            raise UserError(f"{path} is another vocabulary: token {token!r:.40} is {place}")


def _weights(path: Path, shape: GPTConfig, precision: str) -> tuple[str, dict[str, Tensor]]:
    """Return the precision of the run, and the weights under our names. Raises UserError that names the file."""
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        raise UserError(f"safetensors is not installed: {install_hint('export')}") from error
    try:
        with safe_open(path, framework="pt") as file:  # it compares all sizes with those of the file
            parts = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 (it is no dict)
            _check_shapes(path, {name: tuple(part.get_shape()) for name, part in parts.items()}, shape)
            precision = _precision(path, {part.get_dtype() for part in parts.values()}, precision)
            theirs = {name: file.get_tensor(name) for name in parts}
    except (SafetensorError, OSError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise damaged(path, describe(error)[:200]) from error
    for name, weight in theirs.items():
        if not bool(torch.isfinite(weight).all()):
            raise UserError(f"{path}: weight {name} is not finite (NaN or infinite)")
    if shape.tie_embeddings and HEAD in theirs and not torch.equal(theirs[HEAD], theirs[EMBEDDING]):
        raise UserError(f"{path}: {HEAD} is not the embedding, to which the config ties it")
    model = GPT(shape).to(DTYPES.get(precision, torch.float32))
    for name, weight in named_weights(model).items():
        weight.copy_(theirs[name])
    return precision, {name: weight.detach() for name, weight in model.state_dict().items()}


def _check_shapes(path: Path, found: dict[str, tuple[int, ...]], shape: GPTConfig) -> None:
    """Raise UserError for a weight that is missing, too many, or of another shape; a tied head may be there."""
    if shape.num_layers > len(found):
        raise UserError(f"{path} is of another model: it holds {len(found)} weights for {shape.num_layers} layers")
    with torch.device("meta"):
        expected = {name: tuple(weight.shape) for name, weight in named_weights(GPT(shape)).items()}
    if shape.tie_embeddings and HEAD in found:
        expected[HEAD] = expected[EMBEDDING]
    for name in sorted(found.keys() | expected.keys()):
        have, want = found.get(name, "none"), expected.get(name, "none")
        if have != want:
            raise UserError(f"{path} is of another model: weight {name:.80} is {have}, here it would be {want}")


def _precision(path: Path, kinds: set[str], precision: str) -> str:
    """Return the precision of a run with weights of these types; its own where that holds them."""
    if unknown := sorted(kinds - TYPES):
        raise UserError(f"{path}: weights of type {unknown[0]}, which no run has; save them as float32")
    if kinds == {"BF16"} and precision == "bf16-true":
        return precision
    if "F64" in kinds or precision == "64-true":
        return "64-true"
    return "bf16-mixed" if precision == "bf16-mixed" else "32-true"


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write(loaded: LoadedCheckpoint, config: Config, dialect: str, folder: Path, out: Path) -> RunFolder:
    """Write the run's folder: its checkpoint, its config, and where it comes from."""
    home, train = RunFolder(out), loaded.train
    content = {
        "state_dict": {f"{MODEL_PREFIX}{name}": weight for name, weight in loaded.state_dict.items()},
        "hyper_parameters": {"config": loaded.config, "vocabulary": loaded.vocabulary, "dialect_hash": dialect},
        "global_step": train["steps"],
        "StreamDataModule": {"tokens": train.get("tokens", 0), "streams": train.get("problems", 0)},
    }
    with written_whole(home.config) as partial:
        partial.write_text(yaml.safe_dump(loaded.config, sort_keys=False), encoding="utf-8")
    saved = io.BytesIO()  # torch makes a RuntimeError of a full disk
    torch.save(content, saved)
    with written_whole(home.checkpoint) as partial:
        partial.write_bytes(saved.getbuffer())
    files = {name: _sha256(folder / name) for name in (CONFIG, WEIGHTS)}
    provenance = {
        "name": out.resolve().name,
        "overrides": {},
        "command": f"sos import {folder} out={out}",
        "imported": {"folder": str(folder), "sha256": files},
        "sweep": None,
        "config_hash": config_hash(config),
        "code_hash": source_hash(),
        "dialect_hash": dialect,
        "versions": versions(),
        "git": None,
        "data_hashes": {},
    }
    write_json(home.provenance, provenance)
    return home
