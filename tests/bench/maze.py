"""Mazes beside their plain-Python oracle: problem to tokens, and damaged streams.

Run `python tests/bench/maze.py [--arrays 100000] [--rounds 5]`. Both sides draw, search and write in turns, in CPU time;
the ratio is the median over the rounds. Of the streams is said how long they are, and which share of the closed cells
is not on the plan; of the arrays, how many came out solved, planned and without a problem.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from envs.test_maze_streams import DIALECTS, hostile
from naive import maze as naive

from sos.data.splits import make_splits, sample_problems
from sos.data.streams import StreamSource
from sos.envs.maze.rules import Maze
from sos.search import AStar, mixture  # noqa: F401 (it registers how one strategy of several is chosen)
from sos.search.run import run_search
from sos.stream.dialect.compile import load_dialect
from sos.stream.views import View
from sos.trace import KIND, Event

CASES = [
    ("compact", Maze(8, 8)),
    ("checked", Maze(8, 8)),
    *(("published", Maze(size, size, coordinates=True)) for size in (5, 8, 10, 20, 30)),
]


def source_of(name: str, env: Maze) -> StreamSource:
    dialect, splits = load_dialect(name, env, max(99, env.largest_number), True), make_splits(env, 0.1, 0.0)
    return StreamSource(env, AStar(1), View(plan=True), dialect, splits, 100_000, 0, max_nodes=4 * env.num_cells + 1)


def rates(name: str, env: Maze, rounds: int) -> tuple[float, float, float]:
    """Return streams/s of the package, of the oracle, and the median ratio, by CPU time."""
    source, rng, ours, theirs = source_of(name, env), random.Random(0), [], []
    source.fill(0, 100)
    many, few = (2000, 20) if env.width >= 20 else (10_000, 200)
    for _ in range(rounds):
        start = time.process_time()
        for first in range(0, many, 1000):
            source.fill(first, first + 1000)
        ours.append(many / (time.process_time() - start))
        start = time.process_time()
        for _ in range(few):
            maze = naive.draw(rng, env.width, env.height)
            found = naive.search(maze)
            " ".join([naive.prompt(maze), naive.trace(maze, found), naive.plan(naive.way(found))])
        theirs.append(few / (time.process_time() - start))
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    return statistics.median(ours), statistics.median(theirs), statistics.median(ratios)


def off_plan(env: Maze, num: int) -> tuple[float, float]:
    """Return the share of closed cells that are not on the plan, and of searches that have none."""
    closed = wasted = clean = 0
    for row in sample_problems(env, make_splits(env, 0.1, 0.0), "val", num):
        trace = run_search(AStar(1), env, row, 4 * env.num_cells + 1)
        closes = int((trace.events[:, KIND] == Event.EXPAND).sum())
        off = closes - int(trace.events[-2, 3]) - 1
        closed, wasted, clean = closed + closes, wasted + off, clean + (off == 0)
    return wasted / closed, clean / num


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arrays", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    for name, env in CASES:
        chunk = source_of(name, env).chunk(0, 2000)
        lengths = np.diff(chunk.offsets)
        low, high, most = np.percentile(lengths, [50, 95, 99]).astype(int)
        print(
            f"{name} {env.width}x{env.height}: {lengths.mean():.0f} tokens, median {low}, p95 {high}, p99 {most}",
            end="",
        )
        off, clean = off_plan(env, 400)
        print(f", most {lengths.max()}; {off:.0%} of the closed cells off the plan, none in {clean:.0%}", flush=True)
        ours, theirs, ratio = rates(name, env, options.rounds)
        print(f"  {ours:,.0f} streams/s, the oracle {theirs:,.0f}, ratio {ratio:,.0f}", flush=True)
    for name, env in DIALECTS:
        print(f"{name}: {hostile(name, env, options.arrays // len(DIALECTS), seed=1)}", flush=True)


if __name__ == "__main__":
    main()
