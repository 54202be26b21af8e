"""3-SAT: how fast problems become tokens, and decisions are made, beside the oracle and python-sat; damaged streams.

Run `python tests/bench/sat.py [--arrays 100000] [--rounds 5] [--formulas 10000]`. Rates are medians over the rounds, by
CPU second of one core. The oracle searches and writes the same problems, which it does not draw. python-sat is called once per
formula, as one calls it for instances: a solver is made, solves, and says how many decisions it took.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from envs.test_sat_peer import compare
from envs.test_sat_streams import hostile
from formulas import problems_of, search_of
from naive import sat as naive

from sos.data.splits import EITHER, make_splits
from sos.data.streams import StreamSource
from sos.envs.sat.rules import HEURISTICS, Sat
from sos.search import mixture  # noqa: F401 (it registers how one strategy of several is chosen)
from sos.search.rows import Drawn, Searcher
from sos.stream.dialect.compile import load_dialect
from sos.stream.views import View
from sos.trace import DEAD_END, FLAGS, FORCED_FLAG, GENERATE, KIND

ENVS = (Sat(5, 5, 5.0, 8), Sat(8, 8, 4.3, 12), Sat(20, 20, 4.3, 20))
CHUNK, MOST = 200, 20_000


def streams(env: Sat, kind: str, dialect_name: str, rounds: int) -> str:
    """Return what a kind of search makes of problems, and how fast: drawn, searched and written."""
    dialect, splits = load_dialect(dialect_name, env, 90), make_splits(env, 0.1, 0.0)
    source = StreamSource(env, search_of(kind, MOST), View(), dialect, splits, 60_000, 0, max_nodes=MOST)
    source.fill(0, 2)
    rates = []
    for number in range(rounds):
        start = time.process_time()
        chunk = source.chunk(CHUNK * number, CHUNK * (number + 1))
        rates.append(CHUNK / (time.process_time() - start))
    few = problems_of(env, 3 if env.max_variables > 10 else 20)
    start = time.process_time()
    for row in few:
        naive.text(env.clauses(row), kind, dialect_name)
    theirs = len(few) / (time.process_time() - start)
    sizes = np.diff(chunk.offsets) - chunk.prompts
    ours = statistics.median(rates)
    return (
        f"{ours:,.0f} streams/s, {ours / theirs:,.0f} times the oracle's search; tokens behind the prompt median "
        f"{np.median(sizes):.0f}, p95 {np.percentile(sizes, 95):.0f}, prompt {chunk.prompts.max()}"
    )


def decisions(kind: str, rounds: int) -> str:
    """Return how many moves, and how many decisions among them, are made each second at 20 variables, ratio 4.3."""
    env = Sat(20, 20, 4.3, 20, -1.0)
    problems = problems_of(env, 500, solvable=EITHER)
    drawn = Drawn(0, problems, np.arange(len(problems)), np.zeros(len(problems), np.int32))
    searcher, times = Searcher(env, search_of(kind, MOST), MOST), []
    searcher.search(Drawn(0, problems[:1], drawn.indices[:1], drawn.choices[:1]))
    for _ in range(rounds):
        start = time.process_time()
        rows, num, _ = searcher.search(drawn)
        times.append(time.process_time() - start)
    events = rows.events[: rows.offsets[num, 0]]
    moves = int((events[:, KIND] == GENERATE).sum())
    guesses = int(((events[:, KIND] == GENERATE) & (events[:, FLAGS] & FORCED_FLAG == 0)).sum())
    dead, seconds = int((events[:, KIND] == DEAD_END).sum()), statistics.median(times)
    return (
        f"{num / seconds:,.0f} formulas/s, {moves / seconds:,.0f} moves/s, {guesses / seconds:,.0f} decisions/s "
        f"({guesses / num:.1f} decisions and {dead / num:.1f} dead ends a formula)"
    )


def theirs(rounds: int) -> str:
    """Return the same of python-sat's solvers."""
    try:
        from pysat.solvers import Solver
    except ImportError:
        return "python-sat is not installed"
    env, found = Sat(20, 20, 4.3, 20, -1.0), []
    formulas = [env.clauses(row) for row in problems_of(env, 500, solvable=EITHER)]
    for name in ("minisat22", "glucose4", "cadical153"):
        times, made = [], 0
        for _ in range(rounds):
            start, made = time.process_time(), 0
            for clauses in formulas:
                with Solver(name=name, bootstrap_with=clauses) as solver:
                    solver.solve()
                    made += (solver.accum_stats() or {}).get("decisions", 0)
            times.append(time.process_time() - start)
        seconds = statistics.median(times)
        found.append(f"{name} {len(formulas) / seconds:,.0f} formulas/s, {made / seconds:,.0f} decisions/s")
    return "; ".join(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arrays", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--formulas", type=int, default=10_000)
    options = parser.parse_args()
    for env in ENVS:
        for kind in HEURISTICS[(env.max_variables > 10) :]:
            print(f"{env} {kind} checked: {streams(env, kind, 'checked', options.rounds)}", flush=True)
    for kind in HEURISTICS[1:]:
        print(f"20 variables, {kind}: {decisions(kind, options.rounds)}", flush=True)
    print(f"python-sat: {theirs(options.rounds)}", flush=True)
    print(
        f"{options.formulas} formulas beside python-sat (has a solution: how many): {compare(options.formulas)}",
        flush=True,
    )
    print(f"{options.arrays} damaged streams: {hostile(options.arrays, seed=1)}", flush=True)


if __name__ == "__main__":
    main()
