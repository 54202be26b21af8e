"""The figure of ways to spend training tokens: solve rate against tokens, a line for each way, a mark for each seed."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sos.analysis.figures import SPLITS, STYLE, colours
from sos.files import read_json
from sos.runs.expectations import read_expectation
from sos.runs.finished import Run
from sos.runs.folder import RunFolder

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from sos.analysis.compare import Arm, Comparison

_WAY = re.compile(r"(.+)_\d+[km]")


class Point(NamedTuple):
    """An arm on its line."""

    tokens: float  # mean over seeds
    values: tuple[float, ...]  # of the metric, one per seed


def training_tokens(run: Run) -> float | None:
    """Return the tokens that a run was trained on; of a stage those that it wrote and those of the run it started from,
    or None where that run is not there any more."""
    if "rollout_tokens" not in run.train:
        return run.train["tokens"]
    start = Path(str(run.config.get("start") or ""))
    home = RunFolder.of_checkpoint(start) if start.suffix == ".ckpt" else RunFolder(start)
    base = read_json(home.metrics, missing={}).get("train", {})
    return base["tokens"] + run.train["rollout_tokens"] if "tokens" in base else None


def ways(comparison: Comparison) -> dict[str, list[Arm]]:
    """Return the arms by the way in which they spend tokens, none where no way has several budgets: `whole`,
    `whole_400k` and `whole_2m` are one way."""
    found: dict[str, list[Arm]] = {}
    for arm in comparison.arms:
        named = _WAY.fullmatch(arm.label)
        found.setdefault(named[1] if named else arm.label, []).append(arm)
    return found if any(len(arms) > 1 for arms in found.values()) else {}


def points(arms: Sequence[Arm], metric: str) -> list[Point]:
    """Return the points of a way, by their tokens; none of arms without the metric or with a start that is gone."""
    found = []
    for arm in arms:
        tokens = [training_tokens(run) for run in arm.runs]
        values = [run.metrics[metric].value for run in arm.runs if metric in run.metrics]
        known = [one for one in tokens if one is not None]
        measured = tuple(value for value in values if value is not None)
        if len(known) == len(measured) == len(arm.runs):
            found.append(Point(math.fsum(known) / len(known), measured))
    return sorted(found)


def training_tokens_figure(comparison: Comparison) -> Figure | None:
    """Return the solve rate against training tokens, a panel for each split: the mean over seeds, and a ring for each.
    None where no way has several budgets.

    A broken line is of a context of which an expectation of the sweep speaks.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    lines = ways(comparison)
    splits = [split for split in SPLITS if f"solve/{split}" in comparison.metrics]
    if not lines or not splits:
        return None
    judged = [read_expectation(text, comparison.primary) for text in comparison.expect]
    spoken = {metric for line in judged for metric in (line.metric, line.other_metric)}
    palette = colours(lines, {way: arms[0].runs[0].setting("stream.view") for way, arms in lines.items()})
    handles: dict[str, Any] = {}
    with rc_context(STYLE):
        figure = Figure(figsize=(1.2 + 3.6 * len(splits), 4.0), layout="constrained")
        grid = figure.subplots(1, len(splits), sharey=True, squeeze=False)[0]
        for axes, split in zip(grid, splits, strict=True):
            for way, arms in lines.items():
                _draw(axes, points(arms, f"solve/{split}"), palette[way], "-")
                handles[way] = Line2D([], [], color=palette[way], marker="o", markersize=4, label=way)
                for metric in sorted(name for name in spoken if name.startswith(f"solve/{split}.")):
                    found, context = points(arms, metric), metric.partition(".")[2]
                    if found:
                        _draw(axes, found, palette[way], "--")
                        label = f"{way}, {context}"
                        handles[label] = Line2D([], [], color=palette[way], linestyle="--", label=label)
            axes.set_xscale("log", base=2)
            axes.set_title(SPLITS[split])
            axes.set_xlabel("training tokens, millions")
            axes.tick_params(left=axes is grid[0])
        marks = _ticks([point.tokens for arms in lines.values() for point in points(arms, f"solve/{splits[0]}")])
        for axes in grid:
            axes.set_xticks(marks, [f"{mark / 1e6:.2g}" for mark in marks])
            axes.minorticks_off()
        grid[0].set_ylabel("solved, % of problems")
        grid[0].set_ylim(bottom=0)
        ring: dict[str, Any] = {"marker": "o", "linestyle": "", "markersize": 4, "markerfacecolor": "none"}
        seed = Line2D([], [], color="#777777", label="one seed", **ring)
        figure.legend(handles=[*handles.values(), seed], loc="outside lower center", ncols=4, frameon=False)
    return figure


def _ticks(tokens: Sequence[float]) -> list[float]:
    """Return the budgets of some points: those within 15% of the least count as one, the largest of them."""
    budgets: list[list[float]] = []
    for value in sorted(tokens):
        if budgets and value <= 1.15 * budgets[-1][0]:
            budgets[-1].append(value)
        else:
            budgets.append([value])
    return [budget[-1] for budget in budgets]


def _draw(axes: Axes, line: Sequence[Point], colour: str, style: str) -> None:
    if not line:
        return
    tokens = [point.tokens for point in line]
    means = [100 * math.fsum(point.values) / len(point.values) for point in line]
    axes.plot(tokens, means, style, color=colour, linewidth=1.8, marker="o" if style == "-" else None, markersize=4)
    if style == "-":
        for point in line:
            seeds = [100 * value for value in point.values]
            axes.plot(
                [point.tokens] * len(seeds), seeds, "o", color=colour, markersize=4, markerfacecolor="none", alpha=0.6
            )
