"""Mazes beside the published generator, and proper Sudoku puzzles beside reasoning-gym's, in the same minutes, one core.

Run `python tests/bench/peers.py [--searchformer FOLDER] [--rounds 5]`, where FOLDER holds `searchformer/*.py` of
facebookresearch/searchformer; Sudoku needs `pip install reasoning-gym`. The two sides take turns, in CPU time; a figure
is the median over the rounds.

Mazes: draws, A* in its deterministic mode and tokens, by the published classes in the loop of the published `generate`,
without its database, a trace for each layout of walls. Ours writes token ids of the same words.

Sudoku: puzzles from which no clue can go, which is what its generator leaves when it is asked for more empty cells than
there can be. It has classes for 4x4 and 9x9; a 6x6 puzzle is compared with a 9x9 one.
"""

from __future__ import annotations

import argparse
import importlib
import random
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

from maze import source_of
from sudoku_grids import problems_of

from sos.envs.maze.rules import Maze
from sos.envs.sudoku.rules import Sudoku

# What the published files import and its searches do not use.
UNUSED = ("bson", "bson.objectid", "click", "gridfs", "pandas", "pymongo", "pymongo.collection", "pymongo.database")
UNUSED_FILES = ("rollout", "train", "utils", "plot")


def compared(ours: Callable[[int], Any], theirs: Callable[[int], Any], many: int, few: int, rounds: int) -> str:
    """Return how many a second each side makes, and the ratio. The first round warms up and is left out."""
    rates: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds + 1):
        for found, make, num in zip(rates, (ours, theirs), (many, few), strict=True):
            start = time.process_time()
            make(num)
            if number:
                found.append(num / (time.process_time() - start))
    ratios = [a / b for a, b in zip(*rates, strict=True)]
    our_rate, their_rate = (statistics.median(found) for found in rates)
    return (
        f"{our_rate:,.0f}/s beside {their_rate:,.1f}/s, {statistics.median(ratios):,.0f} times "
        f"({min(ratios):,.0f} to {max(ratios):,.0f})"
    )


def published_mazes(folder: Path, size: int) -> Callable[[int], int]:
    """Return a function that makes so many traces by the published code, and returns their tokens."""
    sys.path.insert(0, str(folder))
    for name in (*UNUSED, *(f"searchformer.{file}" for file in UNUSED_FILES)):
        sys.modules.setdefault(name, MagicMock())
    published = importlib.import_module("searchformer.maze")
    failed = importlib.import_module("searchformer.astar").AStarCannotSolveTaskException
    tokenizer = published.SimpleMazeTokenizer(size, size)
    random.seed(0)

    def one() -> Any:
        indices = list(range(size * size))
        random.shuffle(indices)
        num = random.randint(len(indices) // 10 * 3, len(indices) // 10 * 5)
        walls, free = sorted(indices[:num]), indices[num:]
        for _ in range(100):
            random.shuffle(free)
            try:
                trace = published.MazeTrace.from_int_seq([size, size, *free[:2], *walls], True)
            except failed:
                continue
            if len(trace.plan) >= size:
                return trace
        return None

    def make(num: int) -> int:
        made = tokens = 0
        while made < num:
            trace = one()
            if trace is not None:
                told = tokenizer(trace)
                tokens += len(told.prompt) + len(told.reasoning) + len(told.plan)
                made += 1
        return tokens

    return make


def our_mazes(size: int) -> Callable[[int], int]:
    source, at = source_of("published", Maze(size, size, coordinates=True)), [0]

    def make(num: int) -> int:
        tokens = 0
        for start in range(at[0], at[0] + num, 500):
            tokens += len(source.fill(start, start + 500).tokens)
        at[0] += num
        return tokens

    return make


def gym_puzzles(size: int) -> Callable[[int], Any] | None:
    """Return a function that makes so many puzzles by reasoning-gym; None where it is not installed."""
    try:
        from reasoning_gym.games.mini_sudoku import MiniSudokuConfig, MiniSudokuDataset
        from reasoning_gym.games.sudoku import SudokuConfig, SudokuDataset
    except ImportError:
        return None
    made = MiniSudokuDataset(MiniSudokuConfig(seed=0)) if size == 4 else SudokuDataset(SudokuConfig(seed=0))
    rng, every = random.Random(0), made._generate_solved_board(random.Random(0))

    def make(num: int) -> None:
        for _ in range(num):
            made._create_puzzle(made._generate_solved_board(rng), len(every) ** 2, rng)

    return make


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--searchformer", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    for size, many, few in ((10, 5000, 20), (20, 2000, 10), (30, 1000, 10)) if options.searchformer else ():
        theirs = published_mazes(options.searchformer, size)
        print(f"mazes {size}x{size}: {compared(our_mazes(size), theirs, many, few, options.rounds)}", flush=True)
    for size, many, few in ((4, 4000, 40), (6, 2000, 2), (9, 300, 2)):
        puzzles = gym_puzzles(size)
        if puzzles is None:
            print("reasoning-gym is not installed")
            return
        env = Sudoku(size, 0, 0)
        found = compared(lambda num: problems_of(env, num), puzzles, many, few, options.rounds)  # noqa: B023
        print(f"minimal Sudoku {size}x{size}: {found}", flush=True)


if __name__ == "__main__":
    main()
