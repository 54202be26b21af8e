"""The published mixture, problem to `sos` tokens, beside the published generator in the same minutes, on one core.

Run `python tests/bench/published.py --peer FOLDER`, where FOLDER holds `src/*.py` of kanishkg/stream-of-search. Its loop is repeated
here without what is no part of a trace: the ratings and the counting of tokens. Both make training problems
of 4 numbers and search each with one of the twelve strategies; ours also writes token ids. Times are CPU times, the two
take turns, and the medians are compared.
"""

from __future__ import annotations

import argparse
import importlib
import random
import statistics
import sys
import time
import types
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from core import mixture_source

from sos.envs.countdown.rules import Countdown


def peer_loop(folder: Path) -> Callable[[int], int]:
    """Return a function that makes that many traces by the published code and returns their characters."""
    sys.path.insert(0, str(folder))
    sys.modules.setdefault("tiktoken", types.ModuleType("tiktoken"))  # it counts tokens only
    countdown, dfs, bfs, utils = (
        importlib.import_module(name) for name in ("countdown", "countdown_dfs", "countdown_bfs", "countdown_utils")
    )
    random.seed(0)
    targets = list(range(10, 101))
    random.shuffle(targets)
    targets = targets[len(targets) // 10 :]

    def make(num: int) -> int:
        characters = 0
        for _ in range(num):
            problem: Any = countdown.CountDown(100, 4)
            target = random.choice(targets)
            numbers, solution = problem.generate(target)
            characters += len(problem.convert_to_path(target, numbers, solution))
            heuristic = random.choice([utils.sum_heuristic, utils.mult_heuristic])
            if random.choice([True, False]):
                text = dfs.dfs(target, numbers, heuristic=heuristic, threshold=target)
            else:
                text = bfs.bfs(target, numbers, random.choice([1, 2, 3, 4, 5]), heuristic=heuristic)
            characters += len(text)
        return characters

    return make


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--peer-traces", type=int, default=300)
    parser.add_argument("--traces", type=int, default=20_000)
    parser.add_argument("--chunk", type=int, default=500)
    options = parser.parse_args()
    peer = peer_loop(options.peer)
    source = mixture_source(Countdown())
    starts = count(0, options.chunk)

    def ours(num: int) -> int:
        return sum(
            len(source.fill(start, start + options.chunk).tokens)
            for start, _ in zip(starts, range(0, num, options.chunk), strict=False)
        )

    rates: dict[str, list[float]] = {"published": [], "sos": []}
    for k in range(options.rounds + 1):
        for name, make, num in (("published", peer, options.peer_traces), ("sos", ours, options.traces)):
            begin = time.process_time()
            size = make(num)
            rate = num / (time.process_time() - begin)
            if k > 0:  # the first round compiles and warms up
                rates[name].append(rate)
                unit = "characters" if name == "published" else "tokens"
                print(f"{name:10} {rate:10,.0f} traces/s, {size / num:,.0f} {unit}/trace", flush=True)
    ratios = [b / a for a, b in zip(*rates.values(), strict=True)]
    ours_rate, peer_rate = (statistics.median(rates[name]) for name in ("sos", "published"))
    print(
        f"medians {ours_rate:,.0f} and {peer_rate:,.0f} traces/s: {ours_rate / peer_rate:,.0f} times "
        f"({min(ratios):,.0f} to {max(ratios):,.0f} in the rounds)"
    )


if __name__ == "__main__":
    main()
