"""The published twelve strategies on the problems of splits: solve rates, nodes and tokens of their whole searches."""

from __future__ import annotations

import numpy as np
from tqdm import tqdm

from sos.data.coverage import coverage
from sos.envs.countdown.rules import Countdown
from sos.errors import UserError
from sos.judge.metrics import Metric, format_metric, mean_metric, rate_metric
from sos.published.names import published_strategies, published_weight
from sos.search import mix
from sos.system import MAX_TRACE_NODES, System

# The published task and wording.
PAPER = ("env=countdown_paper", "stream=sos", "data.context=4096", "data.held_out_fraction=0.1")
TOKENS_PER_NODE = 300  # at most, in the wordier dialect
Rows = dict[str, dict[str, Metric]]  # strategy -> {"solve/val", "nodes/val", "tokens/val", ...}
MEAN, MIXTURE, ANY = "mean of the 12", "the mixture", "any of the 12"


def solve_table(system: System, problems: dict[str, np.ndarray]) -> Rows:
    """Search `problems`, split -> int32 (P, W), with every published strategy.

    The last rows are the mean of all twelve, their mean by the weights of the published mixture (the intervals are
    over problems), and the share that any of them solves. Nodes are those generated, the root included; tokens those
    of the full stream, the prompt included. Raises ValueError for an environment whose whole searches are too large,
    and where the dialect cannot write a trace.
    """
    if not isinstance(system.env, Countdown):
        raise UserError(f"the published strategies are Countdown's, not those of {type(system.env).__name__}")
    max_nodes = system.env.tree_nodes
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


def as_lines(rows: Rows) -> list[list[object]]:
    """Return one line per strategy and metric behind a header: strategy, metric, value, low, high, num."""
    lines: list[list[object]] = [["strategy", "metric", "value", "low", "high", "num"]]
    for name, row in rows.items():
        for metric, value in row.items():
            lines.append([name, metric, *value])
    return lines
