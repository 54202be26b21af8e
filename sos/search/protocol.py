"""What a search strategy offers: stubs that dispatch on the strategy's NamedTuple (see `sos.envs.protocol`).

A search implements `search`, and is registered with its keys in `sos.search.registry`. Its NamedTuple may have a method
`check(env, prefix)`, which raises UserError where its values do not go with an environment.
"""

from __future__ import annotations

from sos.envs.protocol import capability, implementation_of


def search(strategy, env, problem, work, trace):
    """Search `problem` (int32 (P,)) and write the trace into the TraceBuffer `trace`; return a `Status`.

    `work` is the SearchWork. The trace ends with an `END` event unless the status is `BUFFER_FULL`.
    """
    return implementation_of("search", type(strategy))(strategy, env, problem, work, trace)


def options_of(strategy):
    """Return the options of a depth-first search as a `DepthFirst`."""
    return implementation_of("options_of", type(strategy))(strategy)


def rules(strategy, env, problem, state, widened):
    """Return the environment whose rules a depth-first search keeps to for the children of `state`: `env` or a
    narrower one.

    `widened` says whether `widen` was called.
    """
    return implementation_of("rules", type(strategy))(strategy, env, problem, state, widened)


def widen(strategy, env, problem, work):
    """Make `work` ready for another pass of an exhausted depth-first search, by wider rules; False where there is
    none."""
    return implementation_of("widen", type(strategy))(strategy, env, problem, work)


def _first(strategy, key, index):
    return 0


@capability(_first)
def choose(strategy, key, index):
    """Return which strategy (int64) of a mixture problem `index` of the uint64 stream `key` is searched with.

    A single strategy is number 0 of itself.
    """
    return implementation_of("choose", type(strategy))(strategy, key, index)


def _itself(strategy, choice, env, problem, work, trace):
    return search(strategy, env, problem, work, trace)


@capability(_itself)
def search_chosen(strategy, choice, env, problem, work, trace):
    """Like `search`, with number `choice` of a mixture, or a single strategy itself."""
    return implementation_of("search_chosen", type(strategy))(strategy, choice, env, problem, work, trace)
