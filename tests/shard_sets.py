"""Small data sets on disk, and the fixtures that make them."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from places import ROOT

from sos.config import config_from_dict
from sos.datasets.make import Job, generate, make_job
from sos.datasets.source import build_source
from sos.system import build_system

# Whole numbers and short streams.
SMALL = {
    "env": {"max_number": 12},
    "search": {"heuristic": "sum"},
    "stream": {"dialect": "compact", "numbers": "whole"},
    "data": {"block": 64, "context": 256},
}
VISITS, SIZE = 300, 50


def job(folder: Path, kind: str = "tokens", values: dict | None = None, **options) -> Job:
    options = {"split": "train", "visits": VISITS, "shard_size": SIZE} | options
    return make_job(config_from_dict(values or SMALL), kind=kind, folder=folder, **options)


def files(folder: Path) -> dict[str, str]:
    paths = [p for p in folder.rglob("*") if p.is_file()]
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in paths}


@pytest.fixture(scope="module", params=["tokens", "traces"])
def made(request, tmp_path_factory) -> tuple[str, Path]:
    folder = tmp_path_factory.mktemp(request.param) / "set"
    generate(job(folder, request.param))
    return request.param, folder


@pytest.fixture(scope="module")
def tokens(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("training") / "set"
    generate(job(folder))
    return folder


@pytest.fixture
def copy(tokens, tmp_path) -> Path:
    """A data set that a test may damage."""
    return Path(shutil.copytree(tokens, tmp_path / "copy"))


def command(folder: Path, *overrides: str) -> list[str]:
    config = ("experiment=whole_numbers", "env.max_number=12", "data.block=64")
    size = (f"generate.visits={VISITS}", f"generate.shard_size={SIZE}")
    return [sys.executable, "-m", "sos", "generate", f"generate.out={folder}", *config, *size, *overrides]


def run(folder: Path, *overrides: str, **options) -> subprocess.CompletedProcess:
    return subprocess.run(command(folder, *overrides), cwd=ROOT, capture_output=True, text=True, timeout=300, **options)


def reading(folder: Path, problems: int = 200):
    config = config_from_dict(SMALL | {"data": SMALL["data"] | {"match": "problems", "train_problems": problems}})
    config.data.shards = str(folder)
    return build_source(config, build_system(config))


def resign(folder: Path) -> None:
    """Make the checksums and sizes in the manifest those of the files, as whoever wants to be believed would."""
    manifest = json.loads((folder / "manifest.json").read_text())
    for shard in manifest["shards"]:
        path = folder / f"shard-{shard['index']:05d}"
        for name, file in shard["files"].items():
            content = (path / name).read_bytes()
            file |= {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
        record = json.loads((path / "shard.json").read_text())
        (path / "shard.json").write_text(json.dumps(record | {"files": shard["files"]}))
    (folder / "manifest.json").write_text(json.dumps(manifest))


def change_manifest(folder: Path, *keys: str | int, value: object) -> None:
    """Set one value, or delete it where `value` is Ellipsis, in the manifest."""
    path = folder / "manifest.json"
    content = json.loads(path.read_text())
    place = content
    for key in keys[:-1]:
        place = place[key]
    if value is ...:
        del place[keys[-1]]
    else:
        place[keys[-1]] = value
    path.write_text(json.dumps(content))
