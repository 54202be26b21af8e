"""Depth-first search, event for event against the naive oracle."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from drivers import random_problem, readable, run_search, search_kernel
from naive import search as naive
from places import GOLDEN
from sizes import INTERPRETED, plain, some

from sos.envs.countdown.heuristics import BY_OPERATOR, HEURISTICS, SIZE
from sos.envs.countdown.rules import Countdown
from sos.search.depth_first import DepthFirst
from sos.search.work import new_work
from sos.trace import ACTION, KIND, VALUE, Event, Outcome, Status, Trace, new_buffer

ENVS = {
    2: Countdown(num_numbers=2, max_number=20),
    3: Countdown(num_numbers=3),
    4: Countdown(num_numbers=4, max_number=30),
    5: Countdown(num_numbers=5, max_number=12, max_value=200),
}


def naive_rows(strategy: DepthFirst, env: Countdown, problem: list[int]):
    found = naive.depth_first(
        problem[2:],
        problem[0],
        heuristic_name=HEURISTICS[strategy.heuristic],
        use_threshold=strategy.use_threshold,
        skip_seen=strategy.skip_seen,
        announce_leaves=strategy.announce_leaves,
        look_ahead=strategy.look_ahead,
        targets=range(env.min_target, env.max_target + 1) if strategy.skip_out_of_range else None,
        max_nodes=strategy.max_nodes,
        max_value=env.max_value,
        descending=env.descending,
    )
    return naive.as_rows(found, env.state_width)


def assert_same(strategy: DepthFirst, env: Countdown, problem: list[int]) -> Trace:
    trace = run_search(strategy, env, problem)
    events, nodes, states = naive_rows(strategy, env, problem)
    assert trace.events.tolist() == events
    assert trace.nodes.tolist() == nodes
    assert trace.states.tolist() == states
    return trace


@pytest.mark.parametrize("num_numbers", list(ENVS))
@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize(
    ("heuristic", "use_threshold"), [*product(range(3), (False, True)), (SIZE, False), (BY_OPERATOR, False)]
)
def test_every_event_agrees_with_the_oracle(
    num_numbers: int, heuristic: int, use_threshold: bool, descending: bool
) -> None:
    env = ENVS[num_numbers]._replace(descending=descending)
    rng = np.random.default_rng(num_numbers)
    outcomes = set()
    for skip_seen, announce_leaves, max_nodes in some(product((False, True), (False, True), (1, 5, 400)), 4):
        strategy = DepthFirst(heuristic, use_threshold, skip_seen, announce_leaves, max_nodes)
        for _ in range(plain({2: 6, 3: 6, 4: 3, 5: 2}[num_numbers], 1)):
            outcomes.add(assert_same(strategy, env, random_problem(rng, env)).outcome)
    for look_ahead, skip_seen, skip_out_of_range in some(product((0, 1, 2), (False, True), (False, True)), 4):
        strategy = DepthFirst(heuristic, use_threshold, skip_seen, True, 400, look_ahead, skip_out_of_range)
        for _ in range(plain({2: 6, 3: 6, 4: 3, 5: 2}[num_numbers], 1)):
            outcomes.add(assert_same(strategy, env, random_problem(rng, env)).outcome)
    assert outcomes >= {Outcome.SOLVED, Outcome.BUDGET} or num_numbers == 2 or INTERPRETED


@pytest.mark.parametrize("skip_out_of_range", [False, True])
@pytest.mark.parametrize("look_ahead", [0, 1, 2])
def test_what_is_not_written_keeps_the_search_exact(look_ahead: int, skip_out_of_range: bool) -> None:
    env = ENVS[3]
    rng = np.random.default_rng(4)
    strategy = DepthFirst(3, False, True, look_ahead=look_ahead, skip_out_of_range=skip_out_of_range)
    targets = range(env.min_target, env.max_target + 1)
    for _ in range(60):
        problem = random_problem(rng, env)
        trace = run_search(strategy, env, problem)
        assert (trace.outcome == Outcome.SOLVED) == naive.solvable(problem[2:], problem[0])
        dead_ends = trace.events[trace.events[:, KIND] == Event.DEAD_END, VALUE]
        assert len(dead_ends) == 0 or look_ahead == 0
        assert all(value in targets for value in dead_ends) or not skip_out_of_range


def test_limits_on_values_are_kept_where_the_numbers_exceed_them() -> None:
    env = Countdown(num_numbers=3, max_value=40)
    rng = np.random.default_rng(0)
    for _ in range(30):
        assert_same(DepthFirst(), env, random_problem(rng, env))


def test_the_budget_counts_expanded_nodes() -> None:
    env, problem = ENVS[4], [97, 4, 3, 5, 7, 9]
    whole = run_search(DepthFirst(0, False, max_nodes=1000), env, problem)
    num_expanded = int((whole.events[:, KIND] == Event.EXPAND).sum())
    assert whole.outcome != Outcome.BUDGET
    assert run_search(DepthFirst(0, False, max_nodes=num_expanded), env, problem).equals(whole)
    for max_nodes in range(1, num_expanded, plain(1, 30)):
        cut = run_search(DepthFirst(0, False, max_nodes=max_nodes), env, problem)
        assert cut.outcome == Outcome.BUDGET
        assert (cut.events[:, KIND] == Event.EXPAND).sum() == max_nodes
        body = cut.events[:-1]
        assert np.array_equal(body, whole.events[: len(body)])


def test_without_threshold_the_search_decides_solvability() -> None:
    env = ENVS[3]
    rng = np.random.default_rng(3)
    for _ in range(100):
        problem = random_problem(rng, env)
        trace = run_search(DepthFirst(0, use_threshold=False, skip_seen=True), env, problem)
        assert (trace.outcome == Outcome.SOLVED) == naive.solvable(problem[2:], problem[0])


def test_skipping_seen_states_never_generates_one_twice() -> None:
    trace = run_search(DepthFirst(0, False, skip_seen=True), ENVS[4], [1000, 4, 2, 2, 3, 3])
    canonical = [tuple(sorted(row[1 : 1 + row[0]])) for row in trace.states.tolist()]
    assert len(set(canonical)) == len(canonical)
    again = run_search(DepthFirst(0, False), ENVS[4], [1000, 4, 2, 2, 3, 3])
    assert len(again.nodes) > len(trace.nodes)


@pytest.mark.parametrize("max_events", [2, 9, 30])
def test_a_full_buffer_is_a_status(max_events: int) -> None:
    env, problem = ENVS[4], np.array([100, 4, 1, 2, 3, 4], np.int32)
    buffer = new_buffer(max_events, 2000, ACTION + env.action_width, env.state_width)
    assert search_kernel(DepthFirst(), env, problem, new_work(env, 2000), buffer) == Status.BUFFER_FULL
    buffer = new_buffer(2000, max_events, ACTION + env.action_width, env.state_width)
    assert search_kernel(DepthFirst(), env, problem, new_work(env, 2000), buffer) == Status.BUFFER_FULL
    buffer = new_buffer(2000, 2000, ACTION + env.action_width, env.state_width)
    unseen = DepthFirst(skip_seen=True)
    assert search_kernel(unseen, env, problem, new_work(env, max_events), buffer) == Status.BUFFER_FULL
    # The same work space still serves the next search.
    work = new_work(env, 2000)
    for _ in range(2):
        assert search_kernel(unseen, env, problem, work, buffer) == Status.OK


@pytest.mark.parametrize(
    ("name", "strategy", "target", "numbers"),
    [
        ("sum", DepthFirst(), 19, [4, 6, 9]),
        ("unseen_silent", DepthFirst(heuristic=2, skip_seen=True, announce_leaves=False), 24, [2, 2, 3, 4]),
        ("budget", DepthFirst(heuristic=0, use_threshold=False, max_nodes=4), 10, [5, 5, 5, 5]),
    ],
)
def test_golden_traces(name: str, strategy: DepthFirst, target: int, numbers: list[int], dialect_of) -> None:
    env = Countdown(num_numbers=len(numbers))
    trace = run_search(strategy, env, env.problem_row(target, numbers))
    assert readable(trace, dialect_of("compact", env, 9)) == (GOLDEN / f"depth_first_{name}.txt").read_text()
