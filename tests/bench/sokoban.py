"""Sokoban beside its plain-Python oracle: problem to tokens.

Run `python tests/bench/sokoban.py [--rounds 5]`. Both sides draw, search and write in turns, in CPU time; the ratio is the
median over the rounds. Of the streams is said how long they are, and how many dead ends a search tells.
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

from naive import sokoban as naive

from sos.data.splits import make_splits, sample_problems
from sos.data.streams import StreamSource
from sos.envs.sokoban.rules import Sokoban
from sos.search import AStar, mixture  # noqa: F401 (it registers how one strategy of several is chosen)
from sos.search.run import run_search
from sos.stream.codec import encode
from sos.stream.dialect.compile import load_dialect
from sos.stream.viewing import view_trace
from sos.stream.views import View
from sos.trace import KIND, Event

CASES = [
    Sokoban(6, 6, 2, 1, 3, pushes=True, show_dead_ends=True),
    Sokoban(7, 7, 2, 2, 2, pushes=True, show_dead_ends=True),
    Sokoban(6, 6, 1, 1, 1),
]


def source_of(env: Sokoban) -> StreamSource:
    dialect, splits = load_dialect("compact", env, env.largest_number, True), make_splits(env, 0.1, 0.0)
    return StreamSource(env, AStar(1), View(plan=True), dialect, splits, 100_000, 0, max_nodes=4000)


def by_oracle(env: Sokoban, rng: random.Random) -> None:
    """Draw a level that has a solution, search it, and tell it in words; pushes are searched breadth first."""
    options = {"pushes": env.pushes, "open_docks": env.open_docks, "show_dead_ends": env.show_dead_ends}
    while True:
        walls = rng.randint(env.min_walls, env.max_walls)
        try:
            level = naive.draw(rng, env.width, env.height, walls, env.boxes, **options)
        except ValueError:  # the walls left no room for the boxes
            continue
        if naive.optimum(level) > 0:
            break
    if not env.pushes:
        places = naive.Places(level)
        found = naive.search(places)
        " ".join([naive.prompt(level), naive.trace(level, found, places)])


def rates(env: Sokoban, rounds: int) -> tuple[float, float, float]:
    """Return streams/s of the package, of the oracle, and the median ratio, by CPU time."""
    source, rng, ours, theirs = source_of(env), random.Random(0), [], []
    source.fill(0, 100)
    many, few = 3000, 20
    for _ in range(rounds):
        start = time.process_time()
        for first in range(0, many, 1000):
            source.fill(first, first + 1000)
        ours.append(many / (time.process_time() - start))
        start = time.process_time()
        for _ in range(few):
            by_oracle(env, rng)
        theirs.append(few / (time.process_time() - start))
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    return statistics.median(ours), statistics.median(theirs), statistics.median(ratios)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    for env in CASES:
        dialect, lengths, dead = load_dialect("compact", env, env.largest_number, True), [], []
        for row in sample_problems(env, make_splits(env, 0.1, 0.0), "val", 1000):
            trace = run_search(AStar(1, max_nodes=4000), env, row, 20_000)
            lengths.append(len(encode(dialect, view_trace(View(plan=True), env, trace))[0]))
            dead.append(int((trace.events[:, KIND] == Event.DEAD_END).sum()))
        ours, theirs, ratio = rates(env, options.rounds)
        said = ", ".join(f"{value:.0f}" for value in np.percentile(lengths, [50, 95, 100]))
        print(
            f"{env.describe()}, {'pushes' if env.pushes else 'steps'}: tokens {said}; dead ends {np.mean(dead):.1f} a search; "
            f"{ours:,.0f} streams/s, {ratio:.0f} times the oracle's {theirs:,.1f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
