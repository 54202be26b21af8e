"""Views: Trace -> Trace. Same problems, same searches, another view is a controlled ablation.

- `full`: the stream of search, as it is.
- `solution_path`: the events on the way to the goal alone (the paper's "optimal path").
- `dose`: each dead branch off the solution path is kept with probability `dose`: 0 is the solution path, 1 the full
  stream.
- `no_backtrack`: the full stream without the returns that a reader finds by itself. Without a word a reader takes an
  operation to belong to the current node, or else to its nearest ancestor that holds what it takes. Where this is the
  true parent, the return (a `BACKTRACK` event) is dropped. It stays where the reader would take another node, so that
  every stream reads back to its trace; `ViewWork.returns` counts what was kept and dropped.
- `redundant`: the solution path, its current node stated again and again until it has as many events as the full
  stream: extra tokens without information.
- `plan_only`: no search at all; the plan stands behind the problem.
- `swapped`: the full search of *another* problem, of the same length, before this problem's plan. What changes hands is
  text, so that it is done where the streams of many problems are at hand (`sos.data.swapped`); here it is `full`.

With `View.plan` every view of a solved search ends with the plan, the actions from the root to the goal.

Where an environment poses problems without a solution, the solution path of an exhausted search is the bare answer:
the problem and the end. `redundant` says the root again and again before it, and `dose` keeps a search as a whole.

Another search that ended without a goal has no solution path. `full`, `no_backtrack` and `swapped` show it; the
others ask for the oracle's solution in its place (`NEEDS_SOLUTION`), `dose` with probability 1 - `dose`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from sos.envs import protocol as environment
from sos.kernels import inlined, inner
from sos.rng import uniform
from sos.schema.stream import VIEWS
from sos.search.a_star import AStar
from sos.search.depth_first import DepthFirst
from sos.search.protocol import search
from sos.search.work import SearchWork, new_work
from sos.stream.added import NOT_ADDED, AddedView, show_added
from sos.stream.plan import add_plan, only_plan
from sos.trace import (
    ACTION,
    BACKTRACK,
    BUFFER_FULL,
    DEAD_END,
    END,
    EXHAUSTED,
    EXPAND,
    FLAGS,
    FORCED_FLAG,
    GENERATE,
    KIND,
    NODE,
    OK,
    PARENT,
    RANK,
    SOLVED,
    UNANNOUNCED_FLAG,
    VALUE,
    TraceBuffer,
    add_event,
    max_events,
    new_buffer,
)

FULL, SOLUTION_PATH, DOSE, NO_BACKTRACK, REDUNDANT, PLAN_ONLY, SWAPPED = range(len(VIEWS))
NEEDS_SOLUTION = 2
# The draw that decides on an unsolved trace as a whole; branches draw with their node's number.
WHOLE_TRACE = np.int64(-1)


class View(NamedTuple):
    """A view (index into `VIEWS`), for `dose` the probability that a dead branch stays, and whether a plan follows."""

    kind: int = FULL
    dose: float = 1.0
    plan: bool = False


def name_of(view: View | AddedView) -> str:
    """Return how a view is named."""
    return VIEWS[view.kind] if isinstance(view, View) else type(view.shown).__name__


class ViewWork(NamedTuple):
    """Work space of the views. N = nodes of a trace at most, W = width of a state."""

    renumbered: np.ndarray  # int32 (N,): the new number of each node that stays, -1 for the others
    ranks: np.ndarray  # int32 (N,): the rank of the next child of each node
    state: np.ndarray  # int32 (W,)
    returns: (
        np.ndarray
    )  # int64 (2,): returns that `no_backtrack` kept and dropped, added up until the caller sets them to 0
    solution: TraceBuffer  # the oracle's, where the search found none
    search: SearchWork  # of the oracle


RETURNS_KEPT, RETURNS_DROPPED = range(2)


def new_view_work(env: Any, max_nodes: int) -> ViewWork:
    """Allocate for views of traces of `env` of up to `max_nodes` nodes."""
    return ViewWork(
        np.zeros(max_nodes, np.int32),
        np.zeros(max_nodes, np.int32),
        np.zeros(env.state_width, np.int32),
        np.zeros(2, np.int64),
        new_buffer(max_events(max_nodes), max_nodes, ACTION + env.action_width, env.state_width),
        new_work(env, max_nodes),
    )


@inner
def copy_trace(source, out):
    """Write the trace `source` into `out`; return OK or BUFFER_FULL."""
    events, nodes, states, counts = source
    if counts[0] > len(out.events) or counts[1] > len(out.nodes) or counts[2] > len(out.states):
        return BUFFER_FULL
    # Loops, not slices: they compile in a fraction of the time.
    for rows, target, count in (
        (events, out.events, counts[0]),
        (nodes, out.nodes, counts[1]),
        (states, out.states, counts[2]),
    ):
        for r in range(count):
            for c in range(rows.shape[1]):
                target[r, c] = rows[r, c]
    for k in range(3):
        out.counts[k] = counts[k]
    return OK


@inner
def _mark_kept(view, key, source, kept):
    """Mark in `kept` int32 (N,) the nodes that stay (1) of a solved trace; the others are 0."""
    events, nodes, _, counts = source
    if view.kind == FULL or view.kind == NO_BACKTRACK:
        for node in range(counts[1]):
            kept[node] = 1
        return
    for node in range(counts[1]):
        kept[node] = 0
    node = np.int64(events[counts[0] - 2, NODE])  # the goal comes right before the end
    while node >= 0:
        kept[node] = 2
        node = np.int64(nodes[node, PARENT])
    for node in range(counts[1]):
        if kept[node] == 2:
            continue
        parent = nodes[node, PARENT]
        if kept[parent] == 2:
            # The root of a dead branch: one draw decides for the whole branch.
            if view.kind == DOSE and uniform(key, node) < view.dose:
                kept[node] = 1
        elif kept[parent] == 1:
            kept[node] = 1


@inner
def _add_filler(out, current, state, num):
    for _ in range(num):
        add_event(out, BACKTRACK, current, state, 0, 0)


@inner
def view_kernel(view, key, env, problem, source, out, work):
    """Write the view of the TraceBuffer `source` into `out`; `work` is a ViewWork. O(events + nodes).

    `key` (uint64) seeds the draws of `dose`. Returns OK, BUFFER_FULL or NEEDS_SOLUTION. `source` must be a search's
    own trace.
    """
    added = show_added(view, key, env, problem, source, out, work)
    if added != NOT_ADDED:
        return added
    return view_built_in(view, key, env, problem, source, out, work)


@inner
def view_built_in(view, key, env, problem, source, out, work):
    """Like `view_kernel`, for a View."""
    events, _, _, counts = source
    num_events = counts[0]
    solved = events[num_events - 1, VALUE] == SOLVED
    if view.kind == FULL or view.kind == SWAPPED:
        return copy_trace(source, out)
    if not solved and view.kind != NO_BACKTRACK:
        if view.kind == DOSE and uniform(key, WHOLE_TRACE) < view.dose:
            return copy_trace(source, out)
        if environment.refutable(env) and events[num_events - 1, VALUE] == EXHAUSTED:
            return _bare_answer(view, source, out)
        return NEEDS_SOLUTION
    if num_events > len(out.events) or counts[1] > len(out.nodes) or counts[2] > len(out.states):
        return BUFFER_FULL
    if view.kind == PLAN_ONLY:
        return only_plan(env, problem, source, out)
    _mark_kept(view, key, source, work.renumbered)
    _write_nodes(source, out, work.renumbered)
    _rank(out, work.ranks)
    filler = 0
    if view.kind == REDUNDANT:
        # Path events: an expansion and a generation for each node but the goal, then goal and end. A goal that is
        # judged late is visited before.
        late = events[num_events - 3, KIND] == EXPAND
        filler = num_events - 2 * (out.counts[1] - 1) - 2 - late
    out.counts[0] = 0
    _write_events(view, env, problem, source, out, work, filler)
    if view.kind == NO_BACKTRACK:
        kept = _num_returns(out)
        work.returns[RETURNS_KEPT] += kept
        work.returns[RETURNS_DROPPED] += _num_returns(source) - kept
    return OK


@inner
def _bare_answer(view, source, out):
    """Write the root of an exhausted search and its end, with returns to the root between them where `redundant` is
    to have as many events as the search."""
    filler = source.counts[0] - 2 if view.kind == REDUNDANT else 0
    if filler + 2 > len(out.events):
        return BUFFER_FULL
    for c in range(source.nodes.shape[1]):
        out.nodes[0, c] = source.nodes[0, c]
    for c in range(source.states.shape[1]):
        out.states[0, c] = source.states[0, c]
    out.counts[0], out.counts[1], out.counts[2] = 0, 1, 1
    add_event(out, EXPAND, 0, 0, 0, 0)
    _add_filler(out, 0, 0, filler)
    add_event(out, END, -1, -1, EXHAUSTED, 0)
    return OK


@inner
def _num_returns(buffer):
    num = 0
    for e in range(buffer.counts[0]):
        num += buffer.events[e, KIND] == BACKTRACK
    return num


@inner
def _write_nodes(source, out, kept):
    """Copy the nodes that `kept` marks, and their states; put the new numbers into `kept`, -1 for nodes that are left
    out."""
    _, nodes, states, counts = source
    num = 0
    for node in range(counts[1]):
        if kept[node] == 0:
            kept[node] = -1
            continue
        parent = nodes[node, PARENT]
        for c in range(nodes.shape[1]):
            out.nodes[num, c] = nodes[node, c]
        for c in range(states.shape[1]):
            out.states[num, c] = states[node, c]
        if parent >= 0:
            out.nodes[num, PARENT] = kept[parent]
        kept[node] = num
        num += 1
    out.counts[1] = num
    out.counts[2] = num


@inner
def _rank(out, next_rank):
    """Renumber the children of every node from 0 in order of generation; `next_rank` int32 (N,) is work space.
    O(nodes)."""
    for node in range(out.counts[1]):
        next_rank[node] = 0
    for node in range(1, out.counts[1]):
        parent = out.nodes[node, PARENT]
        out.nodes[node, RANK] = next_rank[parent]
        next_rank[parent] += 1


@inlined
def _found_parent(env, problem, out, current, node, state):
    """Return the node that a reader at `current` takes for the parent of `node`, -1 for none; `state` int32 (W,) is
    work space."""
    action = out.nodes[node, ACTION:]
    while current >= 0:
        if environment.judge(env, problem, out.states[current], action, state) != environment.NOT_HELD:
            break
        current = np.int64(out.nodes[current, PARENT])
    return current


@inner
def _write_events(view, env, problem, source, out, work, filler):
    """Copy the events of the kept nodes; a return is written just before the kept generation that needs it.

    `filler` returns to the current node are spread over all expansions but the goal's.
    """
    events, _, _, counts = source
    num_expanded = out.counts[1] - 1
    current = np.int64(-1)
    share = 0
    pending = False
    for e in range(counts[0]):
        kind = events[e, KIND]
        if kind == END:
            add_event(out, END, -1, -1, events[e, VALUE], 0)
            continue
        node = np.int64(work.renumbered[events[e, NODE]])
        if kind == BACKTRACK:
            pending = True
            continue
        if node < 0:
            continue
        if kind == GENERATE:
            parent = np.int64(out.nodes[node, PARENT])
            flags = 0
            if view.kind == NO_BACKTRACK and parent == _found_parent(env, problem, out, current, node, work.state):
                flags = UNANNOUNCED_FLAG if parent != current else 0
            elif parent != current or (pending and _left(out)):
                add_event(out, BACKTRACK, parent, parent, 0, 0)
            current = parent
            pending = False
            add_event(out, GENERATE, node, node, events[e, VALUE], flags | (events[e, FLAGS] & FORCED_FLAG))
        else:
            add_event(out, kind, node, node, events[e, VALUE], 0)
            if kind == EXPAND:
                current = node
                pending = False
                num = 0
                if share < num_expanded:  # not at a goal, to which nothing returns
                    num = filler * (share + 1) // num_expanded - filler * share // num_expanded
                _add_filler(out, node, node, num)
                share += 1


@inner
def _left(out):
    """Say whether the view's last event is a dead end, which leaves the current node where returns are announced."""
    return out.events[out.counts[0] - 1, KIND] == DEAD_END


@inner
def _viewed(view, key, env, problem, source, out, work):
    """Like `view_kernel`, with the plan where the view has one."""
    status = view_kernel(view, key, env, problem, source, out, work)
    if status == OK and view.plan:
        return np.int64(add_plan(env, problem, out))
    return np.int64(status)


@inner
def apply_view(view, key, env, problem, oracle, source, out, work):
    """Like `view_kernel`, with the solution path of the strategy `oracle` where the search found none."""
    status = _viewed(view, key, env, problem, source, out, work)
    if status != NEEDS_SOLUTION:
        return status
    solution = work.solution
    status = search(oracle, env, problem, work.search, solution)
    if status != OK:
        return status
    outcome = solution.events[solution.counts[0] - 1, VALUE]
    if outcome != SOLVED and not (environment.refutable(env) and outcome == EXHAUSTED):
        return NEEDS_SOLUTION
    kind = view.kind if view.kind == REDUNDANT or view.kind == PLAN_ONLY else SOLUTION_PATH
    return _viewed(View(kind, 0.0, view.plan), key, env, problem, solution, out, work)


ORACLE = DepthFirst(heuristic=0, use_threshold=False, skip_seen=True, announce_leaves=False, max_nodes=2**31 - 1)
"""Exhaustive in generation order: its solution is the first one, the published "optimal path"."""
CHEAPEST = AStar(heuristic=0, max_nodes=2**31 - 1)


def oracle_of(env: Any) -> Any:
    """Return the strategy that finds a solution where the search that a view shows found none: of the least cost, where
    actions cost something."""
    return CHEAPEST if environment.has_costs(env) else ORACLE
