"""sos: Stream-of-Search pretraining, from symbolic search to a measured answer."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

__version__ = "0.1.0"


ROOT = Path(__file__).parent
# The layers that kernels are made of; what kernels elsewhere import from the package lies in them or beside other
# kernels.
KERNEL_LAYERS = ("kernels.py", "rng.py", "trace.py", "envs", "search", "stream")


def _hash(paths: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in sorted(paths):
        digest.update(path.relative_to(ROOT).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def source_hash() -> str:
    """Return 16 hex digits over every Python and dialect source of the package (a run's `code_hash`)."""
    return _hash(p for p in ROOT.rglob("*") if p.suffix in {".py", ".yaml"})


def kernel_hash() -> str:
    """Return 16 hex digits over every source that a compiled kernel can depend on."""

    def matters(path: Path) -> bool:
        content = path.read_bytes()
        marks = (b"njit", b"sos.kernels", b"numba.extending")
        return path.relative_to(ROOT).parts[0] in KERNEL_LAYERS or any(mark in content for mark in marks)

    return _hash(p for p in ROOT.rglob("*.py") if matters(p))
