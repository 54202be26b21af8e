"""The markers in a model's own answers: how many there are, and whether they stand where what they say is seen.

What is seen is computed anew from the search that an answer tells, see `sos.stream.markers`. A marker that stands
elsewhere is wrong, and so is one of a node that no sound path reaches.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sos.judge.metrics import Metric, mean_metric, ratio_metric
from sos.model.rollout import Rollout
from sos.stream.codec import decode
from sos.stream.markers import count_markers
from sos.system import System


def marker_metrics(system: System, rollouts: Sequence[Rollout]) -> dict[str, Metric]:
    """Return for each kind of marker how many an answer has, the share of them that is right (precision) and the share
    of what is seen that is said (recall); for all together how many an answer has, and their share of its tokens.
    Without markers there are no such metrics."""
    markers = system.dialect.markers
    if markers is None or not rollouts:
        return {}
    seen = []
    for answer in rollouts:
        found = decode(system.dialect, system.env, answer.tokens)
        seen.append(count_markers(markers, found.trace, found.align, answer.tokens))
    written_RK, right_RK, due_RK = (np.stack(counts) for counts in zip(*seen, strict=True))
    lengths = np.array([len(answer.tokens) - answer.num_prompt for answer in rollouts])
    metrics = {"marker/density": mean_metric(written_RK.sum(1))}
    metrics["marker/share"] = share(written_RK.sum(1), lengths)
    for k, name in enumerate(markers.names):
        metrics[f"marker/{name}_density"] = mean_metric(written_RK[:, k])
        metrics[f"marker/{name}_precision"] = share(right_RK[:, k], written_RK[:, k])
        metrics[f"marker/{name}_recall"] = share(right_RK[:, k], due_RK[:, k])
    return metrics


def share(some: np.ndarray, of: np.ndarray) -> Metric:
    """Return sum(some) / sum(of), both (R,); the interval ends at 0 and 1, beyond which no share is."""
    found = ratio_metric(some, of)
    if found.low is None or found.high is None:
        return found
    return found._replace(low=max(0.0, found.low), high=min(1.0, found.high))
