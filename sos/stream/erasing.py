"""What a finished branch wrote is erased as soon as the search returns from it (after Yang et al. 2025, PENCIL, arXiv
2503.14337, whose rule is `C [CALL] T [SEP] A [RETURN]` -> `C A`).

When a search returns to a node that it came from, what was written below the node goes: the visits, and what was tried
there. What was tried at the node itself stays, and so does the return, which says that a branch came to nothing. So a
model holds the way to where it is, and one entry for each branch that it left.

The rule needs no tokens of its own. It reads a stream as any reader does, so that it goes with every dialect whose
returns are written, and the stream as a whole stays what it was: it is read and judged like any other.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sos.trace import KIND, NODE, PARENT, Event, Trace


class Return(NamedTuple):
    """A return from a branch that had written something."""

    stop: int  # tokens of the stream up to the end of the return
    kept: np.ndarray  # bool (stop,): which of them are left


class Piece(NamedTuple):
    """What a model has before it at once, and is trained on at once."""

    tokens: np.ndarray  # uint16 or int (T,)
    num_old: int  # of them, in front: the prompt, or what the erasing left, on which there is no loss
    positions: np.ndarray  # int64 (T,): where they stand in the whole stream


def returns(trace: Trace, align: np.ndarray) -> list[Return]:
    """Return where something of a stream is erased, in order. `align`, int (T,), is the event of each token, as
    `sos.stream.codec.decode` and `encode` tell it."""
    events = trace.events
    align = align[: len(align) - int(np.argmax(np.append(align[::-1], 0) >= 0))]  # -1 at the end: of no event yet
    stops = np.searchsorted(align, np.arange(len(events)), "right")
    at = np.zeros(len(events), np.int64)  # the node at which each event was written
    kept = np.ones(len(align), bool)
    found: list[Return] = []
    current = -1
    for e, (kind, node) in enumerate(events[:, [KIND, NODE]].tolist()):
        if kind in (Event.EXPAND, Event.BACKTRACK):
            below = _below(trace, node) if kind == Event.BACKTRACK else None
            if below is not None and current >= 0 and below[current]:
                gone = np.append(below[at[:e]], False)[align[: stops[e]]] & kept[: stops[e]]
                if gone.any():
                    kept[: stops[e]] &= ~gone
                    found.append(Return(int(stops[e]), kept[: stops[e]].copy()))
            current = node
        at[e] = max(current, 0)
    return found


def _below(trace: Trace, node: int) -> np.ndarray:
    """Return which nodes lie below a node, bool (N,). Parents come before their children."""
    below = np.zeros(len(trace.nodes), bool)
    for child, parent in enumerate(trace.nodes[:, PARENT].tolist()):
        below[child] = 0 <= parent < child and (parent == node or below[parent])
    return below


def pieces(tokens: np.ndarray, num_prompt: int, erased: list[Return]) -> list[Piece]:
    """Return the pieces of a stream of which these returns erase something, one more than there are returns.

    A piece ends one token behind its return: only what follows tells that a list or a number has come to its end. That
    token is the first new one of the next piece again.
    """
    left, start = np.arange(num_prompt), num_prompt
    found = []
    for back in erased:
        found.append(_piece(tokens, left, start, min(back.stop + 1, len(tokens))))
        left, start = np.flatnonzero(back.kept), back.stop
    if start < len(tokens):
        found.append(_piece(tokens, left, start, len(tokens)))
    return found


def _piece(tokens: np.ndarray, left: np.ndarray, start: int, stop: int) -> Piece:
    positions = np.concatenate([left, np.arange(start, stop)])
    return Piece(tokens[positions], len(left), positions)
