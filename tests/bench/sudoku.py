"""Sudoku: how fast problems are drawn and written, what each kind of search makes of them, and damaged streams.

Run `python tests/bench/sudoku.py [--arrays 100000] [--rounds 5]`. Rates are medians over the rounds, of one core; the
oracle searches the same problems, which it does not draw. Tokens are those of the search, without its prompt.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from envs.test_sudoku_streams import hostile
from naive import sudoku as naive
from sudoku_grids import grid_of, problems_of, search_of

from sos.data.splits import make_splits
from sos.data.streams import StreamSource
from sos.envs.sudoku.rules import HEURISTICS, Sudoku
from sos.search import mixture  # noqa: F401 (it registers how one strategy of several is chosen)
from sos.stream.dialect.compile import load_dialect
from sos.stream.views import View

ENVS = (Sudoku(4, 4, 6), Sudoku(6, 10, 12), Sudoku(6, 12, 14), Sudoku(9, 28, 32), Sudoku(9, 0, 0))
CHUNK = 500


def draws(env: Sudoku, rounds: int) -> float:
    """Return problems/s: drawn, proven solvable, and of the split."""
    problems_of(env, 1)
    found = []
    for _ in range(rounds):
        start = time.perf_counter()
        problems_of(env, CHUNK)
        found.append(CHUNK / (time.perf_counter() - start))
    return statistics.median(found)


def streams(env: Sudoku, kind: str, rounds: int) -> str:
    """Return what a kind of search makes of problems, and how fast."""
    dialect, splits = load_dialect("compact", env, 109), make_splits(env, 0.1, 0.0)
    source = StreamSource(env, search_of(kind, 4000), View(), dialect, splits, 20_000, 0, max_nodes=8000)
    source.fill(0, 2)
    rates, theirs = [], []
    for number in range(rounds):
        start = time.perf_counter()
        chunk = source.chunk(CHUNK * number, CHUNK * (number + 1))
        rates.append(CHUNK / (time.perf_counter() - start))
    few = problems_of(env, 3)
    start = time.perf_counter()
    for row in few:
        naive.text(grid_of(row), kind)
    theirs.append(len(few) / (time.perf_counter() - start))
    dead = dialect.vocab.ids["x"]
    bodies = [
        chunk.tokens[a + prompt : b]
        for a, b, prompt in zip(chunk.offsets, chunk.offsets[1:], chunk.prompts, strict=False)
    ]
    sizes, mistakes = [len(body) for body in bodies], [int((body == dead).sum()) for body in bodies]
    return (
        f"{statistics.median(rates):,.0f} streams/s (the oracle's search {theirs[0]:,.1f}), tokens median "
        f"{np.median(sizes):.0f}, p95 {np.percentile(sizes, 95):.0f}, dead ends {np.median(mistakes):.0f} and "
        f"{np.percentile(mistakes, 95):.0f}, without one {np.mean(np.array(mistakes) == 0):.0%}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arrays", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    for env in ENVS:
        print(f"{env}: {draws(env, options.rounds):,.0f} problems/s", flush=True)
        for kind in HEURISTICS[(env.size == 9) :]:
            print(f"  {kind}: {streams(env, kind, options.rounds)}", flush=True)
    print(f"{options.arrays} damaged streams: {hostile(options.arrays, seed=1)}")


if __name__ == "__main__":
    main()
