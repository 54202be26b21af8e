"""A search that was told what to try first: the children of the root are taken by votes for the classes of actions.

The votes are those of lessons (`sos.context.lessons`). A class with more votes comes first, one with votes against it
last; within a class, and among classes of equal votes, the order is the strategy's own. Nothing is left out: a search
that is told wrong comes to the right branch later. Below the root nothing changes. It goes with strategies that take
the children of a node in order, which are depth-first search and widening, without a threshold on values.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from sos.envs import protocol as environment
from sos.envs.lessons import action_class
from sos.envs.protocol import implements
from sos.search.guided import Steered, arrange
from sos.search.protocol import search, search_chosen


class Told(NamedTuple):
    """A strategy, and the votes of each of K problems; a search is given the number of its problem as its choice."""

    strategy: Any
    votes: np.ndarray  # int64 (K, C): for each class of actions, below 0 against it


class Votes(NamedTuple):
    """The votes of one problem, as what orders the children of a node."""

    votes: np.ndarray  # int64 (C,)
    ranks: np.ndarray  # int64 (M,): room for as many moves as a state can have


@implements(search_chosen, Told)
def _search_chosen(strategy, choice, env, problem, work, trace):
    votes = Votes(strategy.votes[choice], work.ranks)
    return search(strategy.strategy, Steered(env, votes, work.action, work.child), problem, work, trace)


@implements(arrange, Votes)
def _arrange(heuristic, steered, problem, state, moves, num, values):
    env, votes, ranks = steered.env, heuristic.votes, heuristic.ranks
    environment.root_state(env, problem, steered.child)
    for k in range(len(state)):
        if state[k] != steered.child[k]:
            return
    # Ranks, not values: a search may order by keys in which a value has not much room.
    for move in range(num):
        rank = np.int64(0)
        for other in range(num):
            rank += values[other] < values[move] or (values[other] == values[move] and other < move)
        ranks[move] = rank
    most = np.int64(0)
    for k in range(len(votes)):
        most = max(most, votes[k])
    for move in range(num):
        environment.make_child(env, problem, state, moves[move], steered.action, steered.child)
        own = votes[action_class(env, problem, state, steered.action)]
        values[move] = (most - own) * num + ranks[move]
