"""`sos alignment RUNS...`: which of the published twelve strategies a model searches like."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sos.commands.output import check_out, write_csv
from sos.commands.words import option, places

if TYPE_CHECKING:
    from sos.published.alignment import Alignment
    from sos.runs.finished import Run

HEADER = ("run", "split", "strategy", "metric", "value", "low", "high", "num")


@dataclass
class Options:
    """Each rollout that a run has kept is compared with what the published twelve strategies do on its problem:
    the share of states that both visit (node alignment), and how often a strategy is the nearest one."""

    runs: list[str] = places("RUNS", "run folders, or folders searched for run folders")
    split: str = option("val", "whose rollouts")
    problems: int | None = option(None, "the first N of them; null: all", low=1)
    out: str | None = option(None, "write all numbers into this CSV file")


def align_run(run: Run, split: str, num: int | None) -> Alignment:
    """Align the first `num` rollouts (None: all) of a run's split. Raises UserError with the file
    or the value."""
    from tqdm import tqdm

    from sos.published.alignment import align_rollouts, check_searchable
    from sos.runs.finished import config_of
    from sos.runs.rollouts import read_streams
    from sos.system import build_system

    system = build_system(config_of(run))
    check_searchable(system.env, run.folder)
    problems, streams = read_streams(run.folder, split, system)
    problems, streams = problems[:num], streams[:num]
    with tqdm(total=len(problems), desc=run.folder.name, unit="rollouts", leave=False) as bar:
        return align_rollouts(system.dialect, system.env, problems, streams, bar.update)


def run(options: Options) -> None:
    """Print a table for each run, and write all of them where asked."""
    check_out(options.out, inputs=options.runs)
    from sos.published.alignment import table
    from sos.runs.finished import load_runs

    rows: list[tuple[object, ...]] = [HEADER]
    for found_run in load_runs(options.runs):
        found = align_run(found_run, options.split, options.problems)
        print(f"{found_run.name}: {len(found.values)} rollouts of {options.split}\n{table(found)}\n")
        for strategy, kinds in found.metrics().items():
            for kind, metric in kinds.items():
                rows.append((found_run.name, options.split, strategy, kind, *metric))
    if options.out:
        write_csv(options.out, rows)
