"""What a strategy solves, and how many tokens its streams take: the teacher's solve rate within a context."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from sos.data.streams import Workspace, new_workspace
from sos.rng import stream_key
from sos.search.protocol import choose, search_chosen
from sos.stream.codec import ENCODE_ERRORS, encode_kernel
from sos.stream.dialect import Dialect
from sos.trace import VALUE, Outcome, Status

OK = int(Status.OK)
SOLVED = int(Outcome.SOLVED)


class Coverage(NamedTuple):
    """One row per problem. P = problems."""

    solved: np.ndarray  # bool (P,): the search reached the goal
    lengths: np.ndarray  # int32 (P,): tokens of the full stream, -1 where it is longer than the limit
    prompts: np.ndarray  # int32 (P,): prompt tokens among them
    strategies: np.ndarray  # int32 (P,): which strategy of a mixture searched


@njit(cache=True, nogil=True)
def _cover(env, strategy, program, key, limit, problems, space, found):
    """Search and write every problem. Returns (problem, error) where the dialect cannot write a trace, or (-1, 0)."""
    for p in range(len(problems)):
        choice = choose(strategy, key, p)
        found.strategies[p] = choice
        found.solved[p] = False
        found.lengths[p] = -1
        if search_chosen(strategy, choice, env, problems[p], space.work, space.trace) != OK:
            continue
        events, nodes, states, counts = space.trace
        found.solved[p] = events[counts[0] - 1, VALUE] == SOLVED
        count, prompt = encode_kernel(
            program,
            problems[p],
            events[: counts[0]],
            nodes[: counts[1]],
            states[: counts[2]],
            space.tokens,
            space.align,
        )
        if count < -1:
            return p, count
        if 0 <= count <= limit:
            found.lengths[p] = count
            found.prompts[p] = prompt
    return -1, 0


def coverage(
    env: Any, strategy: Any, dialect: Dialect, problems: np.ndarray, *, max_tokens: int, max_nodes: int
) -> Coverage:
    """Search `problems` (int32 (P, W)) and write the streams. A mixture draws a strategy for each problem by its number.

    A search that generates more than `max_nodes` nodes counts as unsolved. Raises ValueError where the dialect cannot write
    a trace.
    """
    space: Workspace = new_workspace(env, max_nodes, max_tokens, dialect.program.max_event_tokens)
    num = len(problems)
    found = Coverage(np.zeros(num, bool), np.zeros(num, np.int32), np.zeros(num, np.int32), np.zeros(num, np.int32))
    key = stream_key(0, "teacher")
    wrong, error = _cover(env, strategy, dialect.program, key, max_tokens, problems, space, found)
    if wrong >= 0:
        row = problems[wrong].tolist()
        raise ValueError(f"dialect {dialect.name} cannot write the trace of problem {row}: {ENCODE_ERRORS[error]}")
    return found
