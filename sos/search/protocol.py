"""What a search strategy offers: one stub, dispatching on the strategy's NamedTuple (see `sos.envs.protocol`)."""

from __future__ import annotations

from sos.envs.protocol import _interpreted


def search(strategy, env, problem, work, trace):
    """Search `problem` (int32 (P,)) and write the trace into the TraceBuffer `trace`; return a `Status`.

    `work` is the SearchWork. The trace ends with an `END` event unless the status is `BUFFER_FULL`.
    """
    return _interpreted("search", type(strategy))(strategy, env, problem, work, trace)
