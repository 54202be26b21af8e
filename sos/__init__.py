"""sos: Stream-of-Search pretraining, from symbolic search to a measured answer."""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

__version__ = "0.1.0"


ROOT = Path(__file__).parent
# The layers that kernels are made of; what kernels elsewhere import from the package lies in them or beside other kernels.
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


def _point_numba_at_cache() -> None:
    """Give each version of the kernels a numba cache folder of its own, under `$SOS_CACHE_DIR` or `~/.cache/sos`.

    Numba's disk cache does not notice an edit in *another* file that a kernel inlines.
    """
    parent = os.environ.get("SOS_CACHE_DIR") or os.path.join(os.path.expanduser("~"), ".cache", "sos")
    path = os.path.join(parent, f"numba-{kernel_hash()}")
    try:
        os.makedirs(path, exist_ok=True)
    except OSError:
        path = tempfile.mkdtemp(prefix="sos-numba-")
    os.environ["NUMBA_CACHE_DIR"] = path
    if "numba" in sys.modules:
        sys.modules["numba"].config.reload_config()


_point_numba_at_cache()
