"""Problem to tokens, each environment, beside its oracle in plain Python, in the same minutes, on one core.

Run `python tests/bench/oracles.py [ENVIRONMENT ...] [--rounds 5]`. Both sides search the same problems and write what is
found: ours as token ids, the oracle as words, by the settings of `conf/experiment` (Countdown: the published wording
with 4 numbers). Neither draws the problems; what drawing takes on our side is said apart. The two take turns, in CPU
time; the ratio is the median over the rounds.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

from hand_made_levels import level_of
from naive import a_star, layered, maze, path_star, sat, search, sokoban, sudoku
from sudoku_grids import grid_of

from sos.compose import compose
from sos.data.streams import Writer
from sos.data.traces import TraceSource
from sos.system import build_system

CHUNK = 500


class Case(NamedTuple):
    """What is compared."""

    overrides: tuple[str, ...]
    tell: Callable[[Any, Any], str]  # (environment, problem as a row) -> the stream's text, by the oracle
    many: int = 10_000
    few: int = 100


def _countdown(env: Any, row: Any) -> str:
    return search.published_text(row[2:].tolist(), int(row[0]), "sum")


def _path_star(env: Any, row: Any) -> str:
    return path_star.text(path_star.problem_of(row.tolist()))


def _layered(env: Any, row: Any) -> str:
    graph = layered.graph_of(row.tolist())
    rules = a_star.Rules(
        lambda cost, place: cost, lambda node, place: (place, node), lambda node, num: list(range(num))
    )
    found = a_star.a_star(graph, rules)
    words = [f"{a} {b} {cost}" for a, b, cost in graph.edges]
    words += [f"{found.nodes[node][2]} {found.nodes[node][3]}" for _, node, _ in found.events]
    node, way = found.events[-2][1], []
    while node >= 0:
        way.append(str(found.nodes[node][2]))
        node = found.nodes[node][0]
    return " ".join([*words, *way[::-1]])


def _maze(env: Any, row: Any) -> str:
    grid = maze.maze_of(row.tolist(), env.width, env.height, env.coordinates)
    found = maze.search(grid)
    return " ".join([maze.prompt(grid), maze.trace(grid, found), maze.plan(maze.way(found))])


def _sat(env: Any, row: Any) -> str:
    return sat.text(env.clauses(row), "unit", "checked")


def _sokoban(env: Any, row: Any) -> str:
    level = level_of(env, row)
    places = sokoban.Places(level)
    found = sokoban.search(places)
    return " ".join([sokoban.prompt(level), sokoban.trace(level, found, places)])


def _sudoku(env: Any, row: Any) -> str:
    return sudoku.text(grid_of(row), "none")


CASES = {
    "countdown": Case(("env=countdown_paper", "stream=sos", "search=dfs_paper", "data.context=4096"), _countdown),
    "path_star": Case(("experiment=path_star",), _path_star, few=1000),
    "layered": Case(("experiment=layered",), _layered),
    "sudoku": Case(("experiment=sudoku",), _sudoku),
    "maze": Case(("experiment=maze",), _maze),
    "sat": Case(("experiment=sat",), _sat),
    "sokoban": Case(("experiment=sokoban",), _sokoban, many=2000, few=10),
}


def compared(case: Case, rounds: int) -> str:
    """Return a line of figures; a round with other problems comes first and is left out."""
    config = compose(list(case.overrides))
    system = build_system(config)
    traces = TraceSource(system.env, system.strategy, system.splits, 0, max_nodes=system.max_nodes)
    writer = Writer(
        system.env,
        system.view,
        system.dialect,
        context=system.context,
        max_nodes=system.max_nodes,
        seed=0,
        order=traces.order,
    )
    ours, theirs, draws, ratios = [], [], [], []
    for number in range(rounds + 1):
        drawing = writing = tokens = 0.0
        for first in range(number * case.many, (number + 1) * case.many, CHUNK):
            start = time.process_time()
            drawn = traces.sample(first, first + CHUNK)
            middle = time.process_time()
            tokens += len(writer.write(*traces.search(drawn))[0].tokens)
            drawing, writing = drawing + middle - start, writing + time.process_time() - middle
        problems = drawn.problems[: case.few].copy()
        start = time.process_time()
        for row in problems:
            case.tell(system.env, row)
        slow = len(problems) / (time.process_time() - start)
        if number:
            ours.append(case.many / writing)
            draws.append(drawing / (drawing + writing))
            theirs.append(slow)
            ratios.append(ours[-1] / slow)
    return (
        f"{statistics.median(ours):,.0f} streams/s of {tokens / case.many:.0f} tokens, the oracle "
        f"{statistics.median(theirs):,.1f}: {statistics.median(ratios):,.0f} times ({min(ratios):,.0f} to {max(ratios):,.0f}); "
        f"drawing is {statistics.median(draws):.0%} of our time from a problem's number to tokens"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("environments", nargs="*", default=list(CASES), metavar="ENVIRONMENT")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    for name in options.environments:
        print(f"{name}: {compared(CASES[name], options.rounds)}", flush=True)


if __name__ == "__main__":
    main()
