"""Metrics with 95% intervals over problems: Wilson's for rates, normal for means, the delta method's for ratios."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sos.judge.intervals import Interval, mean_interval, wilson

CEILINGS = ("teacher/", "ceiling/")  # what the search solves, not the model
ANSWERS = ("solve/", "plan/")  # rates of one greedy answer per problem: by the search, and by the plan behind it
OPTIMAL = ("optimal/", "plan_optimal/")  # of those answers, the ones of the least cost
# Where problems without a solution are posed, too; see `sos.judge.answers`.
KINDS = ("satisfied/", "refuted/", "answer/", "answer_majority/", "answer_cue/")
TRACE_VALID = "trace_valid/"  # searches without a mistake, whatever the plan says
# Of samples; with `plan_` in front, of their plans: one of K is right, or 1 or `LEAST_OPTIMAL` of the least cost.
LEAST_OPTIMAL = 3
OF_SAMPLES = tuple(f"{who}{what}@" for who in ("", "plan_") for what in ("pass", "optimal", f"optimal_{LEAST_OPTIMAL}"))
COUNTED = (*ANSWERS, *OPTIMAL, *KINDS, TRACE_VALID, "legacy/solve/", *CEILINGS, "error/malformed/", "error/unfinished/")
# What is counted, and so cannot be negative.
COUNTS = (
    "error/",
    "errors_per_trace",
    "errors_per_solved",
    "first_goal_wrong",
    "tokens",
    "nodes",
    "flops",
    "pass_tokens@",
    "pass_flops@",
)
CURVE_START = 8  # generated tokens of the first point of a budget curve


class Metric(NamedTuple):
    """One measured number of one run; None where it is undefined, such as tokens per solved when none is solved."""

    value: float | None
    low: float | None
    high: float | None
    num: int  # problems


def is_counted(metric: str) -> bool:
    """Tell whether a metric is a number of problems divided by the number of all; other errors are counts per trace."""
    return metric.startswith(COUNTED)


def is_rate(metric: str) -> bool:
    """Tell whether a metric is a fraction, shown as a percentage."""
    return is_counted(metric) or metric.startswith(OF_SAMPLES)


def possible(metric: str, interval: Interval) -> Interval:
    """Return an interval of a metric cut at what can occur; normal and Student's intervals know no bounds."""
    least = 0.0 if is_rate(metric) or metric.startswith(COUNTS) else -math.inf
    most = 1.0 if is_rate(metric) else math.inf
    return Interval(*(min(most, max(least, end)) for end in interval))


def rate_metric(successes: npt.ArrayLike) -> Metric:
    """Return the share of true values of a bool (P,), P > 0."""
    counted = np.asarray(successes, bool)
    interval = wilson(int(counted.sum()), counted.size)
    return Metric(float(counted.mean()), interval.low, interval.high, counted.size)


def mean_metric(values: npt.ArrayLike) -> Metric:
    """Return the mean of numbers (P,), P > 0; without an interval for P = 1."""
    sample = np.asarray(values, np.float64)
    low, high = mean_interval(sample) or (None, None)
    return Metric(float(sample.mean()), low, high, sample.size)


def chance_metric(chances: np.ndarray) -> Metric:
    """Return the mean of estimated chances (P,), P > 0: its normal interval, or Wilson's where all are the same."""
    metric = mean_metric(chances)
    low, high = metric.low, metric.high
    if low is None or high is None or low == high:
        low, high = wilson(float(chances.sum()), chances.size)
    return metric._replace(low=max(0.0, low), high=min(1.0, high))


def ratio_metric(costs: np.ndarray, successes: np.ndarray) -> Metric:
    """Return sum(costs) / sum(successes), both (P,), with the delta method's interval; None without a success."""
    total = int(successes.sum())
    if total == 0:
        return Metric(None, None, None, len(costs))
    value = float(costs.sum() / total)
    # To first order the ratio varies as the mean of these: its own value plus scaled residuals that sum to 0.
    linear = value + (costs - value * successes) * (len(costs) / total)
    return mean_metric(linear)._replace(value=value)


def budget_curve(tokens_to_goal: np.ndarray, limit: int, num_points: int) -> dict[str, list[float]]:
    """Return the share of problems solved within a budget of generated tokens, at log-spaced budgets up to `limit`.

    Keys `tokens` and `solved`. Few budgets may round to the same number: there are `num_points` points at most.
    """
    grid = np.unique(np.rint(np.geomspace(limit, min(CURVE_START, limit), num_points)).astype(np.int64))
    goals = np.sort(tokens_to_goal[tokens_to_goal >= 0])
    solved = np.searchsorted(goals, grid, side="right") / len(tokens_to_goal)
    return {"tokens": grid.tolist(), "solved": solved.tolist()}


def format_metric(name: str, metric: Metric) -> str:
    """Return a metric's value and interval as text: rates as percentages, means with two decimals, or one from 100
    on."""
    value, low, high, _ = metric
    if value is None:
        return "-"
    percent = is_rate(name)
    scale, digits = (100, 1) if percent else (1, 1 if value >= 100 else 2)
    interval = ""
    if low is not None and high is not None:
        low, high = possible(name, Interval(low, high))
        interval = f" [{scale * low:.{digits}f}, {scale * high:.{digits}f}]"
    return f"{scale * value:.{digits}f}{'%' if percent else ''}{interval}"
