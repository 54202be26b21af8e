"""Dialects and problems of mazes, and verdicts that the oracle gives as well."""

from __future__ import annotations

import numpy as np
from naive import costs as naive_costs
from naive import maze as naive

from sos.data.splits import make_splits, sample_problems
from sos.envs.maze.rules import Maze
from sos.stream.dialect.compile import Dialect, load_dialect
from sos.stream.verify import Verdict, verify
from sos.trace import Trace

WHOLE_MAX = 99


def dialect_of(name: str, env: Maze) -> Dialect:
    return load_dialect(name, env, WHOLE_MAX, True)


def problems_of(env: Maze, num: int, seed: int = 3) -> np.ndarray:
    return sample_problems(env, make_splits(env, 0.2, 0.0), "train", num, seed=seed)


def read(env: Maze, row: np.ndarray) -> naive.Maze:
    return naive.maze_of(row.tolist(), env.width, env.height, env.coordinates)


def judged(env: Maze, trace: Trace) -> Verdict:
    """Verify a trace; the oracle says the same of it."""
    verdict, maze = verify(env, trace), read(env, trace.problem)
    open_, told = naive.Open(naive.place(maze.start), naive.place(maze.goal)), {}
    for name, first in (("states", 0), ("nodes", 2)):
        told[name] = np.array(naive.renamed(getattr(trace, name), env.width, env.coordinates, first))
    found = naive_costs.verify(
        open_,  # type: ignore[arg-type]
        lambda place: [maze.estimate(naive.cell_at(place))],
        trace._replace(**told),
        lambda _, __, state, action: naive.judge(maze, state, action),
    )
    assert (verdict.solved, verdict.errors.tolist()) == (found.solved, found.codes)
    assert (verdict.planned, verdict.cost, verdict.plan_cost) == (found.planned, found.cost, found.plan_cost)
    return verdict
