"""The control `swapped`: every problem gets the search of another one, of about the same length, before its own plan.

The searches of `GROUP` consecutive visits change hands: each is told once, word for word, but of another problem. So
the streams have the same searches, the same plans and the same number of tokens as those of the view `full`, and
differ from them in one thing: the search says nothing of the plan. Whether the content of the mistakes matters is what
they are compared for; on language models it did not (Stechly et al. 2025, "Beyond semantics").
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from sos.data.chunks import Chunk
from sos.rng import fold
from sos.trace import END, PLAN

GROUP = 256  # consecutive visits, from a multiple of it on


def partners(lengths: Sequence[int], problems: Sequence[Hashable], ties: Sequence[int]) -> list[int]:
    """Return for each search of a group whose problem is to get it, -1 where there is none; a permutation of the rest.

    Searches that are neighbours by length change hands with each other (a draw, `ties`, orders those of one length),
    if they are of different problems; of an odd number, the last three go round. O(n^2), for the n of a group.
    """
    order = sorted(range(len(lengths)), key=lambda i: (lengths[i], ties[i]))
    found = [-1] * len(order)
    pairs: list[tuple[int, int]] = []
    while order:
        first = order.pop(0)
        at = next((k for k, other in enumerate(order) if problems[other] != problems[first]), -1)
        if at >= 0:
            other = order.pop(at)
            found[first], found[other] = other, first
            pairs.append((first, other))
            continue
        # What is left is all of one problem: each of it goes round with a pair of two others.
        for left in (first, *order):
            at = next((k for k in range(len(pairs) - 1, -1, -1) if _may_join(problems, left, pairs[k])), -1)
            if at >= 0:
                a, b = pairs.pop(at)
                found[left], found[a], found[b] = a, b, left
        break
    return found


def _may_join(problems: Sequence[Hashable], left: int, pair: tuple[int, int]) -> bool:
    return problems[left] not in (problems[pair[0]], problems[pair[1]])


def swap_searches(chunk: Chunk, problems: Sequence[Hashable], key: np.uint64) -> Chunk:
    """Return `chunk` (whole groups of streams with plans) with the searches of each group swapped.

    `problems` (N,) tells the problems of the streams apart, and `key` seeds the draws. A stream that finds no other
    problem in its group is left out. O(tokens).
    """
    starts, plans = chunk.offsets[:-1] + chunk.prompts, _plan_starts(chunk)
    lengths, groups = (plans - starts).tolist(), (chunk.visits // GROUP).tolist()
    ties = [int(fold(key, visit)) for visit in chunk.visits]
    giver = np.full(len(groups), -1, np.int64)
    begin = 0
    while begin < len(groups):
        stop = begin
        while stop < len(groups) and groups[stop] == groups[begin]:
            stop += 1
        part = slice(begin, stop)
        giver[part] = [begin + k if k >= 0 else -1 for k in partners(lengths[part], problems[part], ties[part])]
        begin = stop
    keep = np.flatnonzero(giver >= 0)
    given = giver[keep]
    bounds = np.stack([chunk.offsets[keep], starts[given], plans[keep]], 1)
    stops = np.stack([starts[keep], plans[given], chunk.offsets[keep + 1]], 1)
    where = _ranges(bounds.reshape(-1), (stops - bounds).reshape(-1))
    return chunk._replace(
        tokens=chunk.tokens[where],
        kinds=chunk.kinds[where],
        offsets=np.concatenate([[0], np.cumsum((stops - bounds).sum(1))]).astype(np.int64),
        prompts=chunk.prompts[keep],
        visits=chunk.visits[keep],
        strategies=chunk.strategies[given],
    )


def _plan_starts(chunk: Chunk) -> np.ndarray:
    """Return where the plan of each stream begins, int64 (N,); its end, where it has none."""
    last = np.flatnonzero((chunk.kinds == PLAN) | (chunk.kinds == END))
    return last[np.searchsorted(last, chunk.offsets[:-1])]


def _ranges(starts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return the numbers from each start on, `sizes` many of each, one after the other."""
    before = np.cumsum(sizes) - sizes
    return np.repeat(starts - before, sizes) + np.arange(int(sizes.sum()))
