"""What arms did: success over the stream, tokens per solved task, and differences to two baselines, paired over tasks.

A task of a stream is the same for every arm and every base. Intervals are 95%, over tasks: a task counts once, with the
mean over the bases that played it, and whole tasks are resampled. Over bases there is an interval of its own (Student's
t over the difference of each), where there are two or more: only it says what another base would do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sos.analysis.figures import STYLE, colours
from sos.analysis.paired import paired_bootstrap
from sos.judge.intervals import Interval, seed_interval, wilson
from sos.memory.arms import ARMS
from sos.memory.play import Played

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NONE, BLANK = "none", "filler"
BASELINES = (NONE, BLANK)  # without any context, and with one that says nothing
# Whose success along the streams is drawn, as far as they were played: as many as there are colours to tell apart.
DRAWN = (NONE, BLANK, "success", "failure", "both", "raw_success", "raw_failure")
FIRST_DRAWN = 8  # before this task the share solved so far jumps


class Row(NamedTuple):
    """One arm. B = bases, N = tasks of all streams together."""

    arm: str
    solved: np.ndarray  # float64 (B, N)
    late: float  # share solved in the second half of the streams
    tokens_per_solved: float
    context_tokens: float  # per task
    applied: float  # share of tasks with a lesson that applies

    @property
    def rate(self) -> float:
        """The share of tasks that were solved as they came."""
        return float(self.solved.mean())


class Difference(NamedTuple):
    """An arm minus a baseline, as a share of the tasks."""

    value: float
    tasks: Interval
    bases: Interval | None


def rows_of(played: Mapping[str, Sequence[Sequence[Played]]]) -> list[Row]:
    """Return a row for each arm, from what it did with each base on each stream."""
    return [_row(arm, found) for arm, found in played.items()]


def _row(arm: str, found: Sequence[Sequence[Played]]) -> Row:
    every = [one for streams in found for one in streams]
    solved = np.array([np.concatenate([one.solved for one in streams]) for streams in found], np.float64)
    tokens, num = sum(int(one.tokens.sum()) for one in every), int(solved.sum())
    return Row(
        arm,
        solved,
        float(np.mean([one.solved[len(one.solved) // 2 :].mean() for one in every])),
        tokens / num if num else float("inf"),
        float(np.mean([one.context_tokens.mean() for one in every])),
        float(np.mean([one.applied.mean() for one in every])),
    )


def difference(row: Row, baseline: Row) -> Difference:
    """Return how much more an arm solved than a baseline, on the same tasks with the same bases."""
    paired = row.solved - baseline.solved
    return Difference(float(paired.mean()), paired_bootstrap(paired.mean(0)), seed_interval(paired.mean(1)))


def table(rows: Sequence[Row]) -> str:
    """Return the arms as a Markdown table; differences in points."""
    named = {row.arm: row for row in rows}
    bases = [name for name in BASELINES if name in named]
    best = any(_best_of(row.arm) in named for row in rows)
    head = ["arm", "solved", "second half", *(f"minus `{name}`" for name in bases)]
    head += ["minus the best of as many"] if best else []
    head += ["tokens per solved", "context tokens", "a lesson applies"]
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    for row in rows:
        cells = [f"`{row.arm}`", _rate(row), f"{100 * row.late:.1f}%"]
        cells += ["" if row.arm == name else _points(difference(row, named[name])) for name in bases]
        if best:
            as_many = named.get(_best_of(row.arm), row)
            cells.append("" if as_many is row else _points(difference(row, as_many)))
        cells += [f"{row.tokens_per_solved:,.0f}", f"{row.context_tokens:.1f}", f"{100 * row.applied:.0f}%"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _best_of(arm: str) -> str:
    """Return the name of the arm that makes as many attempts, several, without a memory."""
    return f"best_of_{ARMS[arm].attempts}" if arm in ARMS else ""


def _rate(row: Row) -> str:
    each = f" ({', '.join(f'{100 * rate:.1f}' for rate in row.solved.mean(1))})" if len(row.solved) > 1 else ""
    return f"{100 * row.rate:.1f}%{each}"


def _points(found: Difference) -> str:
    text = f"{100 * found.value:+.1f} [{100 * found.tasks.low:.1f}, {100 * found.tasks.high:.1f}]"
    if found.bases is not None:
        text += f", bases [{100 * found.bases.low:.1f}, {100 * found.bases.high:.1f}]"
    return text


def as_plain(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return the arms as plain values for a JSON file, the outcome of every task among them."""
    named = {row.arm: row for row in rows}
    plain = []
    for row in rows:
        baselines = [name for name in (*BASELINES, _best_of(row.arm)) if name in named and name != row.arm]
        against = {name: difference(row, named[name]) for name in baselines}
        interval = wilson(float(row.solved.mean(0).sum()), row.solved.shape[1])
        plain.append(
            {
                "arm": row.arm,
                "solved": row.rate,
                "solved_interval": list(interval),
                "solved_late": row.late,
                "tokens_per_solved": row.tokens_per_solved if np.isfinite(row.tokens_per_solved) else None,
                "context_tokens": row.context_tokens,
                "applied": row.applied,
                "minus": {name: _plain(found) for name, found in against.items()},
                "outcomes": row.solved.astype(int).tolist(),
            }
        )
    return plain


def _plain(found: Difference) -> dict[str, Any]:
    bases = None if found.bases is None else list(found.bases)
    return {"value": found.value, "tasks": list(found.tasks), "bases": bases}


def figure(rows: Sequence[Row], num: int) -> Figure:
    """Return the arms' differences to the first baseline that was played, and the success so far along streams of
    `num` tasks."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    named = {row.arm: row for row in rows}
    baseline = next((named[name] for name in BASELINES if name in named), rows[0])
    others = [row for row in rows if row.arm != baseline.arm]
    along = [named[name] for name in DRAWN if name in named]
    along = along if len(along) > 1 else list(rows[: len(DRAWN)])
    palette = dict.fromkeys(named, "#777777") | colours([row.arm for row in along])
    with rc_context(STYLE):
        drawn = Figure(figsize=(10, 1.6 + 0.3 * max(8, len(others))), layout="constrained")
        left, right = drawn.subplots(1, 2)
        for place, row in enumerate(others):
            found = difference(row, baseline)
            ends = [100 * end for end in found.tasks]
            left.plot(ends, [place, place], color=palette[row.arm], linewidth=4, alpha=0.35, solid_capstyle="butt")
            left.plot([100 * found.value], [place], "o", color=palette[row.arm])
        left.axvline(0, color="#888888", linewidth=1)
        left.set_yticks(range(len(others)), [row.arm for row in others])
        left.set_ylim(len(others) - 0.4, -0.6)
        left.set_title(f"solved, minus {baseline.arm}")
        left.set_xlabel("points, 95% over tasks")
        left.grid(visible=False, axis="y")
        tasks = np.arange(1, num + 1)
        since = min(FIRST_DRAWN, num) - 1
        for row in along:
            curve = 100 * row.solved.mean(0).reshape(-1, num).mean(0).cumsum() / tasks
            right.plot(tasks[since:], curve[since:], color=palette[row.arm], linewidth=1.6, label=row.arm)
        right.set_title("solved so far")
        right.set_xlabel("task of the stream")
        right.set_ylabel("%")
        right.legend(frameon=False, fontsize=8, ncols=2)
    return drawn
