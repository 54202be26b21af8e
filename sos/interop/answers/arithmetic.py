"""Expressions of + - * / and parentheses: read without recursion, worked out exactly, and what they need of the rules.

A value is a whole number or a fraction, never a float. What an expression needs, as it is written: "negatives" where
the result of an operation, a minus sign before a number included, is below 0, and "fractions" where it is not whole.
In the best order of its sums and products it may need less: `2 - 4 + 61` is `2 + 61 - 4`, and `55 / 45 * 45` is
`55 * 45 / 45`.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

from sos.interop.answers.tokens import CLOSE, NUMBER, OPEN, SIGN, Token

MOST_NUMBERS = 1_000  # in one expression
MOST_BITS = 4_096  # of a numerator or denominator on the way
NEGATIVES, FRACTIONS = 1, 2  # flags of what is needed

Value = int | Fraction
_PAIRS = {"(": ")", "[": "]"}
_BINDS = {"+": 1, "-": 1, "*": 2, "/": 2, "neg": 3, "pos": 3}


class Malformed(Exception):
    """The tokens are no expression; `reason` and `place` say why and where in the text."""

    def __init__(self, reason: str, place: int) -> None:
        super().__init__(reason)
        self.reason = reason
        self.place = place


class Expression(NamedTuple):
    """An expression in postfix form: numbers as they stand in the text, and the operations + - * / neg pos."""

    items: tuple[int | str, ...]
    start: int
    end: int

    @property
    def numbers(self) -> list[int]:
        """The numbers, left to right."""
        return [item for item in self.items if isinstance(item, int)]

    @property
    def operates(self) -> bool:
        """Whether there is an operation of two operands, so that it is more than a number."""
        return any(item in ("+", "-", "*", "/") for item in self.items)


class Worked(NamedTuple):
    """What an expression comes to."""

    value: Value | None  # None where a division by zero, or a value above MOST_BITS, is met
    needs: int  # flags, as it is written
    needs_any_order: int  # flags, in the best order
    largest: Value  # the largest result on the way, 0 without one
    too_large: bool = False


def parse(tokens: Sequence[Token]) -> Expression:
    """Return the expression that the tokens are, as a whole. Raises Malformed. O(len(tokens))."""
    if not tokens:
        raise Malformed("nothing", 0)
    out: list[int | str] = []
    waiting: list[Token] = []  # signs and brackets
    operand = False  # the last thing was one
    for token in tokens:
        if token.kind == NUMBER and not operand:
            out.append(int(token.text))
            operand = True
        elif token.kind == OPEN and not operand:
            waiting.append(token)
        elif token.kind == CLOSE and operand:
            while waiting and waiting[-1].kind == SIGN:
                out.append(waiting.pop().text)
            if not waiting or _PAIRS[waiting.pop().text] != token.text:
                raise Malformed("a bracket that closes nothing", token.start)
        elif token.kind == SIGN and operand:
            while waiting and waiting[-1].kind == SIGN and _BINDS[waiting[-1].text] >= _BINDS[token.text]:
                out.append(waiting.pop().text)
            waiting.append(token)
            operand = False
        elif token.kind == SIGN and token.text in "+-":
            waiting.append(token._replace(text="neg" if token.text == "-" else "pos"))
        else:
            raise Malformed("no expression", token.start)
    if not operand:
        raise Malformed("no expression", tokens[-1].end)
    while waiting:
        token = waiting.pop()
        if token.kind == OPEN:
            raise Malformed("a bracket that is not closed", token.start)
        out.append(token.text)
    if sum(isinstance(item, int) for item in out) > MOST_NUMBERS:
        raise Malformed("too_long", tokens[0].start)
    return Expression(tuple(out), tokens[0].start, tokens[-1].end)


class _Part(NamedTuple):
    """A part of an expression while it is worked out; `kind` is number, sum or product."""

    value: Value
    kind: str
    closed: int  # flags that its finished parts need in the best order


def work(expression: Expression) -> Worked:
    """Work an expression out. O(operations) of bounded numbers."""
    stack: list[_Part] = []
    needs = 0
    largest: Value = 0
    for item in expression.items:
        if isinstance(item, int):
            stack.append(_Part(item, "number", 0))
            continue
        right = stack.pop()
        if item == "pos":
            stack.append(right)
            continue
        if item == "neg":
            part = _Part(-right.value, "product" if right.kind == "number" else right.kind, right.closed)
        else:
            left = stack.pop()
            value = _result(left.value, item, right.value)
            if value is None:
                return Worked(None, needs, needs, largest)
            if item in "+-":
                part = _Part(value, "sum", _as_term(left) | _as_term(right))
            else:
                part = _Part(value, "product", _as_factor(left) | _as_factor(right))
        if part.value.numerator.bit_length() > MOST_BITS or part.value.denominator.bit_length() > MOST_BITS:
            return Worked(None, needs, needs, largest, True)
        needs |= _flags(part.value)
        largest = max(largest, part.value)
        stack.append(part)
    (whole,) = stack
    best = whole.closed if whole.kind == "number" else whole.closed | _flags(whole.value)
    return Worked(whole.value, needs, best, largest)


def _flags(value: Value) -> int:
    return (NEGATIVES if value < 0 else 0) | (FRACTIONS if value.denominator != 1 else 0)


def _as_term(part: _Part) -> int:
    """What is needed once the part is a term of a sum: a sum within a sum is taken apart, a product must be whole. Its
    sign is the sum's."""
    return part.closed | (_flags(part.value) & FRACTIONS if part.kind == "product" else 0)


def _as_factor(part: _Part) -> int:
    """What is needed once the part is a factor: a product within a product is taken apart, a sum must not be
    negative."""
    return part.closed | (_flags(part.value) & NEGATIVES if part.kind == "sum" else 0)


def _result(a: Value, operator: str, b: Value) -> Value | None:
    """Return a whole number where the result is one; None for a division by zero."""
    if operator == "/":
        if b == 0:
            return None
        result: Value = Fraction(a) / b
    else:
        result = a + b if operator == "+" else a - b if operator == "-" else a * b
    return result.numerator if result.denominator == 1 else result
