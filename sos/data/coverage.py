"""What a strategy solves, and how many tokens its streams take: the teacher's solve rate within a context."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from sos.data.streams import Writer
from sos.data.traces import STRATEGY_DRAW, Order, choose_strategies
from sos.envs.protocol import refutable
from sos.rng import fold, stream_key
from sos.search.rows import Drawn, Searcher
from sos.stream.dialect.compile import Dialect
from sos.stream.verify import verify, verify_tokens
from sos.stream.views import FULL, SWAPPED, View
from sos.trace import EXHAUSTED, SOLVED, VALUE, Trace, TraceRows


class Coverage(NamedTuple):
    """One row per problem. P = problems."""

    solved: np.ndarray  # bool (P,): the search reached the goal, or refutes its problem
    lengths: np.ndarray  # int32 (P,): tokens of the full stream, -1 where it is longer than the limit
    prompts: np.ndarray  # int32 (P,): prompt tokens among them; 0 where there is no stream
    nodes: np.ndarray  # int32 (P,): nodes generated, the root included
    strategies: np.ndarray  # int32 (P,): which strategy of a mixture searched


BLOCK = 64  # problems that are searched at a time


def _searched(
    env: Any, strategy: Any, problems: np.ndarray, choices: np.ndarray, max_nodes: int
) -> Iterator[tuple[TraceRows, int]]:
    """Search `problems`, each with its strategy of a mixture; yield (rows, number of traces) block by block, whose
    visits number the problems. A search of more than `max_nodes` nodes is left out."""
    searcher = Searcher(env, strategy, max_nodes)
    numbers = np.arange(len(problems))
    for first in range(0, len(problems), BLOCK):
        part = slice(first, first + BLOCK)
        yield searcher.search(Drawn(first, problems[part], numbers[part], choices[part]))[:2]


def _teachers_choices(strategy: Any, num: int) -> np.ndarray:
    """Draw which strategy of a mixture searches each of `num` problems, by their number; int32 (num,)."""
    choices = np.zeros(num, np.int32)
    choose_strategies(strategy, stream_key(0, "teacher"), np.arange(num), choices)
    return choices


def ends_of(rows: TraceRows, num: int) -> np.ndarray:
    """Return the `Outcome`s of the first `num` traces, int32 (num,)."""
    return rows.events[rows.offsets[1 : num + 1, 0] - 1, VALUE]


def is_answer(env: Any, outcomes: np.ndarray) -> np.ndarray:
    """Return which `Outcome`s answer a problem, bool (P,): a goal, and a search that is through where problems without
    a solution are posed."""
    exhausted = (outcomes == EXHAUSTED) if refutable(env) else np.zeros(len(outcomes), bool)
    return (outcomes == SOLVED) | exhausted


def _answers(env: Any, rows: TraceRows, num: int) -> np.ndarray:
    """Return which of the first `num` traces solve their problem, bool (num,): a refutation is checked."""
    ends = ends_of(rows, num)
    solved: np.ndarray = ends == SOLVED
    for k in np.flatnonzero(is_answer(env, ends) & ~solved):
        spans = (slice(a, b) for a, b in zip(rows.offsets[k], rows.offsets[k + 1], strict=True))
        parts = (array[span] for array, span in zip((rows.events, rows.nodes, rows.states), spans, strict=True))
        solved[k] = verify(env, Trace(rows.problems[k], *parts)).solved
    return solved


def coverage(
    env: Any, strategy: Any, dialect: Dialect, problems: np.ndarray, *, max_tokens: int, max_nodes: int
) -> Coverage:
    """Search `problems` (int32 (P, W)) and write the streams. A mixture draws a strategy for each problem by its
    number.

    A search that generates more than `max_nodes` nodes counts as unsolved. Raises UserError where the dialect cannot
    write a trace.
    """
    num = len(problems)
    choices = _teachers_choices(strategy, num)
    solved, lengths = np.zeros(num, bool), np.full(num, -1, np.int32)
    prompts, nodes = np.zeros(num, np.int32), np.zeros(num, np.int32)
    order = Order(0, np.uint64(0))
    writer = Writer(env, View(FULL), dialect, context=max_tokens, max_nodes=max_nodes, seed=0, order=order)
    for rows, searched in _searched(env, strategy, problems, choices, max_nodes):
        numbers = rows.visits[:searched]
        solved[numbers] = _answers(env, rows, searched)
        nodes[numbers] = np.diff(rows.offsets[: searched + 1, 1])
        chunk, _ = writer.write(rows, searched, 0)
        lengths[chunk.visits] = np.diff(chunk.offsets)
        prompts[chunk.visits] = chunk.prompts
    return Coverage(solved, lengths, prompts, nodes, choices)


class ViewCoverage(NamedTuple):
    """What the streams of a view say, written and read back. P = problems."""

    solved: np.ndarray  # bool (P,): the stream, judged as an answer, solves its problem
    planned: np.ndarray  # bool (P,): its plan does
    lengths: np.ndarray  # int32 (P,): tokens of the stream, -1 where there is none or it is longer than the limit
    prompts: np.ndarray  # int32 (P,): prompt tokens among them; 0 where there is no stream
    returns_dropped: int  # by the view `no_backtrack`, because a reader finds them
    returns_kept: int  # because a reader would not


def view_coverage(system: Any, problems: np.ndarray) -> ViewCoverage:
    """Write the streams of `problems` (int32 (P, W)) as `system` would for training, read them back and judge them.

    This is the score of a perfect imitator: `coverage` asks whether the search itself is solved. Strategies of a
    mixture are drawn as there. Raises UserError where the dialect cannot write a stream. About 0.2 ms each.
    """
    env, num = system.env, len(problems)
    order = Order(0, np.uint64(0))
    writer = Writer(
        env, system.view, system.dialect, context=system.context, max_nodes=system.max_nodes, seed=0, order=order
    )
    solved, planned = np.zeros(num, bool), np.zeros(num, bool)
    lengths, prompts = np.full(num, -1, np.int32), np.zeros(num, np.int32)
    returns = np.zeros(2, np.int64)
    choices = _teachers_choices(system.strategy, num)
    for rows, searched in _searched(env, system.strategy, problems, choices, system.max_nodes):
        chunk, _ = writer.write(rows, searched, 0)
        lengths[chunk.visits] = np.diff(chunk.offsets)
        prompts[chunk.visits] = chunk.prompts
        returns += chunk.left_out.returns, chunk.left_out.returns_kept
        for p, start, stop in zip(chunk.visits, chunk.offsets, chunk.offsets[1:], strict=False):
            verdict = verify_tokens(system.dialect, env, problems[p], chunk.tokens[start:stop])[0]
            # Whoever imitates swapped searches to the letter writes another problem's.
            solved[p], planned[p] = verdict.solved and system.view.kind != SWAPPED, verdict.planned
    return ViewCoverage(solved, planned, lengths, prompts, *returns.tolist())


def view_ceiling(
    system: Any, problems: np.ndarray, max_tokens: int | None = None, taken: np.ndarray | int = 0
) -> np.ndarray:
    """Return whether the stream that `system` shows of each problem solves it, read back and judged, bool (P,): by its
    search or by its plan.

    `max_tokens` bounds what follows the prompt, as in rollouts; a stream longer than the context solves nothing, of
    whose room `taken` tokens (one number, or int (P,)) are not the stream's.
    """
    found = view_coverage(system, problems)
    limit = system.context if max_tokens is None else max_tokens
    fits = (found.lengths >= 0) & (found.lengths + taken <= system.context)
    return (found.solved | found.planned) & fits & (found.lengths - found.prompts <= limit)


def outcomes(
    env: Any, strategy: Any, problems: np.ndarray, *, key: np.uint64, start: int, max_nodes: int
) -> np.ndarray:
    """Search `problems` (int32 (P, W)), problems `start` and on of the stream `key`; return their `Outcome`s, int8
    (P,).

    -1 stands for a search of more than `max_nodes` nodes. A mixture draws its strategies as in a stream of training
    data.
    """
    found, choices = np.full(len(problems), -1, np.int8), np.zeros(len(problems), np.int32)
    choose_strategies(strategy, np.uint64(fold(key, STRATEGY_DRAW)), start + np.arange(len(problems)), choices)
    for rows, searched in _searched(env, strategy, problems, choices, max_nodes):
        found[rows.visits[:searched]] = ends_of(rows, searched)
    return found
