"""Tables of teachers: which share of problems a search solves within a context, per search and dialect.

The problems are solvable ones of an environment; a stream counts when its search is solved and all of it fits the
context.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from sos.config import Config, SearchConfig
from sos.data.coverage import coverage
from sos.data.splits import make_splits, sample_problems
from sos.errors import UserError
from sos.search import Widening, mix
from sos.stream.dialect.compile import load_dialect
from sos.stream.dialect.source import shipped_names
from sos.system import build_env, build_strategy

CONTEXTS = (512, 1024, 2048, 4096, 8192)
MAX_NODES = 60_000
# A search that expands more nodes cannot fit the largest context: each takes at least 8 tokens.
BUDGET = CONTEXTS[-1] // 8
MOST_WHOLE = 999  # of the numbers that have a token of their own


class Stream(NamedTuple):
    """A way to write numbers in a dialect."""

    dialect: str
    whole_max: int

    def __str__(self) -> str:
        return f"{self.dialect}, {'digits' if self.whole_max == 9 else f'whole to {self.whole_max}'}"


def streams(env: Any, dialects: Sequence[str] = ()) -> list[Stream]:
    """Return the dialects, by default those that are shipped for `env`, with digits and with whole numbers, where these
    part what it lists. Raises UserError for one that goes with neither."""
    whole = min(MOST_WHOLE, max(9, env.largest_number))
    found: list[Stream] = []
    for name in dialects or shipped_names(env):
        refused = None
        for most in dict.fromkeys((9, whole)):
            try:
                load_dialect(name, env, most)
            except UserError as error:
                refused = error
            else:
                found.append(Stream(name, most))
        if refused and not any(stream.dialect == name for stream in found):
            raise refused
    return found


def _candidates(heuristics: Sequence[str]) -> Iterator[tuple[str, SearchConfig]]:
    """Yield (name, keys) of searches that solve every solvable problem, given room."""
    prunings: dict[str, dict[str, Any]] = {
        "": {},
        ", dead ends in range": {"skip_out_of_range": True},
        ", look-ahead 1": {"look_ahead": 1},
        ", look-ahead 2": {"look_ahead": 2},
    }
    for name in ("dfs", "widening"):
        for heuristic in heuristics:
            order = "generation order" if heuristic == "none" else heuristic
            for suffix, keys in prunings.items():
                config = SearchConfig(name=name, heuristic=heuristic, max_nodes=BUDGET, **keys)
                yield f"{name} {order}{suffix}", config


def teachers(config: Config) -> dict[str, Any]:
    """Return the teachers of the environment of a config by name; those that it refuses are left out."""
    env = build_env(config)
    named: dict[str, Any] = {}
    for name, search in _candidates(env.heuristics):
        try:
            named[name] = build_strategy(dataclasses.replace(config, search=search).search, env)[0]
        except UserError:  # such as a look-ahead, for which the environment lacks a kernel
            continue
    return named


class Row(NamedTuple):
    """Shares of the problems."""

    teacher: str
    stream: Stream | str  # or how else it is written
    solved: float  # whatever the length, within the budget of nodes
    fits: tuple[float, ...]  # solved and within each of `CONTEXTS`
    median_tokens: float  # over all problems, infinite where too long or unsolved


def cover(env: Any, num_problems: int, named: dict[str, Any], written: Sequence[Stream]) -> list[Row]:
    """Measure every strategy with every stream on the same `num_problems` problems of `env`."""
    problems = sample_problems(env, make_splits(env, 0.1, 0.0), "train", num_problems)
    rows = []
    bar = tqdm(total=len(named) * len(written), desc=env.describe(), unit="row", leave=False)
    for stream in written:
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
