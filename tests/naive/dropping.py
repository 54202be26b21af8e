"""What is left of a search in the published words where parts of it are dropped, and how such a text is to be read."""

from __future__ import annotations

from typing import NamedTuple

from naive.maze import Cell, Maze


def clauses(trace: str) -> list[list[str]]:
    """Split a trace into its creates and closes."""
    found: list[list[str]] = []
    for word in trace.split():
        if word in ("create", "close"):
            found.append([])
        found[-1].append(word)
    return found


def creates(trace: str) -> list[list[str]]:
    return [clause for clause in clauses(trace) if clause[0] == "create"]


def no_close(trace: str) -> str:
    return " ".join(word for clause in creates(trace) for word in clause)


def no_cost(trace: str) -> str:
    return " ".join(word for clause in creates(trace) for word in clause[:3])


class Told(NamedTuple):
    cell: Cell
    cost: int
    estimate: int
    parent: int  # which of those before, -1 for the first
    wrong: bool


def read(maze: Maze, trace: str) -> list[Told]:
    """Read creates without closes: each is a child of the parent of the one before, if it may be, or else of the first
    one that it may be a child of; else, by mistake, of the first of these that is beside it, or of the parent of the one
    before."""
    told = [Told(maze.start, 0, maze.estimate(maze.start), -1, False)]
    current = 0
    for words in creates(trace)[1:]:
        cell = (int(words[1]), int(words[2]))
        facts = [int(word[1:]) for word in words[3:]]
        fit, beside = [], []
        for number in [current, *range(len(told))]:
            near = told[number]
            if near.cell == maze.goal or abs(near.cell[0] - cell[0]) + abs(near.cell[1] - cell[1]) != 1:
                continue
            beside.append(number)
            if maze.free(cell) and facts in ([], [near.cost + 1, maze.estimate(cell)]):
                fit.append(number)
        current = [*fit, *beside, current][0]
        cost, estimate = facts or [told[current].cost + 1, maze.estimate(cell)]
        told.append(Told(cell, cost, estimate, current, not fit))
    return told
