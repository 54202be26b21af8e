"""The shared language of the package: events, outcomes and the trace that every search writes.

A trace is four int32 arrays, the same for every environment and strategy:

- `problem` (P,): the environment's row for the problem.
- `events` (E, 5): one row per event, columns `KIND, NODE, STATE, VALUE, FLAGS`.
- `nodes` (N, 2 + A): one row per node in order of generation, columns `PARENT, RANK` and the environment's action that
  generated it (`ACTION` is the first of its A columns). Node 0 is the root, its parent -1.
- `states` (S, W): the environment's state rows in the order in which they were stated; an event's `STATE` is its
  row, -1 for none. A search states every node once, so that row i is node i; a model's restatement that differs gets
  a row of its own.

A search may be followed by the plan, the answer restated: one `PLAN` event for each action from the root to the goal.
Each has a node of its own, a child of the plan's node before it (of the root for the first), so that a plan says
nothing of the search's nodes and can be judged without them.

A trace decoded from tokens holds *claims*: what the writer said a result or state is, right or wrong. A generated
trace is the case where every claim is true. The last event is an `END`, and only the last.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import numpy as np

from sos.kernels import inlined, inner

KIND, NODE, STATE, VALUE, FLAGS = range(5)
EVENT_COLUMNS = 5
PARENT, RANK, ACTION = range(3)


class Event(IntEnum):
    """What an event row says (column `KIND`)."""

    EXPAND = 0  # visit a node for the first time and state it; the first event visits the root
    GENERATE = 1  # apply an action to the current node, which creates a child; VALUE is the proof of a forced one, or 0
    DEAD_END = 2  # the node is a leaf and not a goal, or proven to lead to none; VALUE is its number or the proof
    GOAL = 3  # the node is a leaf and a goal; VALUE is its number
    BACKTRACK = 4  # return to a node that was visited before
    END = 5  # the search stops; VALUE is its Outcome
    PLAN = 6  # an action of the answer, behind the search; NODE is a node of its own, the child of the one before


class Outcome(IntEnum):
    """How a search stopped (column `VALUE` of the `END` event)."""

    SOLVED = 0
    EXHAUSTED = 1  # every branch that the strategy allows was explored
    BUDGET = 2  # the budget of expanded nodes ran out
    EMPTY = 3  # nothing is left to visit, though the strategy dropped branches unexplored (beam search)


class Flag(IntEnum):
    """Bits of column `FLAGS`. The decoder sets the first three where the text of one event disagrees with itself or its
    trace; `FORCED` is a claim like any other, of a search or of a text. The last two say what a sketch (see
    `sos.stream.sketch`) leaves out."""

    QUOTE = 1  # a repeated target, operation or history differs from what was said before
    LABEL = 2  # the label of a generated node is missing or not the next free one
    UNANNOUNCED = 4  # the parent is not the current node: a return that no event announced
    FORCED = 8  # of `GENERATE`: the rules of deduction leave no other move, so that the node has no siblings to try
    UNTOLD = 16  # of a visit: no words say it; of the root's: the search behind it is a sketch
    BARE = 32  # of `GENERATE`: its facts, such as costs, are not said; of the root's visit: nor are those of the sketch


class Status(IntEnum):
    """What a kernel that fills a caller's buffer returns in place of an exception."""

    OK = 0
    BUFFER_FULL = 1


# The same as plain ints: what kernels compare with. Everything imports them from here.
EXPAND, GENERATE, DEAD_END, GOAL, BACKTRACK, END, PLAN = (int(event) for event in Event)
SOLVED, EXHAUSTED, BUDGET, EMPTY = (int(outcome) for outcome in Outcome)
QUOTE_FLAG, LABEL_FLAG, UNANNOUNCED_FLAG, FORCED_FLAG, UNTOLD_FLAG, BARE_FLAG = (int(flag) for flag in Flag)
OK, BUFFER_FULL = (int(status) for status in Status)


class TraceBuffer(NamedTuple):
    """Caller-owned arrays that a search, view or decoder fills; `counts` int64 (3,) = used events, nodes, states."""

    events: np.ndarray
    nodes: np.ndarray
    states: np.ndarray
    counts: np.ndarray


class Trace(NamedTuple):
    """One search: see the module's docstring for shapes and columns."""

    problem: np.ndarray
    events: np.ndarray
    nodes: np.ndarray
    states: np.ndarray

    @property
    def outcome(self) -> Outcome | None:
        """The outcome that the `END` event states, or None where a decoded trace never ends."""
        if len(self.events) and self.events[-1, KIND] == Event.END:
            return Outcome(int(self.events[-1, VALUE]))
        return None

    def equals(self, other: Trace) -> bool:
        """Say whether all four arrays are equal."""
        return all(np.array_equal(a, b) for a, b in zip(self, other, strict=True))


@inner
def max_events(max_nodes):
    """Return a bound of the events of a trace of `max_nodes` nodes."""
    return 4 * max_nodes + 8


def new_buffer(max_events: int, max_nodes: int, node_width: int, state_width: int) -> TraceBuffer:
    """Allocate a buffer for `max_events` events and `max_nodes` nodes (as many restatements again fit in `states`)."""
    return TraceBuffer(
        np.zeros((max_events, EVENT_COLUMNS), np.int32),
        np.zeros((max_nodes, node_width), np.int32),
        np.zeros((2 * max_nodes, state_width), np.int32),
        np.zeros(3, np.int64),
    )


class TraceRows(NamedTuple):
    """Traces of consecutive visits, behind each other, and room for more. N = traces; all int32 but `offsets` and
    `visits`."""

    problems: np.ndarray  # (N, P)
    events: np.ndarray  # (E, 5)
    nodes: np.ndarray  # (M, 2 + A)
    states: np.ndarray  # (S, W)
    offsets: np.ndarray  # int64 (N + 1, 3): where the events, nodes and states of each trace start
    visits: np.ndarray  # int64 (N,)
    strategies: np.ndarray  # (N,) which strategy of a mixture searched

    def grown(self) -> TraceRows:
        """Return a copy with room for twice the events, nodes and states."""
        more = {
            name: np.concatenate([rows, np.zeros_like(rows)])
            for name, rows in self._asdict().items()
            if name in GROWING
        }
        return self._replace(**more)


GROWING = ("events", "nodes", "states")
# What a kernel that works through many traces, and may have to stop for want of room, says of its progress: int64 (4,).
REACHED, WRITTEN, LEFT_OUT, FAILED_EVENT = range(4)


def to_trace(problem: np.ndarray, buffer: TraceBuffer) -> Trace:
    """Copy the used part of `buffer` into a Trace."""
    num_events, num_nodes, num_states = (int(c) for c in buffer.counts)
    return Trace(
        np.array(problem, np.int32),
        buffer.events[:num_events].copy(),
        buffer.nodes[:num_nodes].copy(),
        buffer.states[:num_states].copy(),
    )


@inlined
def add_event(buffer, kind, node, state, value, flags):
    """Append an event in O(1); the caller has made sure that a row is free."""
    e = buffer.counts[0]
    row = buffer.events[e]
    row[KIND] = kind
    row[NODE] = node
    row[STATE] = state
    row[VALUE] = value
    row[FLAGS] = flags
    buffer.counts[0] = e + 1
