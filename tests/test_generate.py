"""Data sets on disk: the same bytes whatever made them, and never a part taken for the whole."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SMALL = ["generate.kind=tokens", "generate.visits=400", "generate.shard_size=100"]


def generate(out: Path, *overrides: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "sos.generate", f"generate.out={out}", *SMALL, *overrides],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def content(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.npy")):
        digest.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("generate") / "whole"
    result = generate(out, "generate.workers=1")
    assert result.returncode == 0, result.stderr
    assert len(list(out.rglob("*.npy"))) >= 4
    return out


def test_two_workers_write_the_same_bytes(whole: Path, tmp_path: Path) -> None:
    result = generate(tmp_path / "two", "generate.workers=2")
    assert result.returncode == 0, result.stderr
    assert content(tmp_path / "two") == content(whole)


def test_parts_merge_into_the_same_bytes_and_are_not_whole_before(whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "parts"
    assert generate(out, "generate.parts=2", "generate.part=0").returncode == 0
    early = generate(out, "generate.parts=2", "generate.merge=true")
    assert early.returncode == 2, early.stdout
    assert len([line for line in early.stderr.splitlines() if line.startswith("error:")]) == 1
    assert generate(out, "generate.parts=2", "generate.part=1").returncode == 0
    merged = generate(out, "generate.parts=2", "generate.merge=true")
    assert merged.returncode == 0, merged.stderr
    assert content(out) == content(whole)


def test_another_config_is_refused_and_nothing_is_lost(whole: Path) -> None:
    before = content(whole)
    result = generate(whole, "env.max_number=15")
    assert result.returncode == 2
    assert "max_number" in result.stderr
    assert content(whole) == before
    assert json.loads((whole / "manifest.json").read_text())


def test_a_lost_shard_is_made_again(whole: Path) -> None:
    before = content(whole)
    victim = sorted(whole.glob("shard-*"))[1]
    for path in victim.iterdir():
        path.unlink()
    victim.rmdir()
    result = generate(whole)
    assert result.returncode == 0, result.stderr
    assert content(whole) == before
