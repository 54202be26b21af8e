"""The view `apart`: a problem's failure and its success stand in streams of their own.

A whole search tells its wrong turns and, behind them, the solution, in one stream. Here a draw decides for each stream:
either the solution path, without a wrong turn, or the search as it was before its last mistake was over, without the
solution. So a model is shown the same mistakes, and never how a search goes on from one of them. It is the control that
asks whether failures help as such, or because a stream goes on behind them.

A failure ends like a search whose budget ran out. A search that made no mistake has none: its stream is the solution
path. Where the search found no solution, the oracle's path stands for it as in other views, and there is no failure.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sos.envs.protocol import implements
from sos.kernels import inner
from sos.rng import uniform
from sos.stream.added import show
from sos.stream.views import NEEDS_SOLUTION, SOLUTION_PATH, WHOLE_TRACE, View, view_built_in
from sos.trace import BUDGET, BUFFER_FULL, END, GENERATE, KIND, NODE, OK, PARENT, SOLVED, STATE, VALUE, add_event


class Apart(NamedTuple):
    """The share of streams that are a failure, among those of searches with mistakes."""

    failures: float = 0.5


@inner
def _mistakes(source, marks):
    """Return how many events of a solved trace there are up to the last of a node that is not on the way to the goal; 0
    where there is none. `marks` int32 (N,) is work space."""
    events = source.events
    for node in range(source.counts[1]):
        marks[node] = 0
    node = np.int64(events[source.counts[0] - 2, NODE])  # the goal comes right before the end
    while node >= 0:
        marks[node] = 1
        node = np.int64(source.nodes[node, PARENT])
    for e in range(source.counts[0] - 2, 0, -1):
        if marks[events[e, NODE]] == 0:
            return e + 1
    return 0


@inner
def _write_failure(source, num, out):
    """Write the first `num` events of `source`, and the end of a search whose budget ran out."""
    nodes, states = 1, 1
    for e in range(num):
        nodes += source.events[e, KIND] == GENERATE
        states = max(states, source.events[e, STATE] + 1)
    if num + 1 > len(out.events) or nodes > len(out.nodes) or states > len(out.states):
        return BUFFER_FULL
    for rows, target, count in (
        (source.events, out.events, num),
        (source.nodes, out.nodes, nodes),
        (source.states, out.states, states),
    ):
        for r in range(count):
            for c in range(rows.shape[1]):
                target[r, c] = rows[r, c]
    out.counts[0], out.counts[1], out.counts[2] = num, nodes, states
    add_event(out, END, -1, -1, BUDGET, 0)
    return OK


@implements(show, Apart)
def _show(view, key, env, problem, source, out, work):
    if source.events[source.counts[0] - 1, VALUE] != SOLVED:
        return NEEDS_SOLUTION
    num = _mistakes(source, work.renumbered)
    if num > 0 and uniform(key, WHOLE_TRACE) < view.failures:
        return _write_failure(source, num, out)
    return view_built_in(View(SOLUTION_PATH, 0.0, False), key, env, problem, source, out, work)
