"""A search by a heuristic that a package adds to an environment: it is given an environment of other values."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from sos.envs import protocol as environment
from sos.envs.protocol import capability, estimate, implementation_of, implements
from sos.search.protocol import search


class Guided(NamedTuple):
    """A strategy that leaves nodes in the order of generation, and the heuristic that orders them."""

    strategy: Any
    heuristic: Any


class Steered(NamedTuple):
    """An environment as a search sees it whose nodes a heuristic of a package orders."""

    env: Any
    heuristic: Any
    action: np.ndarray  # int32 (A,), room for an action
    child: np.ndarray  # int32 (W,), room for a state


@implements(search, Guided)
def _search(strategy, env, problem, work, trace):
    steered = Steered(env, strategy.heuristic, work.action, work.child)
    return search(strategy.strategy, steered, problem, work, trace)


def _by_estimate(heuristic, steered, problem, state, moves, num, values):
    env = steered.env
    for move in range(num):
        environment.make_child(env, problem, state, moves[move], steered.action, steered.child)
        values[move] = estimate(heuristic, env, problem, steered.child)


@capability(_by_estimate)
def arrange(heuristic, steered, problem, state, moves, num, values):
    """Write into `values` int64 (C,) by what a search orders the first `num` of `moves` from `state`, the least first;
    they hold what the environment's own heuristic says. By default the `estimate`s of their children."""
    return implementation_of("arrange", type(heuristic))(heuristic, steered, problem, state, moves, num, values)


@implements(environment.successors, Steered)
def _successors(steered, kind, problem, scratch, state, moves, values):
    num = environment.successors(steered.env, kind, problem, scratch, state, moves, values)
    arrange(steered.heuristic, steered, problem, state, moves, num, values)
    return num


@implements(environment.narrowed, Steered)
def _narrowed(steered, largest):
    return Steered(environment.narrowed(steered.env, largest), steered.heuristic, steered.action, steered.child)


# The rest is the environment's.


@implements(environment.root_state, Steered)
def _root_state(steered, problem, state):
    return environment.root_state(steered.env, problem, state)


@implements(environment.make_child, Steered)
def _make_child(steered, problem, state, move, action, child):
    return environment.make_child(steered.env, problem, state, move, action, child)


@implements(environment.status, Steered)
def _status(steered, problem, state):
    return environment.status(steered.env, problem, state)


@implements(environment.canonical, Steered)
def _canonical(steered, problem, state, out):
    return environment.canonical(steered.env, problem, state, out)


@implements(environment.prepare, Steered)
def _prepare(steered, kind, problem, scratch):
    return environment.prepare(steered.env, kind, problem, scratch)


@implements(environment.witness, Steered)
def _witness(steered, problem, state):
    return environment.witness(steered.env, problem, state)


@implements(environment.status_by, Steered)
def _status_by(steered, kind, problem, state):
    return environment.status_by(steered.env, kind, problem, state)


@implements(environment.deduced, Steered)
def _deduced(steered, move):
    return environment.deduced(steered.env, move)


@implements(environment.hopeless, Steered)
def _hopeless(steered, problem, state, look_ahead):
    return environment.hopeless(steered.env, problem, state, look_ahead)


@implements(environment.out_of_range, Steered)
def _out_of_range(steered, problem, state):
    return environment.out_of_range(steered.env, problem, state)


@implements(environment.reach, Steered)
def _reach(steered, problem, state):
    return environment.reach(steered.env, problem, state)


@implements(environment.threshold, Steered)
def _threshold(steered, problem):
    return environment.threshold(steered.env, problem)


@implements(environment.path_cost, Steered)
def _path_cost(steered, problem, state):
    return environment.path_cost(steered.env, problem, state)


@implements(environment.reason, Steered)
def _reason(steered, problem, state, action):
    return environment.reason(steered.env, problem, state, action)
