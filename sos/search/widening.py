"""Iterative widening: a depth-first search that tries small numbers first, in two passes over one tree.

Like iterative deepening (Korf 1985) and iterative broadening (Ginsberg and Harvey 1992) it searches a part of the
tree to its end before it takes in more. Theirs bound the depth and the children of a node; this bounds the results of
actions, since most problems can be solved with small ones. Unlike theirs its second pass goes on in the same trace
and does not do the first again.
"""

from __future__ import annotations

from typing import NamedTuple

from sos.envs import protocol as environment
from sos.envs.protocol import implements
from sos.search.depth_first import DepthFirst, depth_first
from sos.search.protocol import options_of, rules, search, widen
from sos.search.work import add_seen, clear_seen


class Widening(NamedTuple):
    """Depth-first search, no state twice, in two passes: O(expanded nodes x children + states seen).

    Pass 1 generates no child by an action that results in more than `bound`. When it is exhausted the search returns
    to the root and generates more children of it in pass 2, which has no bound but that of the environment. A state
    is *open* if results above `bound` are in reach before its leaves (`reach`, a necessary condition). Pass 2
    generates what was not seen before and once more, as a new node, each open state of pass 1; below a state that is
    not open the bound still holds, so that no leaf above it is ever written. A bound that no result can exceed leaves
    nothing to pass 2.

    The search is exact, like `DepthFirst` with `skip_seen` and the same options, for problems whose goal is at most
    `bound`: below a state that is not open pass 1 has seen all that leads to such a goal.
    """

    heuristic: int = 1
    announce_leaves: bool = True
    max_nodes: int = 1000
    look_ahead: int = 0
    skip_out_of_range: bool = False
    bound: int = 300


implements(search, Widening)(depth_first)


@implements(options_of, Widening)
def _options_of(strategy):
    return DepthFirst(
        strategy.heuristic,
        False,
        True,
        strategy.announce_leaves,
        strategy.max_nodes,
        strategy.look_ahead,
        strategy.skip_out_of_range,
    )


@implements(rules, Widening)
def _rules(strategy, env, problem, state, widened):
    if widened and environment.reach(env, problem, state) > strategy.bound:
        return env
    return environment.narrowed(env, strategy.bound)


@implements(widen, Widening)
def _widen(strategy, env, problem, work):
    """Forget the open states that pass 1 has seen: the table then drops no others. O(states seen)."""
    num = work.num_seen[0]
    clear_seen(work)
    for n in range(num):
        # The row that is added overwrites one that was read before: at most n rows are kept when row n is read.
        if environment.reach(env, problem, work.seen_rows[n]) <= strategy.bound:
            for k in range(len(work.row)):
                work.row[k] = work.seen_rows[n, k]
            add_seen(work)
    return True
