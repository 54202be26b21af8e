"""Scaling laws of finished runs: loss against parameters and tokens, solve rate against loss, and what they predict.

With N parameters and D training tokens, L = (a / N)^alpha + (b / D)^beta: the additive law of Hoffmann et al. 2022,
without an irreducible loss, because a stream of search is a function of its problem. Solve rate = exp(-c L^p), which
is 1 for a model that makes no mistake. Both are fitted by least squares, the loss on its logarithm. A prediction's
range is what the fits to all runs but one say: it shows how much hangs on one run, not how far the law holds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sos.analysis.figures import STYLE
from sos.errors import UserError
from sos.runs.finished import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TAIL = 0.1  # the final loss is the mean over this last share of the steps
MIN_SIZES, MIN_RUNS = 3, 6
MIN_EXPONENT, MAX_EXPONENT = 0.01, 3.0  # of N and D; a fit that ends there is not determined by its runs


class Point(NamedTuple):
    """One run."""

    name: str
    parameters: float
    tokens: float  # of training
    loss: float  # nats per target token
    solve: float  # on val

    @property
    def flops(self) -> float:
        """Training operations, 6 N D."""
        return 6 * self.parameters * self.tokens


@dataclass(frozen=True)
class Law:
    """A fitted law; see the module."""

    a: float
    alpha: float
    b: float
    beta: float
    c: float
    p: float

    def loss(self, parameters: float, tokens: float) -> float:
        """Return the predicted final loss."""
        return (self.a / parameters) ** self.alpha + (self.b / tokens) ** self.beta

    def solve(self, loss: float) -> float:
        """Return the predicted solve rate of a model with this loss."""
        return math.exp(-self.c * loss**self.p)

    def optimal_parameters(self, flops: float) -> float:
        """Return the size with the least loss for 6 N D = `flops`."""
        grid = np.geomspace(1e4, 1e12, 4001)
        return float(grid[np.argmin([self.loss(n, flops / (6 * n)) for n in grid])])


class Prediction(NamedTuple):
    """What a law says of a run that was not made; the ranges are over the fits that leave one run out."""

    parameters: float
    tokens: float
    loss: float
    loss_range: tuple[float, float]
    solve: float
    solve_range: tuple[float, float]


def read_points(runs: Sequence[Run]) -> list[Point]:
    """Return a point per run, its loss from its TensorBoard events. Raises ValueError, naming the folder, where there
    is none."""
    return [
        Point(
            run.folder.name,
            float(run.train["parameters"]),
            float(run.train["tokens"]),
            final_loss(run.folder),
            float(run.metrics["solve/val"].value or 0.0),
        )
        for run in runs
    ]


def final_loss(folder: Path) -> float:
    """Return the mean of the logged training losses over the last tenth of the steps. Raises ValueError where none
    are logged."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    if "loss/all" not in events.Tags()["scalars"]:
        raise UserError(f"{folder}: its TensorBoard events hold no loss/all")
    logged = {event.step: event.value for event in events.Scalars("loss/all")}  # a step logged twice counts once
    last = max(logged)
    return float(np.mean([value for step, value in logged.items() if step >= (1 - TAIL) * last]))


def fit(points: Sequence[Point]) -> Law:
    """Fit both laws. Raises ValueError for fewer than 3 sizes or 6 runs."""
    sizes = {point.parameters for point in points}
    if len(sizes) < MIN_SIZES or len(points) < MIN_RUNS:
        raise UserError(f"a scaling law needs {MIN_RUNS} runs of {MIN_SIZES} sizes, got {len(points)} of {len(sizes)}")
    return _fit(points)


def _fit(points: Sequence[Point]) -> Law:
    from scipy.optimize import least_squares  # takes a quarter of a second to import

    n, d, loss, solve = (np.array([getattr(point, name) for point in points]) for name in Point._fields[1:])

    def loss_residuals(x: np.ndarray) -> np.ndarray:
        log_terms = x[1] * (x[0] - np.log(n)), x[3] * (x[2] - np.log(d))
        return np.logaddexp(*log_terms) - np.log(loss)

    bounds = ([0, MIN_EXPONENT, 0, MIN_EXPONENT], [40, MAX_EXPONENT, 40, MAX_EXPONENT])
    starts = [[np.log(n).mean() - 2, alpha, np.log(d).mean() - 2, beta] for alpha in (0.2, 0.6) for beta in (0.2, 0.6)]
    found = min((least_squares(loss_residuals, start, bounds=bounds) for start in starts), key=lambda f: f.cost)
    log_a, alpha, log_b, beta = found.x

    def solve_residuals(x: np.ndarray) -> np.ndarray:
        return np.exp(-np.exp(x[0]) * loss ** x[1]) - solve

    solved = [
        least_squares(solve_residuals, [c, p], bounds=([-10, 0.1], [12, 4])) for c in (0.0, 3.0) for p in (0.5, 1.5)
    ]
    log_c, p = min(solved, key=lambda f: f.cost).x
    return Law(math.exp(log_a), alpha, math.exp(log_b), beta, math.exp(log_c), p)


def predict(points: Sequence[Point], parameters: float, tokens: float) -> Prediction:
    """Return what the runs predict for N parameters and D tokens. Raises ValueError as `fit` does."""
    laws = [fit(points), *(_fit([*points[:i], *points[i + 1 :]]) for i in range(len(points)))]
    losses = [law.loss(parameters, tokens) for law in laws]
    solves = [law.solve(loss) for law, loss in zip(laws, losses, strict=True)]
    return Prediction(parameters, tokens, losses[0], (min(losses), max(losses)), solves[0], (min(solves), max(solves)))


def markdown(points: Sequence[Point], law: Law, prediction: Prediction | None) -> str:
    """Return the runs, the laws and the prediction as Markdown."""
    lines = ["| run | parameters | tokens | loss | fitted | solved on val | fitted |", "|---|---|---|---|---|---|---|"]
    for point in sorted(points, key=lambda point: (point.parameters, point.tokens)):
        lines.append(
            f"| {point.name} | {point.parameters / 1e6:.2f}M | {point.tokens / 1e6:.1f}M | {point.loss:.4f} "
            f"| {law.loss(point.parameters, point.tokens):.4f} | {point.solve:.1%} | {law.solve(point.loss):.1%} |"
        )
    lines += ["", f"loss = ({law.a:.3g} / N)^{law.alpha:.3f} + ({law.b:.3g} / D)^{law.beta:.3f}"]
    lines.append(f"solved = exp(-{law.c:.3g} loss^{law.p:.2f})")
    for name, exponent in (("parameters", law.alpha), ("tokens", law.beta)):
        if not 1.01 * MIN_EXPONENT < exponent < 0.99 * MAX_EXPONENT:
            lines.append(f"The exponent of {name} is at its limit: these runs do not determine it.")
    if prediction is not None:
        low, high = prediction.loss_range
        lowest, highest = prediction.solve_range
        size = f"{prediction.parameters / 1e6:.1f}M parameters, {prediction.tokens / 1e6:.0f}M tokens"
        loss = f"loss {prediction.loss:.4f} [{low:.4f}, {high:.4f}]"
        solved = f"solved {prediction.solve:.1%} [{lowest:.1%}, {highest:.1%}]"
        lines.append(f"{size}: {loss}, {solved} (leaving one run out)")
    return "\n".join(lines)


def scaling_figure(points: Sequence[Point], law: Law, prediction: Prediction | None) -> Figure:
    """Return the losses against training operations with the law per size, and the solve rates against the loss."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(STYLE):
        figure = Figure(figsize=(10, 4.2), layout="constrained")
        left, right = figure.subplots(1, 2)
        shades = ("#56B4E9", "#0072B2", "#004C78", "#332288", "#000000")
        end = max([6 * prediction.parameters * prediction.tokens] if prediction else [], default=0.0)
        flops = np.geomspace(min(p.flops for p in points) / 2, max(end, *(p.flops for p in points)) * 2, 200)
        for shade, size in zip(shades, sorted({point.parameters for point in points}), strict=False):
            chosen = [point for point in points if point.parameters == size]
            left.plot([p.flops for p in chosen], [p.loss for p in chosen], "o", color=shade, label=f"{size / 1e6:.2f}M")
            left.plot(flops, [law.loss(size, c / (6 * size)) for c in flops], color=shade, linewidth=1)
            right.plot([p.loss for p in chosen], [100 * p.solve for p in chosen], "o", color=shade)
        best = [law.optimal_parameters(c) for c in flops]
        frontier = [law.loss(n, c / (6 * n)) for n, c in zip(best, flops, strict=True)]
        left.plot(flops, frontier, "--", color="#888888", linewidth=1.5, label="best size")
        losses = np.linspace(0, 1.05 * max(point.loss for point in points), 200)
        right.plot(losses, [100 * law.solve(loss) for loss in losses], color="#888888", linewidth=1.5)
        if prediction is not None:
            low, high = prediction.loss_range
            left.plot([end, end], [low, high], color="#D55E00", linewidth=1.5)
            left.plot([end], [prediction.loss], "*", color="#D55E00", markersize=12, label="prediction")
            lowest, highest = (100 * rate for rate in prediction.solve_range)
            right.plot([prediction.loss] * 2, [lowest, highest], color="#D55E00", linewidth=1.5)
            right.plot([prediction.loss], [100 * prediction.solve], "*", color="#D55E00", markersize=12)
        left.set(xscale="log", yscale="log", xlabel="training operations, 6 N D", ylabel="loss, nats per token")
        right.set(xlabel="loss, nats per token", ylabel="solved, % of val", ylim=(0, 102), xlim=(0, None))
        left.legend(frameon=False, title="parameters")
    return figure
