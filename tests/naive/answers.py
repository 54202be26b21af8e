"""Slow and obvious: Countdown answers as trees, their text, their value, and what they need of the rules.

A tree is a number, ("neg", tree) or (operator, left, right). The best order of a sum or product is found by trying all.
"""

from __future__ import annotations

import random
from collections import Counter
from fractions import Fraction
from itertools import permutations
from typing import Any

Tree = Any
BINDS = {"+": 1, "-": 1, "*": 2, "/": 2}


def random_tree(rng: random.Random, numbers: list[int], negations: float = 0.1) -> Tree:
    """A tree over the numbers in some order."""
    if len(numbers) == 1:
        tree = numbers[0]
    else:
        cut = rng.randint(1, len(numbers) - 1)
        sides = [random_tree(rng, part, negations) for part in (numbers[:cut], numbers[cut:])]
        tree = (rng.choice("+-*/"), *sides)
    return ("neg", tree) if rng.random() < negations else tree


def text_of(rng: random.Random, tree: Tree, binds: int = 0, extra: float = 0.1) -> str:
    """The text of a tree with the parentheses that it needs, sometimes more, and blanks at random."""
    if isinstance(tree, int):
        text, own = str(tree), 9
    elif tree[0] == "neg":
        text, own = "-" + text_of(rng, tree[1], 3, extra), 3
    else:
        own = BINDS[tree[0]]
        blank = rng.choice(["", " "])
        text = f"{text_of(rng, tree[1], own, extra)}{blank}{tree[0]}{blank}{text_of(rng, tree[2], own + 1, extra)}"
    while own < binds or rng.random() < extra:
        text, own = f"({text})", 9
    return text


def numbers_of(tree: Tree) -> list[int]:
    return [tree] if isinstance(tree, int) else [n for part in tree[1:] for n in numbers_of(part)]


def apply(operator: str, a: Fraction, b: Fraction) -> Fraction:
    if operator == "/":
        return a / b
    return a + b if operator == "+" else a - b if operator == "-" else a * b


def value_of(tree: Tree, results: list[Fraction]) -> Fraction:
    """The value; every result of an operation goes to `results`. Raises ZeroDivisionError."""
    if isinstance(tree, int):
        return Fraction(tree)
    value = (
        -value_of(tree[1], results)
        if tree[0] == "neg"
        else apply(tree[0], value_of(tree[1], results), value_of(tree[2], results))
    )
    results.append(value)
    return value


def flags(results: list[Fraction]) -> set[str]:
    found = {"negatives"} if any(value < 0 for value in results) else set()
    return found | ({"fractions"} if any(value.denominator != 1 for value in results) else set())


def needs_of(tree: Tree) -> set[str]:
    results: list[Fraction] = []
    value_of(tree, results)
    return flags(results)


def core(tree: Tree) -> tuple[int, Tree]:
    """The sign in front of a number or product, and the rest; a sum keeps its own."""
    if isinstance(tree, int) or tree[0] in "+-":
        return 1, tree
    if tree[0] == "neg":
        if is_sum(tree[1]):
            return 1, tree
        sign, inner = core(tree[1])
        return -sign, inner
    signs, sides = zip(*(core(side) for side in tree[1:]), strict=True)
    return signs[0] * signs[1], (tree[0], *sides)


def is_sum(tree: Tree) -> bool:
    return not isinstance(tree, int) and (tree[0] in "+-" or (tree[0] == "neg" and is_sum(tree[1])))


def terms_of(tree: Tree, sign: int = 1) -> list[tuple[int, Tree]]:
    if isinstance(tree, int) or tree[0] in "*/":
        own, inner = core(tree)
        return [(sign * own, inner)]
    if tree[0] == "neg":
        return terms_of(tree[1], -sign)
    return terms_of(tree[1], sign) + terms_of(tree[2], sign if tree[0] == "+" else -sign)


def factors_of(tree: Tree, power: int = 1) -> list[tuple[int, Tree]]:
    if isinstance(tree, int) or tree[0] not in "*/":
        return [(power, tree)]
    return factors_of(tree[1], power) + factors_of(tree[2], power if tree[0] == "*" else -power)


def best_needs(tree: Tree) -> set[str]:
    """What the tree needs when the sums and products in it are worked out in the best order."""
    if is_sum(tree):
        parts = [(sign, value_of(term, []), best_needs(term)) for sign, term in terms_of(tree)]
        orders = [
            [sum(sign * value for sign, value, _ in order[: k + 1]) for k in range(len(order))]
            for order in permutations(parts)
        ]
        orders = [partials if len(partials) > 1 else [] for partials in orders]
        inner = [need for *_, need in parts]
    else:
        sign, bare = core(tree)
        if isinstance(bare, int):
            return {"negatives"} if sign * bare < 0 else set()
        powered = [(power, value_of(factor, []), best_needs(factor)) for power, factor in factors_of(bare)]
        orders = []
        for order in permutations(powered):
            if order[0][0] > 0:
                partials = [order[0][1]]
                for power, value, _ in order[1:]:
                    partials.append(partials[-1] * value if power > 0 else partials[-1] / value)
                orders.append([*partials, sign * partials[-1]])
        inner = [need for *_, need in powered]
    best = min((flags(partials) for partials in orders), key=len)
    return best.union(*inner)


def judge(tree: Tree, numbers: list[int], target: int) -> tuple[set[str], set[str] | None, set[str] | None]:
    """The faults, and where there are none what the tree needs, as written and in the best order."""
    given, used = Counter(numbers), Counter(numbers_of(tree))
    faults = {"number_not_given"} if used.keys() - given.keys() else set()
    faults |= {"number_reused"} if any(used[n] > given[n] for n in given) else set()
    try:
        if value_of(tree, []) != target:
            faults.add("wrong_value")
    except ZeroDivisionError:
        faults.add("division_by_zero")
    if faults:
        return faults, None, None
    subset = {"subset"} if used != given else set()
    return set(), needs_of(tree) | subset, best_needs(tree) | subset
