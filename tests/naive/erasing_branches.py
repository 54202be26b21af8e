"""What is left of a stream, found anew for every place of it."""

from __future__ import annotations

import numpy as np

from sos.trace import KIND, NODE, PARENT, Event, Trace


def way(trace: Trace, node: int) -> list[int]:
    """The nodes from the root to a node, with it."""
    found = [node]
    while trace.nodes[found[0], PARENT] >= 0:
        found.insert(0, int(trace.nodes[found[0], PARENT]))
    return found


def left(trace: Trace, align: np.ndarray, last: int) -> list[int]:
    """The tokens that are left behind event `last`: an event goes where a later return leads from below a node to it,
    and the event was written below that node."""
    at, current = [], 0
    events = [(int(event[KIND]), int(event[NODE])) for event in trace.events[: last + 1]]
    came_from = []
    for kind, node in events:
        came_from.append(current)
        if kind in (Event.EXPAND, Event.BACKTRACK):
            current = node
        at.append(current)
    tokens = []
    for e in range(last + 1):
        later = [
            node
            for b, (kind, node) in enumerate(events)
            if b > e and kind == Event.BACKTRACK and node in way(trace, came_from[b])[:-1]
        ]
        if not any(node in way(trace, at[e])[:-1] for node in later):
            tokens += np.flatnonzero(align == e).tolist()
    return tokens
