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
    """Print the findings, for each task where there are several of two arms or more; return 0 for a sound table, 1 for
    one with faults."""
    from sos.analysis.compare import compare, load_runs
    from sos.analysis.doctor import examine
    from sos.analysis.tasks import by_task

    runs = load_runs(options.runs)
    tasks = {
        f"{name}, ": compare(members, baseline=options.baseline, allow_different_problems=True)
        for name, members in by_task(runs).items()
    }
    if len(tasks) == 1 or any(len(comparison.arms) == 1 for comparison in tasks.values()):
        # Arms that have nothing to be compared with in their own task were meant to be compared with each other.
        tasks = {"": compare(runs, baseline=options.baseline, allow_different_problems=True)}
    unsound = False
    for name, comparison in tasks.items():
        num = sum(len(arm.runs) for arm in comparison.arms)
        findings = examine(comparison)
        unsound = unsound or bool(findings)
        arms = f"{len(comparison.arms)} arms, {num} runs, {comparison.primary}"
        print(f"{'not sound' if findings else 'sound'}: {name}{arms}")
        for finding in findings:
            print(f"- {finding}")
    return 1 if unsound else 0
