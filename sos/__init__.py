"""sos: Stream-of-Search pretraining, from symbolic search to a measured answer."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# The public names and the modules that they come from, which are imported when a name is first asked for.
PUBLIC = {
    # For users: docs/library.md.
    "stream_dataset": "sos.library.datasets",
    "solve": "sos.library.answers",
    "verify": "sos.library.answers",
    "save_page": "sos.library.answers",
    "load": "sos.library.runs",
    "pretrain": "sos.library.runs",
    "Answer": "sos.library.answers",
    "Trained": "sos.library.runs",
    "StreamDataset": "sos.library.datasets",
    "MapStreamDataset": "sos.library.datasets",
    "UserError": "sos.errors",
    # The parts that these are made of.
    "Config": "sos.config",
    "config_from_dict": "sos.config",
    "System": "sos.system",
    "build_system": "sos.system",
    "build_source": "sos.datasets.source",
    "gpt_config": "sos.system",
    "Trace": "sos.trace",
    "run_search": "sos.search.run",
    "view_trace": "sos.stream.viewing",
    "load_dialect": "sos.stream.dialect.compile",
    "encode": "sos.stream.codec",
    "decode": "sos.stream.codec",
    "GPT": "sos.model.gpt",
    "rollout": "sos.model.rollout",
    "evaluate": "sos.judge.evaluation",
    "load_checkpoint": "sos.runs.checkpoint",
    "load_model": "sos.runs.checkpoint",
    "load_runs": "sos.runs.finished",
}

if TYPE_CHECKING:  # the same for type checkers, which see no lazy import
    from sos.config import Config as Config
    from sos.config import config_from_dict as config_from_dict
    from sos.datasets.source import build_source as build_source
    from sos.errors import UserError as UserError
    from sos.judge.evaluation import evaluate as evaluate
    from sos.library.answers import Answer as Answer
    from sos.library.answers import save_page as save_page
    from sos.library.answers import solve as solve
    from sos.library.answers import verify as verify
    from sos.library.datasets import MapStreamDataset as MapStreamDataset
    from sos.library.datasets import StreamDataset as StreamDataset
    from sos.library.datasets import stream_dataset as stream_dataset
    from sos.library.runs import Trained as Trained
    from sos.library.runs import load as load
    from sos.library.runs import pretrain as pretrain
    from sos.model.gpt import GPT as GPT
    from sos.model.rollout import rollout as rollout
    from sos.runs.checkpoint import load_checkpoint as load_checkpoint
    from sos.runs.checkpoint import load_model as load_model
    from sos.runs.finished import load_runs as load_runs
    from sos.search.run import run_search as run_search
    from sos.stream.codec import decode as decode
    from sos.stream.codec import encode as encode
    from sos.stream.dialect.compile import load_dialect as load_dialect
    from sos.stream.viewing import view_trace as view_trace
    from sos.system import System as System
    from sos.system import build_system as build_system
    from sos.system import gpt_config as gpt_config
    from sos.trace import Trace as Trace


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name not in PUBLIC:
            raise AttributeError(f"module 'sos' has no attribute {name!r}")
        return getattr(import_module(PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *PUBLIC])


ROOT = Path(__file__).parent
# What lies in the folder of the package and is no code of it: conf/, which an installed package holds, and the project
# that `sos init` copies.
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
