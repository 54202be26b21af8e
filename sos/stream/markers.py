"""Markers: tokens that say what is seen of a search's state at this place, computed from the trace and never from the
answer.

- `wait`: behind a node that is generated and that the heuristic values worse than its parent.
- `maybe`: behind the visit of a node whose best two children nearly tie by the heuristic.
- `check`: before a goal is claimed.
- `dead`: before a return: what lies below the node that is left is exhausted.

They stand at the bounds of events, behind the problem, each kind once at a place, and tell the event that follows. They
are no part of a trace: whoever reads takes them out, wherever they stand, and reads what is left. Their ids stand
behind those of the dialect and of the context slot.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from sos.rng import fold, permute
from sos.schema.stream import LATE, MARKERS, OBSERVED, SHUFFLED
from sos.stream.measure import CHECK, DEAD, Measure, MeasureWork, measure_trace, new_measure_work
from sos.trace import (
    BACKTRACK,
    DEAD_END,
    EXPAND,
    FLAGS,
    GENERATE,
    GOAL,
    KIND,
    NODE,
    PARENT,
    UNTOLD_FLAG,
    Trace,
)


class Markers(NamedTuple):
    """The markers of a dialect."""

    names: tuple[str, ...]  # some of `MARKERS`, in their order
    first: int  # the id of the first one; those of the others follow
    measure: Measure | None = None  # None where neither wait nor maybe is among them

    def are(self, tokens: np.ndarray) -> np.ndarray:
        """Return which tokens (any integers (T,)) are markers, bool (T,)."""
        return (tokens >= self.first) & (tokens < self.first + len(self.names))


def find_marks(markers: Markers, trace: Trace, work: MeasureWork | None = None) -> np.ndarray:
    """Return what is seen before each event of a trace, and behind the last, uint8 (E + 1,): bit k stands for
    `MARKERS[k]`.

    `work` is room for the trace's nodes; without it the problem is checked first, and one that the environment cannot
    pose has no values. O(nodes x children^2).
    """
    marks = np.zeros(len(trace.events) + 1, np.uint8)
    if not len(trace.events):
        return marks
    if markers.measure is not None:
        if work is None and _is_posed(markers.measure.env, trace.problem):
            work = new_measure_work(markers.measure.env, len(trace.nodes))
        if work is not None:
            measure_trace(markers.measure, trace.problem, trace.events, trace.nodes, work, marks)
    _find_events(trace, marks)
    asked = sum(1 << MARKERS.index(name) for name in markers.names)
    marks &= np.uint8(asked)
    marks[0] = 0  # within the problem's statement
    return marks


def _is_posed(env: Any, problem: np.ndarray) -> bool:
    try:
        env.check_problems(problem[None])
    except ValueError:
        return False
    return True


def _find_events(trace: Trace, marks: np.ndarray) -> None:
    """Set the bits `CHECK` and `DEAD` before goals and before returns."""
    kinds, nodes = trace.events[:, KIND], trace.events[:, NODE]
    marks[:-1][kinds == GOAL] |= CHECK
    parents = np.where((kinds == GENERATE) & (nodes >= 0), trace.nodes[np.maximum(nodes, 0), PARENT], -1)
    # The node that the search is at behind each event: the one visited, or the parent of the one generated.
    moves = (kinds == EXPAND) | (kinds == BACKTRACK) | (kinds == GENERATE)
    last = np.maximum.accumulate(np.where(moves, np.arange(len(kinds)), 0))
    at = np.where(kinds == GENERATE, parents, nodes)[last]
    told = (trace.events[1:, FLAGS] & UNTOLD_FLAG) == 0
    leaves = at[1:] != at[:-1]
    returns = (kinds[1:] == BACKTRACK) & told & (leaves | (kinds[:-1] == DEAD_END))
    marks[1:-1][returns | ((kinds[1:] == GENERATE) & leaves)] |= DEAD


class Put(NamedTuple):
    """Where markers go among the tokens of a stream."""

    positions: np.ndarray  # int64 (K,): the token before which each stands, in order
    ids: np.ndarray  # int64 (K,)


def put_marks(markers: Markers, marks: np.ndarray, starts: np.ndarray, how: str = OBSERVED, key: Any = 0) -> Put:
    """Return where markers stand in the stream of a trace, given its marks, uint8 (E + 1,), and where the tokens of
    each event begin, int (E,).

    `how` is one of `sos.schema.stream.PLACES`; places are the bounds between events behind the first. Those of
    `SHUFFLED` are drawn by `key` (uint64), as many of each kind, and none twice. What would be `LATE` behind the last
    place stays there.
    """
    places, of_event = np.unique(starts[1:], return_inverse=True)
    bits = np.zeros(len(places), np.uint8)
    np.bitwise_or.at(bits, of_event, marks[1:-1])
    there = np.stack([bits & (1 << MARKERS.index(name)) for name in markers.names], 1) > 0  # (places, names)
    if how == LATE and len(places) > 1:
        there = np.concatenate([there[:1] & False, there[:-2], there[-2:-1] | there[-1:]])
    elif how == SHUFFLED:
        for k, num in enumerate(there.sum(0).tolist()):
            drawn = np.uint64(fold(np.uint64(key), MARKERS.index(markers.names[k])))
            there[:, k] = False
            there[[permute(drawn, j, len(places)) for j in range(num)], k] = True
    at, kinds = np.nonzero(there)
    return Put(places[at].astype(np.int64), markers.first + kinds)


class Seen(NamedTuple):
    """Markers of one stream against what is seen in it. K = kinds of markers of the dialect."""

    written: np.ndarray  # int64 (K,)
    right: np.ndarray  # int64 (K,): of those, the ones that stand where it is seen
    due: np.ndarray  # int64 (K,): places where it is seen


def count_markers(markers: Markers, trace: Trace, align: np.ndarray, tokens: np.ndarray) -> Seen:
    """Compare the markers among `tokens` (any integers (T,)), as far as these were read, with what is seen in the
    `trace` and `align` that `sos.stream.codec.decode` gave for them.

    A marker is right at a bound of events where its kind is seen, once; within an event it never is. Those of the
    problem's statement and of what stands before it, which is no part of an answer, do not count. O(tokens).
    """
    tokens = np.asarray(tokens, np.int64)[: len(align)]
    is_marker = markers.are(tokens)
    kept, events = np.flatnonzero(~is_marker), align[~is_marker]
    num = len(trace.events)
    starts = np.searchsorted(np.where(events < 0, num, events), np.arange(num + 1))
    marks = find_marks(markers, trace)
    due = {
        (int(start), kind)
        for start, seen in zip(starts[1:], marks[1:], strict=True)
        for kind, name in enumerate(markers.names)
        if seen & (1 << MARKERS.index(name))
    }
    at = np.flatnonzero(is_marker & (align != 0))
    places = zip(np.searchsorted(kept, at).tolist(), (tokens[at] - markers.first).tolist(), strict=True)
    found = list(places)
    right = due & set(found)
    return Seen(*(_counts([kind for _, kind in pairs], len(markers.names)) for pairs in (found, right, due)))


def _counts(kinds: list[int], num: int) -> np.ndarray:
    return np.bincount(np.array(kinds, np.int64), minlength=num)
