"""The slot before a problem: where a stream may hold a context, and how a reader finds the problem behind it.

A context stands between `<bos>` and the problem, from the token `begin` to the token `end`. Both belong to no form of a
dialect, and no context holds `end` before its own, so that where the problem begins is found by a scan, and what
follows is read as if no context were there. What the tokens between them say is `sos.context`'s.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sos.stream.dialect.vocab import BOS


class Slot(NamedTuple):
    """The ids of the slot's own tokens."""

    begin: int
    end: int
    then: int  # between two actions of an item
    filler: int  # says nothing
    items: dict[str, int]  # the token that an item begins with, by what the item is
    asks: tuple[int, ...] = ()  # the context by which a prompt asks for a success, where streams say how they end


def behind_context(slot: Slot | None, tokens: np.ndarray) -> int:
    """Return where the problem begins in `tokens` (any integers (T,)), the token behind `<bos>` or behind a context;
    -1 where a context never ends. O(T)."""
    if slot is None or len(tokens) < 2 or tokens[0] != BOS or tokens[1] != slot.begin:
        return 1
    ends = np.flatnonzero(tokens == slot.end)
    return int(ends[0]) + 1 if len(ends) else -1
