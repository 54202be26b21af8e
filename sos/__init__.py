"""sos: Stream-of-Search pretraining, from symbolic search to a measured answer."""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from pathlib import Path

__version__ = "0.1.0"


def source_hash() -> str:
    """Return 16 hex digits over every Python and dialect source of the package (a run's `code_hash`)."""
    root = Path(__file__).parent
    digest = hashlib.sha256()
    for path in sorted(p for p in root.rglob("*") if p.suffix in {".py", ".yaml"}):
        digest.update(path.relative_to(root).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _point_numba_at_cache() -> None:
    """Give each version of the sources a numba cache folder of its own, under `$SOS_CACHE_DIR` or `~/.cache/sos`.

    Numba's disk cache does not notice an edit in *another* file that a kernel inlines.
    """
    parent = os.environ.get("SOS_CACHE_DIR") or os.path.join(os.path.expanduser("~"), ".cache", "sos")
    path = os.path.join(parent, f"numba-{source_hash()}")
    try:
        os.makedirs(path, exist_ok=True)
    except OSError:
        path = tempfile.mkdtemp(prefix="sos-numba-")
    os.environ["NUMBA_CACHE_DIR"] = path
    if "numba" in sys.modules:
        sys.modules["numba"].config.reload_config()


_point_numba_at_cache()
