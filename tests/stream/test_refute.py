"""An exhausted search is a proof that there is no solution, or it is not."""

from __future__ import annotations

from collections import Counter
from itertools import permutations

import numpy as np
from damaged_streams import damaged
from drivers import all_searches, random_problem, run_search
from naive.search import OPERATORS, legal
from sizes import INTERPRETED, plain

from sos.envs import protocol
from sos.envs.countdown.rules import Countdown
from sos.search import DepthFirst
from sos.stream.refute import refutes
from sos.trace import KIND, NODE, Event, Outcome, Trace

ENV = Countdown(num_numbers=3, max_number=12, max_target=90, max_value=150)
COMPLETE = DepthFirst(heuristic=0, use_threshold=False, skip_seen=False, max_nodes=10_000)


def has_solution(problem: list[int]) -> bool:
    return bool(protocol.solvable(ENV, np.array(problem, np.int32), ENV.proof_work()))


def unsolvable(rng: np.random.Generator) -> list[int]:
    while True:
        problem = random_problem(rng, ENV)
        if not has_solution(problem):
            return problem


def test_a_whole_search_of_a_problem_without_solution_refutes_it() -> None:
    rng, tried = np.random.default_rng(0), 0
    for _ in range(plain(30, 2)):
        problem = unsolvable(rng)
        for skip_seen in (False, True):
            trace = run_search(COMPLETE._replace(skip_seen=skip_seen), ENV, problem)
            assert trace.outcome == Outcome.EXHAUSTED
            assert refutes(ENV, trace)
            tried += 1
    assert tried == 2 * plain(30, 2)


def test_what_refutes_a_problem_is_never_wrong() -> None:
    """No search of any kind, whole or damaged, refutes a problem that has a solution; a search that prunes seldom does."""
    rng, counts = np.random.default_rng(1), Counter[tuple[bool, bool]]()
    for _ in range(plain(40, 2)):
        problem = random_problem(rng, ENV)
        solvable = has_solution(problem)
        for _, strategy in all_searches():
            trace = run_search(strategy, ENV, problem)
            for one in (trace, *(damaged(rng, trace) for _ in range(5))):
                refuted = refutes(ENV, one)
                if refuted and one is not trace:  # the damage may be to the problem's neighbours only
                    assert np.array_equal(one.problem, trace.problem)
                assert not (refuted and solvable)
                counts[solvable, refuted] += 1
    assert min(counts[True, False], counts[False, True], counts[False, False]) > 0 or INTERPRETED


def reachable(problem: list[int]) -> set[tuple[int, ...]]:
    """Return the numbers of every state that actions lead to from a problem, sorted."""
    start = tuple(sorted(problem[2:]))
    found, left = {start}, [start]
    while left:
        numbers = left.pop()
        for i, j in permutations(range(len(numbers)), 2):
            rest = [n for k, n in enumerate(numbers) if k not in (i, j)]
            for operator in OPERATORS:
                result = legal(numbers[i], operator, numbers[j], ENV.max_value)
                child = tuple(sorted([*rest, result or 0]))
                if result is not None and child not in found:
                    found.add(child)
                    left.append(child)
    return found


def test_a_hole_in_the_search_is_no_proof() -> None:
    rng, counts = np.random.default_rng(2), Counter[bool]()
    for _ in range(plain(30, 2)):
        problem = unsolvable(rng)
        trace = run_search(COMPLETE, ENV, problem)
        assert not refutes(ENV, run_search(COMPLETE._replace(max_nodes=2), ENV, problem))
        everything = reachable(problem)
        for back in np.flatnonzero((trace.events[:, KIND] == Event.BACKTRACK) & (trace.events[:, NODE] == 0)):
            # The search stops where it would return to the root, as if it were through.
            events = np.concatenate([trace.events[:back], trace.events[-1:]])
            kept = 1 + int((events[:, KIND] == Event.GENERATE).sum())
            told = {tuple(sorted(row[1 : 1 + row[0]].tolist())) for row in trace.states[:kept]}
            refuted = refutes(ENV, Trace(trace.problem, events, trace.nodes[:kept], trace.states[:kept]))
            assert refuted == (told >= everything)
            counts[refuted] += 1
    assert counts[False] > plain(100, 5)
