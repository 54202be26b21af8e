"""What a step or a push of Sokoban leads to, and what is told of it. See `sos.envs.sokoban.rules` for the rows."""

from __future__ import annotations

import numpy as np

from sos.envs.sokoban.level import (
    are_beside,
    beside,
    bit,
    blocked,
    cells_of,
    docks_of,
    estimate_of,
    has_cell,
    inside_of,
    walls_of,
)
from sos.kernels import inlined, inner

NO_ESTIMATE = -1  # of a state that is lost, where such states are left out


@inlined
def cost_column(env):
    return 1 + env.boxes


@inlined
def fact_column(env):
    """Return the column of an action's cost; its estimate is behind."""
    return 2 if env.pushes else 1


@inner
def told_estimate(env, walls, boxes, docks):
    """Return the estimate that is told of a state."""
    if not env.show_dead_ends and blocked(env, walls, boxes & inside_of(env) & ~(walls | docks)) != 0:
        return np.int64(NO_ESTIMATE)
    return estimate_of(env, boxes, docks)


@inlined
def stepped(env, walls, boxes, worker, direction):
    """Return the boxes after a step, or -1 where there is no room for it."""
    to = worker + beside(env, direction)
    if has_cell(walls, to):
        return np.int64(-1)
    if not has_cell(boxes, to):
        return boxes
    behind = to + beside(env, direction)
    return np.int64(-1) if has_cell(walls | boxes, behind) else boxes & ~bit(to) | bit(behind)


@inlined
def claimed(env, state, action):
    """Return from where the worker moves, where to, where a box goes that stands there, and whether these are three
    cells in a row."""
    if env.pushes:
        to, behind = np.int64(action[0]), np.int64(action[1])
        return 2 * to - behind, to, behind, are_beside(env, to, behind)
    worker, to = np.int64(state[0]), np.int64(action[0])
    return worker, to, 2 * to - worker, are_beside(env, worker, to)


@inlined
def facts_of(env, problem, state, action):
    """Return what an action costs together with the way to it, the estimate behind it, and the boxes then."""
    boxes = cells_of(state, np.int64(1), env.boxes)
    _, to, behind, near = claimed(env, state, action)
    if near and has_cell(boxes, to):
        boxes = boxes & ~bit(to) | bit(behind)
    told = told_estimate(env, walls_of(env, problem), boxes, docks_of(env, problem))
    return np.int64(state[cost_column(env)]) + 1, told, boxes
