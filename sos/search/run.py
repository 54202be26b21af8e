"""One search from plain Python, with work space of its own."""

from __future__ import annotations

from typing import Any

import numpy as np

from sos.errors import UserError
from sos.search.rows import Drawn, Searcher, trace_of
from sos.trace import Trace


def run_search(strategy: Any, env: Any, problem: np.ndarray, max_nodes: int, choice: int = 0) -> Trace:
    """Search `problem` (int32 (P,), within the ranges of `env`), with number `choice` of a mixture, and return the
    whole trace.

    Raises ValueError where more than `max_nodes` nodes are generated.
    """
    found = search_one(Searcher(env, strategy, max_nodes), problem, choice)
    if found is None:
        raise UserError(
            f"the search for problem {problem.tolist()} generates more than {max_nodes} nodes; lower search.max_nodes"
        )
    return found


def search_one(searcher: Searcher, problem: np.ndarray, choice: int = 0) -> Trace | None:
    """Return the trace of one problem, None where the search generates more nodes than the searcher has room for."""
    problem = np.asarray(problem, np.int32)
    rows, num, _ = searcher.search(Drawn(0, problem[None], np.zeros(1, np.int64), np.full(1, choice, np.int32)))
    return trace_of(rows, 0) if num else None
