"""Sokoban: boxes are to be pushed onto docks (levels and search of Lehnert et al. 2024, arXiv 2402.14083).

A worker steps to one of four neighbours; a box that stands there is pushed on, if what is behind it is free. It is
never pulled, so that some pushes cannot be made up for. A step costs 1, or with `pushes` a push, before which the
worker may walk. Levels are drawn as published: walls inside in any cells, boxes two steps away from the wall around,
and a worker and docks on cells of their own; those without a solution are left out. A level with all its turns and
reflections is in one split, wherever its worker stands.

Rows: problem = [shape, worker, boxes, docks, walls inside, number of these] with all cells of a kind in order and zeros
behind the walls, state = [worker, boxes, cost, estimate], action = [cell that the worker steps to, cost, estimate], or
with `pushes` [box, cell that it is pushed to, cost, estimate]. A cell is a number, x + width * y, and y grows downward.
The cost is that of the way to the state; the estimate is the sum, over the boxes that are on no dock, of the distance
to the nearest dock that has no box (or to the nearest of all: `open_docks`). The former can fall by more than a step
costs, so that a search may have to visit a state again.

What can never be moved is left out as published: a step that takes a box off docks beside walls on both axes is no
step of a search, and has no true estimate. With `show_dead_ends` it is a step, and the state is dead where a box on
no dock is frozen; the dead end quotes the box.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from importlib.resources.abc import Traversable
from itertools import pairwise
from math import comb
from typing import NamedTuple

import numpy as np

from sos.envs import problems, protocol
from sos.envs.protocol import Field, implements
from sos.envs.sokoban.level import (
    BOXES,
    BOXES_UNIT,
    WIDTH_UNIT,
    WORKER,
    beside,
    cells_of,
    docks_of,
    draw_level,
    first_of,
    frozen,
    has_cell,
    hash_level,
    is_level,
    put_cells,
    reached,
    shape_of,
    walls_of,
)
from sos.envs.sokoban.moves import NO_ESTIMATE, claimed, cost_column, fact_column, facts_of, stepped, told_estimate
from sos.envs.sokoban.proof import fewest, new_proof_work
from sos.kernels import inner
from sos.rng import fold

NONE, DOCKS = range(2)  # heuristics
WALL_SET, DOCK_SET = range(2)  # of the scratch


@problems.ungrouped
class Sokoban(NamedTuple):
    """The size of levels, what an action is, and which estimate is told."""

    width: int = 7
    height: int = 7
    boxes: int = 2
    min_walls: int = 2
    max_walls: int = 2
    max_steps: int = 99
    pushes: bool = False
    open_docks: bool = True
    show_dead_ends: bool = False

    @property
    def num_cells(self) -> int:
        return self.width * self.height

    @property
    def docks_column(self) -> int:
        return BOXES + self.boxes

    @property
    def walls_column(self) -> int:
        """The column of the first wall inside."""
        return BOXES + 2 * self.boxes

    @property
    def count_column(self) -> int:
        """The column that counts these walls."""
        return self.walls_column + self.max_walls

    @property
    def problem_width(self) -> int:
        return self.count_column + 1

    @property
    def state_width(self) -> int:
        return self.boxes + 3

    @property
    def action_width(self) -> int:
        return 4 if self.pushes else 3

    @property
    def max_children(self) -> int:
        return 4 * self.boxes if self.pushes else 4

    @property
    def max_depth(self) -> int:
        return self.max_steps

    @property
    def scratch_size(self) -> int:
        return 2

    @property
    def largest_number(self) -> int:
        """A cell, a cost, or an estimate."""
        return max(self.num_cells - 1, self.max_steps, self.boxes * (self.width + self.height))

    @property
    def heuristics(self) -> tuple[str, ...]:
        """`docks`: the estimate, which never exceeds what is left. That to the nearest of all docks is consistent."""
        return ("none", "docks")

    @property
    def heuristic_scale(self) -> int:
        return 1

    @property
    def fields(self) -> dict[str, tuple[Field, ...]]:
        """Template field -> what it stands for, in each row that has it."""
        told, said = self.boxes + 1, self.action_width - 2
        action = {"box": (Field("action", 0),), "to": (Field("action", 1),)}
        walls = Field("problem", self.walls_column, size=self.max_walls, counted=self.count_column)
        return {
            "worker": (Field("problem", WORKER), Field("state", 0)),
            "boxes": (Field("problem", BOXES, size=self.boxes), Field("state", 1, size=self.boxes)),
            "docks": (Field("problem", self.docks_column, size=self.boxes),),
            "walls": (walls,),
            "cost": (Field("state", told), Field("action", said)),
            "estimate": (Field("state", told + 1), Field("action", said + 1)),
        } | (action if self.pushes else {"to": (Field("action", 0),)})

    @property
    def facts(self) -> tuple[str, ...]:
        """The fields of an action that follow from the rest of it, so that a plan may leave them out."""
        return ("cost", "estimate")

    @property
    def dialects(self) -> Traversable:
        """The folder of the dialects that are shipped for it."""
        return resources.files("sos") / "stream" / "dialect" / "yaml" / ("sokoban_pushes" if self.pushes else "sokoban")

    @property
    def num_states(self) -> int:
        """The states of a level at most."""
        inside = (self.width - 2) * (self.height - 2)
        return inside * comb(inside, self.boxes)

    @property
    def tree_nodes(self) -> int:
        """The nodes of a search that visits every state once."""
        return 1 + self.max_children * self.num_states

    def describe(self) -> str:
        """Return what problems are drawn from, in words."""
        plural = "es" if self.boxes > 1 else ""
        walls = f"{self.min_walls} to {self.max_walls}" if self.min_walls < self.max_walls else str(self.max_walls)
        return f"{self.width}x{self.height} levels with {self.boxes} box{plural} and {walls} walls inside"

    @property
    def shape(self) -> int:
        """The number in a problem's first column."""
        return self.height + WIDTH_UNIT * self.width + BOXES_UNIT * self.boxes

    def parts(self, problem: problems.Row) -> tuple[int, list[int], list[int], list[int]]:
        """Return the worker, the boxes, the docks and the walls inside."""
        row = [int(n) for n in problem]
        ends = BOXES, self.docks_column, self.walls_column, self.walls_column + row[self.count_column]
        boxes, docks, walls = (row[a:b] for a, b in pairwise(ends))
        return row[WORKER], boxes, docks, walls

    def row(self, worker: int, boxes: Sequence[int], docks: Sequence[int], walls: Sequence[int]) -> list[int]:
        """Return the row of a level; too many cells of a kind make it too long."""
        missing = self.max_walls - len(walls)
        return [self.shape, worker, *sorted(boxes), *sorted(docks), *sorted(walls), *[0] * missing, len(walls)]

    def longest_problem(self) -> list[int]:
        """Return a problem whose statement is as long as any; it need not be one."""
        last = self.num_cells - 1
        return self.row(last, [last] * self.boxes, [last] * self.boxes, [last] * self.max_walls)

    def proof_work(self) -> np.ndarray:
        """Allocate the work space of `solvable` and `optimum`."""
        return new_proof_work(self)


# States


@implements(protocol.root_state, Sokoban)
def _root_state(env, problem, state):
    boxes = cells_of(problem, np.int64(BOXES), env.boxes)
    state[0] = problem[WORKER]
    put_cells(boxes, state, np.int64(1), env.boxes)
    state[cost_column(env)] = 0
    state[cost_column(env) + 1] = max(
        np.int64(0), told_estimate(env, walls_of(env, problem), boxes, docks_of(env, problem))
    )


@implements(protocol.status, Sokoban)
def _status(env, problem, state):
    boxes, docks = cells_of(state, np.int64(1), env.boxes), docks_of(env, problem)
    if boxes == docks:
        return protocol.GOAL
    dead = env.show_dead_ends and frozen(env, walls_of(env, problem), boxes, docks) != 0
    return protocol.DEAD if dead else protocol.OPEN


@inner
def _frozen_in(env, problem, state):
    """Return the boxes on no dock that nothing can ever move."""
    boxes = cells_of(state, np.int64(1), env.boxes)
    return frozen(env, walls_of(env, problem), boxes, docks_of(env, problem))


@implements(protocol.witness, Sokoban)
def _witness(env, problem, state):
    """A goal is told with its cost, a dead end with a box."""
    found = first_of(_frozen_in(env, problem, state))
    return state[cost_column(env)] if found < 0 else found


@implements(protocol.proves_dead, Sokoban)
def _proves_dead(env, problem, state, value):
    return has_cell(_frozen_in(env, problem, state), np.int64(value))


@implements(protocol.path_cost, Sokoban)
def _path_cost(env, problem, state):
    return state[cost_column(env)]


@implements(protocol.canonical, Sokoban)
def _canonical(env, problem, state, out):
    """The worker comes first; where it may walk, the least cell that it can walk to."""
    for k in range(len(state)):
        out[k] = state[k] if k <= env.boxes else 0
    if env.pushes:
        boxes = cells_of(state, np.int64(1), env.boxes)
        out[0] = first_of(reached(env, walls_of(env, problem), boxes, np.int64(state[0])))


@implements(protocol.statement, Sokoban)
def _statement(env, problem, state, out):
    for k in range(len(state)):
        out[k] = state[k]


# Actions


@implements(protocol.prepare, Sokoban)
def _prepare(env, kind, problem, scratch):
    scratch[WALL_SET] = walls_of(env, problem)
    scratch[DOCK_SET] = docks_of(env, problem)


@implements(protocol.successors, Sokoban)
def _successors(env, kind, problem, scratch, state, moves, values):
    """A move is a direction; with `pushes`, the cell of the box times 4 is added to it."""
    if state[cost_column(env)] >= env.max_steps:
        return np.int64(0)
    walls, docks, worker = scratch[WALL_SET], scratch[DOCK_SET], np.int64(state[0])
    boxes = cells_of(state, np.int64(1), env.boxes)
    area = reached(env, walls, boxes, worker) if env.pushes else np.int64(0)
    num = np.int64(0)
    for k in range(env.boxes if env.pushes else 1):
        for direction in range(4):
            stands, move = worker, np.int64(direction)
            if env.pushes:
                stands = np.int64(state[1 + k]) - beside(env, direction)
                move += 4 * np.int64(state[1 + k])
                if not has_cell(area, stands):
                    continue
            after = stepped(env, walls, boxes, stands, direction)
            if after == -1:
                continue
            told = told_estimate(env, walls, after, docks)
            if told == NO_ESTIMATE:
                continue
            moves[num] = move
            values[num] = told if kind == DOCKS else 0
            num += 1
    return num


@implements(protocol.make_child, Sokoban)
def _make_child(env, problem, state, move, action, child):
    walls, docks = walls_of(env, problem), docks_of(env, problem)
    boxes, direction = cells_of(state, np.int64(1), env.boxes), np.int64(move) % 4
    worker = np.int64(move) // 4 - beside(env, direction) if env.pushes else np.int64(state[0])
    after, to = stepped(env, walls, boxes, worker, direction), worker + beside(env, direction)
    action[0] = to
    if env.pushes:
        action[1] = to + beside(env, direction)
    action[fact_column(env)] = state[cost_column(env)] + 1
    action[fact_column(env) + 1] = told_estimate(env, walls, after, docks)
    child[0] = to
    put_cells(after, child, np.int64(1), env.boxes)
    for k in range(2):
        child[cost_column(env) + k] = action[fact_column(env) + k]


@implements(protocol.complete, Sokoban)
def _complete(env, problem, state, action):
    cost, told, _ = facts_of(env, problem, state, action)
    action[fact_column(env)] = cost
    action[fact_column(env) + 1] = max(told, np.int64(0))


@implements(protocol.judge, Sokoban)
def _judge(env, problem, state, action, child):
    """A cell that is no neighbour, and a box that is not there, are not held; a wall in the way, a box that cannot be
    pushed or reached, and a cost above the limit are illegal."""
    cost, told, after = facts_of(env, problem, state, action)
    worker, to, behind, near = claimed(env, state, action)
    boxes, walls = cells_of(state, np.int64(1), env.boxes), walls_of(env, problem)
    child[0] = to
    put_cells(after, child, np.int64(1), env.boxes)
    for k in range(2):
        child[cost_column(env) + k] = action[fact_column(env) + k]
    if not near or (env.pushes and not has_cell(boxes, to)):
        return protocol.NOT_HELD
    pushed = has_cell(boxes, to)
    if has_cell(walls, to) or (pushed and has_cell(walls | boxes, behind)) or cost > env.max_steps:
        return protocol.ILLEGAL
    if env.pushes and not has_cell(reached(env, walls, boxes, np.int64(state[0])), worker):
        return protocol.ILLEGAL
    true = action[fact_column(env)] == cost and action[fact_column(env) + 1] == told
    return protocol.HOLDS if true else protocol.WRONG_RESULT


# Problems


@implements(protocol.complete_problem, Sokoban)
def _complete_problem(env, problem):
    problem[0] = shape_of(env)


@implements(protocol.can_pose, Sokoban)
def _can_pose(env, problem):
    return is_level(env, problem)


@implements(protocol.draw, Sokoban)
def _draw(env, key, group, attempt, problem):
    draw_level(env, fold(key, attempt), problem)


@implements(protocol.hash_key, Sokoban)
def _hash_key(env, key, problem):
    return hash_level(env, key, problem)


@implements(protocol.solvable, Sokoban)
def _solvable(env, problem, work):
    return is_level(env, problem) and fewest(env, problem, work) > 0


@implements(protocol.optimum, Sokoban)
def _optimum(env, problem, work):
    return fewest(env, problem, work)
