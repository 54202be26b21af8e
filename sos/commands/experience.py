"""`sos experience RUN`: what rollouts hold, and what is wrong in those that solve."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sos.commands.output import check_out, write_csv
from sos.commands.words import option, places
from sos.errors import UserError

if TYPE_CHECKING:
    from sos.system import System

HEADER = ("file", "figure", "all", "solved", "unsolved")
PATTERNS = ("rollouts_*.npz", "experience*.npz")
EXPORTS = (".jsonl", ".parquet")


@dataclass
class Options:
    """Rollouts that a run has kept, of its evaluation or of its improvement, in figures: solved, mistakes by kind in
    the solved ones and in the others, lengths, states that are reached again; where a problem has several rollouts
    also pass@k and how many problems are easy (more than half solve), medium (some) or hard. With out=FILE.csv the
    figures are written, with out=FILE.jsonl or FILE.parquet the rollouts themselves, a row each."""

    place: list[str] = places("RUN", "a run folder, or a file of rollouts in one", most=1)
    split: str | None = option(None, "whose rollouts of an evaluation; null: all that the run has kept")
    out: str | None = option(None, "FILE.csv for the figures, FILE.jsonl or FILE.parquet for the rollouts")


def files_of(place: Path, split: str | None) -> list[Path]:
    """Return the files of rollouts at a place. Raises UserError where there are none."""
    if not place.exists():
        raise UserError(f"no such run or file: {place}")
    if place.is_file():
        if split is not None:
            raise UserError(f"split={split} is for a run folder, and {place} is a file")
        return [place]
    patterns = PATTERNS if split is None else (f"rollouts_{split}.npz",)
    found = [path for pattern in patterns for path in sorted(place.glob(pattern))]
    if not found:
        raise UserError(f"{place} keeps no rollouts{'' if split is None else f' of split {split}'}")
    return found


def system_of(file: Path) -> System:
    """Return the system of the run that a file lies in, by its result or by its checkpoint. Raises UserError."""
    from sos.config import config_from_dict
    from sos.runs.folder import METRICS, RunFolder
    from sos.system import build_system

    for folder in list(file.absolute().parents)[:3]:
        if (folder / METRICS).is_file():
            from sos.runs.finished import read_metrics

            values = read_metrics(folder)["config"]
        elif RunFolder(folder).checkpoint.is_file():
            from sos.runs.checkpoint import load_checkpoint

            values = load_checkpoint(RunFolder(folder).checkpoint).config
        else:
            continue
        try:
            return build_system(config_from_dict(values))
        except ValueError as error:
            raise UserError(f"the config of {folder} is of another version: {error}") from error
    raise UserError(f"{file} lies in no run: there is no {METRICS} and no checkpoint beside it or above it")


def run(options: Options) -> None:
    """Print a table for each file, and write what is asked for."""
    check_out(options.out, inputs=options.place)
    files = files_of(Path(options.place[0]), options.split)
    suffix = Path(options.out).suffix if options.out else ".csv"
    if suffix not in (".csv", *EXPORTS):
        raise UserError(f"out={options.out} must end in .csv, {' or '.join(EXPORTS)}")
    if suffix in EXPORTS and len(files) > 1:
        raise UserError(f"out={options.out} takes the rollouts of one file; name it: {', '.join(map(str, files))}")
    from sos.improve.experience_files import load
    from sos.improve.experience_states import repeated_states
    from sos.improve.experience_summary import summary, table

    lines: list[tuple[object, ...]] = []
    for file in files:
        system = system_of(file)
        experience = load(file, system)
        rows = summary(experience, repeated_states(system, experience))
        print(f"{file}\n\n{table(rows)}\n")
        lines += [(file.name, *row) for row in rows]
    if options.out is None:
        return
    if suffix == ".csv":
        write_csv(options.out, [HEADER, *lines])
        return
    from sos.interop.experience import export_experience

    print(f"wrote {export_experience(experience, system, Path(options.out))} rows to {options.out}")
