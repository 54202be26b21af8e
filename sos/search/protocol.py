"""What a search strategy offers: stubs that dispatch on the strategy's NamedTuple (see `sos.envs.protocol`)."""

from __future__ import annotations

from sos.envs.protocol import _interpreted


def search(strategy, env, problem, work, trace):
    """Search `problem` (int32 (P,)) and write the trace into the TraceBuffer `trace`; return a `Status`.

    `work` is the SearchWork. The trace ends with an `END` event unless the status is `BUFFER_FULL`.
    """
    return _interpreted("search", type(strategy))(strategy, env, problem, work, trace)


def choose(strategy, key, index):
    """Return which strategy (int64) of a mixture problem `index` of the uint64 stream `key` is searched with.

    A single strategy is number 0 of itself.
    """
    return _interpreted("choose", type(strategy))(strategy, key, index)


def search_chosen(strategy, choice, env, problem, work, trace):
    """Like `search`, with number `choice` of a mixture, or a single strategy itself."""
    return _interpreted("search_chosen", type(strategy))(strategy, choice, env, problem, work, trace)
