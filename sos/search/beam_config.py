"""The schema of beam search."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from sos.schema.keys import key
from sos.search.keys import GuidedConfig


@dataclass
class BeamConfig(GuidedConfig):
    """The keys of `search.name=beam`; see `sos.search.beam.Beam`."""

    name: str = key("beam", "The strategy.")
    width: int = key(5, "The nodes that a beam keeps of each depth.", low=1, high=1_000_000)
    visit_leaves: bool = key(False, "Dead ends stay on the frontier, as the published code has it.")
    shuffle: bool = key(False, "Children come in random order.")
    compares_all: ClassVar[bool] = True
