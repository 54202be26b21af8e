"""What the cheapest solutions of problems cost, by which answers are called optimal."""

from __future__ import annotations

from typing import Any

import numpy as np

from sos.envs import protocol as environment
from sos.envs.protocol import has
from sos.kernels import kernel


@kernel
def _find_optima(env, problems, work, found):
    for p in range(len(problems)):
        found[p] = environment.optimum(env, problems[p], work)


def optima(env: Any, problems: np.ndarray) -> np.ndarray | None:
    """Return the least cost of a solution of each problem (int32 (P, W)), int64 (P,), -1 where there is none; None for
    an environment that knows no costs, or no optimum."""
    if not (has("path_cost", type(env)) and has("optimum", type(env))):
        return None
    found = np.zeros(len(problems), np.int64)
    _find_optima(env, problems, env.proof_work(), found)
    return found
