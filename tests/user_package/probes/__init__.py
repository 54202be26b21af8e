"""A search of somebody else: the best children of the root one after the other, each followed greedily to a leaf."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from sos.envs import protocol as environment
from sos.envs.protocol import implements
from sos.schema.keys import key
from sos.search.keys import StrategyConfig
from sos.search.protocol import search
from sos.search.registry import register_search
from sos.search.work import (
    ALL,
    COUNT_SLOT,
    Pruning,
    add_verdict,
    add_visit,
    begin,
    count_child,
    fill_frame,
    write_child,
)
from sos.trace import BACKTRACK, BUFFER_FULL, EMPTY, END, GENERATE, OK, add_event


@dataclass
class ProbesConfig(StrategyConfig):
    name: str = key("probes", "The strategy.")
    heuristic: str = key("none", "What orders nodes.")
    most: int = key(3, "The children of the root that are followed.", low=1, high=99)


class Probes(NamedTuple):
    heuristic: int = 0
    most: int = 3


@implements(search, Probes)
def _search(strategy, env, problem, work, trace):
    events, nodes, states, counts = trace
    keep_all = Pruning(False, False, 0, False, ALL)
    begin(env, strategy.heuristic, problem, work, trace)
    add_visit(trace, 0)
    fill_frame(env, strategy.heuristic, keep_all, problem, work, 0, 0, states[0])
    for first in range(min(strategy.most, work.frame[0, COUNT_SLOT])):
        depth, slot, parent = 0, first, np.int64(0)
        while slot < work.frame[depth, COUNT_SLOT]:
            if counts[0] + 5 > len(events) or counts[1] + 1 > len(nodes):
                return BUFFER_FULL
            node = write_child(env, problem, work, depth, slot, parent, slot, trace)
            count_child(trace, node)
            add_event(trace, GENERATE, node, node, 0, 0)
            status = environment.status(env, problem, states[node])
            if status != environment.OPEN:
                if add_verdict(env, problem, status, node, trace):
                    return OK
                break
            add_visit(trace, node)
            depth, slot, parent = depth + 1, 0, node
            fill_frame(env, strategy.heuristic, keep_all, problem, work, depth, node, states[node])
        if depth > 0:
            add_event(trace, BACKTRACK, 0, 0, 0, 0)
    add_event(trace, END, -1, -1, EMPTY, 0)
    return OK


register_search("probes", ProbesConfig, Probes)
