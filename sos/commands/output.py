"""What verbs write: whole files, and the line that says so."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from sos.errors import UserError
from sos.files import TEMPORARY, claim, written_whole


def check_out(out: str | None, *, folder: bool = False, inputs: Iterable[str | None] = ()) -> None:
    """Refuse a file, or a folder, that cannot be written, before the work starts, and one of the `inputs` that the
    command reads, by whatever path. Raises UserError."""
    if out is None:
        return
    path = Path(out).absolute()
    if any(given is not None and same_place(given, out) for given in inputs):
        raise UserError(f"out={out} is what the command reads, and would be overwritten; name another place")
    if path.is_dir() and not folder:
        raise UserError(f"out={out} is a folder; name a file in it")
    home = next((place for place in ((path,) if folder else ()) + tuple(path.parents) if place.exists()), Path("/"))
    if not home.is_dir():
        raise UserError(f"out={out}: {home} is no folder")
    if not os.access(home, os.W_OK | os.X_OK):
        raise UserError(f"out={out}: cannot write into {home}")


@contextmanager
def held(verb: str, names: Sequence[str], *folders: Path) -> Iterator[None]:
    """Hold the folders of a verb's results from before its work to after its last file: of two at once, whose files
    would mix, the second is refused.

    What a killed one left half-written of the `names`, which may have wildcards, is removed, and so are folders that
    were made for the results and get none. Raises UserError that names the folder.
    """
    from sos.runs.folder import without_empty

    with ExitStack() as stack:
        for folder in folders:
            stack.enter_context(without_empty(folder))
            stack.enter_context(claim(folder, f"sos {verb}"))
            for half in (path for name in names for path in folder.glob(f"{TEMPORARY}*-{name}")):
                half.unlink(missing_ok=True)
        yield


def same_place(one: str | Path, other: str | Path) -> bool:
    """Say whether two paths name one file or folder."""
    try:
        return Path(one).samefile(other)
    except OSError:  # one of them is not there
        return False


def write_csv(out: str, rows: Iterable[Sequence[object]]) -> None:
    """Write rows as CSV, whole or not at all, and say it."""
    with written_whole(out) as partial, open(partial, "w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
    print(f"wrote {out}")
