"""`sos doctor RUNS...`: examine a table before believing it."""

from __future__ import annotations

from dataclasses import dataclass

from sos.commands.words import option, places


@dataclass
class Options:
    """Exit status 1 if anything is wrong with the table."""

    runs: list[str] = places("RUNS", "run folders, folders searched for run folders, or LABEL=FOLDER", labels=True)
    baseline: str | None = option(None, "the arm that budgets are compared with; null: the sweep's, or the first")


def run(options: Options) -> int:
    """Print the findings; return 0 for a sound table, 1 for one with faults."""
    from sos.analysis.compare import compare, load_runs
    from sos.analysis.doctor import examine

    comparison = compare(load_runs(options.runs), baseline=options.baseline, allow_different_problems=True)
    arms = f"{len(comparison.arms)} arms, {sum(len(arm.runs) for arm in comparison.arms)} runs, {comparison.primary}"
    findings = examine(comparison)
    print(f"{'not sound' if findings else 'sound'}: {arms}")
    for finding in findings:
        print(f"- {finding}")
    return 1 if findings else 0
