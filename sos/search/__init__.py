"""Search strategies; `sos.search.registry` has them by their `search.name`, `Mixture` draws from several.

They are imported when they are first asked for, so that the config can be read without numba.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sos.search.a_star import AStar
    from sos.search.beam import Beam
    from sos.search.best_first import BestFirst
    from sos.search.depth_first import DepthFirst
    from sos.search.mixture import Mixture, mix
    from sos.search.widening import Widening

__all__ = ["AStar", "Beam", "BestFirst", "DepthFirst", "Mixture", "Widening", "mix"]
_HOMES = {
    "AStar": "a_star",
    "Beam": "beam",
    "BestFirst": "best_first",
    "DepthFirst": "depth_first",
    "Mixture": "mixture",
    "mix": "mixture",
    "Widening": "widening",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"sos.search.{_HOMES[name]}"), name)
