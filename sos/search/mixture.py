"""A mixture of strategies: each problem is searched with one of them, drawn by weight from a counter-based random
stream."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from sos.envs.protocol import implements
from sos.rng import uniform
from sos.search.beam import Beam, beam_from_row
from sos.search.best_first import BestFirst, best_first_from_row
from sos.search.depth_first import DepthFirst, depth_first_from_row
from sos.search.protocol import choose, search, search_chosen
from sos.search.widening import Widening

KINDS = (DepthFirst, Beam, BestFirst)
DEPTH_FIRST, BEAM, BEST_FIRST = range(3)


class Mixture(NamedTuple):
    """M strategies as rows of numbers, so that kernels take any mixture without being compiled anew."""

    kinds: np.ndarray  # int64 (M,): index into `KINDS`
    options: np.ndarray  # int64 (M, O): the fields of each strategy, zeros behind
    bounds: np.ndarray  # float64 (M,): strategy m is drawn from bounds[m - 1] to below bounds[m]


def mix(strategies: Sequence[Any], weights: Sequence[float]) -> Mixture:
    """Return the mixture that draws `strategies[m]` with probability `weights[m]` / their sum, which must be above
    0."""
    total = np.cumsum(np.asarray(weights, np.float64))
    assert len(total) == len(strategies)
    assert total[-1] > 0
    bounds = total / total[-1]
    bounds[bounds >= bounds[-1]] = 1.0
    options = np.zeros((len(strategies), max(len(kind._fields) for kind in KINDS)), np.int64)
    for m, strategy in enumerate(strategies):
        options[m, : len(strategy)] = strategy
    return Mixture(np.array([KINDS.index(type(s)) for s in strategies], np.int64), options, bounds)


@implements(choose, Mixture)
def _choose(mixture, key, index):
    draw = uniform(key, index)
    choice = 0
    while draw >= mixture.bounds[choice]:
        choice += 1
    return choice


@implements(search_chosen, Mixture)
def _search_chosen(mixture, choice, env, problem, work, trace):
    row = mixture.options[choice]
    kind = mixture.kinds[choice]
    if kind == DEPTH_FIRST:
        return search(depth_first_from_row(row), env, problem, work, trace)
    if kind == BEAM:
        return search(beam_from_row(row), env, problem, work, trace)
    return search(best_first_from_row(row), env, problem, work, trace)


def _first(strategy, key, index):
    return 0


def _itself(strategy, choice, env, problem, work, trace):
    return search(strategy, env, problem, work, trace)


for _kind in (*KINDS, Widening):
    implements(choose, _kind)(_first)
    implements(search_chosen, _kind)(_itself)
