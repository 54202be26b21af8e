"""Sudoku as an exact cover: Knuth's Algorithm X (2000) on sets, which knows nothing of candidates."""

from __future__ import annotations

from naive.sudoku import boxes

Choice = tuple[int, int, int]  # row, column, digit


def columns(size: int, choice: Choice) -> list[tuple[str, int, int]]:
    """Return what a choice covers: its cell, and its digit in a row, a column and a box."""
    row, column, digit = choice
    deep, wide = boxes(size)
    box = row // deep * (size // wide) + column // wide
    return [("cell", row, column), ("row", row, digit), ("column", column, digit), ("box", box, digit)]


def count(grid: str, size: int, limit: int) -> int:
    """Return the number of solutions of a grid, `limit` at most; 0 where the givens clash."""
    choices = [(r, c, d) for r in range(size) for c in range(size) for d in range(1, size + 1)]
    covered = {choice: columns(size, choice) for choice in choices}
    cover: dict[tuple[str, int, int], set[Choice]] = {}
    for choice in choices:
        for column in covered[choice]:
            cover.setdefault(column, set()).add(choice)

    def select(choice: Choice) -> list[set[Choice]]:
        taken = []
        for column in covered[choice]:
            for other in cover[column]:
                for third in covered[other]:
                    if third != column:
                        cover[third].discard(other)
            taken.append(cover.pop(column))
        return taken

    def deselect(choice: Choice, taken: list[set[Choice]]) -> None:
        for column in reversed(covered[choice]):
            cover[column] = taken.pop()
            for other in cover[column]:
                for third in covered[other]:
                    if third != column:
                        cover[third].add(other)

    def solutions(left: int) -> int:
        if not cover:
            return 1
        column = min(cover, key=lambda column: len(cover[column]))
        found = 0
        for choice in list(cover[column]):
            taken = select(choice)
            found += solutions(left - found)
            deselect(choice, taken)
            if found >= left:
                break
        return found

    for cell, text in enumerate(grid):
        given = (cell // size, cell % size, int(text))
        if text == "0":
            continue
        if any(column not in cover for column in covered[given]):
            return 0
        select(given)
    return solutions(limit)
