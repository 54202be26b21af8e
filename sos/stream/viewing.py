"""Views applied: to the traces of `sos.trace.TraceRows`, and to one trace. One kernel does both.

A whole search with its plan is what most environments train on. It needs neither a solution of the oracle nor the other
views, so that it is a type of its own here: kernels for it compile in a fraction of the time.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from sos.envs.stubs import capability, implementation_of, implements
from sos.errors import UserError
from sos.kernels import kernel
from sos.search.rows import FIRST_ROOM, close_trace, new_room, new_rows, room_for_trace, trace_at, trace_of
from sos.stream.added import AddedView
from sos.stream.plan import add_plan
from sos.stream.views import (
    FULL,
    NEEDS_SOLUTION,
    SWAPPED,
    View,
    apply_view,
    copy_trace,
    name_of,
    new_view_work,
    oracle_of,
)
from sos.stream.write.refusals import NO_ROOM, OK
from sos.trace import BUFFER_FULL, LEFT_OUT, REACHED, WRITTEN, Trace, TraceRows

WHY = 3  # behind these three of the progress: the status of the last trace that was left out


class WithPlan(NamedTuple):
    """The view `full`, or `swapped` before anything is swapped, with a plan."""

    kind: int = FULL


class ViewPlan(NamedTuple):
    """Which view traces get, and what its draws depend on. N = traces."""

    shown: View | AddedView | WithPlan
    oracle: Any  # the strategy of `oracle_of`
    keys: np.ndarray  # uint64 (N,): of the draws of each trace


def _as_asked(view, key, env, problem, oracle, source, out, work):
    return apply_view(view, key, env, problem, oracle, source, out, work)


@capability(_as_asked)
def put_view(view, key, env, problem, oracle, source, out, work):
    """Like `sos.stream.views.apply_view`, by the type of the view."""
    return implementation_of("put_view", type(view))(view, key, env, problem, oracle, source, out, work)


@implements(put_view, WithPlan)
def _put_with_plan(view, key, env, problem, oracle, source, out, work):
    status = copy_trace(source, out)
    return np.int64(add_plan(env, problem, out) if status == OK else status)


@kernel
def _view_traces(env, plan, rows, stop, work, room, out, progress):
    """Append the views of the traces of `rows` up to `stop` to `out`, from where `progress` says on; return OK or
    NO_ROOM."""
    while progress[REACHED] < stop:
        k, num = progress[REACHED], progress[WRITTEN]
        source = trace_at(rows, k, room.source_counts)
        viewed, fits = room_for_trace(out, num, room.max_nodes, room.counts)
        if not fits:
            return NO_ROOM
        progress[REACHED] = k + 1
        status = put_view(plan.shown, plan.keys[k], env, rows.problems[k], plan.oracle, source, viewed, work)
        if status != OK:
            progress[LEFT_OUT] += 1
            progress[WHY] = status
            continue
        close_trace(out, num, rows.problems[k], room.counts, rows.visits[k], rows.strategies[k])
        progress[WRITTEN] = num + 1
    return OK


class Viewer:
    """Shows traces of up to `max_nodes` nodes in a view, in arrays that are reused from call to call."""

    def __init__(self, env: Any, view: View | AddedView, max_nodes: int) -> None:
        self.env, self.view, self.max_nodes = env, view, max_nodes
        self._shown = WithPlan() if view.kind in (FULL, SWAPPED) and view.plan else view
        self.work = new_view_work(env, max_nodes)
        self._oracle, self._room = oracle_of(env), new_room(max_nodes)
        self._rows = new_rows(env, 0, 0, 0)

    def show(self, rows: TraceRows, num: int, keys: np.ndarray) -> tuple[TraceRows, int, int, int]:
        """Return (rows, number of traces, number left out, why the last of these was) of the view of the first `num`
        traces of `rows`, whose draws have the `keys`, uint64 (num,)."""
        if len(self._rows.visits) < num:
            self._rows = new_rows(self.env, num, FIRST_ROOM * num, self.max_nodes)
        progress, plan = np.zeros(4, np.int64), ViewPlan(self._shown, self._oracle, keys)
        while _view_traces(self.env, plan, rows, num, self.work, self._room, self._rows, progress) != OK:
            self._rows = self._rows.grown()
        return self._rows, int(progress[WRITTEN]), int(progress[LEFT_OUT]), int(progress[WHY])


def view_trace(view: View | AddedView, env: Any, trace: Trace, key: int = 0, max_nodes: int = 100_000) -> Trace:
    """Return the view of a search's trace. Raises UserError where a solution is needed and none exists, and for
    `swapped`, which takes the search of another problem."""
    if view.kind == SWAPPED:
        raise UserError(
            "view 'swapped' shows the search of another problem: ask a StreamSource for the stream of a visit"
        )
    problem, events, nodes, states = (np.ascontiguousarray(part, np.int32) for part in trace)
    offsets = np.array([[0, 0, 0], [len(events), len(nodes), len(states)]], np.int64)
    one = TraceRows(problem[None], events, nodes, states, offsets, np.zeros(1, np.int64), np.zeros(1, np.int32))
    rows, num, _, why = Viewer(env, view, max_nodes).show(one, 1, np.array([key], np.uint64))
    if not num and why == NEEDS_SOLUTION:
        raise UserError(f"view {name_of(view)!r} needs a solution, and problem {trace.problem.tolist()} has none")
    if not num:
        assert why == BUFFER_FULL
        raise UserError(f"view {name_of(view)!r} of the trace needs more than {max_nodes} nodes")
    return trace_of(rows, 0)


def compile_view(env: Any, view: View | AddedView) -> None:
    """Compile what shows traces of `env` in a view, or load it."""
    Viewer(env, view, 1).show(new_rows(env, 0, 0, 0), 0, np.zeros(0, np.uint64))
