"""Compare finished runs: `python -m sos.commands.compare RUNS... [--out FOLDER]`, and at the end of every multirun.

RUNS are run folders or folders of run folders; `LABEL=FOLDER` names an arm, which else is what its overrides say.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from sos.analysis.compare import compare, load_runs
from sos.analysis.tables import markdown, write
from sos.commands.cli import report


def run(options: argparse.Namespace) -> None:
    """Print the comparison, and write it where asked."""
    comparison = compare(load_runs(options.runs), options.metric, options.baseline, options.allow_different_problems)
    print(markdown(comparison))
    if options.out:
        print("wrote " + ", ".join(map(str, write(comparison, Path(options.out)))))


def main(argv: Sequence[str] | None = None) -> int:
    """Return the exit status: 0, or 2 for what the user can mend."""
    parser = argparse.ArgumentParser(
        prog="python -m sos.commands.compare", description="Compare arms of finished runs."
    )
    parser.add_argument(
        "runs", nargs="+", metavar="RUNS", help="a run folder, a folder searched for run folders, or LABEL=FOLDER"
    )
    parser.add_argument("--out", metavar="FOLDER", help="write comparison.csv, .md and .png and budget_curves.png here")
    parser.add_argument("--metric", nargs="+", action="extend", help="compare these metrics only, such as solve/val")
    parser.add_argument("--baseline", metavar="ARM", help="subtract this arm, by label or value (default: the first)")
    parser.add_argument(
        "--allow-different-problems", action="store_true", help="compare runs evaluated on different problems too"
    )
    options = parser.parse_args(argv)
    return report(lambda: run(options))


if __name__ == "__main__":
    sys.exit(main())
