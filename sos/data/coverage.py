"""What a strategy solves, and how many tokens its streams take: the teacher's solve rate within a context."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from sos.data.streams import ViewPlan
from sos.data.traces import Order, strategy_of
from sos.errors import UserError
from sos.kernels import kernel
from sos.rng import fold, stream_key
from sos.search.protocol import choose, search_chosen
from sos.search.work import SearchWork, new_work
from sos.stream.codec import encode
from sos.stream.dialect.compile import Dialect
from sos.stream.verify import verify_tokens
from sos.stream.views import RETURNS_DROPPED, RETURNS_KEPT, SWAPPED, apply_view, new_view_work, oracle_of
from sos.stream.write.encode import ENCODE_ERRORS, TokenRows, encode_traces
from sos.stream.write.space import Writing, new_writing, tokens_size
from sos.trace import ACTION, OK, SOLVED, VALUE, TraceBuffer, TraceRows, max_events, new_buffer, to_trace


class Coverage(NamedTuple):
    """One row per problem. P = problems."""

    solved: np.ndarray  # bool (P,): the search reached the goal
    lengths: np.ndarray  # int32 (P,): tokens of the full stream, -1 where it is longer than the limit
    prompts: np.ndarray  # int32 (P,): prompt tokens among them
    nodes: np.ndarray  # int32 (P,): nodes generated, the root included
    strategies: np.ndarray  # int32 (P,): which strategy of a mixture searched


class CoverageSpace(NamedTuple):
    """Buffers of `coverage`, reused for every problem."""

    work: SearchWork
    trace: TraceBuffer
    tokens: np.ndarray  # uint16
    kinds: np.ndarray  # int8
    writing: Writing
    offsets: np.ndarray  # int64 (2, 3) of the one trace
    streams: np.ndarray  # int64 (2,)
    kept: np.ndarray  # int64 (1,)


class ViewSpace(NamedTuple):
    """Buffers of `view_coverage`."""

    work: SearchWork
    trace: TraceBuffer
    viewed: TraceBuffer


@kernel
def _cover(env, strategy, program, key, limit, problems, space, found):
    """Search and write every problem. Returns (problem, error) where the dialect cannot write a trace, or (-1, 0)."""
    for p in range(len(problems)):
        choice = choose(strategy, key, p)
        found.strategies[p] = choice
        found.solved[p] = False
        found.lengths[p] = -1
        found.nodes[p] = 0
        if search_chosen(strategy, choice, env, problems[p], space.work, space.trace) != OK:
            continue
        events, nodes, states, counts = space.trace
        found.solved[p] = events[counts[0] - 1, VALUE] == SOLVED
        found.nodes[p] = counts[1]
        for k in range(3):
            space.offsets[1, k] = counts[k]
        problem, prompt = problems[p : p + 1], found.prompts[p : p + 1]
        source = TraceRows(problem, events, nodes, states, space.offsets, space.kept, found.strategies)
        sink = TokenRows(space.tokens, space.kinds, space.streams, prompt, space.kept)
        written, _, _, error, _ = encode_traces(program, limit, source, 0, 1, space.writing, sink, 0)
        if error < 0:
            return p, error
        if written == 1:
            found.lengths[p] = space.streams[1]
    return -1, 0


def coverage(
    env: Any, strategy: Any, dialect: Dialect, problems: np.ndarray, *, max_tokens: int, max_nodes: int
) -> Coverage:
    """Search `problems` (int32 (P, W)) and write the streams. A mixture draws a strategy for each problem by its
    number.

    A search that generates more than `max_nodes` nodes counts as unsolved. Raises ValueError where the dialect cannot
    write a trace.
    """
    size = tokens_size(dialect.program, max_tokens)
    space = CoverageSpace(
        new_work(env, max_nodes),
        new_buffer(max_events(max_nodes), max_nodes, ACTION + env.action_width, env.state_width),
        np.zeros(size, np.uint16),
        np.zeros(size, np.int8),
        new_writing(dialect.program, max_events(max_nodes), max_nodes, max_nodes),
        np.zeros((2, 3), np.int64),
        np.zeros(2, np.int64),
        np.zeros(1, np.int64),
    )
    num = len(problems)
    found = Coverage(np.zeros(num, bool), *(np.zeros(num, np.int32) for _ in Coverage._fields[1:]))
    key = stream_key(0, "teacher")
    wrong, error = _cover(env, strategy, dialect.program, key, max_tokens, problems, space, found)
    if wrong >= 0:
        row = problems[wrong].tolist()
        raise UserError(f"dialect {dialect.name} cannot write the trace of problem {row}: {ENCODE_ERRORS[error]}")
    return found


class ViewCoverage(NamedTuple):
    """What the streams of a view say, written and read back. P = problems."""

    solved: np.ndarray  # bool (P,): the stream, judged as an answer, solves its problem
    planned: np.ndarray  # bool (P,): its plan does
    lengths: np.ndarray  # int32 (P,): tokens of the stream, -1 where there is none or it is longer than the limit
    prompts: np.ndarray  # int32 (P,): prompt tokens among them
    returns_dropped: int  # by the view `no_backtrack`, because a reader finds them
    returns_kept: int  # because a reader would not


@kernel
def _view_of(env, strategy, key, p, plan, problem, space, work):
    """Search problem `p` and write its view into `space.viewed`; return a status."""
    status = search_chosen(strategy, choose(strategy, key, p), env, problem, space.work, space.trace)
    if status != OK:
        return status
    return apply_view(plan.shown, fold(plan.key, p), env, problem, plan.oracle, space.trace, space.viewed, work)


def view_coverage(system: Any, problems: np.ndarray) -> ViewCoverage:
    """Write the streams of `problems` (int32 (P, W)) as `system` would for training, read them back and judge them.

    This is the score of a perfect imitator: `coverage` asks whether the search itself is solved. Strategies of a
    mixture are drawn as there. Raises UserError where the dialect cannot write a stream. About 0.2 ms each.
    """
    env, size, num = system.env, system.max_nodes, len(problems)
    space = ViewSpace(
        new_work(env, size),
        new_buffer(max_events(size), size, ACTION + env.action_width, env.state_width),
        new_buffer(max_events(size), size, ACTION + env.action_width, env.state_width),
    )
    work = new_view_work(env, size)
    plan = ViewPlan(system.view, oracle_of(env), stream_key(0, "dose"), Order(0, np.uint64(0)))
    key = stream_key(0, "teacher")
    solved, planned, lengths, prompts = (
        np.zeros(num, bool),
        np.zeros(num, bool),
        np.full(num, -1, np.int32),
        np.zeros(num, np.int32),
    )
    for p, problem in enumerate(problems):
        if _view_of(env, system.strategy, key, p, plan, problem, space, work) != OK:
            continue
        tokens, _, prompts[p] = encode(system.dialect, to_trace(problem, space.viewed))
        if len(tokens) > system.context:
            continue
        lengths[p] = len(tokens)
        verdict = verify_tokens(system.dialect, env, problem, tokens)[0]
        # Whoever imitates swapped searches to the letter writes another problem's.
        solved[p], planned[p] = verdict.solved and system.view.kind != SWAPPED, verdict.planned
    returns = (int(work.returns[RETURNS_DROPPED]), int(work.returns[RETURNS_KEPT]))
    return ViewCoverage(solved, planned, lengths, prompts, *returns)


def view_ceiling(system: Any, problems: np.ndarray, max_tokens: int | None = None) -> np.ndarray:
    """Return whether the stream that `system` shows of each problem solves it, read back and judged, bool (P,): by its
    search or by its plan.

    `max_tokens` bounds what follows the prompt, as in rollouts; a stream longer than the context solves nothing.
    """
    found = view_coverage(system, problems)
    limit = system.context if max_tokens is None else max_tokens
    return (found.solved | found.planned) & (found.lengths >= 0) & (found.lengths - found.prompts <= limit)


@kernel
def _outcomes(env, strategy, key, start, problems, work, trace, outcomes):
    for p in range(len(problems)):
        choice = strategy_of(strategy, key, start + p)
        outcomes[p] = -1
        if search_chosen(strategy, choice, env, problems[p], work, trace) == OK:
            outcomes[p] = trace.events[trace.counts[0] - 1, VALUE]


def outcomes(
    env: Any, strategy: Any, problems: np.ndarray, *, key: np.uint64, start: int, max_nodes: int
) -> np.ndarray:
    """Search `problems` (int32 (P, W)), problems `start` and on of the stream `key`; return their `Outcome`s, int8
    (P,).

    -1 stands for a search of more than `max_nodes` nodes. A mixture draws its strategies as in a stream of training
    data.
    """
    found = np.zeros(len(problems), np.int8)
    buffer = new_buffer(max_events(max_nodes), max_nodes, ACTION + env.action_width, env.state_width)
    _outcomes(env, strategy, key, start, problems, new_work(env, max_nodes), buffer, found)
    return found
