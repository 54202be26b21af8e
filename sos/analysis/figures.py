"""Figures of finished runs, drawn off screen: solve rates per arm, and solve rate against generated tokens.

A figure is a plain `matplotlib.figure.Figure` (no pyplot, so no global state and no display): `figure.savefig(path)`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sos.errors import UserError
from sos.judge.metrics import ANSWERS, is_rate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from sos.analysis.compare import Comparison

VIEW_COLOURS = {  # Okabe and Ito's palette, which colour-blind readers can tell apart
    "full": "#0072B2",
    "solution_path": "#D55E00",
    "dose": "#009E73",
    "no_backtrack": "#CC79A7",
    "redundant": "#E69F00",
    "swapped": "#56B4E9",
    "plan_only": "#000000",
}
_OTHER_COLOURS = ("#332288", "#44AA99", "#882255", "#999933", "#AA4499", "#666666", "#661100")
_VIEW = re.compile(rf"(?:^|[=,\s])({'|'.join(VIEW_COLOURS)})(?=$|[,\s(])")
SPLITS = {"val": "held-out number sets", "val_target": "held-out targets"}
_ANSWERED = {"solve": "solved", "plan": "right plans"}
INK, _GRID = "#333333", "#E3E3E3"
STYLE: Any = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.edgecolor": "#888888",
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": _GRID,
    "figure.dpi": 150,
}


def colours(labels: Iterable[str], views: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return a colour per label: its view's where `views` has one or it names one ("view=full"), else the next other
    one.

    Labels of the same view ("view=dose,p=0.25", "view=dose,p=0.5") take ever lighter shades of the view's colour.
    """
    chosen: dict[str, str] = {}
    others = 0
    uses: dict[str, int] = {}
    for label in labels:
        named = _VIEW.search(label)
        view = (views or {}).get(label, named[1] if named else "")
        if view in VIEW_COLOURS:
            earlier = uses.setdefault(view, 0)
            uses[view] += 1
            chosen[label] = _lighten(VIEW_COLOURS[view], 1 - 0.65**earlier)
        else:
            chosen[label] = _OTHER_COLOURS[others % len(_OTHER_COLOURS)]
            others += 1
    return chosen


def budget_curve_figure(curves: Mapping[str, Mapping[str, Sequence[float]]]) -> Figure:
    """Return the solve rate against the generated tokens, one line per label of `curves`.

    A curve holds `tokens` (n,) and `solved` (n,), the fraction of problems solved within that many generated tokens,
    and optionally `low` and `high` (n,), drawn as a band. Raises ValueError without any curve.
    """
    return budget_panels_figure({"": curves})


def budget_panels_figure(
    panels: Mapping[str, Mapping[str, Mapping[str, Sequence[float]]]], views: Mapping[str, str] | None = None
) -> Figure:
    """Return `budget_curve_figure`s side by side with one legend; `panels` maps a split or title to its curves."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    labels = list(dict.fromkeys(label for curves in panels.values() for label in curves))
    if not labels:
        raise UserError("no curve to draw")
    palette = colours(labels, views)
    with rc_context(STYLE):
        width = 1.2 + 4.6 * len(panels)
        legend_rows = math.ceil(len(labels) * (max(map(len, labels)) + 8) / (12 * width))  # 12 letters per inch
        figure = Figure(figsize=(width, 3.6 + 0.22 * legend_rows), layout="constrained")
        grid = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        lines: dict[str, Any] = {}
        for axes, (title, curves) in zip(grid, panels.items(), strict=True):
            for label, curve in curves.items():
                lines[label] = _draw_curve(axes, label, curve, palette[label])
            if any(_is_geometric(curve["tokens"]) for curve in curves.values()):
                axes.set_xscale("log", base=2)
                axes.xaxis.set_major_formatter("{x:g}")
            axes.set_title(SPLITS.get(title, title))
            axes.set_xlabel("generated tokens per problem")
        _hide_inner_ticks(grid)
        grid[0].set_ylabel("solved, % of problems")
        grid[0].set_ylim(bottom=0)
        handles = [lines[label] for label in labels]
        bands = [_band()] if any(_has_band(curve) for curves in panels.values() for curve in curves.values()) else []
        figure.legend(
            [*handles, *bands],
            [*labels, *(band.get_label() for band in bands)],
            loc="outside lower center",
            ncols=math.ceil((len(labels) + len(bands)) / legend_rows),
            frameon=False,
        )
    return figure


def arms_figure(comparison: Comparison) -> Figure:
    """Return the rates of right answers per arm: the mean over seeds, its 95% interval over problems, a dot per seed.

    One panel per such rate (by the search, by the plan) among the metrics compared, or per metric of the table where
    there is none. A grey tick marks the teacher: the rate at which the search that made the data solves the same
    problems.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    rates = [metric for metric in comparison.metrics if metric.startswith(ANSWERS)]
    metrics = rates or list(comparison.columns[:3])
    labels = [arm.label for arm in comparison.arms]
    palette = colours(labels, comparison.views())
    with rc_context(STYLE):
        size = (1.4 + 0.075 * max(map(len, labels)) + 3.4 * len(metrics), 1.7 + 0.5 * len(labels))
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.subplots(1, len(metrics), sharex=bool(rates), sharey=True, squeeze=False)[0]
        for axes, metric in zip(grid, metrics, strict=True):
            for row, label in enumerate(labels):
                _draw_arm(axes, comparison, label, metric, row, palette[label])
            answer, _, split = metric.partition("/") if rates else ("", "", metric)
            axes.set_title(SPLITS.get(split, split))
            axes.set_xlabel(f"{_ANSWERED[answer]}, % of problems" if rates else "%" if is_rate(metric) else "mean")
            axes.margins(x=0.08)
            axes.grid(visible=False, axis="y")
        _hide_inner_ticks(grid)
        grid[0].set_yticks(range(len(labels)), labels)
        grid[0].set_ylim(len(labels) - 0.4, -0.6)  # the first arm on top
        _arms_legend(figure, comparison, metrics)
    return figure


def accuracy_tokens_figure(comparison: Comparison, split: str) -> Figure:
    """Return the solve rate against all tokens generated for a problem, every arm in one panel.

    A line: one greedy attempt, cut off at that many tokens. Rings joined by dots: the best of k samples, at the
    tokens that k samples take on average.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    palette = colours([arm.label for arm in comparison.arms], comparison.views())
    curves = comparison.budget_curves(split)
    with rc_context(STYLE):
        figure = Figure(figsize=(6.4, 4.2 + 0.2 * len(palette)), layout="constrained")
        axes = figure.subplots()
        for arm in comparison.arms:
            colour = palette[arm.label]
            if arm.label in curves:
                _draw_curve(axes, arm.label, curves[arm.label], colour)
            points = _sampled(comparison, arm.label, split)
            if points:
                axes.plot(*zip(*points, strict=True), "o:", color=colour, markerfacecolor="white", markersize=6)
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_ylim(bottom=0)
        axes.set_title(SPLITS.get(split, split))
        axes.set_xlabel("tokens generated for a problem, all attempts together")
        axes.set_ylabel("solved, % of problems")
        handles = [Line2D([], [], color=colour, linewidth=3, label=label) for label, colour in palette.items()]
        handles.append(Line2D([], [], color="#777777", label="one greedy attempt"))
        ring: dict[str, Any] = {"marker": "o", "linestyle": ":", "markerfacecolor": "white", "markersize": 6}
        handles.append(Line2D([], [], color="#777777", label="best of k samples", **ring))
        handles += [_band()] if any(map(_has_band, curves.values())) else []
        figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False)
    return figure


def _sampled(comparison: Comparison, label: str, split: str) -> list[tuple[float, float]]:
    """Return (tokens of k samples, % solved by any of them) for every k that was measured."""
    points = []
    for metric in comparison.metrics:
        found = re.fullmatch(rf"pass@(\d+)/{re.escape(split)}", metric)
        tokens = comparison.cells.get((label, f"pass_tokens@{found[1]}/{split}")) if found else None
        solved = comparison.cells[label, metric].mean
        if tokens and tokens.mean and solved is not None:
            points.append((tokens.mean, 100 * solved))
    return sorted(points)


def _has_band(curve: Mapping[str, Sequence[float]]) -> bool:
    return "low" in curve and list(curve["low"]) != list(curve["high"])


def _band() -> Any:
    """Return what stands for the bands in a legend."""
    from matplotlib.patches import Patch

    return Patch(color="#777777", alpha=0.25, linewidth=0, label="lowest to highest seed")


def _draw_curve(axes: Axes, label: str, curve: Mapping[str, Sequence[float]], colour: str) -> Any:
    tokens, solved = curve["tokens"], [100 * rate for rate in curve["solved"]]
    if _has_band(curve):
        low, high = ([100 * rate for rate in curve[end]] for end in ("low", "high"))
        axes.fill_between(tokens, low, high, color=colour, alpha=0.18, linewidth=0)
    marker = "o" if len(tokens) <= 16 else None
    return axes.plot(tokens, solved, color=colour, linewidth=1.8, marker=marker, markersize=3.5, label=label)[0]


def _draw_arm(axes: Axes, comparison: Comparison, label: str, metric: str, row: int, colour: str) -> None:
    cell = comparison.cells[label, metric]
    if cell.mean is None:
        return
    scale = 100 if is_rate(metric) else 1
    if cell.over_problems:
        ends = [scale * end for end in cell.over_problems]
        axes.plot(ends, [row, row], color=colour, linewidth=5, alpha=0.35, solid_capstyle="butt")
    seeds = [scale * value for value in cell.values]
    axes.plot([scale * cell.mean], [row], "o", color=colour, markersize=7)
    axes.plot(seeds, [row + 0.26] * len(seeds), "o", markerfacecolor="none", markeredgecolor=colour, markersize=4)
    teacher = comparison.cells.get((label, metric.replace("solve/", "teacher/")))
    if metric.startswith("solve/") and teacher and teacher.mean is not None:
        axes.plot([100 * teacher.mean] * 2, [row - 0.3, row + 0.3], color="#888888", linewidth=1.5)


def _arms_legend(figure: Figure, comparison: Comparison, metrics: Sequence[str]) -> None:
    from matplotlib.lines import Line2D

    grey = "#777777"
    handles = [
        Line2D([], [], color=grey, marker="o", linestyle="", markersize=7, label="mean"),
        Line2D([], [], color=grey, linewidth=5, alpha=0.35, label="95% over problems"),
        Line2D([], [], color=grey, marker="o", linestyle="", markersize=4, markerfacecolor="none", label="one seed"),
    ]
    if any(metric.replace("solve/", "teacher/") in comparison.metrics for metric in metrics if "solve/" in metric):
        handles.append(Line2D([], [], color="#888888", marker="|", linestyle="", markersize=10, label="teacher"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)


def _hide_inner_ticks(grid: Iterable[Axes]) -> None:
    """Leave the shared vertical axis its ticks in the first panel only."""
    for axes in list(grid)[1:]:
        axes.tick_params(left=False)


def _is_geometric(tokens: Sequence[float]) -> bool:
    """Tell whether budgets grow by factors (8, 16, 32, ...) rather than by equal differences."""
    return len(tokens) > 2 and tokens[0] > 0 and tokens[-1] - tokens[-2] > 1.5 * (tokens[1] - tokens[0])


def _lighten(colour: str, amount: float) -> str:
    """Return a hex colour blended with white; 0 leaves it, 1 makes it white."""
    channels = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return "#" + "".join(f"{round(channel + amount * (255 - channel)):02X}" for channel in channels)
