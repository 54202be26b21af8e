"""Examine a table before believing it: `python -m sos.commands.doctor RUNS...`; exit status 1 if anything is wrong with it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from sos.analysis.compare import compare, load_runs
from sos.analysis.doctor import examine
from sos.commands.cli import report


def run(options: argparse.Namespace) -> int:
    """Print the findings; return 0 for a sound table, 1 for one with faults."""
    comparison = compare(load_runs(options.runs), baseline=options.baseline, allow_different_problems=True)
    arms = f"{len(comparison.arms)} arms, {sum(len(arm.runs) for arm in comparison.arms)} runs, {comparison.primary}"
    findings = examine(comparison)
    print(f"{'not sound' if findings else 'sound'}: {arms}")
    for finding in findings:
        print(f"- {finding}")
    return 1 if findings else 0


def main(argv: Sequence[str] | None = None) -> int:
    """Return the exit status: that of `run`, or 2 for what cannot be read."""
    parser = argparse.ArgumentParser(
        prog="python -m sos.commands.doctor", description="Say what is wrong with a table of arms."
    )
    parser.add_argument("runs", nargs="+", metavar="RUNS", help="a run folder, or a folder searched for run folders")
    parser.add_argument(
        "--baseline", metavar="ARM", help="the arm that budgets are compared with (default: the sweep's)"
    )
    options = parser.parse_args(argv)
    return report(lambda: run(options))


if __name__ == "__main__":
    sys.exit(main())
