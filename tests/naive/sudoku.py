"""Sudoku in plain Python, on texts of digits: solutions, singles, the search and its text, and what claims are worth."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import product

Grid = str  # row by row, 0 for an empty cell
Move = tuple[int, int, bool]  # cell, digit, whether it is forced


def boxes(size: int) -> tuple[int, int]:
    """Return the rows and columns of a box."""
    return {4: (2, 2), 6: (2, 3), 9: (3, 3)}[size]


def units(size: int) -> list[list[int]]:
    """Return the cells of each row, column and box."""
    rows, columns = boxes(size)
    cells = list(product(range(size), range(size)))
    return [
        *[[r * size + c for c in range(size)] for r in range(size)],
        *[[r * size + c for r in range(size)] for c in range(size)],
        *[
            [r * size + c for r, c in cells if (r // rows, c // columns) == box]
            for box in product(range(size // rows), range(size // columns))
        ],
    ]


UNITS = {size: units(size) for size in (4, 6, 9)}


def size_of(grid: Grid) -> int:
    return {16: 4, 36: 6, 81: 9}[len(grid)]


def candidates(grid: Grid, cell: int) -> list[int]:
    """Return the digits that an empty cell can have, rising; none of a full one."""
    if grid[cell] != "0":
        return []
    size = size_of(grid)
    others = {grid[other] for unit in UNITS[size] if cell in unit for other in unit}
    return [digit for digit in range(1, size + 1) if str(digit) not in others]


def places(grid: Grid, unit: list[int], digit: int) -> list[int]:
    return [cell for cell in unit if digit in candidates(grid, cell)]


def put(grid: Grid, cell: int, digit: int) -> Grid:
    return grid[:cell] + str(digit) + grid[cell + 1 :]


def clashes(grid: Grid) -> bool:
    full = [[grid[cell] for cell in unit if grid[cell] != "0"] for unit in UNITS[size_of(grid)]]
    return any(len(set(unit)) < len(unit) for unit in full)


def empty_cells(grid: Grid) -> list[int]:
    return [cell for cell in range(len(grid)) if grid[cell] == "0"]


def solutions(grid: Grid) -> Iterator[Grid]:
    """Yield every solution of a grid that does not clash."""
    if not empty_cells(grid):
        yield grid
        return
    cell = min(empty_cells(grid), key=lambda cell: len(candidates(grid, cell)))
    for digit in candidates(grid, cell):
        yield from solutions(put(grid, cell, digit))


def is_proof(grid: Grid, name: int) -> bool:
    """Say whether `name` is a cell without a candidate, or a unit in which a digit has no place."""
    size = size_of(grid)
    row, column = divmod(name, 10)
    if 1 <= row <= size and 1 <= column <= size:
        cell = (row - 1) * size + column - 1
        return grid[cell] == "0" and not candidates(grid, cell)
    if 1 <= row <= size and column == 0:
        unit = UNITS[size][row - 1]
    elif row == 0 and 1 <= column <= size:
        unit = UNITS[size][size + column - 1]
    elif row == size + 1 and 1 <= column <= size:
        unit = UNITS[size][2 * size + column - 1]
    else:
        return False
    held = {grid[cell] for cell in unit}
    return any(str(digit) not in held and not places(grid, unit, digit) for digit in range(1, size + 1))


def proofs(grid: Grid) -> list[int]:
    return [name for name in range(10 * size_of(grid) + 20) if is_proof(grid, name)]


def is_dead(grid: Grid, kind: str) -> bool:
    """Say whether a search of this kind sees that a grid with empty cells has failed."""
    if kind == "none":
        return not candidates(grid, empty_cells(grid)[0])
    size = size_of(grid)
    cells = [name for name in proofs(grid) if 1 <= name // 10 <= size and 1 <= name % 10 <= size]
    return bool(cells) or (kind == "hidden" and bool(proofs(grid)))


def is_forced(grid: Grid, cell: int, digit: int) -> bool:
    """Say whether a cell has no other candidate, or a unit of it no other place for the digit."""
    found = candidates(grid, cell)
    return digit in found and (len(found) == 1 or bool(hidden(grid, cell, digit)))


def hidden(grid: Grid, cell: int, digit: int) -> list[int]:
    """Return which units of the cell, of all, have no other place for the digit."""
    numbered = enumerate(UNITS[size_of(grid)])
    return [k for k, unit in numbered if cell in unit and places(grid, unit, digit) == [cell]]


def moves(grid: Grid, kind: str) -> list[Move]:
    """Return the moves of a search of this kind, in order."""
    size = size_of(grid)
    for cell in empty_cells(grid) if kind in ("naked", "hidden") else []:
        found = candidates(grid, cell)
        if kind == "hidden":
            # Box before column before row, as units are numbered; the higher digit of two.
            ranked = [(max(k // size for k in hidden(grid, cell, d)), d) for d in found if hidden(grid, cell, d)]
            if ranked:
                return [(cell, max(ranked)[1], True)]
        if len(found) == 1:
            return [(cell, found[0], True)]
    if not empty_cells(grid):
        return []
    cell = min(empty_cells(grid), key=lambda cell: 0 if kind == "none" else len(candidates(grid, cell)))
    return [(cell, digit, False) for digit in candidates(grid, cell)]


def deduced(grid: Grid, kind: str) -> tuple[str, Grid]:
    """Deduce as far as it goes; return (solved, stuck or dead, the grid)."""
    while empty_cells(grid):
        if proofs(grid) if kind == "hidden" else is_dead(grid, kind):
            return "dead", grid
        (cell, digit, forced), *_ = moves(grid, kind)
        if not forced:
            return "stuck", grid
        grid = put(grid, cell, digit)
    return "solved", grid


def name_of(grid: Grid, cell: int) -> str:
    return f"{cell // size_of(grid) + 1}{cell % size_of(grid) + 1}"


class Search:
    """The depth-first search of a kind, and its text in the dialect `compact`."""

    def __init__(self, problem: Grid, kind: str) -> None:
        self.kind, self.words, self.current, self.solution = kind, [*problem, "="], problem, ""
        self.visit(problem, 1)

    def visit(self, grid: Grid, level: int) -> bool:
        self.current = grid
        for cell, digit, forced in moves(grid, self.kind):
            if self.current != grid:
                self.words += ["<", str(level)]
                self.current = grid
            self.words += [*(["?"] if not forced else []), name_of(grid, cell), str(digit)]
            child = put(grid, cell, digit)
            if not empty_cells(child):
                assert not clashes(child)
                self.words.append("!")
                self.solution = child
                return True
            if is_dead(child, self.kind):
                self.words.append("x")
            elif self.visit(child, level + (not forced)):
                return True
        return False


def text(problem: Grid, kind: str) -> str:
    """Return the whole stream of a search that finds a solution."""
    return " ".join(Search(problem, kind).words)


def twin(rng: random.Random, grid: Grid) -> Grid:
    """Return the grid with its digits relabelled, and rows, columns, bands and stacks in another order."""
    size = size_of(grid)
    deep, wide = boxes(size)
    labels = ["0", *rng.sample([str(d) for d in range(1, size + 1)], size)]
    rows = [deep * b + k for b in rng.sample(range(size // deep), size // deep) for k in rng.sample(range(deep), deep)]
    columns = [
        wide * b + k for b in rng.sample(range(size // wide), size // wide) for k in rng.sample(range(wide), wide)
    ]
    turned = deep == wide and rng.random() < 0.5
    cells = [(c, r) if turned else (r, c) for r in rows for c in columns]
    return "".join(labels[int(grid[r * size + c])] for r, c in cells)


def solves(problem: Grid, claims: list[tuple[str, int, int, int, int]]) -> bool:
    """Say whether the first goal among `claims` is a full grid that legal moves lead to from the problem.

    A claim is (kind of event, its node, the node's parent, the name of a cell, a digit), nodes by their number.
    """
    reached: dict[int, Grid] = {0: problem}
    size = size_of(problem)
    for kind, node, parent, name, digit in claims:
        row, column = divmod(name, 10)
        if kind == "generate" and parent in reached and 1 <= row <= size and 1 <= column <= size:
            cell = (row - 1) * size + column - 1
            if digit in candidates(reached[parent], cell):
                reached[node] = put(reached[parent], cell, digit)
        if kind == "goal":
            return node in reached and not empty_cells(reached[node])
    return False
