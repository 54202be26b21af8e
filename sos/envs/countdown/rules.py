"""Countdown: combine all numbers with + - * / to hit a target (Gandhi et al. 2024, section 3).

Each step replaces two numbers of the state by the result of one operation. Subtraction is larger minus smaller (0 is
allowed), division is larger by smaller, exact and never by 0, and a result above `max_value` is outside the rules. The
goal is a state whose only number is the target. Numbers are listed as they were drawn and a result behind them; with
`descending` all lists are in descending order, which says the same in a form that is easier to learn.

Rows: problem = [target, count, numbers...], state = [count, numbers...] (zeros behind), action = [a, operator, b,
result] with the operands in the order in which they are written.
"""

from __future__ import annotations

from importlib import resources
from importlib.resources.abc import Traversable
from typing import NamedTuple

import numpy as np

from sos.envs import lessons as contract
from sos.envs import protocol
from sos.envs.countdown import lessons, problems, pruning
from sos.envs.countdown.heuristics import (
    BY_OPERATOR,
    HEURISTIC_SCALE,
    HEURISTICS,
    NO_HEURISTIC,
    SIZE,
    SUM,
    capped_product,
    cost,
    other_sizes,
)
from sos.envs.countdown.proof import ADD, DIVIDE, MULTIPLY, SUBTRACT, ProofWork, new_proof_work, reaches
from sos.envs.protocol import Field, implements
from sos.kernels import inner
from sos.rng import below, fold

OPERAND_A, OPERATOR, OPERAND_B, RESULT = range(4)
MAX_NUMBERS = 6
INT32_MAX = 2**31 - 1


class Countdown(NamedTuple):
    """The rules and the sampler's ranges, all bounds inclusive."""

    num_numbers: int = 4
    min_number: int = 1
    max_number: int = 99
    min_target: int = 10
    max_target: int = 100
    max_value: int = INT32_MAX
    descending: bool = False

    @property
    def problem_width(self) -> int:
        return self.num_numbers + 2

    @property
    def state_width(self) -> int:
        return self.num_numbers + 1

    @property
    def action_width(self) -> int:
        return 4

    @property
    def max_children(self) -> int:
        """Successors of the root at most: four results for each pair."""
        return 2 * self.num_numbers * (self.num_numbers - 1)

    @property
    def max_depth(self) -> int:
        return self.num_numbers - 1

    @property
    def scratch_size(self) -> int:
        return self.max_target + 2

    @property
    def largest_number(self) -> int:
        return problems.largest_number(self)

    @property
    def heuristics(self) -> tuple[str, ...]:
        return HEURISTICS

    @property
    def measures(self) -> tuple[str, ...]:
        """The heuristics that value states; `operator` is an order of operations."""
        return ("sum", "mult", "size")

    @property
    def heuristic_scale(self) -> int:
        """What one unit of a heuristic is in its scaled integers."""
        return HEURISTIC_SCALE

    @property
    def symbols(self) -> tuple[str, ...]:
        """The operators' texts, in the order of their codes."""
        return ("+", "*", "-", "/")

    @property
    def fields(self) -> dict[str, tuple[protocol.Field, ...]]:
        """Template field -> what it stands for, in each row that has it."""
        num = self.num_numbers
        return {
            "target": (Field("problem", 0),),
            "numbers": (Field("state", 1, size=num, counted=0), Field("problem", 2, size=num, counted=1)),
            "a": (Field("action", OPERAND_A),),
            "op": (Field("action", OPERATOR, symbols=self.symbols),),
            "b": (Field("action", OPERAND_B),),
            "result": (Field("action", RESULT),),
        }

    @property
    def results(self) -> tuple[str, ...]:
        """The fields of an action that say what it leads to."""
        return ("result",)

    @property
    def classes(self) -> tuple[str, ...]:
        """The fields of an action that say which kind of action it is."""
        return ("op",)

    @property
    def lesson_features(self) -> tuple[str, ...]:
        return lessons.FEATURES

    @property
    def lesson_classes(self) -> tuple[str, ...]:
        return self.symbols

    @property
    def groups(self) -> np.ndarray:
        return problems.groups(self)

    @property
    def tree_nodes(self) -> int:
        return problems.tree_nodes(self)

    def describe(self) -> str:
        return problems.describe(self)

    def describe_group(self, problem: problems.Row) -> str:
        return problems.describe_group(self, problem)

    def problem_key(self, problem: problems.Row) -> tuple[int, ...]:
        return problems.problem_key(self, problem)

    def longest_problem(self) -> list[int]:
        return problems.longest_problem(self)

    def check_problems(self, rows: np.ndarray) -> None:
        problems.check_problems(self, rows)

    @property
    def dialects(self) -> Traversable:
        """The folder of the dialects that are shipped for it."""
        return resources.files("sos") / "stream" / "dialect" / "yaml" / "countdown"

    def proof_work(self) -> ProofWork:
        """Allocate the work space of `solvable`."""
        return new_proof_work(self.num_numbers)

    def problem_row(self, target: int, numbers: list[int]) -> list[int]:
        return problems.problem_row(self, target, numbers)


@implements(protocol.root_state, Countdown)
def _root_state(env, problem, state):
    for k in range(env.num_numbers + 1):
        state[k] = problem[k + 1]


@implements(protocol.can_pose, Countdown)
def _can_pose(env, problem):
    return problem[1] == env.num_numbers


@implements(protocol.status, Countdown)
def _status(env, problem, state):
    if state[0] != 1:
        return protocol.OPEN
    return protocol.GOAL if state[1] == problem[0] else protocol.DEAD


@implements(protocol.witness, Countdown)
def _witness(env, problem, state):
    return state[1]


@implements(protocol.successors, Countdown)
def _successors(env, kind, problem, scratch, state, moves, values):
    count = np.int64(state[0])
    target = np.int64(problem[0])
    scale = np.int64(0) if kind == NO_HEURISTIC else np.int64(HEURISTIC_SCALE)
    if kind == SUM:
        scale //= max(count - 1, 1)
    total = np.int64(0)
    for k in range(1, count + 1):
        total += cost(kind, target, scratch, np.int64(state[k]))
    num = 0
    for i in range(1, count):
        x = np.int64(state[i])
        rest_x = total - cost(kind, target, scratch, x)
        for j in range(i + 1, count + 1):
            y = np.int64(state[j])
            rest = rest_x - cost(kind, target, scratch, y)
            place = i << 5 | j << 2
            large, small = max(x, y), min(x, y)
            # Each is written, and kept where it is legal. A number of the problem can itself be above the limit.
            moves[num] = (x + y) << 8 | place | ADD
            values[num] = (rest + cost(kind, target, scratch, x + y)) * scale
            num += x + y <= env.max_value
            moves[num] = (x * y) << 8 | place | MULTIPLY
            values[num] = (rest + cost(kind, target, scratch, x * y)) * scale
            num += x * y <= env.max_value
            moves[num] = (large - small) << 8 | place | SUBTRACT
            values[num] = (rest + cost(kind, target, scratch, large - small)) * scale
            num += large - small <= env.max_value
            # Whole numbers below 2**31 are exact as floats, and so is whether their ratio is whole.
            ratio = np.int64(np.float64(large) / np.float64(max(small, 1)))
            moves[num] = ratio << 8 | place | DIVIDE
            values[num] = (rest + cost(kind, target, scratch, ratio)) * scale
            num += (ratio * small == large) & (small != 0) & (ratio <= env.max_value)
    if kind == BY_OPERATOR:
        for m in range(num):
            operator = moves[m] & 3  # in the order / - + *
            values[m] = (DIVIDE - operator if operator >= SUBTRACT else SUBTRACT + operator) * HEURISTIC_SCALE
    if kind == SIZE:
        for m in range(num):
            others = other_sizes(state, moves[m] >> 5 & 7, moves[m] >> 2 & 7)
            values[m] = capped_product(others, (moves[m] >> 8) + 1) * HEURISTIC_SCALE
    return num


@implements(protocol.make_child, Countdown)
def _make_child(env, problem, state, move, action, child):
    """The numbers but those at i and j, in order, then the result."""
    result = move >> 8
    i = move >> 5 & 7
    j = move >> 2 & 7
    operator = move & 3
    x = state[i]
    y = state[j]
    swap = (operator >= SUBTRACT) & (x < y)
    action[0] = y if swap else x
    action[1] = operator
    action[2] = x if swap else y
    action[3] = result
    # Without branches: all columns, the zeros behind the numbers too, are moved up by how many are left out before
    # them.
    width = len(child)
    k = 1
    for m in range(1, width):
        child[k] = state[m]
        k += (m != i) & (m != j)
    child[width - 2] = 0
    child[width - 1] = 0
    child[0] = state[0] - 1
    _put_last(env, child, state[0] - 1, result)


@inner
def _put_last(env, state, count, value):
    """Make `value` number `count` of `state`, or give it its place among those before it where they are in descending
    order."""
    k = count
    if env.descending:
        while k > 1 and state[k - 1] < value:
            state[k] = state[k - 1]
            k -= 1
    state[k] = value


@inner
def _take(env, state, action, child):
    """Write the claimed child; an operand that `state` does not hold is skipped. Say whether both were held."""
    need_a = True
    need_b = True
    k = 1
    # Of equal numbers the first is taken; which one does not change the multiset, only the order it is listed in.
    for m in range(1, state[0] + 1):
        if need_a and state[m] == action[0]:
            need_a = False
        elif need_b and state[m] == action[2]:
            need_b = False
        elif k < len(child):
            child[k] = state[m]
            k += 1
    if k < len(child):
        _put_last(env, child, k, action[3])
        k += 1
    child[0] = k - 1
    for m in range(k, len(child)):
        child[m] = 0
    return not need_a and not need_b


@implements(protocol.judge, Countdown)
def _judge(env, problem, state, action, child):
    return _judge_operation(env, action) if _take(env, state, action, child) else protocol.NOT_HELD


@inner
def _judge_operation(env, action):
    a = np.int64(action[0])
    b = np.int64(action[2])
    operator = action[1]
    if operator == ADD:
        true = a + b
    elif operator == MULTIPLY:
        true = a * b
    elif operator == SUBTRACT:
        if a < b:
            return protocol.ILLEGAL
        true = a - b
    else:
        if b == 0 or a < b or a % b != 0:
            return protocol.ILLEGAL
        true = a // b
    if true > env.max_value:
        return protocol.ILLEGAL
    return protocol.HOLDS if true == action[3] else protocol.WRONG_RESULT


@implements(protocol.canonical, Countdown)
def _canonical(env, problem, state, out):
    count = state[0]
    out[0] = count
    for k in range(1, count + 1):
        value = state[k]
        m = k
        while m > 1 and out[m - 1] > value:
            out[m] = out[m - 1]
            m -= 1
        out[m] = value
    for k in range(count + 1, len(out)):
        out[k] = 0


implements(protocol.prepare, Countdown)(pruning.prepare)
implements(protocol.hopeless, Countdown)(pruning.hopeless)
implements(protocol.out_of_range, Countdown)(pruning.out_of_range)
implements(protocol.reach, Countdown)(pruning.reach)
implements(contract.find_features, Countdown)(lessons.find_features)
implements(contract.action_class, Countdown)(lessons.action_class)


@implements(protocol.narrowed, Countdown)
def _narrowed(env, largest):
    return Countdown(
        env.num_numbers,
        env.min_number,
        env.max_number,
        env.min_target,
        env.max_target,
        min(env.max_value, largest),
        env.descending,
    )


@implements(protocol.threshold, Countdown)
def _threshold(env, problem):
    return problem[0] * HEURISTIC_SCALE


@implements(protocol.draw, Countdown)
def _draw(env, key, group, attempt, problem):
    problem[0] = group
    problem[1] = env.num_numbers
    attempt_key = fold(key, attempt)
    for k in range(env.num_numbers):
        number = env.min_number + below(attempt_key, k, env.max_number - env.min_number + 1)
        _put_last(env, problem[1:], k + 1, number)


@implements(protocol.hash_key, Countdown)
def _hash_key(env, key, problem):
    # Fold the numbers in ascending order: the next larger value, once for each time it occurs.
    h = key
    last = -1
    remaining = env.num_numbers
    while remaining > 0:
        smallest = INT32_MAX
        for k in range(2, env.num_numbers + 2):
            if last < problem[k] < smallest:
                smallest = problem[k]
        for k in range(2, env.num_numbers + 2):
            if problem[k] == smallest:
                h = fold(h, smallest)
                remaining -= 1
        last = smallest
    return h


@implements(protocol.solvable, Countdown)
def _solvable(env, problem, work):
    return reaches(problem, env.max_value, work)
