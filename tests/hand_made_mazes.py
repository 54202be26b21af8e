"""Rows of the mazes of the oracle."""

from __future__ import annotations

import numpy as np
from naive import maze as naive

from sos.envs.maze.rules import Maze


def row_of(env: Maze, maze: naive.Maze) -> np.ndarray:
    """Return a maze as the row of an environment of its size, int32 (P,)."""
    cells = [maze.start, maze.goal, *sorted(maze.walls)]
    return np.array(env.row([x + env.width * y for x, y in cells]), np.int32)
