"""A toy environment with costs and told estimates: any graph, loops included. Both facts of a node are claims."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from sos.envs import protocol
from sos.envs.protocol import Field, implements
from sos.stream.dialect.compile import Dialect, compile_dialect

START, TARGET, ESTIMATES = range(3)


class Atlas(NamedTuple):
    """Problem: start, target, the estimate of each place, then from, to, cost of each road. State: place, cost of the
    way there, estimate of what is left. Action: the same of the place that is gone to."""

    num_places: int = 6
    num_roads: int = 12

    @property
    def roads(self) -> int:
        """The column of the first road."""
        return ESTIMATES + self.num_places

    @property
    def problem_width(self) -> int:
        return self.roads + 3 * self.num_roads

    state_width = 3
    action_width = 3
    scratch_size = 1
    heuristics = ("none", "told")
    heuristic_scale = 1
    largest_number = 999

    @property
    def max_children(self) -> int:
        return self.num_roads

    @property
    def max_depth(self) -> int:
        return self.num_places

    @property
    def fields(self) -> dict[str, tuple[Field, ...]]:
        return {
            "start": (Field("problem", START),),
            "target": (Field("problem", TARGET),),
            "estimates": (Field("problem", ESTIMATES, size=self.num_places),),
            "roads": (Field("problem", self.roads, size=self.num_roads, width=3),),
            "place": (Field("state", 0), Field("action", 0)),
            "cost": (Field("state", 1), Field("action", 1)),
            "estimate": (Field("state", 2), Field("action", 2)),
        }


FORMS = {
    "root": "start {start} goal {target} left {estimates} roads {roads} :",
    "expand": "close {place} c {cost} c {estimate}",
    "backtrack": "close {place} c {cost} c {estimate}",
    "generate": "create {place} c {cost} c {estimate}",
    "dead_end": "stuck {value}",
    "goal": "found {value}",
    "plan": "plan {place} c {cost} c {estimate}",
    "end_solved": "",
    "end_exhausted": "none",
    "end_budget": "...",
}


def atlas_dialect(env: Atlas) -> Dialect:
    """The words of the published mazes: one for a node that is made, and one for any node that is visited."""
    source = {"name": "atlas", "spacing": "free", "separator": ",", "record_separator": "|", "forms": FORMS}
    return compile_dialect(source, env, 999, True)


def draw(rng: np.random.Generator, env: Atlas, most_estimate: int) -> np.ndarray:
    """Draw roads between different places, no two alike, one of them from the start, and estimates up to the most."""
    pairs = [(a, b) for a in range(env.num_places) for b in range(env.num_places) if a != b]
    chosen = rng.permutation(len(pairs))[: env.num_roads]
    roads = [(*pairs[k], int(rng.integers(1, 10))) for k in chosen]
    start = roads[0][0]
    target = (start + rng.integers(1, env.num_places)) % env.num_places
    estimates = rng.integers(0, most_estimate + 1, env.num_places)
    return np.array([start, target, *estimates, *(number for road in roads for number in road)], np.int32)


def parts_of(env: Atlas, problem: np.ndarray) -> tuple[int, int, list[tuple[int, int, int]], Any]:
    """Return start, target, roads and the function that estimates a place."""
    numbers = problem.tolist()
    flat = numbers[env.roads :]
    estimates = numbers[ESTIMATES : env.roads]
    return numbers[0], numbers[1], list(zip(flat[::3], flat[1::3], flat[2::3], strict=True)), estimates.__getitem__


@implements(protocol.root_state, Atlas)
def _root_state(env, problem, state):
    state[0] = problem[START]
    state[1] = 0
    state[2] = problem[ESTIMATES + problem[START]]


@implements(protocol.status, Atlas)
def _status(env, problem, state):
    if state[0] == problem[TARGET]:
        return protocol.GOAL
    roads = ESTIMATES + env.num_places
    for r in range(env.num_roads):
        if problem[roads + 3 * r] == state[0]:
            return protocol.OPEN
    return protocol.DEAD


@implements(protocol.witness, Atlas)
def _witness(env, problem, state):
    return state[1]


@implements(protocol.successors, Atlas)
def _successors(env, kind, problem, scratch, state, moves, values):
    roads, num = ESTIMATES + env.num_places, 0
    for r in range(env.num_roads):
        if problem[roads + 3 * r] == state[0]:
            moves[num] = r
            values[num] = problem[ESTIMATES + problem[roads + 3 * r + 1]] if kind == 1 else 0
            num += 1
    return num


@implements(protocol.make_child, Atlas)
def _make_child(env, problem, state, move, action, child):
    road = ESTIMATES + env.num_places + 3 * move
    action[0] = problem[road + 1]
    action[1] = state[1] + problem[road + 2]
    action[2] = problem[ESTIMATES + action[0]]
    for k in range(3):
        child[k] = action[k]


@implements(protocol.judge, Atlas)
def _judge(env, problem, state, action, child):
    for k in range(3):
        child[k] = action[k]
    for r in range(env.num_roads):
        road = ESTIMATES + env.num_places + 3 * r
        if problem[road] == state[0] and problem[road + 1] == action[0]:
            true = action[1] == np.int64(state[1]) + problem[road + 2]
            told = action[2] == problem[ESTIMATES + action[0]]
            return protocol.HOLDS if true and told else protocol.WRONG_RESULT
    return protocol.NOT_HELD


@implements(protocol.canonical, Atlas)
def _canonical(env, problem, state, out):
    out[0] = state[0]
    out[1] = 0
    out[2] = 0


@implements(protocol.statement, Atlas)
def _statement(env, problem, state, out):
    for k in range(3):
        out[k] = state[k]


@implements(protocol.path_cost, Atlas)
def _path_cost(env, problem, state):
    return state[1]


@implements(protocol.can_pose, Atlas)
def _can_pose(env, problem):
    roads = ESTIMATES + env.num_places
    for k in range(len(problem)):
        place = k < ESTIMATES or (k >= roads and (k - roads) % 3 < 2)
        if problem[k] < 0 or problem[k] > (env.num_places - 1 if place else 999):
            return False
    return True
