"""`sos compare RUNS...`: arms of finished runs, as at the end of every multirun."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sos.commands.output import check_out
from sos.commands.words import option, places


@dataclass
class Options:
    """An arm is what the overrides of its runs say, or LABEL: `sos compare full=outputs/A paths=outputs/B`."""

    runs: list[str] = places("RUNS", "run folders, folders searched for run folders, or LABEL=FOLDER", labels=True)
    out: str | None = option(None, "write comparison.csv, .md and .png and budget_curves.png into this folder")
    metric: list[str] = option([], "compare these metrics only, such as [solve/val,nodes/val]; []: the usual ones")
    baseline: str | None = option(None, "subtract this arm, by label or value; null: the sweep's, or the first")
    different_problems: bool = option(False, "compare runs evaluated on different problems, too")


def run(options: Options) -> None:
    """Write the comparison where asked, and print it."""
    check_out(options.out, folder=True)
    from sos.analysis.compare import load_runs
    from sos.analysis.tasks import compare_tasks, markdown, write_tasks

    runs = load_runs(options.runs)
    tasks = compare_tasks(runs, options.metric or None, options.baseline, options.different_problems)
    written = write_tasks(tasks, Path(options.out)) if options.out else []
    print(markdown(tasks))
    if written:
        print("wrote " + ", ".join(map(str, written)))
