"""Tables of teachers: which share of solvable problems a search solves within a context, per strategy and dialect.

The problems are the published task's (numbers 1..99, targets 10..100, solvable); a stream counts when its search is
solved and all of it fits the context.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from sos.data.coverage import coverage
from sos.data.splits import make_splits, sample_problems
from sos.envs.countdown.heuristics import BY_OPERATOR, MULT, SIZE, SUM
from sos.envs.countdown.rules import Countdown
from sos.search import DepthFirst, Widening, mix
from sos.stream.dialect.compile import load_dialect

CONTEXTS = (512, 1024, 2048, 4096, 8192)
MAX_NODES = 60_000
# A search that expands more nodes cannot fit the largest context: each takes at least 8 tokens.
BUDGET = CONTEXTS[-1] // 8


class Stream(NamedTuple):
    """A way to write numbers in a dialect."""

    dialect: str
    whole_max: int

    def __str__(self) -> str:
        return f"{self.dialect}, {'digits' if self.whole_max == 9 else f'whole to {self.whole_max}'}"


STREAMS = (Stream("compact", 9), Stream("compact", 999), Stream("checked", 999), Stream("dense", 9), Stream("sos", 9))


def teachers() -> dict[str, Any]:
    """Return the teachers by name: searches that solve every solvable problem, given room."""
    named: dict[str, Any] = {}
    orders = {"generation order": 0, "sum": SUM, "mult": MULT, "size": SIZE, "operator": BY_OPERATOR}
    for name, heuristic in orders.items():
        for look_ahead, in_range in ((0, False), (0, True), (1, False), (2, False)):
            suffix = f", look-ahead {look_ahead}" if look_ahead else ", dead ends in range" if in_range else ""
            named[f"dfs {name}{suffix}"] = DepthFirst(heuristic, False, True, False, BUDGET, look_ahead, in_range)
    for name, heuristic in (("generation order", 0), ("size", SIZE)):
        for bound, look_ahead in product((300, 999), (0, 1)):
            suffix = "look-ahead 1" if look_ahead else "dead ends in range"
            named[f"widening {name} from {bound}, {suffix}"] = Widening(
                heuristic, False, BUDGET, look_ahead, True, bound
            )
    return named


class Row(NamedTuple):
    """Shares of the problems."""

    teacher: str
    stream: Stream
    solved: float  # whatever the length, within the budget of nodes
    fits: tuple[float, ...]  # solved and within each of `CONTEXTS`
    median_tokens: float  # over all problems, infinite where too long or unsolved


def cover(env: Countdown, num_problems: int, named: dict[str, Any], streams: Sequence[Stream]) -> list[Row]:
    """Measure every strategy with every stream on the same `num_problems` problems of `env`."""
    problems = sample_problems(env, make_splits(env, 0.1, 0.0), "train", num_problems)
    rows = []
    bar = tqdm(total=len(named) * len(streams), desc=f"{env.num_numbers} numbers", unit="row", leave=False)
    for stream in streams:
        dialect = load_dialect(stream.dialect, env, stream.whole_max)
        for name, strategy in named.items():
            # A mixture of one: kernels are compiled once for all strategies that can be mixed.
            searched = strategy if isinstance(strategy, Widening) else mix([strategy], [1.0])
            found = coverage(env, searched, dialect, problems, max_tokens=CONTEXTS[-1], max_nodes=MAX_NODES)
            lengths = np.where(found.solved & (found.lengths >= 0), found.lengths, np.inf)
            fits = tuple(float((lengths <= context).mean()) for context in CONTEXTS)
            rows.append(Row(name, stream, float(found.solved.mean()), fits, float(np.median(lengths))))
            bar.update()
    bar.close()
    return rows


def table(title: str, rows: Sequence[Row]) -> str:
    """Return rows as Markdown, percentages."""
    lines = [
        f"{title}\n",
        f"| stream | teacher | solved | {' | '.join(map(str, CONTEXTS))} | median tokens |",
        "| --- | --- |" + " --- |" * (len(CONTEXTS) + 2),
    ]
    for row in rows:
        shares = " | ".join(f"{100 * share:.1f}" for share in (row.solved, *row.fits))
        median = f"{row.median_tokens:,.0f}" if np.isfinite(row.median_tokens) else "-"
        lines.append(f"| {row.stream} | {row.teacher} | {shares} | {median} |")
    return "\n".join(lines) + "\n"
