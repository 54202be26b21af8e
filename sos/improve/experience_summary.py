"""What an experience holds, in numbers: solved, mistakes by kind, pass@k, classes of problems, lengths, repeats."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sos.improve.advantages import Grouping, group_counts, grouping
from sos.improve.experience import UNMEASURED, Experience
from sos.improve.selections import difficulty_classes
from sos.improve.selections_options import CLASSES
from sos.judge.intervals import pass_at_k
from sos.stream.verify import Error

HARD = "hard"  # no rollout solves it, and nobody asked further


class Row(NamedTuple):
    """A figure of all rollouts, of the solved ones and of the others; None where there is none."""

    name: str
    all: float | None
    solved: float | None = None
    unsolved: float | None = None


def summary(experience: Experience, repeated: npt.NDArray[np.int64] | None = None) -> list[Row]:
    """Return the figures, with those of `repeated` states, int64 (N,), where they were counted.

    Rates are shares, errors are means a rollout, pass@k and classes are over groups. `errors that solve` is the share
    of solved among the rollouts with a mistake.
    """
    solved = experience.solved
    parts = [np.ones(len(experience), bool), solved, ~solved]
    rows = [
        Row("rollouts", *(float(part.sum()) for part in parts)),
        Row("problems", float(len(np.unique(experience.groups)))),
        Row("solved", _mean(solved, parts[0])),
        *([_row("planned", experience.planned, parts)] if experience.planned.any() else []),
        _row("unfinished", ~experience.finished, parts),
        _row("unreadable", experience.malformed, parts),
        _row("tokens", experience.lengths, parts),
        Row("most tokens", *(float(experience.lengths[part].max()) if part.any() else None for part in parts)),
        _row("nodes", experience.nodes, parts),
        _row("errors", experience.num_errors, parts),
        _row("with errors", experience.num_errors > 0, parts),
        Row("errors that solve", _mean(solved, experience.num_errors > 0)),
    ]
    for error in Error:
        counts = error_counts(experience, error)
        if error != Error.NONE and counts.any():
            rows.append(_row(f"error/{error.name.lower()}", counts, parts))
    if repeated is not None:
        rows.append(_row("repeated states", repeated, parts))
    return rows + _of_groups(experience)


def error_counts(experience: Experience, error: Error) -> npt.NDArray[np.int64]:
    """Return how many events of each rollout have an error, int64 (N,)."""
    totals = np.concatenate([[0], np.cumsum(experience.event_errors == error, dtype=np.int64)])
    return totals[experience.event_offsets[1:]] - totals[experience.event_offsets[:-1]]


def table(rows: Sequence[Row]) -> str:
    """Return the figures as Markdown."""
    lines = ["| | all | solved | unsolved |", "| --- | --- | --- | --- |"]
    lines += [f"| {row.name} | {' | '.join(map(_cell, row[1:]))} |" for row in rows]
    return "\n".join(lines)


def _of_groups(experience: Experience) -> list[Row]:
    """Return pass@k and the classes, where problems have several rollouts."""
    grouped = grouping(experience.groups)
    if not len(grouped.sizes) or grouped.sizes.max() < 2:
        return []
    correct = grouped.sums(experience.solved).astype(np.int64)
    counts = group_counts(experience.solved, experience.groups)
    rows = [Row(f"groups {name.replace('_', ' ')}", float(num)) for name, num in counts._asdict().items()]
    k = 1
    while k <= grouped.sizes.min():
        rows.append(Row(f"pass@{k}", float(pass_at_k(grouped.sizes, correct, k).mean())))
        k *= 2
    classes = _classes(experience, grouped, correct)
    for number, name in enumerate((*CLASSES, HARD)):
        if (share := float((classes == number).mean())) > 0:
            rows.append(Row(f"problems {name}", share))
    return rows


def _classes(experience: Experience, grouped: Grouping, correct: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the class of each group as its number in `CLASSES`, `len(CLASSES)` for a hard one of unknown kind."""
    measured = np.full(len(grouped.sizes), UNMEASURED, np.int64)
    measured[grouped.of] = experience.classes
    own = difficulty_classes(correct, grouped.sizes).astype(np.int64)
    found = np.where(measured == UNMEASURED, own, measured)
    return np.where(found == UNMEASURED, len(CLASSES), found)


def _row(name: str, values: npt.NDArray, parts: Sequence[npt.NDArray[np.bool_]]) -> Row:
    return Row(name, *(_mean(values, part) for part in parts))


def _mean(values: npt.NDArray, part: npt.NDArray[np.bool_]) -> float | None:
    return float(values[part].mean()) if part.any() else None


def _cell(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.0f}" if value == int(value) and abs(value) >= 1 else f"{value:.4g}"
