"""The folder that Hydra makes for a run before anybody knows whether the run can be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import OmegaConf

from sos.runs.folder import missing_folders, remove_empty

_new: list[Path] = []


class NewFolders(Callback):
    """A Hydra callback that notes which folders are made for a run."""

    def on_run_start(self, config: Any, **kwargs: Any) -> None:
        _new[:] = missing_folders(Path(str(OmegaConf.select(config, "hydra.run.dir"))))


def remove_unused() -> None:
    """Remove those of the noted folders that hold nothing, as after a run that was refused."""
    remove_empty(_new)
    _new.clear()
