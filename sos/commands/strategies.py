"""The published twelve strategies on the problems of a split: `python -m sos.commands.strategies [--problems N] [key=value ...]`.

Solve rates with 95% intervals, and the means of nodes and tokens of their whole searches. The keys are those of train.py; env
and stream are the paper's unless given (`env=countdown`, `env.num_numbers=5`, `stream=compact`).
"""

from __future__ import annotations

import argparse
import csv
import io
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from sos.commands.cli import report
from sos.data.coverage import coverage
from sos.errors import UserError
from sos.judge.metrics import Metric, format_metric, mean_metric, rate_metric
from sos.published.records import full_tree_nodes, published_strategies, published_weight
from sos.search import mix
from sos.system import MAX_TRACE_NODES, System

TOKENS_PER_NODE = 300  # at most, in the wordier dialect
Rows = dict[str, dict[str, Metric]]  # strategy -> {"solve/val", "nodes/val", "tokens/val", ...}
MEAN, MIXTURE, ANY = "mean of the 12", "the mixture", "any of the 12"


def solve_table(system: System, problems: dict[str, np.ndarray]) -> Rows:
    """Search `problems`, split -> int32 (P, W), with every published strategy.

    The last rows are the mean of all twelve, their mean by the weights of the published mixture (the intervals are over
    problems), and the share that any of them solves. Nodes are those generated, the root included; tokens those of the full
    stream, the prompt included. Raises ValueError for an environment whose whole searches are too large, and where the
    dialect cannot write a trace.
    """
    max_nodes = full_tree_nodes(system.env)
    if max_nodes > MAX_TRACE_NODES:
        raise UserError(
            f"env.num_numbers={system.env.num_numbers}: a search can have {max_nodes} nodes (at most {MAX_TRACE_NODES})"
        )
    rows: Rows = {}
    strategies = published_strategies()
    with tqdm(total=len(strategies) * len(problems), desc="strategies", unit="searches", leave=False) as bar:
        for split, chosen in problems.items():
            solved, nodes, tokens = [], [], []
            for name, strategy in strategies.items():
                found = coverage(
                    system.env,
                    mix([strategy], [1.0]),  # one compiled kernel for all twelve
                    system.dialect,
                    chosen,
                    max_tokens=TOKENS_PER_NODE * max_nodes,
                    max_nodes=max_nodes,
                )
                assert (found.lengths > 0).all()
                solved.append(found.solved)
                nodes.append(found.nodes)
                tokens.append(found.lengths)
                rows.setdefault(name, {}).update(_row(split, rate_metric(found.solved), found.nodes, found.lengths))
                bar.update()
            published = [published_weight(name) for name in strategies]
            for title, weights in ((MEAN, None), (MIXTURE, published)):
                means = [np.average(values, 0, weights) for values in (solved, nodes, tokens)]
                rows.setdefault(title, {}).update(_row(split, mean_metric(means[0]), *means[1:]))
            rows.setdefault(ANY, {}).update({f"solve/{split}": rate_metric(np.any(solved, 0))})
    return rows


def _row(split: str, solve: Metric, nodes: np.ndarray, tokens: np.ndarray) -> dict[str, Metric]:
    return {f"solve/{split}": solve, f"nodes/{split}": mean_metric(nodes), f"tokens/{split}": mean_metric(tokens)}


def as_text(rows: Rows) -> str:
    """Return the rows as an aligned table."""
    columns = list(next(iter(rows.values())))
    table = [["strategy", *columns]]
    table += [
        [name, *(format_metric(column, row[column]) if column in row else "" for column in columns)]
        for name, row in rows.items()
    ]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in table)
    return "\n".join(line.rstrip() for line in lines)


def as_csv(rows: Rows) -> str:
    """Return one line per strategy and metric: strategy, metric, value, low, high, num."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["strategy", "metric", "value", "low", "high", "num"])
    for name, row in rows.items():
        for metric, value in row.items():
            writer.writerow([name, metric, *(value[key] for key in ("value", "low", "high", "num"))])
    return file.getvalue()


def run(options: argparse.Namespace) -> None:
    """Print the table and write it where asked. Raises ValueError in one line."""
    from sos.compose import compose
    from sos.judge.problems import split_problems
    from sos.system import build_system

    if options.problems < 1:
        raise UserError(f"--problems must be at least 1, got {options.problems}")
    config = compose(
        ["env=countdown_paper", "stream=sos", "data.context=4096", "data.held_out_fraction=0.1", *options.overrides]
    )
    system = build_system(config)
    problems = {}
    for split in config.eval.splits:
        problems[split] = split_problems(system, split, options.problems, seed=config.eval.seed)
        if len(problems[split]) < options.problems:
            print(f"warning: split {split}: {len(problems[split])} distinct problems found", file=sys.stderr)
        if not len(problems[split]):
            del problems[split]
    if not problems:
        raise UserError(f"eval.splits={config.eval.splits}: no problem found")
    rows = solve_table(system, problems)
    print(as_text(rows))
    if options.out:
        Path(options.out).parent.mkdir(parents=True, exist_ok=True)
        Path(options.out).write_text(as_csv(rows), encoding="utf-8")
        print(f"wrote {options.out}")


def main(argv: Sequence[str] | None = None) -> int:
    """Return the exit status: 0, or 2 for what the user can mend."""
    parser = argparse.ArgumentParser(
        prog="python -m sos.commands.strategies",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "overrides", nargs="*", metavar="KEY=VALUE", help="keys of the config, such as eval.splits=[val]"
    )
    parser.add_argument("--problems", type=int, default=1000, metavar="N", help="of each split (default: 1000)")
    parser.add_argument("--out", metavar="FILE", help="write the table as CSV")
    options = parser.parse_args(argv)
    return report(lambda: run(options))


if __name__ == "__main__":
    sys.exit(main())
