"""Which numbers reach a target, in plain Python: every order of operations over a set of fractions."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import combinations


def results(a: Fraction, b: Fraction, fractions: bool) -> Iterator[Fraction]:
    """Yield what one operation makes of two numbers: any, or only whole numbers that are not negative."""
    made = [a + b, a * b, a - b, b - a, *([a / b] if b else []), *([b / a] if a else [])]
    yield from (value for value in made if fractions or (value >= 0 and value.denominator == 1))


def reaches(numbers: tuple[int, ...], target: int, *, fractions: bool) -> bool:
    """Say whether operations on all numbers make the target."""

    def reach(left: tuple[Fraction, ...]) -> bool:
        if len(left) == 1:
            return left[0] == target
        for i, j in combinations(range(len(left)), 2):
            rest = tuple(left[k] for k in range(len(left)) if k not in (i, j))
            if any(reach((*rest, value)) for value in set(results(left[i], left[j], fractions))):
                return True
        return False

    return reach(tuple(map(Fraction, numbers)))
