"""Beam and best-first search, event for event against the naive oracles, and the heap against CPython's."""

from __future__ import annotations

import heapq
from itertools import product
from typing import Any

import numpy as np
import pytest
from configurations import oracle
from drivers import heap_kernel, random_problem, readable, run_search, search_kernel
from naive import search as naive
from places import GOLDEN
from sizes import plain, some

from sos.envs.countdown.rules import Countdown
from sos.errors import UserError
from sos.search.beam import Beam
from sos.search.best_first import MOST_COST, BestFirst
from sos.search.work import ALL, _sort, new_work
from sos.trace import ACTION, KIND, RANK, Event, Outcome, Status, Trace, new_buffer, to_trace

ENVS = {
    2: Countdown(num_numbers=2, max_number=20),
    3: Countdown(num_numbers=3),
    4: Countdown(num_numbers=4, max_number=30),
    5: Countdown(num_numbers=5, max_number=12, max_value=200),
}


def assert_same(strategy: Any, env: Countdown, problem: list[int]) -> Trace:
    trace = run_search(strategy, env, problem)
    events, nodes, states = naive.as_rows(oracle(strategy, env, problem), env.state_width)
    assert trace.events.tolist() == events
    assert trace.nodes.tolist() == nodes
    assert trace.states.tolist() == states
    return trace


@pytest.mark.parametrize("num_numbers", list(ENVS))
def test_every_event_of_a_beam_agrees_with_the_oracle(num_numbers: int) -> None:
    env = ENVS[num_numbers]
    rng = np.random.default_rng(num_numbers)
    outcomes = set()
    options = product((1, 2, 3, 5, 9), (0, 1, 2), (False, True), (False, True), (3, 400))
    for width, heuristic, visit_leaves, shuffle, max_nodes in some(options, 40):
        strategy = Beam(width, heuristic, visit_leaves, shuffle, max_nodes)
        for _ in range(2 if num_numbers < plain(5, 4) else 1):
            outcomes.add(assert_same(strategy, env, random_problem(rng, env)).outcome)
    assert outcomes >= {Outcome.SOLVED, Outcome.EMPTY}
    assert (Outcome.BUDGET in outcomes) == (num_numbers > 2)


@pytest.mark.parametrize("num_numbers", list(ENVS))
def test_every_event_of_a_best_first_search_agrees_with_the_oracle(num_numbers: int) -> None:
    env = ENVS[num_numbers]
    rng = np.random.default_rng(num_numbers)
    outcomes = set()
    options = product((0, 1, 2), (0, 60, -6000), (False, True), (False, True), (5, 60))
    for heuristic, depth_weight, use_threshold, skip_seen, max_nodes in some(options, 40):
        strategy = BestFirst(heuristic, depth_weight, use_threshold, skip_seen, max_nodes)
        for _ in range(2 if num_numbers < plain(5, 4) else 1):
            outcomes.add(assert_same(strategy, env, random_problem(rng, env)).outcome)
    for look_ahead, skip_out_of_range in product((0, 1, 2), (False, True)):
        strategy = BestFirst(3, -60, max_nodes=60, look_ahead=look_ahead, skip_out_of_range=skip_out_of_range)
        outcomes.add(assert_same(strategy, env, random_problem(rng, env)).outcome)
    assert outcomes >= {Outcome.SOLVED, Outcome.EXHAUSTED}


def test_best_first_without_limits_decides_solvability() -> None:
    env = ENVS[3]
    rng = np.random.default_rng(3)
    for _ in range(60):
        problem = random_problem(rng, env)
        trace = run_search(BestFirst(), env, problem)
        assert (trace.outcome == Outcome.SOLVED) == naive.solvable(problem[2:], problem[0])


def test_the_heap_is_cpythons() -> None:
    rng = np.random.default_rng(0)
    for size in (1, 2, 3, 10, 100):
        for spread in (1, 3, 1000):
            values = rng.integers(0, spread, size)
            heap: list[naive.Open] = []
            for node, value in enumerate(values.tolist()):
                heapq.heappush(heap, naive.Open(value, node))
            expected = [heapq.heappop(heap).node for _ in range(size)]
            assert heap_kernel(new_work(ENVS[2], size), values, False).tolist() == expected


@pytest.mark.parametrize("shift", [0, -(2**60), 2**60, 2**62])
def test_a_heap_by_node_decides_ties_by_the_node(shift: int) -> None:
    rng = np.random.default_rng(0)
    for size in (1, 2, 3, 10, 100):
        for spread in (1, 3, 1000):
            values = rng.integers(0, spread, size) + shift
            expected = np.lexsort([np.arange(size), values])
            assert heap_kernel(new_work(ENVS[2], size), values, True).tolist() == expected.tolist()


LARGEST = {
    2: Countdown(num_numbers=2, max_number=2**31 - 1, max_target=1000),
    4: Countdown(num_numbers=4, max_number=999, max_target=999),
    5: Countdown(num_numbers=5, max_number=2**31 - 1, max_target=1000),
    6: Countdown(num_numbers=6, max_number=99),
}


@pytest.mark.parametrize("num_numbers", list(LARGEST))
def test_the_largest_values_that_a_best_first_search_accepts_agree_with_the_oracle(num_numbers: int) -> None:
    env = LARGEST[num_numbers]
    rng = np.random.default_rng(num_numbers)
    most = MOST_COST // env.max_depth
    differ = 0
    options = product((0, 1, 2, 3), (0, 1, -1, most, -most, most // 3))
    for heuristic, depth_weight in some(options, 10):
        strategy = BestFirst(heuristic, depth_weight, max_nodes=12)
        strategy.check(env)
        problem = random_problem(rng, env)
        trace = assert_same(strategy, env, problem)
        differ += not trace.equals(run_search(strategy._replace(depth_weight=0), env, problem))
        if depth_weight == most:
            with pytest.raises(UserError, match=r"search\.depth_weight=.* is too large: at most .* in size"):
                strategy._replace(depth_weight=depth_weight + 1).check(env)
    assert differ >= 2 or num_numbers == 2


@pytest.mark.parametrize("num_numbers", [3, 4])
def test_a_beam_wider_than_any_node_has_children_needs_no_more_room(num_numbers: int) -> None:
    env = ENVS[num_numbers]
    rng = np.random.default_rng(num_numbers)
    num_widest = 0
    for _ in range(plain(10, 2)):
        problem = random_problem(rng, env)
        trace = assert_same(Beam(1990, max_nodes=400), env, problem)
        nodes = len(trace.nodes) + env.max_children
        work = new_work(env._replace(max_target=1000), nodes)
        for width in (1990, 2**31, 2**62):
            buffer = new_buffer(4 * nodes + 8, nodes, ACTION + env.action_width, env.state_width)
            row = np.array(problem, np.int32)
            assert search_kernel(Beam(width, max_nodes=400), env, row, work, buffer) == Status.OK
            assert to_trace(row, buffer).equals(trace)
            num_widest += 1
    assert num_widest == plain(30, 6)


class Crowded(Countdown):
    """More children of a node than the keys of a frame can tell apart."""

    max_children = ALL + 1  # type: ignore[assignment]


def test_more_children_than_keys_can_tell_apart_are_refused() -> None:
    with pytest.raises(UserError, match=r"a node of Crowded has up to 257 children; searches take up to 256"):
        new_work(Crowded(), 100)


def test_shuffling_changes_the_order_and_nothing_else() -> None:
    problem = [97, 4, 3, 5, 7, 9]
    plain, mixed = (run_search(Beam(5, shuffle=s), ENVS[4], problem) for s in (False, True))
    first = [sorted(trace.states[1:6].tolist()) for trace in (plain, mixed)]
    assert first[0] == first[1]
    assert plain.states[1:6].tolist() != mixed.states[1:6].tolist()
    assert mixed.nodes[1:6, RANK].tolist() == list(range(5))


@pytest.mark.parametrize("strategy", [Beam(max_nodes=10**6), BestFirst(max_nodes=10**6)], ids=["beam", "best_first"])
@pytest.mark.parametrize("size", [2, 9, 30])
def test_a_full_buffer_is_a_status(strategy: Any, size: int) -> None:
    env, problem = ENVS[4], np.array([997, 4, 1, 2, 3, 4], np.int32)
    for events, nodes in ((size, 4000), (8000, size)):
        buffer = new_buffer(events, nodes, ACTION + env.action_width, env.state_width)
        work = new_work(env._replace(max_target=1000), 4000)
        assert search_kernel(strategy, env, problem, work, buffer) == Status.BUFFER_FULL
    buffer = new_buffer(16_000, 4000, ACTION + env.action_width, env.state_width)
    assert search_kernel(strategy, env, problem, work, buffer) == Status.OK


@pytest.mark.parametrize(
    ("name", "strategy", "target", "numbers"),
    [
        ("beam_published", Beam(width=2, heuristic=1), 82, [79, 5, 8]),
        ("beam_inner", Beam(width=2, heuristic=2, visit_leaves=False), 24, [2, 2, 3, 4]),
        ("best_first", BestFirst(heuristic=2, depth_weight=-12000), 47, [2, 17, 15]),
    ],
)
def test_golden_traces(name: str, strategy: Any, target: int, numbers: list[int], dialect_of) -> None:
    env = Countdown(num_numbers=len(numbers))
    trace = run_search(strategy, env, env.problem_row(target, numbers))
    assert (trace.events[:, KIND] == Event.BACKTRACK).sum() == 0
    assert readable(trace, dialect_of("compact", env, 9)) == (GOLDEN / f"{name}.txt").read_text()


def test_keys_are_sorted_whatever_their_number() -> None:
    rng = np.random.default_rng(0)
    for count in range(41):
        for high in (2 * count + 1, 2**60):
            numbers = rng.choice(high, count, replace=False) if high < 100 else rng.integers(-high, high, count)
            values, keys = np.zeros((2, 44), np.int64)
            values[:count] = numbers
            _sort(values, count, keys)
            assert keys[:count].tolist() == sorted(numbers.tolist())
