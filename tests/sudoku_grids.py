"""Sudoku grids for tests: sizes, searches, and rows to and from text."""

from __future__ import annotations

from typing import Any

import numpy as np

from sos.data.splits import make_splits, sample_problems
from sos.envs import protocol
from sos.envs.sudoku.rules import HEURISTICS, Sudoku
from sos.search import DepthFirst

SIZES = [Sudoku(4, 5, 7), Sudoku(4, 0, 0), Sudoku(6, 10, 12), Sudoku(9, 26, 30)]
DIALECTS = ("compact", "checked")
WHOLE_MAX = 109


def search_of(kind: str | int, max_nodes: int = 5000) -> DepthFirst:
    index = HEURISTICS.index(kind) if isinstance(kind, str) else kind
    return DepthFirst(index, use_threshold=False, skip_seen=True, announce_leaves=False, max_nodes=max_nodes)


def problems_of(env: Sudoku, num: int, split: str = "train") -> np.ndarray:
    return sample_problems(env, make_splits(env, 0.2, 0.0), split, num, seed=3)


def grid_of(row: Any) -> str:
    return "".join(str(int(digit)) for digit in row)


def row_of(grid: str) -> np.ndarray:
    return np.array([int(digit) for digit in grid], np.int32)


def state_of(env: Sudoku, grid: str) -> np.ndarray:
    state = np.zeros(env.state_width, np.int32)
    protocol.root_state(env, row_of(grid), state)
    return state


def read_state(env: Sudoku, state: np.ndarray) -> str:
    return "".join(str(int(state[cell // 7]) >> (4 * (cell % 7)) & 15) for cell in range(env.num_cells))


def name(env: Sudoku, cell: int) -> int:
    return 10 * (cell // env.size + 1) + cell % env.size + 1


# Rules
