"""Path-star beside its plain-Python oracle: problem to tokens, and damaged streams.

Run `python tests/bench/path_star.py [--arrays 100000] [--rounds 7]`. Both sides draw, search and write in turns; the
ratio is the median over the rounds. Of the arrays is said how many came out solved, unsolved and without a problem.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from envs.test_path_star import SEARCH, hostile
from naive import path_star as naive

from sos.data.splits import make_splits
from sos.data.streams import StreamSource
from sos.envs.path_star.rules import PathStar
from sos.search import mixture  # noqa: F401 (it registers how one strategy of several is chosen)
from sos.stream.dialect.compile import load_dialect
from sos.stream.views import View

FEW, MANY = 300, 20_000


def rates(env: PathStar, rounds: int) -> tuple[float, float, float]:
    """Return streams/s of the package, of the oracle, and the median ratio."""
    dialect, splits = load_dialect("compact", env, 199), make_splits(env, 0.1, 0.0)
    source = StreamSource(env, SEARCH, View(), dialect, splits, 100_000, 0, max_nodes=2000)
    source.fill(0, 100)
    rng, ours, theirs = random.Random(0), [], []
    for _ in range(rounds):
        start = time.perf_counter()
        for first in range(0, MANY, 1000):
            source.fill(first, first + 1000)
        ours.append(MANY / (time.perf_counter() - start))
        start = time.perf_counter()
        for _ in range(FEW):
            naive.text(naive.draw(rng, *env))
        theirs.append(FEW / (time.perf_counter() - start))
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    return statistics.median(ours), statistics.median(theirs), statistics.median(ratios)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arrays", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    for env in (PathStar(4, 4, 30), PathStar(4, 5, 50), PathStar(20, 5, 120)):
        ours, theirs, ratio = rates(env, options.rounds)
        print(f"{env}: {ours:,.0f} streams/s, the oracle {theirs:,.0f}, ratio {ratio:,.0f}", flush=True)
    print(f"{options.arrays} damaged streams: {hostile(options.arrays, seed=1)}")


if __name__ == "__main__":
    main()
