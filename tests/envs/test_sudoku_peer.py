"""How many solutions a grid has, by our count and by an exact cover: of puzzles that are proper, and of others."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from naive import exact_cover
from naive import sudoku as naive
from sizes import plain
from sudoku_grids import grid_of, problems_of, row_of

from sos.envs.sudoku.listed import first_wrong
from sos.envs.sudoku.rules import Sudoku

NUMBERS = {"": 1, "it has no solution": 0, "it has more than one solution": 2}


def compare(num: int, seed: int) -> Counter[int]:
    """Compare `num` grids, a quarter each as drawn with few clues, as few as can be, without a clue, and with a wrong one."""
    rng, counts = random.Random(seed), Counter[int]()
    for size, share in ((4, 0.2), (6, 0.3), (9, 0.5)):
        asked = {4: (5, 7), 6: (10, 12), 9: (26, 30)}[size]
        each = max(1, round(num * share / 4))
        drawn = [grid_of(row) for row in problems_of(Sudoku(size, *asked), each)]
        minimal = [grid_of(row) for row in problems_of(Sudoku(size, 0, 0), each)]
        fewer, wrong = [], []
        for grid in minimal:
            clue = rng.choice([cell for cell in range(size**2) if grid[cell] != "0"])
            fewer.append(naive.put(grid, clue, 0))
            wrong.append(naive.put(grid, clue, rng.choice(naive.candidates(fewer[-1], clue))))
        for kind, grids in (("proper", drawn), ("proper", minimal), ("fewer", fewer), ("wrong", wrong)):
            for grid in grids:
                expected = exact_cover.count(grid, size, 2)
                found = first_wrong(Sudoku(size), row_of(grid)[None], [None])
                assert NUMBERS[found[1] if found else ""] == expected, grid
                assert expected == {"proper": 1, "fewer": 2}.get(kind, expected)  # no clue of a minimal one can go
                counts[expected] += 1
    return counts


def test_our_count_is_that_of_an_exact_cover() -> None:
    counts = compare(plain(160, 4), seed=0)
    assert sum(counts.values()) >= plain(150, 4)
    assert counts[1] > counts[2] > 0
    assert counts[0] > plain(5, -1)


@pytest.mark.slow
def test_our_count_is_that_of_an_exact_cover_on_ten_thousand_grids() -> None:
    counts = compare(10_000, seed=1)
    assert sum(counts.values()) >= 10_000
    assert min(counts.values()) > 500


def test_the_oracle_counts() -> None:
    assert exact_cover.count("0" * 16, 4, 1000) == 288  # all grids of 4x4
    assert exact_cover.count("1234341221434321", 4, 5) == 1
    assert exact_cover.count("11" + "0" * 14, 4, 5) == 0
    assert exact_cover.count("1" + "0" * 15, 4, 1000) == 72
