"""The published metric and the split `difficult`, as an evaluation knows them; importing this module registers both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sos.judge import registry
from sos.judge.metrics import Metric, mean_metric, rate_metric
from sos.model.rollout import Rollout
from sos.published.metric import ERROR_KINDS, parse_tree, rate
from sos.published.names import published_strategies
from sos.published.wording import published_text
from sos.search import mix
from sos.system import System


def legacy_metrics(system: System, rollouts: Sequence[Rollout]) -> dict[str, Metric]:
    """Return the published metric and error counts of rollouts, written out in the published wording.

    `legacy/solve` is the share with a rating above 0 (`sos_legacy`), `legacy/error/*` its parser's errors per trace.
    A few ms each. A text on which the published code raises counts as not solved, and as one `other` error where its
    parser raises.
    """
    ratings = np.zeros(len(rollouts))
    errors = np.zeros((len(rollouts), len(ERROR_KINDS)), np.int32)
    for r, answer in enumerate(rollouts):
        text = published_text(system.dialect, system.env, answer.tokens)
        ratings[r] = rate(text).rating or 0.0
        try:
            errors[r] = list(parse_tree(text).num_errors.values())
        except ValueError:
            errors[r] = [kind == "other" for kind in ERROR_KINDS]
    metrics = {"legacy/solve": rate_metric(ratings > 0), "legacy/rating": mean_metric(ratings)}
    return metrics | {f"legacy/error/{kind}": mean_metric(errors[:, k]) for k, kind in enumerate(ERROR_KINDS)}


def the_twelve(system: System) -> list[Any]:
    """Return the published strategies, each as a mixture of one, so that all of them share a compiled kernel."""
    return [mix([strategy], [1.0]) for strategy in published_strategies().values()]


registry.MEASURES["legacy"] = legacy_metrics
registry.UNSOLVED_BY["difficult"] = the_twelve
