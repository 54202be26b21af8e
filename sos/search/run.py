"""One search from plain Python, with work space of its own."""

from __future__ import annotations

from typing import Any

import numpy as np

from sos.errors import UserError
from sos.kernels import kernel
from sos.search.protocol import search_chosen
from sos.search.work import new_work
from sos.trace import ACTION, Status, Trace, new_buffer, to_trace


@kernel
def _search(strategy, choice, env, problem, work, trace):
    return search_chosen(strategy, choice, env, problem, work, trace)


def run_search(strategy: Any, env: Any, problem: np.ndarray, max_nodes: int, choice: int = 0) -> Trace:
    """Search `problem` (int32 (P,), within the ranges of `env`), with number `choice` of a mixture, and return the
    whole trace.

    Raises ValueError where more than `max_nodes` nodes are generated.
    """
    buffer = new_buffer(4 * max_nodes + 8, max_nodes, ACTION + env.action_width, env.state_width)
    if _search(strategy, choice, env, problem, new_work(env, max_nodes), buffer) != Status.OK:
        raise UserError(
            f"the search for problem {problem.tolist()} generates more than {max_nodes} nodes; lower search.max_nodes"
        )
    return to_trace(problem, buffer)
