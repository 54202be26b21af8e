"""What models make of a wrong step: solve rates from three beginnings of the same search, paired over problems."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sos.analysis.attempts import aligned
from sos.improve.recovery import PLAIN, STARTS
from sos.judge.intervals import mean_interval, seed_interval

HEADER = (
    "last step",
    "solved",
    "minus plain: over problems",
    "over runs",
    "where it can lead on",
    "where it cannot",
    "comes back",
    "claims a goal there",
    "tokens",
)


def tables(results: Sequence[Mapping[str, Any]]) -> str:
    """Return a block for each split: means over the runs, and each run's solve rate."""
    blocks = []
    for split, first in results[0]["splits"].items():
        found = [result["splits"][split] for result in results]
        cases = ", ".join(str(len(one["numbers"])) for one in found)
        head = f"{split}: {cases} of {first['problems']} problems have a step with all three versions"
        blocks.append(f"{head}\n\n{aligned([HEADER, *(row_of(found, start) for start in STARTS)])}")
    return "\n\n".join(blocks)


def row_of(found: Sequence[Mapping[str, Any]], start: str) -> list[str]:
    """Return the row of one beginning, from the same split of each run."""
    solved, plain = ([np.array(one["starts"][s]["solved"]) for one in found] for s in (start, PLAIN))
    on = [np.array(one["promising"], bool) for one in found]
    minus = [a - b for a, b in zip(solved, plain, strict=True)]
    rates = [float(one.mean()) for one in solved]
    each = f" ({', '.join(f'{100 * rate:.1f}' for rate in rates)})" if len(rates) > 1 else ""
    over, runs = mean_interval(np.concatenate(minus)), seed_interval([float(one.mean()) for one in minus])
    difference = f"{100 * float(np.mean([one.mean() for one in minus])):+.1f}"

    def means(name: str) -> float:
        return float(np.mean([np.mean(one["starts"][start][name]) for one in found]))

    def within(wanted: bool) -> str:
        kept = np.concatenate([one[mask == wanted] for one, mask in zip(solved, on, strict=True)])
        return f"{100 * kept.mean():.1f}% of {len(kept)}" if len(kept) else "-"

    return [
        start,
        f"{100 * float(np.mean(rates)):.1f}%{each}",
        "" if start == PLAIN else f"{difference}{_ends(over)}",
        "" if start == PLAIN or runs is None else f"{difference}{_ends(runs)}",
        within(True),
        within(False),
        f"{100 * means('back'):.1f}%",
        f"{100 * means('claimed'):.1f}%",
        f"{means('tokens'):.0f}",
    ]


def _ends(interval: Any) -> str:
    return "" if interval is None else f" [{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]"
