"""Mazes: a shortest way from a start to a goal through a grid with walls (Lehnert et al. 2024, arXiv 2402.14083).

Steps go to one of four neighbours, and each costs 1. Walls are drawn as published: from 3 to 5 for every full ten cells
of the grid, any number in between as often as any other, in any cells; and the way from start to goal has, both
included, as many cells as the longer side of the grid or more. A layout of walls, with all its turns and reflections,
is in one split with every start and goal in it.

Rows: problem = [shape, start, goal, wall, wall, ..., number of walls] with the walls in order and zeros behind them,
state = [cell, cost, estimate], action = the same of the cell that is gone to. A cell is a number, x + width * y, or
with `coordinates` two, x and y. The cost is that of the way to the cell, the estimate its Manhattan distance from the
goal. Both are claims of an action, which are true where its cost is that of its state and 1 together, and its estimate
that of its cell. The shape says the size of the grid; no dialect does.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from importlib.resources.abc import Traversable
from typing import NamedTuple

import numpy as np

from sos.envs import problems, protocol
from sos.envs.maze.grid import (
    COORDINATES_UNIT,
    SHAPE,
    START,
    WIDTH_UNIT,
    distance,
    draw_maze,
    goal_column,
    hash_layout,
    is_free,
    is_maze,
    load_free,
    place_of,
    put_place,
    shape,
    shortest,
    span,
)
from sos.envs.protocol import Field, implements
from sos.kernels import inlined
from sos.rng import fold

NONE, MANHATTAN = range(2)  # heuristics
UP, DOWN, LEFT, RIGHT = range(4)  # moves, in the order in which children are generated; up is where y grows


@problems.ungrouped
class Maze(NamedTuple):
    """The size of the grid, how many of every ten cells are walls, and whether a cell is two numbers."""

    width: int = 8
    height: int = 8
    min_walls: int = 3
    max_walls: int = 5
    coordinates: bool = False

    @property
    def num_cells(self) -> int:
        return self.width * self.height

    @property
    def most_walls(self) -> int:
        """The walls of a grid at most."""
        return self.num_cells // 10 * self.max_walls

    @property
    def span(self) -> int:
        """The numbers that name a cell."""
        return 2 if self.coordinates else 1

    @property
    def walls_column(self) -> int:
        """The column of the first wall."""
        return START + 2 * self.span

    @property
    def count_column(self) -> int:
        """The column that counts the walls."""
        return self.walls_column + self.span * self.most_walls

    @property
    def problem_width(self) -> int:
        return self.count_column + 1

    @property
    def state_width(self) -> int:
        return self.span + 2

    @property
    def action_width(self) -> int:
        return self.span + 2

    @property
    def max_children(self) -> int:
        return 4

    @property
    def max_depth(self) -> int:
        return self.num_cells

    @property
    def scratch_size(self) -> int:
        return self.height

    @property
    def largest_number(self) -> int:
        """A cell's number, or a coordinate, where a cost is no number; no way is longer than there are cells."""
        return max(self.width, self.height) - 1 if self.coordinates else self.num_cells - 1

    @property
    def heuristics(self) -> tuple[str, ...]:
        """`manhattan`: the estimate; it never exceeds what is left, and is consistent."""
        return ("none", "manhattan")

    @property
    def heuristic_scale(self) -> int:
        return 1

    @property
    def fields(self) -> dict[str, tuple[Field, ...]]:
        """Template field -> what it stands for, in each row that has it."""
        span = self.span
        costs = tuple(f"c{cost}" for cost in range(self.num_cells)) if self.coordinates else ()
        walls = Field("problem", self.walls_column, size=self.most_walls, counted=self.count_column, width=span)
        facts = {
            "walls": (walls,),
            "cost": (Field("state", span, symbols=costs), Field("action", span, symbols=costs)),
            "estimate": (Field("state", span + 1, symbols=costs), Field("action", span + 1, symbols=costs)),
        }
        places = {
            f"{name}{axis}": tuple(Field(row, column + k) for row in rows)
            for name, rows, column in (
                ("start_", ("problem",), START),
                ("goal_", ("problem",), START + span),
                ("", ("state", "action"), 0),
            )
            for k, axis in enumerate(("x", "y"))
        }
        cells = {
            "start": (Field("problem", START),),
            "goal": (Field("problem", START + span),),
            "cell": (Field("state", 0), Field("action", 0)),
        }
        return facts | (places if self.coordinates else cells)

    @property
    def facts(self) -> tuple[str, ...]:
        """The fields of an action that follow from the rest of it, so that a plan may leave them out."""
        return ("cost", "estimate")

    @property
    def dialects(self) -> Traversable:
        """The folder of the dialects that are shipped for it."""
        folder = "maze_coordinates" if self.coordinates else "maze"
        return resources.files("sos") / "stream" / "dialect" / "yaml" / folder

    def check_problems(self, rows: np.ndarray) -> None:
        problems.check_rows(self, rows)

    @property
    def tree_nodes(self) -> int:
        """The nodes of a search that visits every cell once."""
        return 1 + 4 * self.num_cells

    def describe(self) -> str:
        """Return what problems are drawn from, in words."""
        tens = self.num_cells // 10
        return f"{self.width}x{self.height} mazes with {tens * self.min_walls} to {tens * self.max_walls} walls"

    @property
    def shape(self) -> int:
        """The number in a problem's first column."""
        return self.height + WIDTH_UNIT * self.width + COORDINATES_UNIT * self.coordinates

    def cells(self, problem: Sequence[int] | np.ndarray) -> list[int]:
        """Return the numbers of start, goal and walls of a problem."""
        numbers = [int(n) for n in problem[START : self.walls_column + self.span * int(problem[self.count_column])]]
        if not self.coordinates:
            return numbers
        return [x + self.width * y for x, y in zip(numbers[::2], numbers[1::2], strict=True)]

    def named(self, cell: int) -> list[int]:
        """Return the numbers that name a cell in a row."""
        return [cell % self.width, cell // self.width] if self.coordinates else [cell]

    def row(self, cells: Sequence[int]) -> list[int]:
        """Return the row of [start, goal, wall, wall, ...], numbers of cells; too many walls make it too long."""
        start, goal, *walls = cells
        numbers = [number for cell in (start, goal, *sorted(walls)) for number in self.named(cell)]
        missing = self.count_column - START - len(numbers)
        return [self.shape, *numbers, *[0] * missing, len(walls)]

    def longest_problem(self) -> list[int]:
        """Return a problem whose statement is as long as any; it need not be one."""
        return self.row([self.num_cells - 1] * (2 + self.most_walls))

    def proof_work(self) -> np.ndarray:
        """Allocate the work space of `solvable` and `optimum`, which need none."""
        return np.zeros(1, np.int64)


# States


@implements(protocol.root_state, Maze)
def _root_state(env, problem, state):
    for k in range(span(env)):
        state[k] = problem[START + k]
    state[span(env)] = 0
    state[span(env) + 1] = distance(env, problem, np.int64(START), problem)


@implements(protocol.status, Maze)
def _status(env, problem, state):
    """There are no dead ends: from any cell that was reached the way back is open."""
    return protocol.GOAL if distance(env, state, np.int64(0), problem) == 0 else protocol.OPEN


@implements(protocol.witness, Maze)
def _witness(env, problem, state):
    return state[span(env)]


@implements(protocol.path_cost, Maze)
def _path_cost(env, problem, state):
    return state[span(env)]


@implements(protocol.canonical, Maze)
def _canonical(env, problem, state, out):
    """The lower row comes first, then the lower column."""
    for k in range(len(state)):
        out[k] = 0
    if env.coordinates:
        out[0] = state[1]
        out[1] = state[0]
    else:
        out[0] = state[0]


@implements(protocol.statement, Maze)
def _statement(env, problem, state, out):
    for k in range(len(state)):
        out[k] = state[k]


# Actions


@implements(protocol.prepare, Maze)
def _prepare(env, kind, problem, scratch):
    """Write the free cells of each row as bits."""
    load_free(env, problem, scratch)


@inlined
def _along(move, back, on):
    """Return the step of a move along an axis, on which the moves `back` and `on` lead."""
    return np.int64(move == on) - np.int64(move == back)


@implements(protocol.successors, Maze)
def _successors(env, kind, problem, scratch, state, moves, values):
    x, y = place_of(env, state, np.int64(0))
    goal_x, goal_y = place_of(env, problem, goal_column(env))
    num = np.int64(0)
    for move in range(4):
        to_x, to_y = x + _along(move, LEFT, RIGHT), y + _along(move, DOWN, UP)
        inside = 0 <= to_x < env.width and 0 <= to_y < env.height
        if inside and scratch[to_y] >> to_x & 1:
            moves[num] = move
            values[num] = abs(to_x - goal_x) + abs(to_y - goal_y) if kind == MANHATTAN else 0
            num += 1
    return num


@implements(protocol.make_child, Maze)
def _make_child(env, problem, state, move, action, child):
    x, y = place_of(env, state, np.int64(0))
    put_place(env, action, np.int64(0), x + _along(move, LEFT, RIGHT), y + _along(move, DOWN, UP))
    action[span(env)] = state[span(env)] + 1
    action[span(env) + 1] = distance(env, action, np.int64(0), problem)
    for k in range(len(state)):
        child[k] = action[k]


@implements(protocol.complete, Maze)
def _complete(env, problem, state, action):
    action[span(env)] = state[span(env)] + 1
    action[span(env) + 1] = distance(env, action, np.int64(0), problem)


@implements(protocol.judge, Maze)
def _judge(env, problem, state, action, child):
    """A cell that is no neighbour is not held; a wall, or what is outside of the grid, is illegal."""
    for k in range(len(state)):
        child[k] = action[k]
    x, y = place_of(env, action, np.int64(0))
    before_x, before_y = place_of(env, state, np.int64(0))
    if abs(x - before_x) + abs(y - before_y) != 1:
        return protocol.NOT_HELD
    if not is_free(env, problem, x, y):
        return protocol.ILLEGAL
    cost, estimate = np.int64(action[span(env)]), np.int64(action[span(env) + 1])
    true = cost == np.int64(state[span(env)]) + 1 and estimate == distance(env, action, np.int64(0), problem)
    return protocol.HOLDS if true else protocol.WRONG_RESULT


# Problems


@implements(protocol.complete_problem, Maze)
def _complete_problem(env, problem):
    problem[SHAPE] = shape(env)


@implements(protocol.can_pose, Maze)
def _can_pose(env, problem):
    return is_maze(env, problem)


@implements(protocol.draw, Maze)
def _draw(env, key, group, attempt, problem):
    draw_maze(env, fold(key, attempt), problem)


@implements(protocol.hash_key, Maze)
def _hash_key(env, key, problem):
    return hash_layout(env, key, problem)


@implements(protocol.solvable, Maze)
def _solvable(env, problem, work):
    return shortest(env, problem) > 0


@implements(protocol.optimum, Maze)
def _optimum(env, problem, work):
    return shortest(env, problem)
