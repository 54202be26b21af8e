"""Which strategy does a model search like? `python -m sos.commands.alignment RUNS... [--split val] [--problems N] [--out FILE]`.

Each rollout that a run has kept is compared with what the published twelve strategies do on its problem: the share of states
that both visit (node alignment), and how often a strategy is the nearest one.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from sos.commands.cli import report
from sos.config import MOST_NUMBERS_SEARCHED, config_from_dict
from sos.errors import UserError
from sos.judge.metrics import Metric
from sos.published.alignment import Alignment, align_rollouts
from sos.runs.finished import load_runs
from sos.system import build_system
from sos.view.sources import check_ranges, read_rollouts

HEADER = ("run", "split", "strategy", "metric", "value", "low", "high", "num")


def align_run(folder: Path, values: dict[str, object], split: str, num: int | None) -> Alignment:
    """Align the first `num` rollouts (None: all) of a run's split. Raises ValueError that names the file or the value."""
    system = build_system(config_from_dict(values))
    if system.env.num_numbers > MOST_NUMBERS_SEARCHED:
        raise UserError(
            f"{folder}: env.num_numbers={system.env.num_numbers} is too many for whole searches (at most {MOST_NUMBERS_SEARCHED})"
        )
    problems, streams = read_rollouts(folder, split)
    problems, streams = problems[:num], streams[:num]
    for row, problem in enumerate(problems):
        check_ranges(int(problem[0]), problem[2:].tolist(), system, f"{folder}, problem {row} of {split}")
    with tqdm(total=len(problems), desc=folder.name, unit="rollouts", leave=False) as bar:
        return align_rollouts(system.dialect, system.env, problems, streams, bar.update)


def table(found: Alignment) -> str:
    """Return strategies with alignment and share of nearest, the nearest first, and each one's alignment with the others."""
    metrics = found.metrics()
    others = (found.between.sum(1) - found.between.diagonal()) / (len(found.strategies) - 1)
    order = sorted(range(len(others)), key=lambda s: -(metrics[found.strategies[s]]["nearest"]["value"] or 0))
    lines = [f"{'strategy':<12}  {'nearest':<22}  {'alignment':<22}  with the other strategies"]
    for s in order:
        name = found.strategies[s]
        nearest, alignment = (_cell(metrics[name][kind], scale) for kind, scale in (("nearest", 100), ("alignment", 1)))
        lines.append(f"{name:<12}  {nearest:<22}  {alignment:<22}  {others[s]:.3f}")
    return "\n".join(lines)


def _cell(metric: Metric, scale: int) -> str:
    digits, unit = (1, "%") if scale == 100 else (3, "")
    value, low, high = metric["value"], metric["low"], metric["high"]
    assert value is not None
    interval = "" if low is None or high is None else f" [{scale * low:.{digits}f}, {scale * high:.{digits}f}]"
    return f"{scale * value:.{digits}f}{unit}{interval}"


def run(options: argparse.Namespace) -> None:
    """Print a table for each run, and write all of them where asked. Raises ValueError in one line."""
    if options.problems is not None and options.problems < 1:
        raise UserError(f"--problems must be at least 1, got {options.problems}")
    rows = []
    for found_run in load_runs(options.runs):
        found = align_run(found_run.folder, found_run.config, options.split, options.problems)
        print(f"{found_run.name}: {len(found.values)} rollouts of {options.split}\n{table(found)}\n")
        for strategy, kinds in found.metrics().items():
            for kind, metric in kinds.items():
                values = [metric[key] for key in ("value", "low", "high", "num")]
                rows.append([found_run.name, options.split, strategy, kind, *values])
    if options.out:
        Path(options.out).parent.mkdir(parents=True, exist_ok=True)
        with open(options.out, "w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([HEADER, *rows])
        print(f"wrote {options.out}")


def main(argv: Sequence[str] | None = None) -> int:
    """Return the exit status: 0, or 2 for what the user can mend."""
    parser = argparse.ArgumentParser(
        prog="python -m sos.commands.alignment",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("runs", nargs="+", metavar="RUNS", help="a run folder, or a folder searched for run folders")
    parser.add_argument("--split", default="val", help="whose rollouts (default: val)")
    parser.add_argument("--problems", type=int, metavar="N", help="the first N of them (default: all)")
    parser.add_argument("--out", metavar="FILE", help="write all numbers as CSV")
    options = parser.parse_args(argv)
    return report(lambda: run(options))


if __name__ == "__main__":
    sys.exit(main())
