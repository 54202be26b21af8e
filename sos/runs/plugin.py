"""Hydra learns of the sweeper of this package."""

from __future__ import annotations

import sys
from types import ModuleType


def register_sweeper() -> None:
    """Make `sos.runs.sweeper.ArmSweeper` known to Hydra; before `hydra.main` runs.

    Hydra instantiates sweepers of the package `hydra_plugins` only, a folder that is there where plugins are
    installed: the module takes a name in it. Hydra's own search for plugins loads its basic sweeper anew, so that it
    has to come first.
    """
    from hydra.core.plugins import Plugins

    plugins = Plugins.instance()
    from sos.runs import sweeper

    package = sys.modules.setdefault("hydra_plugins", ModuleType("hydra_plugins"))
    name = sweeper.ArmSweeper.__module__
    sys.modules[name] = sweeper
    setattr(package, name.rpartition(".")[2], sweeper)
    plugins.register(sweeper.ArmSweeper)
