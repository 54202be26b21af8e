"""Which strategy does a model search like? Node alignment (Gandhi et al. 2024) of rollouts with each strategy's
trace."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sos.envs.countdown.config import MOST_NUMBERS_SEARCHED
from sos.envs.countdown.rules import Countdown
from sos.errors import UserError
from sos.judge.metrics import Metric, chance_metric, mean_metric
from sos.published.metric import node_alignment, parse_tree
from sos.published.names import published_strategies
from sos.published.wording import published_text, trace_text
from sos.search.run import run_search
from sos.stream.dialect.compile import Dialect


class Alignment(NamedTuple):
    """Alignments of R rollouts with S strategies, on the rollouts' problems."""

    strategies: tuple[str, ...]
    values: np.ndarray  # float64 (R, S): shared states / states of the larger search
    between: np.ndarray  # float64 (S, S): means of the strategies with each other

    @property
    def nearest(self) -> np.ndarray:
        """The share of each rollout that a strategy gets, float64 (R, S): 1 for the best aligned one.

        Ties share it, and nobody gets a rollout that visits nothing.
        """
        best = (self.values == self.values.max(1, keepdims=True)) & (self.values > 0)
        return best / np.maximum(1, best.sum(1, keepdims=True))

    def metrics(self) -> dict[str, dict[str, Metric]]:
        """Return strategy -> {"alignment", "nearest"} with 95% intervals over problems."""
        nearest = self.nearest
        return {
            name: {"alignment": mean_metric(self.values[:, s]), "nearest": chance_metric(nearest[:, s])}
            for s, name in enumerate(self.strategies)
        }


def visited_states(text: str) -> set[tuple[int, ...]]:
    """Return the states that the published alignment counts in a text; none where its parser raises."""
    try:
        return parse_tree(text).states()
    except ValueError:
        return set()


def check_searchable(env: Any, run: Path) -> None:
    """Raise UserError that names the run whose environment is none that the published strategies can search whole."""
    if not isinstance(env, Countdown):
        raise UserError(f"{run}: env.name must be countdown, which the published strategies search")
    if env.num_numbers > MOST_NUMBERS_SEARCHED:
        raise UserError(
            f"{run}: env.num_numbers={env.num_numbers} is too many for whole searches (at most {MOST_NUMBERS_SEARCHED})"
        )


def align_rollouts(
    dialect: Dialect,
    env: Countdown,
    problems: np.ndarray,
    streams: Sequence[np.ndarray],
    progress: Callable[[int], Any] = lambda done: None,
) -> Alignment:
    """Align each stream (integers (T,), its prompt included) with the published twelve on its problem, int32 (R, P).

    `progress` is called with 1 after each rollout. A few ms each. Raises ValueError for an environment whose whole
    searches are too large.
    """
    max_nodes = env.tree_nodes
    strategies = published_strategies()
    values = np.zeros((len(problems), len(strategies)))
    between = np.zeros((len(strategies), len(strategies)))
    for r, (problem, tokens) in enumerate(zip(problems, streams, strict=True)):
        visited = [
            visited_states(trace_text(run_search(strategy, env, problem, max_nodes)))
            for strategy in strategies.values()
        ]
        ours = visited_states(published_text(dialect, env, tokens))
        values[r] = [node_alignment(ours, states) for states in visited]
        between += [[node_alignment(a, b) for b in visited] for a in visited]
        progress(1)
    return Alignment(tuple(strategies), values, between / max(1, len(problems)))


def table(found: Alignment) -> str:
    """Return strategies with alignment and share of nearest, the nearest first, and each one's alignment with the
    others."""
    metrics = found.metrics()
    others = (found.between.sum(1) - found.between.diagonal()) / (len(found.strategies) - 1)
    order = sorted(range(len(others)), key=lambda s: -(metrics[found.strategies[s]]["nearest"].value or 0))
    lines = [f"{'strategy':<12}  {'nearest':<22}  {'alignment':<22}  with the other strategies"]
    for s in order:
        name = found.strategies[s]
        nearest, alignment = (_cell(metrics[name][kind], scale) for kind, scale in (("nearest", 100), ("alignment", 1)))
        lines.append(f"{name:<12}  {nearest:<22}  {alignment:<22}  {others[s]:.3f}")
    return "\n".join(lines)


def _cell(metric: Metric, scale: int) -> str:
    digits, unit = (1, "%") if scale == 100 else (3, "")
    value, low, high, _ = metric
    assert value is not None
    interval = "" if low is None or high is None else f" [{scale * low:.{digits}f}, {scale * high:.{digits}f}]"
    return f"{scale * value:.{digits}f}{unit}{interval}"
