"""Iterative widening, event for event against the naive oracle, and what its two passes promise."""

from __future__ import annotations

from collections import Counter
from itertools import product

import numpy as np
import pytest
from drivers import random_problem, readable, run_search, search_kernel
from naive import search as naive
from naive import widening as naive_widening
from places import GOLDEN
from sizes import INTERPRETED, plain, some

from sos.config import config_from_dict
from sos.data.splits import make_splits, sample_problems
from sos.envs import protocol as environment
from sos.envs.countdown.rules import HEURISTICS, Countdown
from sos.search import DepthFirst, Widening
from sos.search.work import new_work
from sos.stream.verify import verify
from sos.trace import ACTION, KIND, NODE, PARENT, RANK, VALUE, Event, Outcome, Status, Trace, new_buffer

ENVS = {
    2: Countdown(num_numbers=2, max_number=20),
    3: Countdown(num_numbers=3),
    4: Countdown(num_numbers=4, max_number=30),
    5: Countdown(num_numbers=5, max_number=12, max_value=800),
}


def assert_same(strategy: Widening, env: Countdown, problem: list[int]) -> Trace:
    trace = run_search(strategy, env, problem)
    found = naive_widening.widening(
        problem[2:],
        problem[0],
        heuristic_name=HEURISTICS[strategy.heuristic],
        announce_leaves=strategy.announce_leaves,
        look_ahead=strategy.look_ahead,
        targets=range(env.min_target, env.max_target + 1) if strategy.skip_out_of_range else None,
        bound=strategy.bound,
        max_nodes=strategy.max_nodes,
        max_value=env.max_value,
        descending=env.descending,
    )
    events, nodes, states = naive.as_rows(found, env.state_width)
    assert trace.events.tolist() == events
    assert trace.nodes.tolist() == nodes
    assert trace.states.tolist() == states
    return trace


def states_of(trace: Trace) -> list[tuple[int, ...]]:
    return [tuple(sorted(row[1 : 1 + row[0]])) for row in trace.states.tolist()]


def second_pass(trace: Trace) -> int:
    """Return the first child of the root that pass 2 generated after a bound of 100, or the number of nodes."""
    states = states_of(trace)
    seen: set[tuple[int, ...]] = set()
    for node, (parent, result) in enumerate(trace.nodes[:, [PARENT, ACTION + 3]].tolist()):
        if parent == 0 and (result > 100 or states[node] in seen):
            return node
        seen.add(states[node])
    return len(states)


@pytest.mark.parametrize("num_numbers", list(ENVS))
@pytest.mark.parametrize("heuristic", range(4))
def test_every_event_agrees_with_the_oracle(num_numbers: int, heuristic: int) -> None:
    env = ENVS[num_numbers]
    rng = np.random.default_rng(num_numbers)
    outcomes = set()
    options = product((False, True), (0, 1, 2), (False, True), (100, 300), (1, 30, 400))
    for announce_leaves, look_ahead, skip_out_of_range, bound, max_nodes in some(options, 8):
        strategy = Widening(heuristic, announce_leaves, max_nodes, look_ahead, skip_out_of_range, bound)
        for _ in range(2 if num_numbers < plain(5, 4) else 1):
            outcomes.add(assert_same(strategy, env, random_problem(rng, env)).outcome)
    assert outcomes >= {Outcome.SOLVED, Outcome.BUDGET} or num_numbers == 2 or INTERPRETED


def test_numbers_above_the_bound_agree_with_the_oracle() -> None:
    rng = np.random.default_rng(0)
    for env in (Countdown(num_numbers=3, max_number=400), Countdown(num_numbers=4, max_number=200, max_value=150)):
        for bound in (100, 120, 1000):
            for _ in range(plain(8, 1)):
                assert_same(Widening(3, False, 400, bound=bound), env, random_problem(rng, env))


@pytest.mark.parametrize("look_ahead", [0, 1, 2])
def test_the_search_decides_solvability(look_ahead: int) -> None:
    rng = np.random.default_rng(look_ahead)
    outcomes, solved_late = set(), 0
    three, four = Countdown(num_numbers=3), Countdown(num_numbers=4)
    solvable = sample_problems(four, make_splits(four, 0.1, 0.0), "train", plain(40, 6)).tolist()
    for env, problems in (
        (three, [random_problem(rng, three) for _ in range(plain(100, 6))]),
        (four, [random_problem(rng, four) for _ in range(plain(10, 1))] + solvable),
    ):
        for problem in problems:
            expected = problem in solvable or naive.solvable(problem[2:], problem[0])
            for skip_out_of_range, bound in ((False, 100), (True, 100), (True, 999)):
                trace = run_search(Widening(3, False, 10**6, look_ahead, skip_out_of_range, bound), env, problem)
                outcomes.add(trace.outcome)
                verdict = verify(env, trace)
                assert not verdict.errors.any()
                assert (trace.outcome == Outcome.SOLVED) == verdict.solved == expected
                solved_late += bound == 100 and expected and trace.events[-2, NODE] >= second_pass(trace)
    assert outcomes == {Outcome.SOLVED, Outcome.EXHAUSTED}
    assert solved_late > plain(5, 0)


@pytest.mark.parametrize(("target", "numbers"), [(94, [3, 3, 6, 8, 8]), (97, [3, 6, 6, 7, 8]), (100, [4, 4, 4, 6, 7])])
def test_what_is_in_reach_of_grandchildren_is_opened_too(target: int, numbers: list[int]) -> None:
    """These are not solved where a state of pass 1 comes again only if one of its children can be beyond the bound."""
    env = Countdown(num_numbers=5)
    trace = run_search(Widening(3, False, 10**6, bound=100), env, env.problem_row(target, numbers))
    assert trace.outcome == Outcome.SOLVED
    assert trace.events[-2, NODE] >= second_pass(trace)


def test_a_bound_that_nothing_exceeds_is_depth_first_search() -> None:
    rng = np.random.default_rng(1)
    for look_ahead, skip_out_of_range, announce_leaves in product((0, 1), (False, True), (False, True)):
        plain = DepthFirst(3, False, True, announce_leaves, 300, look_ahead, skip_out_of_range)
        strategy = Widening(3, announce_leaves, 300, look_ahead, skip_out_of_range, bound=10**12)
        for env in (ENVS[3], ENVS[4], ENVS[5]):
            problem = random_problem(rng, env)
            assert run_search(strategy, env, problem).equals(run_search(plain, env, problem))


def test_what_the_passes_promise() -> None:
    env, bound = Countdown(num_numbers=4), 100
    rng = np.random.default_rng(2)
    passes = set()
    for skip_out_of_range in (False, True):
        for _ in range(plain(15, 2)):
            problem = env.problem_row(1009, random_problem(rng, env)[2:])  # never solved
            trace = run_search(Widening(3, False, 10**6, 0, skip_out_of_range, bound), env, problem)
            assert trace.outcome == Outcome.EXHAUSTED
            start, states = second_pass(trace), states_of(trace)
            assert (trace.nodes[1:start, ACTION + 3] <= bound).all()
            assert max(Counter(states[:start]).values()) == 1
            assert max(Counter(states[start:]).values(), default=1) == 1
            again = set(states[:start]) & set(states[start:])
            assert all(naive_widening.reach(list(state)) > bound for state in again)
            dead_ends = trace.events[trace.events[:, KIND] == Event.DEAD_END, VALUE]
            assert dead_ends.max(initial=0) <= bound
            assert (trace.events[:, KIND] == Event.EXPAND).sum() == sum(len(state) > 1 for state in states)
            children: Counter[int] = Counter()
            for parent, rank in trace.nodes[1:, [PARENT, RANK]].tolist():
                assert rank == children[parent]
                children[parent] += 1
            if start < len(states):
                generated = np.flatnonzero((trace.events[:, KIND] == Event.GENERATE) & (trace.events[:, NODE] == start))
                before = trace.events[generated[0] - 1]
                passes.add((int(before[KIND]), int(before[NODE])))
    assert passes == {(Event.BACKTRACK, 0)}


def test_reach_is_never_too_small() -> None:
    rng = np.random.default_rng(3)
    env = Countdown(num_numbers=4)
    for _ in range(150):
        count = int(rng.integers(1, 5))
        numbers = rng.integers(0, (2, 4, 40)[rng.integers(3)], count).tolist()
        row = np.array([count, *numbers, *[0] * (4 - count)], np.int32)
        problem = np.array([10, 4, *[1] * 4], np.int32)
        for max_value in (90, 2**31 - 1):
            limited = env._replace(max_value=max_value)
            assert environment.reach(limited, problem, row) == naive_widening.reach(numbers, max_value)
            assert environment.reach(limited, problem, row) >= naive_widening.largest_result(numbers, max_value)


def test_the_budget_counts_the_expanded_nodes_of_both_passes() -> None:
    env, problem = ENVS[4], [97, 4, 23, 29, 25, 27]
    whole = run_search(Widening(3, False, 10**6, bound=100), env, problem)
    num_expanded = int((whole.events[:, KIND] == Event.EXPAND).sum())
    assert 0 < second_pass(whole) < len(whole.nodes)
    assert run_search(Widening(3, False, num_expanded, bound=100), env, problem).equals(whole)
    for max_nodes in (1, num_expanded // 2, num_expanded - 1):
        cut = run_search(Widening(3, False, max_nodes, bound=100), env, problem)
        assert cut.outcome == Outcome.BUDGET
        assert (cut.events[:, KIND] == Event.EXPAND).sum() == max_nodes
        assert np.array_equal(cut.events[:-1], whole.events[: len(cut.events) - 1])


def test_a_full_buffer_is_a_status() -> None:
    env = ENVS[4]
    problem = np.array([97, 4, 23, 29, 25, 27], np.int32)
    strategy = Widening(3, False, 10**6, bound=100)
    size = len(run_search(strategy, env, problem).nodes)
    buffer = new_buffer(4 * size + 8, size, ACTION + env.action_width, env.state_width)
    work = new_work(env, size)
    for _ in range(2):  # a row of the table for each node is enough, and the work space serves the next search
        assert search_kernel(strategy, env, problem, work, buffer) == Status.OK
        for events, nodes in ((4 * size, size - 1), (size, size), (2, size), (4 * size, 2)):
            short = new_buffer(events, nodes, ACTION + env.action_width, env.state_width)
            assert search_kernel(strategy, env, problem, work, short) == Status.BUFFER_FULL
    for rows in (3, size // 2):
        assert search_kernel(strategy, env, problem, new_work(env, rows), buffer) == Status.BUFFER_FULL


def test_golden_trace(dialect_of) -> None:
    env = Countdown(num_numbers=3)
    trace = run_search(Widening(3, False, skip_out_of_range=True, bound=100), env, env.problem_row(85, [2, 60, 35]))
    assert readable(trace, dialect_of("compact", env, 9)) == (GOLDEN / "widening.txt").read_text()


@pytest.mark.parametrize(
    ("match", "search", "env"),
    [
        ("search.bound=99 must not be below env.max_target=100 for search.name=widening", {"bound": 99}, {}),
        ("search.bound=300 must not be below env.max_target=500", {}, {"max_target": 500, "max_value": 500}),
        ("search.threshold=target has no use with search.name=widening", {"threshold": "target"}, {}),
        (
            "search.strategies.a.bound=99 must not be below env.max_target=100 for search.strategies.a.name=widening",
            {"name": "mixture", "strategies": {"a": {"name": "widening", "bound": 99}}},
            {},
        ),
    ],
)
def test_mistakes_are_named(match: str, search: dict, env: dict) -> None:
    with pytest.raises(ValueError, match=match) as caught:
        config_from_dict({"search": {"name": "widening"} | search, "env": env})
    assert "\n" not in str(caught.value)
    config_from_dict({"search": {"name": "widening", "bound": 100}})
