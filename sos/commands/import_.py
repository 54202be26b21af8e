"""`sos import FOLDER`: a model of transformers becomes a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sos.commands.output import check_out
from sos.commands.words import option, places
from sos.errors import UserError


@dataclass
class Options:
    """A folder that `sos export` wrote, or that transformers or TRL saved after training such a model on, becomes a
    run folder: evaluate it, view it, start practice from it. Another vocabulary, architecture, or a damaged file is
    refused. Needs the extra `export`."""

    folder: list[str] = places("FOLDER", "a folder with config.json and model.safetensors", most=1)
    out: str = option(..., "the run folder to write, new or empty")
    like: str | None = option(
        None, "a run of the same task and wording, for a model whose config.json does not say its own (sos is missing)"
    )


def run(options: Options) -> None:
    """Import what lies in the folder."""
    out = Path(options.out)
    check_out(options.out, folder=True)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"out={out} is there already and not an empty folder")
    from sos.interop.model_import import import_model

    home = import_model(Path(options.folder[0]), out, options.like)
    print(f"wrote {home.path}; evaluate it with: sos evaluate {home.path}")
