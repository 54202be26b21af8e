"""sos: Stream-of-Search pretraining, from symbolic search to a measured answer."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import Any

__version__ = "0.1.0"

# The public names and the modules that they come from, which are imported when a name is first asked for.
PUBLIC = {
    "Config": "sos.config",
    "config_from_dict": "sos.config",
    "UserError": "sos.errors",
    "System": "sos.system",
    "build_system": "sos.system",
    "build_source": "sos.datasets.source",
    "Trace": "sos.trace",
    "run_search": "sos.search.run",
    "view_trace": "sos.stream.views",
    "load_dialect": "sos.stream.dialect.compile",
    "encode": "sos.stream.codec",
    "decode": "sos.stream.codec",
    "verify": "sos.stream.verify",
    "GPT": "sos.model.gpt",
    "rollout": "sos.model.rollout",
    "evaluate": "sos.judge.evaluation",
    "load_checkpoint": "sos.runs.checkpoint",
    "load_model": "sos.runs.checkpoint",
    "load_runs": "sos.runs.finished",
}


def __getattr__(name: str) -> Any:
    if name not in PUBLIC:
        raise AttributeError(f"module 'sos' has no attribute {name!r}")
    return getattr(import_module(PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *PUBLIC])


ROOT = Path(__file__).parent
# Folders of a checkout that lie within an installed package, and are no code of it.
BESIDE = ("conf", "starter")
# The layers that kernels are made of; what kernels elsewhere import from the package lies in them or beside other
# kernels.
KERNEL_LAYERS = ("kernels", "rng.py", "trace.py", "envs", "search", "stream")


def _hash(paths: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in sorted(paths):
        digest.update(path.relative_to(ROOT).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def source_hash() -> str:
    """Return 16 hex digits over every Python and dialect source of the package (a run's `code_hash`)."""
    paths = (p for p in ROOT.rglob("*") if p.suffix in {".py", ".yaml"})
    return _hash(p for p in paths if p.relative_to(ROOT).parts[0] not in BESIDE)


def kernel_hash() -> str:
    """Return 16 hex digits over every source that a compiled kernel can depend on."""

    def matters(path: Path) -> bool:
        content = path.read_bytes()
        marks = (b"njit", b"sos.kernels", b"numba.extending")
        room = path.relative_to(ROOT).parts[0]
        return room not in BESIDE and (room in KERNEL_LAYERS or any(mark in content for mark in marks))

    return _hash(p for p in ROOT.rglob("*.py") if matters(p))
