"""The figure of a question with arms: how far each arm lies from the baseline, over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sos.analysis.expected import Difference, against_baseline
from sos.analysis.figures import STYLE, colours
from sos.judge.metrics import ANSWERS, is_rate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from sos.analysis.compare import Comparison


def differences_figure(comparison: Comparison) -> Figure:
    """Return every arm's difference to the baseline: a panel for the primary metric and one for each solve rate, a row
    for each arm, a bar for Welch's 95% interval over seeds and a thin line for the paired one, as the legend says."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    metrics = [comparison.primary, *(metric for metric in comparison.columns if metric.startswith(ANSWERS))]
    panels = {metric: found for metric in metrics if (found := against_baseline(comparison, metric))}
    labels = [arm.label for arm in comparison.arms if arm.label != comparison.baseline]
    views = comparison.views()  # which tell nothing apart where all are one
    palette = colours(labels, views if len(set(views.values())) > 1 else None)
    with rc_context(STYLE):
        size = (1.4 + 0.075 * max(map(len, labels)) + 3.0 * len(panels), 1.6 + 0.36 * len(labels))
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for place, (axes, (metric, found)) in enumerate(zip(grid, panels.items(), strict=True)):
            for one in found:
                _draw(axes, one, labels.index(one.arm), palette[one.arm])
            axes.axvline(0, color="#888888", linewidth=1)
            axes.set_title(metric)
            axes.set_xlabel(f"minus {comparison.baseline}{', points' if is_rate(metric) else ''}")
            axes.grid(visible=False, axis="y")
            axes.tick_params(left=place == 0)
        grid[0].set_yticks(range(len(labels)), labels)
        grid[0].set_ylim(len(labels) - 0.4, -0.6)  # the first arm on top
        _legend(figure, [one for found in panels.values() for one in found])
    return figure


def _legend(figure: Figure, found: Sequence[Difference]) -> None:
    """Say what the marks are, of those that are drawn."""
    from matplotlib.lines import Line2D

    grey = "#777777"
    handles = [Line2D([], [], color=grey, marker="o", linestyle="", markersize=6, label="difference of means")]
    if any(one.welch for one in found):
        handles.append(Line2D([], [], color=grey, linewidth=5, alpha=0.35, label="Welch's 95% over seeds"))
    if any(one.paired for one in found):
        handles.append(Line2D([], [], color=grey, linewidth=1.2, label="95% over seeds, paired"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)


def _draw(axes: Axes, found: Difference, row: int, colour: str) -> None:
    scale = 100 if is_rate(found.metric) else 1
    for interval, width, alpha in ((found.welch, 5.0, 0.35), (found.paired, 1.2, 1.0)):
        if interval:
            ends = [scale * end for end in interval]
            axes.plot(ends, [row, row], color=colour, linewidth=width, alpha=alpha, solid_capstyle="butt")
    axes.plot([scale * found.value], [row], "o", color=colour, markersize=6)
