"""Data sets on disk: a folder with a manifest and shards, each of them written whole or not at all.

FOLDER/manifest.json       what the set is (`recipe`), its size, and once it is complete the checksum of every file
FOLDER/shard-00000/        one .npy file per column, and shard.json with counts and checksums

A shard is written under a temporary name, synced and renamed. Until every shard is there the manifest says `complete:
false`, and readers refuse the folder. Everything can be read without this package: `numpy.load(path, mmap_mode="r")`.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from sos.config import with_later_keys
from sos.datasets.checks import check_manifest, check_record, short
from sos.errors import UserError
from sos.files import TEMPORARY, cannot_write, json_bytes, read_json, write_json

FORMAT = 1
MANIFEST = "manifest.json"
SHARD = "shard.json"
READ_SIZE = 1 << 20


@dataclass(frozen=True)
class Plan:
    """What a data set will hold: `visits` visits of `recipe`, `shard_size` of them in each shard."""

    recipe: dict[str, Any]
    visits: int
    shard_size: int
    code_hash: str
    labels: dict[str, Any]  # what a reader needs to name things: strategies, event kinds, the vocabulary

    @property
    def num_shards(self) -> int:
        return -(-self.visits // self.shard_size)

    def span(self, index: int) -> tuple[int, int]:
        """Return the visits of a shard, as start and stop."""
        return index * self.shard_size, min((index + 1) * self.shard_size, self.visits)

    def to_dict(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "complete": False,
            "visits": self.visits,
            "shard_size": self.shard_size,
            "num_shards": self.num_shards,
            "recipe": self.recipe,
            "recipe_hash": recipe_hash(self.recipe),
            "code_hash": self.code_hash,
            "labels": self.labels,
        }


def recipe_hash(recipe: Mapping[str, Any]) -> str:
    """Return 16 hex digits over a recipe."""
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:16]


def shard_folder(folder: Path, index: int) -> Path:
    return folder / f"shard-{index:05d}"


def first_difference(old: Any, new: Any, prefix: str = "") -> tuple[str, Any, Any] | None:
    """Return (dotted key, old value, new value) of the first difference of two nested dicts, or None."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in [*new, *(k for k in old if k not in new)]:
            found = first_difference(old.get(key), new.get(key), f"{prefix}.{key}" if prefix else str(key))
            if found:
                return found
        return None
    return None if old == new else (prefix, old, new)


def recipe_difference(stored: Mapping[str, Any], current: Mapping[str, Any]) -> tuple[str, Any, Any] | None:
    """Return the first difference of a recipe from a file and the recipe of a run, or None.

    What one of them lacks, such as the file since it was written before there was such a key, has the key's default
    there.
    """
    return first_difference(with_later_keys(stored, current), with_later_keys(current, stored))


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class _HashedFile:
    """A file that hashes what is written to it."""

    def __init__(self, path: Path) -> None:
        self._file = open(path, "wb")  # noqa: SIM115
        self._digest = hashlib.sha256()
        self.size = 0

    def write(self, data: Any) -> int:
        self._digest.update(data)
        self.size += len(data)
        return self._file.write(data)

    def close(self) -> str:
        """Flush to the disk; return the checksum."""
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
        finally:
            self._file.close()
        return self._digest.hexdigest()


def _write_file(path: Path, write: Any) -> dict[str, Any]:
    file = _HashedFile(path)
    try:
        write(file)
    except BaseException:
        file._file.close()
        raise
    return {"sha256": file.close(), "bytes": file.size}


def write_shard(
    folder: Path, index: int, columns: Mapping[str, np.ndarray], record: Mapping[str, Any]
) -> dict[str, Any]:
    """Write one shard whole; return its record with the checksums. A shard that is already there stays as it is.

    Raises OSError that names the shard where it cannot be written; nothing of it is left then.
    """
    final = shard_folder(folder, index)
    partial = folder / f"{TEMPORARY}{final.name}-{os.getpid()}"
    try:
        partial.mkdir()
        files = {}
        for name, array in columns.items():
            files[f"{name}.npy"] = _write_file(partial / f"{name}.npy", lambda f, a=array: np.save(f, a))
        content = {**record, "index": index, "files": files}
        _write_file(partial / SHARD, lambda f: f.write(json_bytes(content)))
        _sync_folder(partial)
        try:
            partial.rename(final)
        except OSError as error:
            # Somebody else, an orphan of a killed run, has written the same bytes meanwhile.
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        _sync_folder(folder)
    except OSError as error:
        raise cannot_write(final, error) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return content


def shard_record(folder: Path, plan: Plan, index: int) -> dict[str, Any] | None:
    """Return the record of a shard, its files there and of the right size, or None where there is no such shard.

    Raises ValueError that names the shard where it is damaged or of another plan.
    """
    path = shard_folder(folder, index)
    if not path.is_dir():
        return None
    record: dict[str, Any] = read_json(path / SHARD)
    start, stop = plan.span(index)
    for key, expected in (("start", start), ("stop", stop), ("recipe_hash", recipe_hash(plan.recipe))):
        if record.get(key) != expected:
            raise UserError(f"{path} does not belong here: {key} is {short(record.get(key))}, expected {expected}")
    check_record(record, plan.recipe["kind"], index, (start, stop), path / SHARD)
    check_sizes(path, record)
    return record


def check_sizes(path: Path, record: Mapping[str, Any]) -> None:
    """Raise ValueError for a shard that lacks a file or has one of another size."""
    for name, file in record["files"].items():
        size = (path / name).stat().st_size if (path / name).is_file() else None
        if size != file["bytes"]:
            found = "is missing" if size is None else f"has {size} bytes, expected {file['bytes']}"
            raise UserError(f"damaged shard {path}: {name} {found}; delete the folder and generate again")


def check_sums(path: Path, record: Mapping[str, Any]) -> None:
    """Raise ValueError for a shard with a file whose content is not what was written."""
    check_sizes(path, record)
    for name, file in record["files"].items():
        digest = hashlib.sha256()
        with open(path / name, "rb") as content:
            while block := content.read(READ_SIZE):
                digest.update(block)
        if digest.hexdigest() != file["sha256"]:
            raise UserError(f"damaged shard {path}: {name} has another checksum; delete the folder and generate again")


def begin(folder: Path, plan: Plan) -> Plan:
    """Make the folder and its manifest, or check that the one that is there is of the same plan.

    Returns the plan, with the recipe as the folder has it: it may lack keys that came later. Raises ValueError that
    names what differs, and OSError where the folder cannot be written.
    """
    path = folder / MANIFEST
    content = plan.to_dict()
    if not path.exists():
        if any(folder.glob("shard-*")):
            raise UserError(f"{folder} holds shards and no {MANIFEST}; name another folder")
        write_json(path, content, sync=True, replace=False)  # the first of several parts
    old = read_json(path)
    keys = ("format", "recipe", "visits", "shard_size", "code_hash")
    stored = {k: old.get(k) for k in keys} | {"recipe": with_later_keys(old.get("recipe"), plan.recipe)}
    current = {k: content[k] for k in keys} | {"recipe": with_later_keys(plan.recipe, old.get("recipe"))}
    found = first_difference(stored, current)
    if found:
        key, before, now = found
        name = key.removeprefix("recipe.")
        if key == "code_hash":
            raise UserError(
                f"{folder} was begun by another version of the code; name another folder ({name} {before}, now {now})"
            )
        raise UserError(f"{folder} was made with {name}={before}, this run has {name}={now}; name another folder")
    return replace(plan, recipe=old["recipe"])


def finish(folder: Path, plan: Plan, *, check: bool) -> dict[str, Any]:
    """Check that every shard is there, with `check` its checksums too, and complete the manifest; return it.

    Raises ValueError that names the first missing or damaged shard.
    """
    shards = []
    for index in range(plan.num_shards):
        record = shard_record(folder, plan, index)
        path = shard_folder(folder, index)
        if record is None:
            raise UserError(f"{folder} is not complete: shard {path.name} is missing ({plan.num_shards} in all)")
        if check:
            check_sums(path, record)
        shards.append({key: value for key, value in record.items() if key != "recipe_hash"})
    counts: dict[str, int] = {}
    for shard in shards:
        for key, value in shard["counts"].items():
            counts[key] = counts.get(key, 0) + value
    for partial in folder.glob(f"{TEMPORARY}*"):  # of killed processes
        if partial.is_dir():
            shutil.rmtree(partial, ignore_errors=True)
        else:
            partial.unlink(missing_ok=True)
    content = plan.to_dict() | {"complete": True, "counts": counts, "shards": shards}
    path = folder / MANIFEST
    if not path.is_file() or path.read_bytes() != json_bytes(content):
        write_json(path, content, sync=True)
    return content


def open_complete(folder: Path) -> dict[str, Any]:
    """Return the manifest of a complete data set. Raises ValueError that names the folder and what is wrong."""
    path = folder / MANIFEST
    if not path.is_file():
        raise UserError(f"no data set at {folder}: {MANIFEST} is missing")
    manifest: dict[str, Any] = read_json(path)
    if manifest.get("format") != FORMAT:
        raise UserError(f"{path} has format {short(manifest.get('format'))}, this version reads {FORMAT}")
    if manifest.get("complete") is not True:
        raise UserError(f"{folder} is not complete: its generation has not finished (or its parts are not merged)")
    check_manifest(manifest, path)
    for shard in manifest["shards"]:
        shard_path = shard_folder(folder, shard["index"])
        if not shard_path.is_dir():
            raise UserError(f"{folder}: shard {shard_path.name} is missing; generate again to make it anew")
        check_sizes(shard_path, shard)
    return manifest


def narrowed(array: np.ndarray) -> np.ndarray:
    """Return integers in the narrowest of int8, int16 and int32 that holds them all, in C order."""
    low, high = (int(array.min()), int(array.max())) if array.size else (0, 0)
    for kind in (np.int8, np.int16, np.int32):
        if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
            return np.ascontiguousarray(array, kind)
    return np.ascontiguousarray(array)
