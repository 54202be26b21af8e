"""What makes two runs the same run."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sos import source_hash
from sos.config import Config, config_hash

if TYPE_CHECKING:  # it imports numba, which takes a second
    from sos.system import System


class Identity(NamedTuple):
    """What decides the result of a run: its config, the code, and the dialect, which may be a file outside of both."""

    config_hash: str
    code_hash: str
    dialect_hash: str


def identity(config: Config, system: System | None = None) -> Identity:
    """Return the identity of a run of `config`; a `system` that is built already saves the time."""
    from sos.datasets.source import dialect_hash
    from sos.system import build_system

    system = system or build_system(config)
    return Identity(config_hash(config), source_hash(), dialect_hash(system.dialect))
