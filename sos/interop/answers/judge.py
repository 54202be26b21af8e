"""Whether a free-text answer to a Countdown problem is right, by the rules that are asked for.

Each number must be given and used at most once, and all of them unless `subset` is set. Values are exact fractions:
there is no tolerance. An answer is judged as it is written; `any_order` lets sums and products be worked out in the
best order instead. 0 / b is exact, for b other than 0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sos.errors import UserError
from sos.interop.answers.arithmetic import FRACTIONS, NEGATIVES, Expression, Value, Worked, work
from sos.interop.answers.reader import UNMARKED, Found, NoAnswer, read_answer
from sos.interop.answers.statements import Statement

NEEDS = ("negatives", "fractions", "subset")


@dataclass(frozen=True)
class Rules:
    """What an answer may do. The defaults are the rules of the searches here."""

    negatives: bool = False  # results below 0 on the way
    fractions: bool = False  # results on the way that are not whole, and division that leaves a rest
    subset: bool = False  # not all numbers need to be used
    any_order: bool = False  # sums and products may be worked out in the best order
    unmarked: bool = True  # the last expression of a text counts where nothing marks the answer
    max_value: int | None = None  # the largest result on the way

    def allows(self, needs: Iterable[str]) -> bool:
        """Say whether the rules allow all of the `NEEDS`."""
        return all(getattr(self, name) for name in needs)


RULES = {
    "sos": Rules(),
    "negatives": Rules(negatives=True),
    "rationals": Rules(negatives=True, fractions=True),
    "subset": Rules(subset=True),
}


def rules_named(name: str) -> Rules:
    """Return the rules of that name. Raises UserError."""
    if name not in RULES:
        raise UserError(f"rules must be one of {', '.join(RULES)}, got {name}")
    return RULES[name]


class Score(NamedTuple):
    """The verdict on one text."""

    value: float  # 1.0 where the answer is right, else 0.0
    reason: str  # "right", or the first of REASONS that applies
    message: str  # the same in a sentence
    position: int  # in the text, in characters: where the answer starts, or what cannot be read; -1 for nowhere
    answer: str = ""  # as it stands in the text, shortened
    mark: str = UNMARKED  # tag, box, stream or unmarked
    faults: tuple[str, ...] = ()  # all that is wrong whatever the rules, sorted
    needs: tuple[str, ...] | None = None  # which of NEEDS it takes as written; None where nothing helps
    needs_any_order: tuple[str, ...] | None = None  # the same in the best order


# Why an answer is not right, in the order in which one is named; and each in words.
REASONS = {
    "no_answer": "there is no answer",
    "unmarked": "the answer is not marked",
    "operator": "there is an operator other than + - * /",
    "number_not_given": "a number is not given",
    "number_reused": "a number is used more often than it is given",
    "division_by_zero": "it divides by 0",
    "too_large": "its numbers grow too large to be worked out",
    "wrong_step": "a step is false",
    "wrong_value": "it comes to another number than the target",
    "subset": "not all numbers are used",
    "negatives": "a result is below 0",
    "fractions": "a result is not whole",
    "max_value": "a result is above the largest that is allowed",
}
# Why there is no answer.
_UNREAD = {
    "nothing": "no expression is in the text",
    "empty": "what is marked is empty",
    "words": "what is marked is no expression as a whole",
    "several": "more than one answer is given at once",
    "number": "a number is not written in plain digits",
    "sign": "a sign is none of arithmetic's",
    "code": "it is code",
    "unclosed": "the answer tag is not closed",
    "no_goal": "the search reaches no goal",
    "too_long": "it is longer than is read",
    "false": "an equation is false",
    "claim": "another number than the target is claimed",
    "number_alone": "it is a number that is not given",
}
_SHOWN = 200  # characters of an answer in a score


class _Judged(NamedTuple):
    faults: set[str]
    needs: int
    needs_any_order: int
    subset: bool
    largest: Value


def score_text(text: str, numbers: Sequence[int], target: int, rules: Rules = RULES["sos"]) -> Score:
    """Judge any text as an answer to a Countdown problem; never raises for what stands in it. O(len(text))."""
    found = read_answer(text)
    if isinstance(found, NoAnswer):
        return _unread(found)
    statements = _chosen(found.statements, numbers)
    start, end = statements[0].start, statements[-1].end
    shown = text[start : min(end, start + _SHOWN)] + ("..." if end - start > _SHOWN else "")
    if len(statements) > 1:
        judged = _steps(statements, numbers, target)
    else:
        expression = _meant(statements[0], numbers, target)
        if isinstance(expression, str):
            return _unread(NoAnswer(expression, start, found.mark))._replace(answer=shown)
        judged = _expression(expression, numbers, target)
    return _verdict(judged, found, rules)._replace(answer=shown, position=start)


def score_texts(
    texts: Sequence[str], numbers: Sequence[Sequence[int]], targets: Sequence[int], rules: Rules = RULES["sos"]
) -> list[Score]:
    """Judge a batch: text i answers the problem of numbers i and target i."""
    return [score_text(*row, rules) for row in zip(texts, numbers, targets, strict=True)]


def _unread(found: NoAnswer) -> Score:
    if found.reason == "operator":
        return Score(0.0, "operator", REASONS["operator"], found.place, mark=found.mark, faults=("operator",))
    why = _UNREAD.get(found.reason, found.reason)
    return Score(0.0, "no_answer", f"no answer: {why}", found.place, mark=found.mark, faults=("no_answer",))


def _chosen(statements: list[Statement], numbers: Sequence[int]) -> list[Statement]:
    """Return the steps, or the last statement alone if it is no step or uses all numbers by itself."""
    last = statements[-1]
    if len(statements) > 1 and last.is_step and Counter(last.sides[0].numbers) != Counter(numbers):
        return statements
    return [last]


def _meant(equation: Statement, numbers: Sequence[int], target: int) -> Expression | str:
    """Return the expression that an equation gives as the answer, or why it gives none."""
    sides = equation.sides
    if len(sides) == 1:
        alone = not sides[0].operates and (len(sides[0].numbers) == 1 and sides[0].numbers[0] not in numbers)
        return "number_alone" if alone else sides[0]
    worked = [work(side) for side in sides]
    expressions = [side for side in sides if side.operates]
    results = [one.value for side, one in zip(sides, worked, strict=True) if not side.operates]
    if not expressions:
        return "nothing"
    if len(sides) == 2 and results == [target]:
        return expressions[0]
    if any(one.value is None or one.value != worked[0].value for one in worked):
        return "false"
    if any(result != target for result in results):
        return "claim"
    whole = [side for side in expressions if Counter(side.numbers) == Counter(numbers)]
    return (whole or expressions)[0]


def _expression(expression: Expression, numbers: Sequence[int], target: int) -> _Judged:
    given, used = Counter(numbers), Counter(expression.numbers)
    worked = work(expression)
    faults = _value_faults(worked, target)
    if used.keys() - given.keys():
        faults.add("number_not_given")
    if any(used[number] > count for number, count in given.items()):
        faults.add("number_reused")
    return _Judged(faults, worked.needs, worked.needs_any_order, used != given, worked.largest)


def _value_faults(worked: Worked, expected: Value) -> set[str]:
    if worked.value is None:
        return {"too_large" if worked.too_large else "division_by_zero"}
    return set() if worked.value == expected else {"wrong_value"}


def _steps(statements: list[Statement], numbers: Sequence[int], target: int) -> _Judged:
    """Judge steps `a + b = c`: each exact, from numbers that are still there, the last one to the target."""
    left = Counter(numbers)
    results = [work(step.sides[1]).value for step in statements]
    known = set(numbers) | set(results)
    faults: set[str] = set()
    needs = best = 0
    largest: Value = 0
    for step, result in zip(statements, results, strict=True):
        expression, literals = _with_held(step.sides[0], left)
        for number in literals:
            if left[number] > 0:
                left[number] -= 1
            else:
                faults.add("number_reused" if number in known else "number_not_given")
        worked = work(expression)
        faults |= {"wrong_step" if fault == "wrong_value" else fault for fault in _value_faults(worked, result or 0)}
        needs, best, largest = needs | worked.needs, best | worked.needs_any_order, max(largest, worked.largest)
        assert isinstance(result, int)
        left[result] += 1
    if results[-1] != target:
        faults.add("wrong_value")
    return _Judged(faults, needs, best, left.total() > 1, largest)


def _with_held(expression: Expression, left: Counter[int]) -> tuple[Expression, list[int]]:
    """Return the expression of a step, and its numbers, in which `-3` is one number if an earlier step came to it."""
    items: list[int | str] = []
    for item in expression.items:
        negative = item == "neg" and items and isinstance(items[-1], int)
        if negative and left[-int(items[-1])] > 0 and not left[int(items[-1])]:
            items[-1] = -int(items[-1])
        else:
            items.append(item)
    return expression._replace(items=tuple(items)), [item for item in items if isinstance(item, int)]


def _names(flags: int, subset: bool) -> tuple[str, ...]:
    chosen = (bool(flags & NEGATIVES), bool(flags & FRACTIONS), subset)
    return tuple(name for name, is_set in zip(NEEDS, chosen, strict=True) if is_set)


def _verdict(judged: _Judged, found: Found, rules: Rules) -> Score:
    sound = not judged.faults
    needs = _names(judged.needs, judged.subset) if sound else None
    best = _names(judged.needs_any_order, judged.subset) if sound else None
    chosen = best if rules.any_order else needs
    reason = next((name for name in REASONS if name in judged.faults), "right")
    if chosen is not None and not rules.allows(chosen):
        reason = next(name for name in REASONS if name in chosen and not getattr(rules, name))
    elif sound and rules.max_value is not None and judged.largest > rules.max_value:
        reason = "max_value"
    if found.mark == UNMARKED and not rules.unmarked:
        reason = "unmarked"
    right = reason == "right"
    message = "right" if right else REASONS[reason]
    faults = tuple(sorted(judged.faults))
    return Score(float(right), reason, message, found.span.start, "", found.mark, faults, needs, best)
