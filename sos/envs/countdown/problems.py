"""What Python asks of Countdown's problems: their groups, their texts, their checks. `Countdown` has it as methods.

A problem is a row [target, count, numbers...], see `sos.envs.countdown.rules`; `env` is a Countdown.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sos.errors import UserError
from sos.schema.ranges import check_range

Row = Sequence[int] | np.ndarray
INT32_MAX = 2**31 - 1


def groups(env: Any) -> np.ndarray:
    """The groups of problems, some of which a split holds out: the targets, int32 (G,). `draw` is given one of them."""
    return np.arange(env.min_target, env.max_target + 1, dtype=np.int32)


def tree_nodes(env: Any) -> int:
    """The number of nodes of the full search tree, which no search can exceed."""
    nodes = 1
    for count in range(2, env.num_numbers + 1):
        nodes = 1 + 2 * count * (count - 1) * nodes
    return nodes


def describe(env: Any) -> str:
    """Return what problems are drawn from, in words."""
    return f"{env.num_numbers} numbers in {env.min_number}..{env.max_number}"


def describe_group(env: Any, problem: Row) -> str:
    """Return the group of a problem in words; the empty string in an environment whose problems make one group."""
    return f"target {problem[0]}"


def problem_key(env: Any, problem: Row) -> tuple[int, ...]:
    """Return what two problems have in common that count as the same: the target and the sorted numbers."""
    return (int(problem[0]), *sorted(int(number) for number in problem[2:]))


def largest_number(env: Any) -> int:
    """The largest number that a true trace can hold."""
    largest, product = max(env.max_target, env.max_number), 1
    for _ in range(env.num_numbers):
        product = min(product * max(env.max_number, 2), INT32_MAX)
    return max(largest, min(product, env.max_value))


def problem_row(env: Any, target: int, numbers: list[int]) -> list[int]:
    """Return the problem row for `numbers`, which must be `num_numbers` long, in the order in which it lists them."""
    if len(numbers) != env.num_numbers:
        raise UserError(f"this Countdown takes {env.num_numbers} numbers, got {numbers}")
    return [target, len(numbers), *(sorted(numbers, reverse=True) if env.descending else numbers)]


def longest_problem(env: Any) -> list[int]:
    """Return a problem whose statement is as long as any."""
    return [env.max_target, env.num_numbers, *[env.max_number] * env.num_numbers]


def check_problems(env: Any, problems: np.ndarray) -> None:
    """Raise ValueError that names what is wrong, and in which row, unless problems (R, any) are some of `env`."""
    if problems.shape[1] != env.problem_width:
        raise ValueError(f"problems has {problems.shape[1]} columns, not {env.problem_width}")
    check_range("problems[:, 1], the count of numbers,", problems[:, 1], env.num_numbers, env.num_numbers)
    check_range("problems[:, 0], the target,", problems[:, 0], env.min_target, env.max_target)
    check_range("problems[:, 2:], the numbers,", problems[:, 2:], env.min_number, env.max_number)
