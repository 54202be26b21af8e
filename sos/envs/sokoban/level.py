"""Cells of a Sokoban level as bits, its row, what moves in it, and how one is drawn.

See `sos.envs.sokoban.rules` for the columns of a row. A cell is x + width * y, y growing downward; a set of cells is an
int64 with a bit for each, which 8x8 cells just fill.
"""

from __future__ import annotations

import numpy as np

from sos.kernels import inlined, inner
from sos.rng import below, fold

SHAPE, WORKER, BOXES = range(3)  # columns of a problem; docks, walls and the number of walls come behind the boxes
WIDTH_UNIT, BOXES_UNIT = 10, 100  # of the number `SHAPE`, beside the height
CELLS = 64  # bits of a set
NUM_WALLS, WALLS, CRATES, START, DOCKS = range(5)  # what a draw takes from its key


# Sets of cells


@inlined
def bit(cell):
    """Return the set of one cell, empty for what is none."""
    return np.int64(1) << cell if 0 <= cell < CELLS else np.int64(0)


@inlined
def has_cell(cells, cell):
    return 0 <= cell < CELLS and cells >> cell & 1 == 1


@inlined
def cells_of(row, column, num):
    """Return the set of the cells that a row names from `column` on."""
    cells = np.int64(0)
    for k in range(column, column + num):
        cells |= bit(np.int64(row[k]))
    return cells


@inlined
def docks_column(env):
    return BOXES + env.boxes


@inlined
def walls_column(env):
    return BOXES + 2 * env.boxes


@inlined
def count_column(env):
    return walls_column(env) + env.max_walls


@inlined
def border_of(env):
    """Return the wall around a level."""
    cells = np.int64(0)
    for x in range(env.width):
        cells |= bit(x) | bit(x + env.width * (env.height - 1))
    for y in range(env.height):
        cells |= bit(env.width * y) | bit(env.width - 1 + env.width * y)
    return cells


@inlined
def inside_of(env):
    """Return the cells inside the wall around."""
    cells = np.int64(0)
    for y in range(1, env.height - 1):
        for x in range(1, env.width - 1):
            cells |= bit(x + env.width * y)
    return cells


@inner
def walls_of(env, problem):
    """Return all walls of a level."""
    return border_of(env) | cells_of(problem, walls_column(env), np.int64(problem[count_column(env)]))


@inlined
def docks_of(env, problem):
    return cells_of(problem, docks_column(env), env.boxes)


@inlined
def beside(env, direction):
    """Return by what the number of a cell grows towards a direction: up, down, left, right, as published."""
    if direction < 2:
        return np.int64(env.width) * (2 * direction - 1)
    return np.int64(2 * direction - 5)


@inlined
def are_beside(env, a, b):
    """Say whether two numbers are cells that touch."""
    inside = 0 <= a < env.width * env.height and 0 <= b < env.width * env.height
    return inside and abs(a % env.width - b % env.width) + abs(a // env.width - b // env.width) == 1


# Boxes


@inner
def estimate_of(env, boxes, docks):
    """Return the steps that boxes lack at least: of each box that is on no dock to the nearest dock, or to the nearest
    one without a box."""
    total = np.int64(0)
    goals = docks & ~boxes if env.open_docks else docks
    for box in range(env.width * env.height):
        if not has_cell(boxes & ~docks, box):
            continue
        nearest = np.int64(env.width + env.height)
        for dock in range(env.width * env.height):
            if has_cell(goals, dock):
                away = abs(box % env.width - dock % env.width) + abs(box // env.width - dock // env.width)
                nearest = min(nearest, np.int64(away))
        total += nearest if goals != 0 else 0
    return total


@inlined
def blocked(env, walls, boxes):
    """Return the boxes with something of `walls` beside them on both axes."""
    across = walls << 1 | walls >> 1
    along = walls << env.width | walls >> env.width
    return boxes & across & along


@inner
def frozen(env, walls, boxes, docks):
    """Return the boxes on no dock that nothing can ever move: a wall, or another such box, is beside each on both axes,
    where one that stands on a dock counts, too. What is no box on a free cell is none. O(boxes)."""
    held = boxes & inside_of(env) & ~walls
    while True:
        still = blocked(env, walls | held, held)
        if still == held:
            return held & ~docks
        held = still


@inner
def reached(env, walls, boxes, worker):
    """Return the cells that a worker can walk to, none where it stands in a wall."""
    free = ~(walls | boxes)
    cells = bit(worker) & inside_of(env) & ~walls
    while True:
        more = cells | (cells << 1 | cells >> 1 | cells << env.width | cells >> env.width) & free
        if more == cells:
            return cells
        cells = more


@inlined
def first_of(cells):
    """Return the least cell of a set, -1 where it is empty."""
    for cell in range(CELLS):
        if has_cell(cells, cell):
            return np.int64(cell)
    return np.int64(-1)


@inlined
def put_cells(cells, row, column, num):
    """Write the least `num` cells of a set into a row, in order, zeros behind them."""
    k = np.int64(0)
    for cell in range(CELLS):
        if k < num and has_cell(cells, cell):
            row[column + k] = cell
            k += 1
    for m in range(k, num):
        row[column + m] = 0


# Levels


@inlined
def shape_of(env):
    """Return the number that says of what size levels are."""
    return np.int64(env.height + WIDTH_UNIT * env.width + BOXES_UNIT * env.boxes)


@inlined
def _ascend(row, column, num):
    """Say whether the cells that a row names from `column` on are cells, each above the one before it."""
    for k in range(column, column + num):
        if row[k] < 0 or row[k] >= CELLS or (k > column and row[k] <= row[k - 1]):
            return False
    return True


@inner
def is_level(env, problem):
    """Say whether a row, which may hold anything, is a level whose boxes are not all on docks yet."""
    num = np.int64(problem[count_column(env)])
    if problem[SHAPE] != shape_of(env) or num < 1 or num > env.max_walls:
        return False
    for k in range(walls_column(env) + num, count_column(env)):
        if problem[k] != 0:
            return False
    lists = _ascend(problem, np.int64(BOXES), env.boxes) and _ascend(problem, docks_column(env), env.boxes)
    if not lists or not _ascend(problem, walls_column(env), num):
        return False
    boxes, docks = cells_of(problem, np.int64(BOXES), env.boxes), docks_of(env, problem)
    inside, worker = inside_of(env), np.int64(problem[WORKER])
    inner_walls = cells_of(problem, walls_column(env), num)
    free = inside & ~inner_walls
    if inner_walls & ~inside != 0 or (boxes | docks) & ~free != 0:
        return False
    return has_cell(free & ~boxes, worker) and boxes != docks


# Draws


@inlined
def _draw_cells(env, key, allowed, num):
    """Draw `num` of the cells of a set, or as many as it has; all choices are equally likely."""
    left, chosen, wanted = np.int64(0), np.int64(0), np.int64(num)
    for cell in range(env.width * env.height):
        left += has_cell(allowed, cell)
    for cell in range(env.width * env.height):
        if has_cell(allowed, cell):
            if below(key, cell, left) < wanted:
                chosen |= bit(cell)
                wanted -= 1
            left -= 1
    return chosen


@inner
def draw_level(env, key, problem):
    """Draw a level as published: walls inside, boxes two steps away from the wall around, a worker and docks on cells
    of their own. It may lack a solution, and is none where the walls left no room for the boxes."""
    for column in range(len(problem)):
        problem[column] = 0
    border, inside = border_of(env), inside_of(env)
    centre = inside & ~(border << 1 | border >> 1 | border << env.width | border >> env.width)
    num = env.min_walls + below(fold(key, NUM_WALLS), 0, env.max_walls - env.min_walls + 1)
    walls = _draw_cells(env, fold(key, WALLS), inside, num)
    boxes = _draw_cells(env, fold(key, CRATES), centre & ~walls, env.boxes)
    worker = _draw_cells(env, fold(key, START), inside & ~(walls | boxes), 1)
    docks = _draw_cells(env, fold(key, DOCKS), inside & ~(walls | boxes | worker), env.boxes)
    problem[SHAPE] = shape_of(env)
    problem[WORKER] = first_of(worker)
    put_cells(boxes, problem, np.int64(BOXES), env.boxes)
    put_cells(docks, problem, docks_column(env), env.boxes)
    put_cells(walls, problem, walls_column(env), num)
    problem[count_column(env)] = num


@inlined
def _image(env, cell, twin):
    """Return where a turn or reflection of the grid moves a cell."""
    x, y = cell % env.width, cell // env.width
    if twin & 1:
        x = env.width - 1 - x
    if twin & 2:
        y = env.height - 1 - y
    if twin & 4:
        x, y = y, x
    return x + env.width * y


@inner
def hash_level(env, key, problem):
    """Return a hash of the walls, the boxes and the docks that is the same for every turn and reflection of the grid
    that keeps its sides, and wherever the worker stands. O(walls + boxes)."""
    total = np.uint64(0)
    for twin in range(8 if env.width == env.height else 4):
        image = np.uint64(0)
        for k in range(BOXES, walls_column(env) + problem[count_column(env)]):
            kind = np.int64(k >= docks_column(env)) + np.int64(k >= walls_column(env))
            image += fold(fold(key, kind), _image(env, np.int64(problem[k]), twin))
        total += fold(key, image)
    return fold(key, total)
