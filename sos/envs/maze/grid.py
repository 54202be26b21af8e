"""Places in the grid of a maze, its walls in the row of a problem, what makes a maze, and how one is drawn.

See `sos.envs.maze.rules` for the columns of a row. A cell has a number, x + width * y, and a place, (x, y); a row that
was read may claim any.
"""

from __future__ import annotations

import numpy as np

from sos.envs.memory import memory
from sos.kernels import inlined, inner
from sos.rng import below, fold

SHAPE, START = range(2)  # columns of a problem; the goal comes behind the start, and the walls behind the goal
WIDTH_UNIT, COORDINATES_UNIT = 100, 10_000  # of the number `SHAPE`, beside the height
NUM_WALLS, ORDER, PAIRS = range(3)  # what a draw takes from its key
MOST_LAYOUTS, MOST_PAIRS = 10_000, 100  # layouts that are drawn, and pairs of start and goal for each, before giving up
LARGEST = 32  # more than the cells of a row or column
# Parts of the memory, a bit for each cell of a row: free cells, those that are not reached yet, and those that were
# reached last and are reached next.
FREE, LEFT, EDGE, NEXT = range(0, 4 * LARGEST, LARGEST)


# Places


@inlined
def span(env):
    """Return how many numbers name a cell."""
    return np.int64(2 if env.coordinates else 1)


@inlined
def goal_column(env):
    return START + span(env)


@inlined
def wall_column(env):
    return START + 2 * span(env)


@inlined
def count_column(env):
    return wall_column(env) + span(env) * most_walls(env)


@inlined
def most_walls(env):
    return np.int64(env.width * env.height // 10 * env.max_walls)


@inlined
def place_of(env, row, column):
    """Return x and y of the cell that a row names from `column` on."""
    if env.coordinates:
        return np.int64(row[column]), np.int64(row[column + 1])
    y = np.int64(row[column]) // env.width
    return np.int64(row[column]) - env.width * y, y


@inlined
def put_place(env, row, column, x, y):
    """Write the name of a cell of the grid."""
    if env.coordinates:
        row[column] = x
        row[column + 1] = y
    else:
        row[column] = x + env.width * y


@inner
def distance(env, row, column, problem):
    """Return the steps from the cell that a row names to the goal, as if there were no walls."""
    x, y = place_of(env, row, column)
    goal_x, goal_y = place_of(env, problem, goal_column(env))
    return abs(x - goal_x) + abs(y - goal_y)


# Walls


@inlined
def wall(env, problem, k):
    """Return the number of the cell that is wall `k`."""
    column = wall_column(env) + span(env) * k
    return problem[column] + env.width * problem[column + 1] if env.coordinates else np.int64(problem[column])


@inner
def is_free(env, problem, x, y):
    """Say whether (x, y) is a cell without a wall. O(log walls): walls are in the order of their numbers."""
    if x < 0 or x >= env.width or y < 0 or y >= env.height:
        return False
    cell, num = x + env.width * y, np.int64(problem[count_column(env)])
    low, high = np.int64(0), num
    while low < high:
        middle = (low + high) // 2
        if wall(env, problem, middle) < cell:
            low = middle + 1
        else:
            high = middle
    return low == num or wall(env, problem, low) != cell


@inlined
def shape(env):
    """Return the number that says of what size mazes are, and how cells are named."""
    return np.int64(env.height + WIDTH_UNIT * env.width + (COORDINATES_UNIT if env.coordinates else 0))


@inner
def is_maze(env, problem):
    """Say whether a row, which may hold anything, is a maze: walls in order, and start and goal two free cells."""
    num, columns = np.int64(problem[count_column(env)]), wall_column(env)
    if problem[SHAPE] != shape(env) or num < 1 or num > most_walls(env):
        return False
    for k in range(columns + span(env) * num, count_column(env)):
        if problem[k] != 0:
            return False
    for k in range(START, columns + span(env) * num, span(env)):
        x, y = place_of(env, problem, k)
        if x < 0 or x >= env.width or y < 0 or y >= env.height:
            return False
    for k in range(1, num):
        if wall(env, problem, k) <= wall(env, problem, k - 1):
            return False
    for k in (np.int64(START), goal_column(env)):
        x, y = place_of(env, problem, k)
        if not is_free(env, problem, x, y):
            return False
    return distance(env, problem, np.int64(START), problem) > 0


@inner
def load_free(env, problem, work):
    """Write the free cells into `work`, a number for each row with a bit for each cell."""
    for y in range(env.height):
        work[FREE + y] = (1 << env.width) - 1
    for k in range(problem[count_column(env)]):
        cell = wall(env, problem, k)
        work[FREE + cell // env.width] &= ~(1 << (cell % env.width))


# Ways


@inner
def _flood(env, problem, work):
    """Return the fewest steps from start to goal through the free cells of `work`, -1 where there is no way.
    O(steps x rows)."""
    start_x, start_y = place_of(env, problem, np.int64(START))
    goal_x, goal_y = place_of(env, problem, goal_column(env))
    for y in range(env.height):
        work[LEFT + y] = work[FREE + y]
        work[EDGE + y] = 0
    edge, following, steps = np.int64(EDGE), np.int64(NEXT), np.int64(0)
    work[edge + env.height] = 0  # what is above the last row
    work[following + env.height] = 0
    work[edge + start_y] = np.int64(1) << start_x
    work[LEFT + start_y] &= ~(np.int64(1) << start_x)
    while work[edge + goal_y] >> goal_x & 1 == 0:
        found, below_it, here = np.int64(0), np.int64(0), work[edge]
        for y in range(env.height):
            above = work[edge + y + 1]
            near = (here << 1 | here >> 1 | below_it | above) & work[LEFT + y]
            work[LEFT + y] ^= near
            work[following + y] = near
            found |= near
            below_it, here = here, above
        if found == 0:
            return np.int64(-1)
        edge, following = following, edge
        steps += 1
    return steps


@inner
def shortest(env, problem):
    """Return the fewest steps from start to goal, -1 where there is no way."""
    work = memory()
    load_free(env, problem, work)
    return _flood(env, problem, work)


# Draws


@inner
def _draw_walls(env, key, problem):
    """Draw a layout: how many walls, and where."""
    cells, tens = env.width * env.height, env.width * env.height // 10
    num = tens * env.min_walls + below(fold(key, NUM_WALLS), 0, tens * (env.max_walls - env.min_walls) + 1)
    order, k = fold(key, ORDER), np.int64(0)
    for column in range(len(problem)):
        problem[column] = 0
    for cell in range(cells):
        if below(order, cell, cells - cell) < num - k:  # of the cells that are left, so many are walls
            put_place(env, problem, wall_column(env) + span(env) * k, cell % env.width, cell // env.width)
            k += 1
    problem[count_column(env)] = num
    problem[SHAPE] = shape(env)


@inner
def _draw_pair(env, key, draws, problem, work):
    """Draw a start and another cell as the goal from number `draws` of `key` on; return the number behind the last."""
    cells = env.width * env.height
    start = np.int64(-1)
    for column in (np.int64(START), goal_column(env)):
        while True:
            cell = below(key, draws, cells)
            draws += 1
            if cell != start and work[FREE + cell // env.width] >> (cell % env.width) & 1:
                break
        put_place(env, problem, column, cell % env.width, cell // env.width)
        start = cell
    return draws


@inner
def draw_maze(env, key, problem):
    """Draw a layout, and for it start and goal until the way from one to the other has as many cells as the longer side
    of the grid; after `MOST_PAIRS` of them another layout. A row without a way is left where there is none at all."""
    work = memory()
    for layout in range(MOST_LAYOUTS):
        layout_key = fold(key, layout)
        _draw_walls(env, layout_key, problem)
        load_free(env, problem, work)
        pairs, draws = fold(layout_key, PAIRS), np.int64(0)
        for _ in range(MOST_PAIRS):
            draws = _draw_pair(env, pairs, draws, problem, work)
            if _flood(env, problem, work) + 1 >= max(env.width, env.height):
                return
    x, y = place_of(env, problem, np.int64(START))
    put_place(env, problem, goal_column(env), x, y)


@inner
def hash_layout(env, key, problem):
    """Return a hash of the walls that is the same for every turn and reflection of the grid that keeps its sides, and
    for every start and goal. O(walls)."""
    total = np.uint64(0)
    for twin in range(8 if env.width == env.height else 4):
        image = np.uint64(0)
        for k in range(problem[count_column(env)]):
            cell = wall(env, problem, k)
            x, y = cell % env.width, cell // env.width
            if twin & 1:
                x = env.width - 1 - x
            if twin & 2:
                y = env.height - 1 - y
            if twin & 4:
                x, y = y, x
            image += fold(key, x + env.width * y)
        total += fold(key, image)
    return fold(key, total)
