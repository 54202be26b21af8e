"""Rows of the Sokoban levels of the oracle."""

from __future__ import annotations

import numpy as np
from naive import sokoban as naive

from sos.envs.sokoban.rules import Sokoban


def row_of(env: Sokoban, level: naive.Level) -> np.ndarray:
    """Return a level as the row of an environment of its size, int32 (P,)."""
    boxes, docks = (sorted(map(level.number, cells)) for cells in (level.start.boxes, level.docks))
    return np.array(env.row(level.number(level.start.worker), boxes, docks, level.inner_walls()), np.int32)


def level_of(env: Sokoban, row: np.ndarray) -> naive.Level:
    """Return the level of a row, read column by column."""
    numbers = [int(n) for n in row]

    def cells(first: int, num: int) -> frozenset[naive.Cell]:
        return frozenset((n % env.width, n // env.width) for n in numbers[first : first + num])

    walls = naive.border(env.width, env.height) | cells(2 + 2 * env.boxes, numbers[-1])
    start = naive.State((numbers[1] % env.width, numbers[1] // env.width), cells(2, env.boxes))
    options = {"open_docks": env.open_docks, "show_dead_ends": env.show_dead_ends, "max_steps": env.max_steps}
    docks = cells(2 + env.boxes, env.boxes)
    return naive.Level(env.width, env.height, walls, docks, start, env.pushes, **options)


def state_of(env: Sokoban, row: list[int]) -> naive.State:
    cells = [(n % env.width, n // env.width) for n in row[: 1 + env.boxes]]
    return naive.State(cells[0], frozenset(cells[1:]))
