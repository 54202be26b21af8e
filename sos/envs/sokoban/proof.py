"""The fewest steps or pushes that solve a Sokoban level, by breadth-first search over all its states."""

from __future__ import annotations

import numpy as np

from sos.envs.sokoban.level import (
    BOXES,
    WORKER,
    beside,
    bit,
    cells_of,
    docks_of,
    first_of,
    frozen,
    has_cell,
    reached,
    walls_of,
)
from sos.kernels import inlined, inner

ROUND, QUEUE = range(2)  # of the work space: how many searches it has served, and where its queue begins


def new_proof_work(env) -> np.ndarray:
    """Allocate what a search over the states of `env` needs: a mark for each worker and boxes, and a queue of them."""
    inside = (env.width - 2) * (env.height - 2)
    work = np.zeros(2 + inside ** (env.boxes + 1) + env.num_states, np.int64)
    work[QUEUE] = len(work) - env.num_states
    return work


@inlined
def _state_number(env, worker, boxes):
    """Return a number of a state, from the places of its cells inside the wall around."""
    across = env.width - 2
    number = (worker // env.width - 1) * across + worker % env.width - 1
    for cell in range(env.width * env.height):
        if has_cell(boxes, cell):
            number = number * across * (env.height - 2) + (cell // env.width - 1) * across + cell % env.width - 1
    return number


@inlined
def _cells_of_number(env, number):
    """Return the worker and the boxes that a number stands for."""
    across, boxes = np.int64(env.width - 2), np.int64(0)
    inside = across * (env.height - 2)
    for _ in range(env.boxes):
        place = number % inside
        boxes |= bit((place // across + 1) * env.width + place % across + 1)
        number //= inside
    return (number // across + 1) * env.width + number % across + 1, boxes


@inlined
def _push(env, walls, boxes, box, direction):
    """Return the boxes after a push, or 0 where there is no box or no room for it."""
    to = box + beside(env, direction)
    if not has_cell(boxes, box) or has_cell(walls | boxes, to):
        return np.int64(0)
    return boxes & ~bit(box) | bit(to)


@inlined
def _add(env, worker, boxes, work, stop):
    """Put a state behind the queue, which ends at `stop`, unless it was there; return the new end."""
    number = _state_number(env, worker, boxes)
    if work[2 + number] == work[ROUND]:
        return stop
    work[2 + number] = work[ROUND]
    work[stop] = number
    return stop + 1


@inlined
def _expand(env, walls, docks, work, number, stop):
    """Add what follows a state and is not frozen; return the end of the queue."""
    worker, boxes = _cells_of_number(env, number)
    area = reached(env, walls, boxes, worker) if env.pushes else bit(worker)
    for cell in range(env.width * env.height):
        for direction in range(4):
            to = cell + beside(env, direction)
            if not has_cell(area, cell) or has_cell(walls, to):
                continue
            after = boxes
            if has_cell(boxes, to):
                after = _push(env, walls, boxes, to, direction)
                if after == 0 or frozen(env, walls, after, docks) != 0:
                    continue
            elif env.pushes:
                continue
            stands = first_of(reached(env, walls, after, to)) if env.pushes else to
            stop = _add(env, stands, after, work, stop)
    return stop


@inner
def fewest(env, problem, work):
    """Return the least cost of a solution that the limit on costs allows, -1 where there is none.
    O(states x cells)."""
    walls, docks = walls_of(env, problem), docks_of(env, problem)
    boxes, worker = cells_of(problem, np.int64(BOXES), env.boxes), np.int64(problem[WORKER])
    if frozen(env, walls, boxes, docks) != 0:
        return np.int64(-1)
    work[ROUND] += 1
    start = first_of(reached(env, walls, boxes, worker)) if env.pushes else worker
    at = work[QUEUE]
    stop = _add(env, start, boxes, work, at)
    for cost in range(env.max_steps + 1):
        level = stop
        while at < level:
            _, boxes = _cells_of_number(env, work[at])
            if boxes == docks:
                return np.int64(cost)
            stop = _expand(env, walls, docks, work, work[at], stop)
            at += 1
        if at == stop:
            break
    return np.int64(-1)
