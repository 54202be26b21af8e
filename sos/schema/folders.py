"""Where YAML lies: the folders of the package, and those that are searched as well."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sos import ROOT
from sos.errors import UserError


def config_folder() -> Path:
    """Return the folder of the configs: a checkout has it beside the package, an installed package within it.

    Raises UserError where it is not there.
    """
    folders = [ROOT / "conf", ROOT.parent / "conf"]
    folder = next((folder for folder in folders if folder.is_dir()), None)
    if folder is None:
        raise UserError(f"the package is not whole: neither {folders[0]} nor {folders[1]} is there")
    return folder.resolve()


# Words that add folders with YAML of one's own, `hydra.searchpath=[...]`, for whatever this process composes.
_SEARCHED: list[str] = []


def search_also(words: Sequence[str]) -> None:
    """Remember the words that add folders with YAML to those of conf/; others are left out."""
    _SEARCHED[:] = [word for word in words if word.lstrip("+").startswith("hydra.searchpath=")]


def searched() -> list[str]:
    """Return the words that `search_also` was given."""
    return list(_SEARCHED)
