"""A mixture of strategies: each problem is searched with one of them, drawn by weight from a counter-based random
stream."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numba import types
from numba.extending import overload

from sos.envs.protocol import implements
from sos.kernels import INNER
from sos.rng import uniform
from sos.search.beam import Beam, beam_from_row
from sos.search.best_first import BestFirst, best_first_from_row
from sos.search.depth_first import DepthFirst, depth_first_from_row
from sos.search.protocol import choose, search, search_chosen

KINDS = (DepthFirst, Beam, BestFirst)
DEPTH_FIRST, BEAM, BEST_FIRST = range(3)


class Mixture(NamedTuple):
    """M strategies as rows of numbers, so that kernels take any mixture without being compiled anew."""

    kinds: np.ndarray  # int64 (M,): index into `KINDS`
    options: np.ndarray  # int64 (M, O): the fields of each strategy, zeros behind
    bounds: np.ndarray  # float64 (M,): strategy m is drawn from bounds[m - 1] to below bounds[m]


class OpenMixture(NamedTuple):
    """M strategies of any kinds. Kernels are compiled for those that are none of `KINDS`, such as a user's."""

    rows: Mixture  # of all M; a row of one of the others stands for nothing
    others: tuple[Any, ...]  # those that are none of `KINDS`
    places: np.ndarray  # int64 (M,): index into `others`, or -1 for what its row says


def mix(strategies: Sequence[Any], weights: Sequence[float]) -> Mixture | OpenMixture:
    """Return the mixture that draws `strategies[m]` with probability `weights[m]` / their sum, which must be above
    0."""
    total = np.cumsum(np.asarray(weights, np.float64))
    assert len(total) == len(strategies)
    assert total[-1] > 0
    bounds = total / total[-1]
    bounds[bounds >= bounds[-1]] = 1.0
    kinds = np.zeros(len(strategies), np.int64)
    options = np.zeros((len(strategies), max(len(kind._fields) for kind in KINDS)), np.int64)
    places = np.full(len(strategies), -1, np.int64)
    others: list[Any] = []
    for m, strategy in enumerate(strategies):
        if type(strategy) in KINDS:
            kinds[m] = KINDS.index(type(strategy))
            options[m, : len(strategy)] = strategy
        else:
            places[m] = len(others)
            others.append(strategy)
    rows = Mixture(kinds, options, bounds)
    return OpenMixture(rows, tuple(others), places) if others else rows


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


@implements(choose, OpenMixture)
def _choose_open(mixture, key, index):
    return choose(mixture.rows, key, index)


@implements(search_chosen, OpenMixture)
def _search_open(mixture, choice, env, problem, work, trace):
    place = mixture.places[choice]
    if place < 0:
        return search_chosen(mixture.rows, choice, env, problem, work, trace)
    return _search_nth(mixture.others, place, env, problem, work, trace)


def _search_nth(strategies, place, env, problem, work, trace):
    """Search with number `place` of a tuple of strategies."""
    return search(strategies[place], env, problem, work, trace)


@overload(_search_nth, strict=False, jit_options=INNER)
def _choose_nth(strategies, place, env, problem, work, trace):
    """A tuple of several types has no element number `place`: each is a branch."""
    if not isinstance(strategies, types.BaseTuple):
        return None

    def last(strategies, place, env, problem, work, trace):
        return search(strategies[0], env, problem, work, trace)

    def one_of_several(strategies, place, env, problem, work, trace):
        if place == 0:
            return search(strategies[0], env, problem, work, trace)
        return _search_nth(strategies[1:], place - 1, env, problem, work, trace)

    return last if len(strategies) == 1 else one_of_several
