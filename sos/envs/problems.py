"""What is right for the problems of most environments; a NamedTuple takes these functions as its methods.

`@ungrouped` above the class gives it those that it has not; see `PROBLEMS` in `sos.envs.registry`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np

from sos.envs import protocol
from sos.kernels import kernel

Row = Sequence[int] | np.ndarray
Kind = TypeVar("Kind", bound=type)


def no_group(env: Any, problem: Row) -> str:
    """Return the group of a problem in words, for an environment whose problems make one group: nothing."""
    return ""


def one_group(env: Any) -> np.ndarray:
    """Return the groups of problems, int32 (1,), where all make one."""
    return np.zeros(1, np.int32)


def whole_row(env: Any, problem: Row) -> tuple[int, ...]:
    """Return what two problems have in common that count as the same: every number."""
    return tuple(int(number) for number in problem)


@kernel
def _find_wrong(env, rows, wrong):
    for r in range(len(rows)):
        wrong[r] = not protocol.can_pose(env, rows[r])


def wrong_rows(env: Any, rows: np.ndarray) -> np.ndarray:
    """Return bool (R,): which rows int32 (R, P) are no problems of `env`, for one that takes long to say so."""
    wrong = np.zeros(len(rows), np.bool_)
    _find_wrong(env, np.ascontiguousarray(rows, np.int32), wrong)
    return wrong


def check_rows(env: Any, problems: np.ndarray) -> None:
    """Like `check_problems`, for an environment that takes long to say what it can pose."""
    if problems.shape[1] != env.problem_width:
        check_problems(env, problems)  # which says so
    wrong = np.flatnonzero(wrong_rows(env, problems))
    if len(wrong):
        raise ValueError(f"problems[{wrong[0]}] is none of {env.describe()}")


@kernel
def _find_solvable(env, rows, work, found):
    for r in range(len(rows)):
        found[r] = protocol.solvable(env, rows[r], work)


def which_solvable(env: Any, rows: np.ndarray) -> np.ndarray:
    """Return bool (R,): which rows int32 (R, P), problems of `env`, have a solution, exactly."""
    found = np.zeros(len(rows), np.bool_)
    _find_solvable(env, np.ascontiguousarray(rows, np.int32), env.proof_work(), found)
    return found


def check_problems(env: Any, problems: np.ndarray) -> None:
    """Raise ValueError that names the row unless problems (R, any) are some that `env` can pose."""
    if problems.shape[1] != env.problem_width:
        raise ValueError(f"problems has {problems.shape[1]} columns, not {env.problem_width}")
    for number, problem in enumerate(problems):
        if not protocol.can_pose(env, problem):
            raise ValueError(f"problems[{number}] is none of {env.describe()}")


def ungrouped(kind: Kind) -> Kind:
    """Give a NamedTuple whose problems make one group the methods that it does not have itself."""
    shared = {
        "groups": property(one_group),
        "describe_group": no_group,
        "problem_key": whole_row,
        "check_problems": check_problems,
    }
    for name, method in shared.items():
        if name not in vars(kind):
            setattr(kind, name, method)
    return kind
