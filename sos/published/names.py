"""The published twelve strategies (Gandhi et al. 2024): what they are, and their names in records and here."""

from __future__ import annotations

import re
from typing import Any

from sos.datasets.checks import short
from sos.envs.countdown.rules import HEURISTICS
from sos.errors import UserError
from sos.search import Beam, DepthFirst

_DEPTH_FIRST = re.compile(r"dfs_(sum|mult)")
_BEAM = re.compile(r"beam_(sum|mult)_([1-9][0-9]*)")
_BEAM_TYPE = re.compile(r"bfs_([1-9][0-9]*)")


def published_strategies() -> dict[str, Any]:
    """Return the published twelve by name, to their end and with the beams' shuffling off."""
    heuristics = {name: HEURISTICS.index(name) for name in ("sum", "mult")}
    unbounded = 2**31 - 1
    found: dict[str, Any] = {
        f"dfs_{name}": DepthFirst(heuristic, max_nodes=unbounded) for name, heuristic in heuristics.items()
    }
    for name, heuristic in heuristics.items():
        found |= {f"beam_{name}_{width}": Beam(width, heuristic, max_nodes=unbounded) for width in range(1, 6)}
    return found


def published_weight(name: str) -> int:
    """Return the weight of one of the twelve in the published mixture: half depth-first, half beam."""
    return 5 if name.startswith("dfs") else 1


def split_name(strategy: str) -> tuple[str, str]:
    """Return (search_type, heuristic) of a strategy's name in the published terms: of `dfs_sum`, `beam_mult_3` or
    `TYPE/HEURISTIC`.

    Any other name is a search type without a heuristic.
    """
    if match := _DEPTH_FIRST.fullmatch(strategy):
        return "dfs", f"{match[1]}_heuristic"
    if match := _BEAM.fullmatch(strategy):
        return f"bfs_{match[2]}", f"{match[1]}_heuristic"
    search_type, slash, heuristic = strategy.rpartition("/")
    return (search_type, heuristic) if slash else (strategy, "none")


def join_name(search_type: str, heuristic: str) -> str:
    """Return the strategy's name for the published fields; `split_name` gives them back, whatever they hold."""
    kind = heuristic.removesuffix("_heuristic")
    beam = _BEAM_TYPE.fullmatch(search_type)
    name = f"dfs_{kind}" if search_type == "dfs" else f"beam_{kind}_{beam[1]}" if beam else search_type
    for candidate in (name, search_type):
        if split_name(candidate) == (search_type, heuristic):
            return candidate
    if "/" in heuristic:
        raise UserError(f"heuristic must not hold '/', got {short(heuristic)}")
    return f"{search_type}/{heuristic}"
