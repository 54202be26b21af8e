"""Which formulas have a solution, by our solver, by our search and by python-sat (`pip install python-sat`)."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from formulas import problems_of, search_of
from sizes import plain

from sos.data.splits import EITHER
from sos.envs.problems import which_solvable
from sos.envs.sat.rules import HEURISTICS, Sat
from sos.search.run import run_search
from sos.stream.verify import verify

ENVS = [
    Sat(3, 6, 2.6, 8, -1.0),
    Sat(5, 6, 5.0, 8, -1.0),
    Sat(8, 12, 4.3, 15, -1.0),
    Sat(18, 20, 4.3, 30, -1.0),
    Sat(20, 20, 5.5, 20, -1.0),
    Sat(15, 20, 3.0, 20, -1.0),
]
EASY = 3  # of them every heuristic searches


def compare(num: int) -> Counter[bool]:
    """Compare `num` formulas of all sizes; return how many have a solution and have none."""
    solvers = pytest.importorskip("pysat.solvers")
    counts = Counter[bool]()
    for k, env in enumerate(ENVS):
        rows = problems_of(env, num // len(ENVS) + 1, solvable=EITHER)
        found = which_solvable(env, rows)
        for r, row in enumerate(rows):
            clauses = env.clauses(row)
            with solvers.Solver(name="cadical153", bootstrap_with=clauses) as solver:
                assert solver.solve() == found[r]
            kind = HEURISTICS[r % 4] if k < EASY else HEURISTICS[1 + r % 3]
            verdict = verify(env, run_search(search_of(kind, 100_000), env, row, 100_000))
            assert verdict.solved
            assert verdict.refuted != found[r]
            assert not verdict.errors.any()
            counts[bool(found[r])] += 1
    return counts


def test_our_answers_are_those_of_a_solver() -> None:
    counts = compare(plain(600, 12))
    assert sum(counts.values()) >= plain(600, 12)
    assert min(counts.values()) > plain(100, 0)


@pytest.mark.slow
def test_our_answers_are_those_of_a_solver_on_ten_thousand_formulas() -> None:
    counts = compare(10_000)
    assert sum(counts.values()) >= 10_000
    assert min(counts.values()) > 2_000


def test_the_model_of_a_search_is_one() -> None:
    env, tried = ENVS[3], 0
    for row in problems_of(env._replace(satisfiable=1.0), plain(50, 1)):
        trace = run_search(search_of("frequent"), env, row, 5000)
        true, false = (int(n) for n in trace.states[trace.events[-2, 2]])
        literals = {v for v in range(31) if true >> v & 1} | {-v for v in range(31) if false >> v & 1}
        assert all(literals & set(clause) for clause in env.clauses(row))
        assert not np.bitwise_and(true, false)
        tried += 1
    assert tried == plain(50, 1)
