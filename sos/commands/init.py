"""`sos init FOLDER`: a small project of one's own that runs."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from sos import ROOT
from sos.commands.output import check_out
from sos.commands.words import places
from sos.errors import UserError


@dataclass
class Options:
    """The folder, new or empty, gets an environment in one file, its dialect, YAML for an experiment and a sweep, and a
    test of its rules. README.md there says what to type."""

    folder: list[str] = places("FOLDER", "a new or empty folder", most=1)


def run(options: Options) -> None:
    """Write the project. Raises UserError for a folder that holds anything."""
    folder = Path(options.folder[0])
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} is there already and not an empty folder")
    check_out(str(folder), folder=True)
    shutil.copytree(
        ROOT / "starter",
        folder,
        dirs_exist_ok=True,
        ignore=shutil.ignore_patterns("__pycache__", ".pytest_cache"),
    )
    (folder / "gitignore").rename(folder / ".gitignore")
    print(f"wrote {folder}: cd {folder}, and see README.md")
