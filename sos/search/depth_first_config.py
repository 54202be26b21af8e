"""The schema of depth-first search."""

from __future__ import annotations

from dataclasses import dataclass

from sos.schema.keys import key
from sos.search.keys import CutConfig

ANNOUNCE_LEAVES = "The return from every dead end is written."


@dataclass
class DepthFirstConfig(CutConfig):
    """The keys of `search.name=dfs`; see `sos.search.depth_first.DepthFirst`."""

    name: str = key("dfs", "The strategy.")
    announce_leaves: bool = key(False, ANNOUNCE_LEAVES)
