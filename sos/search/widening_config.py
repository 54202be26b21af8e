"""The schema of iterative widening."""

from __future__ import annotations

from dataclasses import dataclass

from sos.schema.keys import key
from sos.search.depth_first_config import ANNOUNCE_LEAVES
from sos.search.keys import INT32, PrunedConfig


@dataclass
class WideningConfig(PrunedConfig):
    """The keys of `search.name=widening`; see `sos.search.widening.Widening`."""

    name: str = key("widening", "The strategy.")
    announce_leaves: bool = key(False, ANNOUNCE_LEAVES)
    bound: int = key(300, "The largest result of the first pass of widening.", low=2, high=INT32)

    def needs(self) -> dict[str, tuple[str, ...]]:
        return super().needs() | {"name": ("narrowed", "reach")}
