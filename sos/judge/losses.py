"""Where a model's loss lies: the losses on its teacher's streams, by the field of the dialect that each token belongs
to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from sos.stream.dialect.compile import Dialect
from sos.stream.read.places import Place, places

KEYS = Place._fields


class Row(NamedTuple):
    """One group of places, summed over all streams."""

    place: tuple[Any, ...]  # the values of the keys that it was grouped by
    tokens: int
    nats: float
    others: int  # tokens beside which the model held another one more likely


def losses_by_place(
    dialect: Dialect, env: Any, streams: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]], keys: Sequence[str]
) -> list[Row]:
    """Group the tokens behind the prompt of `streams` by some of `KEYS`, the largest loss first.

    A stream is (tokens int (T,), nats float (T,), most likely tokens int (T,)): entry t of the latter two is about
    token t given those before it; what they say of the prompt is not read.
    """
    columns = [KEYS.index(key) for key in keys]
    sums: dict[tuple[Any, ...], list[float]] = defaultdict(lambda: [0, 0.0, 0])
    for tokens, nats, likely in streams:
        for place, token, loss, best in zip(places(dialect, env, tokens), tokens, nats, likely, strict=True):
            if place.after:  # not the prompt
                row = sums[tuple(place[column] for column in columns)]
                row[0] += 1
                row[1] += float(loss)
                row[2] += int(best != token)
    rows = [Row(place, int(num), nats, int(others)) for place, (num, nats, others) in sums.items()]
    return sorted(rows, key=lambda row: (-row.nats, row.place))


def table(rows: Sequence[Row], keys: Sequence[str], num_streams: int, top: int) -> str:
    """Return the first `top` rows as Markdown, and what the rest and all of them come to."""
    total = sum(row.nats for row in rows)
    header = [*keys, "tokens a stream", "nats a stream", "share", "nats a token", "another token likelier"]
    lines = [f"| {' | '.join(header)} |", "| " + "--- | " * len(header)]
    shown = list(rows[:top])
    for name, part in (("others", rows[top:]), ("all", rows)):
        if part:
            tokens, others = sum(row.tokens for row in part), sum(row.others for row in part)
            shown.append(Row((name, *[""] * (len(keys) - 1)), tokens, sum(row.nats for row in part), others))
    for place, num, nats, others in shown:
        figures = [f"{num / num_streams:.2f}", f"{nats / num_streams:.4f}", f"{100 * nats / total:.1f}%"]
        figures += [f"{nats / num:.5f}", f"{100 * others / num:.2f}%"]
        lines.append(f"| {' | '.join(map(str, [*place, *figures]))} |")
    return "\n".join(lines)
