"""Mazes in plain Python: drawn, searched, judged, and in the published words (facebookresearch/searchformer)."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

from naive.a_star import Found, Graph, Rules, a_star

Cell = tuple[int, int]
FAR = 100_000  # a place of a graph is x + FAR * y, so that no cell outside of the grid is one inside


class Maze(NamedTuple):
    width: int
    height: int
    start: Cell
    goal: Cell
    walls: frozenset[Cell]

    def free(self, cell: Cell) -> bool:
        return 0 <= cell[0] < self.width and 0 <= cell[1] < self.height and cell not in self.walls

    def beside(self, cell: Cell) -> list[Cell]:
        """The free neighbours of a cell, in the published order."""
        x, y = cell
        return [near for near in [(x, y + 1), (x, y - 1), (x - 1, y), (x + 1, y)] if self.free(near)]

    def estimate(self, cell: Cell) -> int:
        return abs(cell[0] - self.goal[0]) + abs(cell[1] - self.goal[1])

    def cells(self) -> Iterator[Cell]:
        return ((x, y) for y in range(self.height) for x in range(self.width))


def draw(rng: random.Random, width: int, height: int, tenths: tuple[int, int] = (3, 5)) -> Maze:
    """Draw a maze as published: a layout, then start and goal until the way is long enough."""
    while True:
        cells = [(x, y) for y in range(height) for x in range(width)]
        rng.shuffle(cells)
        num = rng.randint(len(cells) // 10 * tenths[0], len(cells) // 10 * tenths[1])
        walls, left = frozenset(cells[:num]), cells[num:]
        for _ in range(100):
            rng.shuffle(left)
            maze = Maze(width, height, left[0], left[1], walls)
            if optimum(maze) + 1 >= max(width, height):
                return maze


def optimum(maze: Maze) -> int:
    """Return the fewest steps from start to goal, -1 for no way."""
    steps, waiting = {maze.start: 0}, deque([maze.start])
    while waiting:
        cell = waiting.popleft()
        for near in maze.beside(cell):
            if near not in steps:
                steps[near] = steps[cell] + 1
                waiting.append(near)
    return steps.get(maze.goal, -1)


def twins(maze: Maze) -> list[Maze]:
    """Return the turns and reflections of a maze that keep the sides of its grid, itself among them."""
    found = []
    for turned in (False, True) if maze.width == maze.height else (False,):
        for over_x in (False, True):
            for over_y in (False, True):

                def image(cell: Cell, turned: bool = turned, over_x: bool = over_x, over_y: bool = over_y) -> Cell:
                    x = maze.width - 1 - cell[0] if over_x else cell[0]
                    y = maze.height - 1 - cell[1] if over_y else cell[1]
                    return (y, x) if turned else (x, y)

                walls = frozenset(image(cell) for cell in maze.walls)
                found.append(maze._replace(start=image(maze.start), goal=image(maze.goal), walls=walls))
    return found


# Searches


def place(cell: Cell) -> int:
    return cell[0] + FAR * cell[1]


def cell_at(place: int) -> Cell:
    return place % FAR, place // FAR


def graph_of(maze: Maze) -> Graph:
    edges = [(place(cell), place(near), 1) for cell in maze.cells() if maze.free(cell) for near in maze.beside(cell)]
    return Graph(place(maze.start), place(maze.goal), edges)


def rules(maze: Maze, *, informed: bool = True, costs: bool = True, ties: str = "state") -> Rules:
    """Return how the published A* orders nodes, or one that leaves out the estimate, or the costs."""
    return Rules(
        lambda cost, where: cost * costs + maze.estimate(cell_at(where)) * informed,
        lambda node, where: where if ties == "state" else node,
        lambda node, num: list(range(num)),
    )


def search(maze: Maze) -> Found:
    return a_star(graph_of(maze), rules(maze))


# The published words


def prompt(maze: Maze) -> str:
    walls = sorted(maze.walls, key=place)
    return " ".join([f"start {_xy(maze.start)} goal {_xy(maze.goal)}", *(f"wall {_xy(cell)}" for cell in walls)])


def _xy(cell: Cell) -> str:
    return f"{cell[0]} {cell[1]}"


def trace(maze: Maze, found: Found) -> str:
    words = [_step("create", maze, found, 0)]
    for kind, node, _ in found.events:
        if kind in (0, 1):
            words.append(_step("close" if kind == 0 else "create", maze, found, node))
    return " ".join(words)


def _step(word: str, maze: Maze, found: Found, node: int) -> str:
    _, _, where, cost = found.nodes[node]
    return f"{word} {_xy(cell_at(where))} c{cost} c{maze.estimate(cell_at(where))}"


def way(found: Found) -> list[Cell]:
    """Return the cells from the start to the goal that a search found."""
    node, cells = found.events[-2][1], []
    while node >= 0:
        cells.append(cell_at(found.nodes[node][2]))
        node = found.nodes[node][0]
    return cells[::-1]


def plan(cells: list[Cell]) -> str:
    return " ".join(f"plan {_xy(cell)}" for cell in cells)


# Verdicts


class Open(NamedTuple):
    """What `naive.costs` asks of a problem: there are no dead ends."""

    start: int
    target: int

    def status(self, where: int) -> str:
        return "goal" if where == self.target else "open"


def judge(maze: Maze, state: list[int], action: list[int]) -> int:
    """Return 0, 3 where the cell is no neighbour, 4 for a wall or a cell outside of the grid, 5 for a wrong fact."""
    (x, y), to = cell_at(state[0]), cell_at(action[0])
    if to not in [(x, y + 1), (x, y - 1), (x - 1, y), (x + 1, y)]:
        return 3
    if not maze.free(to):
        return 4
    return 0 if action[1:] == [state[1] + 1, maze.estimate(to)] else 5


def maze_of(row: list[int], width: int, height: int, coordinates: bool) -> Maze:
    """Read a row: shape, start, goal, walls, zeros behind them, and their count."""
    span = 2 if coordinates else 1
    numbers = row[1 : 1 + span * (2 + row[-1])]
    if coordinates:
        cells = list(zip(numbers[::2], numbers[1::2], strict=True))
    else:
        cells = [(number % width, number // width) for number in numbers]
    return Maze(width, height, cells[0], cells[1], frozenset(cells[2:]))


def renamed(rows: Any, width: int, coordinates: bool, first: int) -> list[list[int]]:
    """Return rows in which a place of a graph stands for the cell that is named from column `first` on."""
    found = []
    for row in rows.tolist():
        before, named = row[:first], row[first:]
        cell = (named[0], named[1]) if coordinates else (named[0] % width, named[0] // width)
        found.append([*before, place(cell), *named[2 if coordinates else 1 :]])
    return found
