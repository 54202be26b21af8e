"""What is right for the problems of most environments; a NamedTuple takes these functions as its methods.

`describe_group = problems.no_group` in the body of the class, for example; see `PROBLEMS` in `sos.envs.registry`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sos.envs import protocol
from sos.kernels import kernel

Row = Sequence[int] | np.ndarray


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


def check_problems(env: Any, problems: np.ndarray) -> None:
    """Raise ValueError that names the row unless problems (R, any) are some that `env` can pose."""
    if problems.shape[1] != env.problem_width:
        raise ValueError(f"problems has {problems.shape[1]} columns, not {env.problem_width}")
    for number, problem in enumerate(problems):
        if not protocol.can_pose(env, problem):
            raise ValueError(f"problems[{number}] is none of {env.describe()}")
