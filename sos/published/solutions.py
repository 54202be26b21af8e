"""Solutions as the published records (Gandhi et al. 2024) write them: found, checked exactly, and as a text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from sos.datasets.checks import short
from sos.envs.countdown.rules import Countdown
from sos.errors import UserError
from sos.search.run import run_search
from sos.stream.views import ORACLE
from sos.trace import ACTION, PARENT, Outcome

SOLUTION_NODES = 200_000
_NUMBER = "(0|[1-9][0-9]*)"  # as the search text has it: no leading zero, no digits of other scripts
_OPERATION = re.compile(f"{_NUMBER}([-+*/]){_NUMBER}={_NUMBER}")


def first_solution(numbers: Sequence[int], target: int) -> list[str]:
    """Return the operations of the first solution in generation order. Raises ValueError where there is none."""
    problem = np.array([target, len(numbers), *numbers], np.int32)
    env = Countdown(len(numbers), max_target=target)
    trace = run_search(ORACLE, env, problem, min(SOLUTION_NODES, env.tree_nodes))
    if trace.outcome != Outcome.SOLVED:
        raise UserError(f"problem {list(numbers)} to {target} has no solution")
    operations: list[str] = []
    node = len(trace.nodes) - 1  # the goal is generated last
    while node > 0:
        a, symbol, b, result = trace.nodes[node, ACTION : ACTION + 4].tolist()
        operations.insert(0, f"{a}{env.symbols[symbol]}{b}={result}")
        node = int(trace.nodes[node, PARENT])
    return operations


def check_solution(numbers: Sequence[int], target: int, solution: Any) -> None:
    """Replay a list of operations exactly, each number used once. Raises ValueError that names the operation."""
    if not isinstance(solution, list) or not all(isinstance(operation, str) for operation in solution):
        raise UserError(f"solution must be a list of texts, got {short(solution)}")
    state = list(numbers)
    for operation in solution:
        state = apply_operation(state, operation)
    if state != [target]:
        raise UserError(f"solution ends with {state}, not with the target {target}")


def apply_operation(state: Sequence[int], operation: str) -> list[int]:
    """Return the numbers after an operation such as `8-3=5`: those left in their order, then the result.

    Raises ValueError where it cannot be read, uses a number that is not there, breaks the rules or states a wrong
    result.
    """
    match = _OPERATION.fullmatch(operation)
    if match is None:
        raise UserError(f"solution holds {short(operation)}, which is no operation")
    a, b, result = int(match[1]), int(match[3]), int(match[4])
    left = list(state)
    for number in (a, b):
        if number not in left:
            raise UserError(f"solution uses {number} in {operation}, of {list(state)}")
        left.remove(number)
    true = {
        "+": a + b,
        "*": a * b,
        "-": a - b if a >= b else None,
        "/": a // b if b and a >= b and a % b == 0 else None,
    }[match[2]]
    if true != result:
        raise UserError(f"solution states {operation}, which is wrong")
    return [*left, result]


def optimal_path(numbers: Sequence[int], target: int, solution: Sequence[str]) -> str:
    """Return the published text of a solution path."""
    state, lines = list(numbers), [f"Current State: {target}:{list(numbers)}, Operations: []"]
    for step, operation in enumerate(solution):
        state = apply_operation(state, operation)
        lines.append(f"Exploring Operation: {operation}, Resulting Numbers: {state}")
        if len(state) == 1:
            lines.append(f"{state[0]},{target} equal: Goal Reached")
        else:
            lines.append(f"Generated Node #{step + 2}: {state} from Operation: {operation}")
            lines.append(f"Current State: {target}:{state}, Operations: {list(solution[: step + 1])}")
    return "".join(f"{line}\n" for line in lines)
