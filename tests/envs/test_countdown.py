"""Tests of Countdown's kernels against the naive oracle."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from drivers import expand_kernel, hash_kernel, judge_kernel, solvable_kernel
from hypothesis import example, given
from hypothesis import strategies as st
from naive import search as naive
from sizes import plain

from sos.envs import protocol
from sos.envs.countdown.rules import HEURISTIC_SCALE, HEURISTICS, INT32_MAX, Countdown

SMALL = st.integers(0, 12)
OPERAND = st.integers(0, INT32_MAX) | SMALL
NUMBERS = st.lists(st.one_of(SMALL, st.integers(0, 200), st.integers(0, INT32_MAX)), min_size=1, max_size=6)
MAX_VALUES = st.one_of(st.just(INT32_MAX), st.integers(0, 300), st.integers(INT32_MAX - 3, INT32_MAX))


def row_of(numbers: list[int], width: int = 7) -> np.ndarray:
    return np.array([len(numbers), *numbers, *[0] * (width - 1 - len(numbers))], np.int32)


def numbers_of(row: np.ndarray) -> list[int]:
    return [int(n) for n in row[1 : 1 + row[0]]]


def kernel_expand(
    env: Countdown, numbers: list[int], target: int = 0, kind: int = 0, left_over: int = 0
) -> tuple[list[tuple[naive.Action, list[int]]], list[int]]:
    actions = np.full((env.max_children, 4), -7, np.int32)
    children = np.full((env.max_children, 7), -7, np.int32)
    values = np.full(env.max_children, -7, np.int64)
    problem = np.array([target, 6, *[1] * 6], np.int32)
    scratch = np.full(env.scratch_size, left_over, np.int64)
    num = expand_kernel(env, kind, problem, scratch, row_of(numbers), actions, children, values)
    assert all((child[1 + child[0] :] == 0).all() for child in children[:num])
    return [
        ((int(a), naive.OPERATORS[operator], int(b), int(result)), numbers_of(child))
        for (a, operator, b, result), child in zip(actions[:num], children[:num], strict=True)
    ], values[:num].tolist()


def kernel_successors(env: Countdown, numbers: list[int]) -> list[tuple[naive.Action, list[int]]]:
    return kernel_expand(env, numbers)[0]


@given(NUMBERS, MAX_VALUES)
@example([INT32_MAX, 1, 1], INT32_MAX)
@example([46340, 46340, 46341], INT32_MAX)  # the largest square, and the first beyond
@example([65536, 65536], INT32_MAX)  # 2**32 is 0 in int32
@example([0, 0, 5], INT32_MAX)
@example([99, 98], 50)  # the numbers themselves are above the limit
def test_successors(numbers: list[int], max_value: int) -> None:
    env = Countdown(num_numbers=6, max_value=max_value)
    assert kernel_successors(env, numbers) == naive.successors(numbers, max_value)
    numbers = sorted(numbers, reverse=True)
    assert kernel_successors(env._replace(descending=True), numbers) == naive.successors(numbers, max_value, True)


PROBLEM = np.array([10, 6, *[1] * 6], np.int32)


@given(NUMBERS.filter(lambda n: len(n) > 1), MAX_VALUES, st.booleans())
def test_every_successor_is_what_its_action_claims(numbers: list[int], max_value: int, descending: bool) -> None:
    env = Countdown(num_numbers=6, max_value=max_value, descending=descending)
    numbers = sorted(numbers, reverse=True) if descending else numbers
    child = np.zeros(7, np.int32)
    for (a, operator, b, result), expected in kernel_successors(env, numbers):
        action = np.array([a, naive.OPERATORS.index(operator), b, result], np.int32)
        assert judge_kernel(env, PROBLEM, row_of(numbers), action, child) == protocol.HOLDS
        assert numbers_of(child) == expected if descending else sorted(numbers_of(child)) == sorted(expected)


@given(OPERAND, st.sampled_from(naive.OPERATORS), OPERAND, SMALL, MAX_VALUES)
@example(0, "/", 10, 0, INT32_MAX)  # smaller by larger, although 0 divides
def test_check_action(a: int, operator: str, b: int, claimed: int, max_value: int) -> None:
    env = Countdown(max_value=max_value)
    true = naive.legal(a, operator, b, max_value)
    for result in {claimed} | ({true} if true is not None else set()):
        action = np.array([a, naive.OPERATORS.index(operator), b, result], np.int32)
        expected = protocol.ILLEGAL if true is None else protocol.HOLDS if result == true else protocol.WRONG_RESULT
        assert judge_kernel(env, PROBLEM, row_of([a, b]), action, np.zeros(7, np.int32)) == expected


@given(SMALL, st.integers(0, 3), SMALL, SMALL)
def test_an_action_is_legal_where_some_state_generates_it(a: int, operator: int, b: int, result: int) -> None:
    action = (a, naive.OPERATORS[operator], b, result)
    generated = {found for pair in ([a, b], [b, a]) for found, _ in kernel_successors(Countdown(), pair)}
    child = np.zeros(7, np.int32)
    judged = judge_kernel(Countdown(), PROBLEM, row_of([a, b]), np.array([a, operator, b, result], np.int32), child)
    assert judged != protocol.NOT_HELD
    assert (judged == protocol.HOLDS) == (action in generated)


@given(st.lists(SMALL, min_size=1, max_size=6), SMALL, SMALL, SMALL)
def test_judge_is_total_and_skips_absent_operands(numbers: list[int], a: int, b: int, result: int) -> None:
    child = np.full(7, -7, np.int32)
    action = np.array([a, 0, b, result], np.int32)
    held = judge_kernel(Countdown(num_numbers=6), PROBLEM, row_of(numbers), action, child) != protocol.NOT_HELD
    assert held == (not Counter([a, b]) - Counter(numbers))
    expected = [*(Counter(numbers) - Counter([a, b])).elements(), result][:6]
    if len(numbers) < 6 or held:
        assert sorted(numbers_of(child)) == sorted(expected)
    assert 1 <= child[0] <= 6
    assert (child[1 + child[0] :] == 0).all()


@given(st.lists(st.one_of(SMALL, st.integers(0, INT32_MAX)), min_size=2, max_size=6), st.integers(2, 300))
def test_heuristics_are_exact(numbers: list[int], target: int) -> None:
    env = Countdown(num_numbers=6, max_target=300)
    for kind, name in enumerate(HEURISTICS):
        successors, values = kernel_expand(env, numbers, target, kind)
        assert values == [HEURISTIC_SCALE * naive.order(name, *found, target) for found in successors]


@pytest.mark.parametrize("target", [0, 1])
def test_mult_without_factors_does_not_depend_on_the_problem_before(target: int) -> None:
    env, kind = Countdown(min_target=0), HEURISTICS.index("mult")
    for left_over in (0, 7, 50):
        successors, values = kernel_expand(env, [3, 8, 0, 1], target, kind, left_over)
        expected = [HEURISTIC_SCALE * sum(abs(n - target) for n in child) for _, child in successors]
        assert values == expected


@pytest.mark.parametrize(
    ("num_numbers", "num_problems"), plain([(2, 2000), (3, 2000), (4, 250), (5, 4)], [(2, 300), (3, 100), (4, 5)])
)
@pytest.mark.parametrize("max_value", [INT32_MAX, 60])
def test_solvable_agrees_with_brute_force(num_numbers: int, num_problems: int, max_value: int) -> None:
    rng = np.random.default_rng(num_numbers)
    env = Countdown(num_numbers=num_numbers, max_value=max_value)
    problems = np.zeros((num_problems, num_numbers + 2), np.int32)
    problems[:, 1] = num_numbers
    problems[:, 0] = rng.integers(1, 100, num_problems)
    problems[:, 2:] = rng.integers(0, rng.choice([5, 12, 100], (num_problems, 1)), (num_problems, num_numbers))
    found = np.zeros(num_problems, np.bool_)
    solvable_kernel(env, problems, found)
    expected = [naive.solvable(row[2:], row[0], max_value) for row in problems.tolist()]
    assert found.tolist() == expected
    assert num_problems < 100 or 0.01 < found.mean() < 0.99


def kernel_reaches(numbers: list[int], targets: list[int], max_value: int) -> set[int]:
    """Return the targets that the kernel says the numbers reach."""
    env = Countdown(num_numbers=len(numbers), max_value=max_value)
    problems, found = np.array([[t, len(numbers), *numbers] for t in targets], np.int32), np.zeros(len(targets), bool)
    solvable_kernel(env, problems, found)
    return {t for t, hit in zip(targets, found, strict=True) if hit}


def test_the_two_oracles_agree() -> None:
    for numbers in ([3, 3, 0, 8], [7, 1, 2], [12, 5, 5, 6]):
        reached = naive.reachable(tuple(numbers), 90)
        assert reached == {t for t in range(91) if naive.solvable(numbers, t, 90)}


@given(
    st.lists(st.one_of(st.integers(0, 12), st.integers(0, 99), st.integers(0, 70_000)), min_size=2, max_size=4),
    st.one_of(st.just(INT32_MAX), st.integers(0, 100), st.integers(5_000, 70_000)),
    st.randoms(use_true_random=False),
)
@example([0, 0, 0, 5], INT32_MAX, None)
@example([46341, 46341, 46341, 46341], INT32_MAX, None)
@example([60, 59, 58, 1], 60, None)  # sums in between are above the limit
@example([99, 98, 97, 50], 60, None)  # the numbers themselves are
def test_the_kernel_reaches_what_the_oracle_reaches(numbers, max_value, rng) -> None:
    reached = naive.reachable(tuple(numbers), max_value)
    targets = {*range(102), max_value, *[t + d for t in list(reached)[:200] for d in (-1, 0, 1)]}
    asked = sorted(t for t in targets if 0 <= t <= INT32_MAX)
    if rng is not None:
        asked = rng.sample(asked, min(len(asked), plain(200, 20)))
    assert kernel_reaches(numbers, asked, max_value) == reached & set(asked)


@pytest.mark.parametrize(
    ("num_numbers", "num_sets", "max_value"),
    plain([(4, 100, 300), (5, 20, 100), (5, 2, 2000), (6, 5, 30)], [(4, 3, 60), (5, 1, 30)]),
)
def test_the_kernel_reaches_what_the_oracle_reaches_from_many_numbers(num_numbers, num_sets, max_value) -> None:
    rng = np.random.default_rng(num_numbers)
    targets = list(range(max_value + 2))
    for _ in range(num_sets):
        numbers = rng.integers(0, min(rng.choice([3, 8, 30]), max_value), num_numbers).tolist()
        assert kernel_reaches(numbers, targets, max_value) == naive.reachable(tuple(sorted(numbers)), max_value)


def test_a_quotient_above_the_limit_does_not_solve() -> None:
    problems, found = np.array([[100, 2, 200, 2]], np.int32), np.ones(1, np.bool_)
    solvable_kernel(Countdown(num_numbers=2, max_value=60), problems, found)
    assert not found[0]
    assert not naive.solvable([200, 2], 100, 60)


def test_largest_number_bounds_everything_reachable() -> None:
    for numbers in ([1, 1, 1, 1], [2, 2, 2, 2], [3, 3, 3, 2]):
        env = Countdown(max_number=max(numbers), max_target=1)
        reached, states = set(numbers), [numbers]
        while states:
            states = [child for state in states for _, child in naive.successors(state)]
            reached |= {n for state in states for n in state}
        assert max(reached) <= env.largest_number
    assert Countdown(num_numbers=6).largest_number == INT32_MAX
    assert Countdown(max_value=500).largest_number == 500
    assert Countdown(max_value=50).largest_number == 100


def test_problem_row_names_the_numbers_it_refuses() -> None:
    assert Countdown(num_numbers=2).problem_row(7, [3, 4]) == [7, 2, 3, 4]
    assert Countdown(num_numbers=2, descending=True).problem_row(7, [3, 4]) == [7, 2, 4, 3]
    with pytest.raises(ValueError, match=r"takes 4 numbers, got \[1, 2\]"):
        Countdown().problem_row(7, [1, 2])


def test_hash_key_ignores_order_and_target_only() -> None:
    env, key = Countdown(), np.uint64(1)

    def hashed(*row: int) -> int:
        return int(hash_kernel(env, key, np.array(row, np.int32)))

    base = hashed(10, 4, 3, 5, 5, 7)
    assert base == hashed(99, 4, 5, 7, 3, 5)
    others = [(3, 3, 5, 7), (3, 5, 7, 7), (3, 5, 5, 8), (3, 5, 7, 5 + 256)]
    assert base not in {hashed(10, 4, *numbers) for numbers in others}


def test_stubs_name_what_is_not_implemented() -> None:
    with pytest.raises(TypeError, match="int does not implement status"):
        protocol.status(3, None, None)
