"""Free-text answers to Countdown problems, of known kinds: each is made so that its verdict under `rationals` is known.

A problem is (numbers, target, expression), the expression one of its solutions. A kind may change the numbers or the
target. Kinds that are `hostile` must never reach a scorer that evaluates what stands in an answer.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from naive.answers import Tree, flags, random_tree, text_of, value_of

Problem = tuple[list[int], int, str]
Made = tuple[list[int], int, str]  # numbers, target, text


@dataclass(frozen=True)
class Kind:
    """How answers of a kind are made, whether they are right, and why another scorer may say something else."""

    make: Callable[[random.Random, Problem], Made]
    right: bool
    why: str = ""  # of a disagreement with reasoning-gym; empty where there is none
    hostile: bool = False


def form(pattern: str, right: bool = True, why: str = "") -> Kind:
    """The problem's own solution `{e}` within other text; `{t}` is the target."""

    def make(rng: random.Random, problem: Problem) -> Made:
        numbers, target, expression = problem
        return numbers, target, pattern.replace("{e}", expression).replace("{t}", str(target))

    return Kind(make, right, why)


def signs(old: str, new: str, why: str) -> Kind:
    """The solution with its signs written otherwise."""
    table = dict(zip(old, new.split(), strict=True))
    return Kind(lambda rng, p: (p[0], p[1], "".join(table.get(c, c) for c in p[2])), True, why)


def drawn(
    accept: Callable[[Fraction, set[str]], bool], right: bool = True, why: str = "", of_target: bool = False
) -> Kind:
    """A random tree over the numbers whose value and needs are accepted; the target becomes its value, rounded."""

    def make(rng: random.Random, problem: Problem) -> Made:
        numbers, target, _ = problem
        while True:
            tree, results = random_tree(rng, rng.sample(numbers, len(numbers))), []
            try:
                value = value_of(tree, results)
            except ZeroDivisionError:
                continue
            aim = target if of_target else round(value)
            if aim > 0 and accept(value - aim if of_target else value, flags(results)):
                return numbers, aim, text_of(rng, tree)

    return Kind(make, right, why)


def whole(value: Fraction) -> bool:
    return value.denominator == 1


def steps_of(tree: Tree) -> tuple[str, list[str]]:
    """The value's text and the steps that make it."""
    if isinstance(tree, int):
        return str(tree), []
    (left, first), (right, second) = steps_of(tree[1]), steps_of(tree[2])
    value = str(value_of(tree, []))
    return value, [*first, *second, f"{left} {tree[0]} {right} = {value}"]


def steps(rng: random.Random, problem: Problem) -> Made:
    """One operation after the other, over whole numbers."""
    numbers = problem[0]
    while True:
        tree, results = random_tree(rng, rng.sample(numbers, len(numbers)), 0.0), []
        try:
            value = value_of(tree, results)
        except ZeroDivisionError:
            continue
        if value > 0 and not flags(results):
            return numbers, int(value), ", ".join(steps_of(tree)[1])


def small(rng: random.Random, text: str, target: Callable[[int, int, int], int | None], low: int = 2) -> Made:
    """An answer of three small numbers `a`, `b`, `c` in a text, where the target is a number."""
    while True:
        a, b, c = (rng.randint(low, 9) for _ in range(3))
        aim = target(a, b, c)
        if aim is not None and aim > 0:
            return [a, b, c], aim, text.format(a=a, b=b, c=c, square=a * a)


def fixed(text: str, target: Callable[[int, int, int], int | None], why: str) -> Kind:
    """What is no Countdown answer though it comes to the target."""
    return Kind(lambda rng, problem: small(rng, text, target), False, why)


def root(rng: random.Random, problem: Problem) -> Made:
    (a, b, c), aim, text = small(rng, "sqrt({square}) * {b} + {c}", lambda a, b, c: a * b + c)
    return [a * a, b, c], aim, text


def hidden_zero(rng: random.Random, problem: Problem) -> Made:
    a, b, c, d = (rng.randint(1, 99) for _ in range(4))
    return [a, b, c, d, d], a, f"{a} + {b} / ({c} / ({d} - {d}))"


def fractions(rng: random.Random, problem: Problem) -> Made:
    """A quotient that is not whole, and what makes it whole again."""
    b, c = rng.randint(2, 99), rng.randint(1, 99)
    a = b * rng.randint(0, 3) + rng.randint(1, b - 1)
    return [a, b, c, b], a * c, rng.choice([f"{a} / {b} * ({c} * {b})", f"{c} / ({b} / {a} / {b})"])


def nearly(rng: random.Random, problem: Problem) -> Made:
    """A fraction away from a target so large that this is within a relative 1e-5."""
    a, b, c, d = (rng.randint(50, 99) for _ in range(4))
    return [a, b, c, d, d + 1], a * b * c + 1, f"{a} * {b} * {c} + {d} / {d + 1}"


def disguised(rng: random.Random, problem: Problem) -> Made:
    """The first number is all that is given; the other is written so that no digits stand alone."""
    a, b = rng.randint(10, 99), rng.randint(10, 99)
    return [a], a + b, f"{a} + {rng.choice([hex(b), f'{b // 10}_{b % 10}', f'{b}e0'])}"


def more(rng: random.Random, problem: Problem) -> Made:
    numbers, target, expression = problem
    return [*numbers, rng.randint(1, 99)], target, expression


def again(rng: random.Random, problem: Problem) -> Made:
    numbers, target, expression = problem
    n = rng.choice(numbers)
    return numbers, target, f"{expression} + {n} - {n}"


def hostile(rng: random.Random, problem: Problem) -> Made:
    numbers, target, expression = problem
    return (
        numbers,
        target,
        rng.choice(
            [
                f"__import__('os').getcwd() and {expression}",
                "9**9**9**9**9",
                f"({expression}).__class__",
                f"{target} if open('/dev/null') else 0",
                f"eval('{expression}')",
                "(" * 5000 + expression + ")" * 5000 + "!" * 9,
            ]
        ),
    )


FACTORIALS = [1, 1, 2, 6, 24, 120, 720, 5040, 40320, 362880]
PYTHON = "Python's operators and functions are evaluated"
MARKS = "marks and words around an expression are not taken off"
KINDS: dict[str, Kind] = {
    "its own solution": form("{e}"),
    "the same in parentheses": form("(({e}))"),
    "another tree, whole and never below 0": drawn(lambda value, needs: whole(value) and not needs),
    "with results below 0": drawn(lambda value, needs: whole(value) and needs == {"negatives"}),
    "with fractions on the way": Kind(fractions, True),
    "wrong value": drawn(lambda off, needs: abs(off) > 1, right=False, of_target=True),
    "value within 1e-5 of the target": Kind(nearly, False, "values are floats, equal within 1e-5"),
    "a number is left out": Kind(more, False),
    "a number is used twice": Kind(again, False),
    "a number that is not given": form("{e} * 1", False),
    "the same, written as 0x57, 8_7 or 87e0": Kind(
        disguised, False, "numbers are looked for as digits that stand alone"
    ),
    "a quotient of a quotient by 0": Kind(hidden_zero, False, "a division by 0 is infinite, and one by infinity 0"),
    "in an answer tag": form("<answer>{e}</answer>"),
    "behind thoughts, in an answer tag": form("<think>1 + 2 is 3, no.</think>\n<answer> {e} </answer>"),
    "an equation": form("{e} = {t}", why="an equation is not read"),
    "an equation in a tag": form("<answer>{t} = {e}</answer>", why="an equation is not read"),
    "in a box": form("So it is $\\boxed{{e}}$", why=MARKS),
    "bold": form("**{e}**", why=MARKS),
    "in code marks": form("`{e}`", why=MARKS),
    "behind words": form("I tried a lot.\nThe answer is {e}", why=MARKS),
    "with a full stop": form("{e}.", why="a stop behind a parenthesis cannot be read, behind a digit it can"),
    "signs of print": signs("*/-", "× ÷ −", "signs other than + - * / are not read"),
    "signs of LaTeX": signs("*", "\\times", "signs other than + - * / are not read"),
    "step by step": Kind(steps, True, "steps are not read"),
    "a tag that is not closed": form("<answer>{e}", False),
    "two answers": form("<answer>{e} or {t}</answer>", False),
    "the target alone": form("{t}", False),
    "no answer": form("I do not know.", False),
    "a power": fixed("{a} ** {b} + {c}", lambda a, b, c: a**b + c, PYTHON),
    "division that drops the rest": fixed(
        "({a} + {b}) // {c}",
        lambda a, b, c: (a + b) // c if (a + b) % c else None,
        PYTHON,
    ),
    "a root": Kind(root, False, PYTHON),
    "a factorial": fixed("{a}! + {b} + {c}", lambda a, b, c: FACTORIALS[a] + b + c, PYTHON),
    "a decimal point": fixed(
        "{a}.{b} * {c}",
        lambda a, b, c: (10 * a + b) * c // 10 if (10 * a + b) * c % 10 == 0 else None,
        "a number with a point is read as two numbers",
    ),
    "hostile": Kind(hostile, False, hostile=True),
}


def answers(problems: list[Problem], seed: int = 1) -> list[tuple[str, Made]]:
    """One answer a problem, the kinds in turn; a pure function of its arguments."""
    rng = random.Random(seed)
    names = list(KINDS)
    return [(names[k % len(names)], KINDS[names[k % len(names)]].make(rng, p)) for k, p in enumerate(problems)]
