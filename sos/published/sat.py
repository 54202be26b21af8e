"""The published words of 3-SAT searches (Yang et al. 2025, arXiv 2503.14337, chr26195/PENCIL), to and from the dialect
`compact`.

The search is ours with `search.heuristic=unit`: the first unit clause, else the lowest variable that is left, true
first. What differs is the wording. A call restates what is left of the formula, and is returned from with its answer:

| | `compact` | published |
| --- | --- | --- |
| formula | `+1 -2 +3 \\| ... =` | `( 1 ∨ ¬ 2 ∨ 3 ) ∧ ...`, `<\\|endofprompt\\|>` |
| a node is visited | | `[CALL] Question: FORMULA` |
| forced move | `-2` | `Found ¬ 2 Let 2 = False` |
| choice | `? -2` | `Try 2 = False` |
| dead end, goal | `x`, `!` | no call behind the move |
| return | `< L`, `none` | `[SEP] Answer: False [RETURN]` for each call that is left |
| end | `!` | `[SEP] Answer: True [RETURN]` for each call |

Their formulas hold clauses twice, which ours do not: theirs are told with them, and read without. A template says an
event by itself, and cannot say the residual formula of any node, nor the calls that a return passes; hence these two
functions. What their reduction erases, `sos.published.erasing` does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from sos.errors import UserError

Clauses = list[list[int]]
PROMPT_END, CALL, SEP, RETURN = "<|endofprompt|>", "[CALL]", "[SEP]", "[RETURN]"
AND, OR, NOT = "∧", "∨", "¬"


class _Call(NamedTuple):
    """A node that was visited and not returned from."""

    clauses: Clauses  # that are left
    level: int  # as in the dialect


def left(clauses: Clauses, literal: int) -> Clauses:
    """Return what a true literal leaves of clauses: true ones go, and its negation goes from the others."""
    return [[one for one in clause if one != -literal] for clause in clauses if literal not in clause]


def formula_text(clauses: Clauses) -> str:
    """Return clauses in the published words."""
    literals = [[f"{NOT} {-one}" if one < 0 else str(one) for one in clause] for clause in clauses]
    return f" {AND} ".join(f"( {f' {OR} '.join(clause)} )" for clause in literals)


def _compact_formula(clauses: Clauses) -> str:
    texts = [" ".join(f"{one:+}" for one in clause) for clause in clauses]
    return " | ".join(texts)


def _read_compact_formula(words: Sequence[str]) -> Clauses:
    clauses: Clauses = []
    for part in " ".join(words).split(" | "):
        clauses.append([_literal(word) for word in part.split()])
    return clauses


def to_published(text: str, clauses: Clauses | None = None) -> str:
    """Return the published words of a stream of a search in the dialect `compact`, without its first and last mark;
    `clauses` are the formula's where they hold some twice. Raises UserError for what is no true search."""
    prompt, equals, rest = text.partition(" = ")
    formula = _read_compact_formula(prompt.split())
    given = formula if clauses is None else clauses
    if not equals or {frozenset(c) for c in given} != {frozenset(c) for c in formula}:
        raise UserError(f"a stream must begin with the formula and =, got {text[:60]!r}")
    calls = [_Call(given, 1)]
    said = [formula_text(given), PROMPT_END, _call(given)]
    words = iter(rest.split())
    pending: _Call | None = None  # what the last move led to, and nothing was said of yet
    for word in words:
        if word in ("x", "!"):
            if pending is None or (pending.clauses != [] if word == "!" else [] not in pending.clauses):
                raise UserError(f"{word} is not true there")
            pending = None
            if word == "!":
                said += [_answer(True)] * len(calls)
            continue
        if pending is not None:
            said.append(_call(pending.clauses))
            calls.append(pending)
            pending = None
        if word in ("<", "none"):
            level = _number(next(words, "")) if word == "<" else 0
            while calls and calls[-1].level != level:
                calls.pop()
                said.append(_answer(False))
        elif word != "...":
            if not calls:
                raise UserError(f"{word} stands behind the end")
            literal, is_choice = _move(word, words)
            said.append(_said_move(literal, is_choice))
            pending = _Call(left(calls[-1].clauses, literal), calls[-1].level + is_choice)
    return " ".join(said)


def _move(word: str, words: Iterator[str]) -> tuple[int, bool]:
    """Read a literal that begins with `word`; return it and whether it is a choice."""
    return _literal(next(words, "") if word == "?" else word), word == "?"


def _literal(word: str) -> int:
    if word[:1] not in ("+", "-"):
        raise UserError(f"{word[:60]!r} is no literal")
    return _number(word[1:]) * (-1 if word[0] == "-" else 1)


def _number(word: str) -> int:
    if not (word.isascii() and word.isdigit()):
        raise UserError(f"{word!r} is no number")
    return int(word)


def _call(clauses: Clauses) -> str:
    return f"{CALL} Question: {formula_text(clauses)}"


def _answer(answer: bool) -> str:
    return f"{SEP} Answer: {answer} {RETURN}"


def _said_move(literal: int, is_choice: bool) -> str:
    value = f"{abs(literal)} = {literal > 0}"
    return f"Try {value}" if is_choice else f"Found {f'{NOT} ' if literal < 0 else ''}{abs(literal)} Let {value}"


def read_formula(text: str) -> Clauses:
    """Return the clauses of a formula in the published words. Raises UserError for what is none."""
    clauses: Clauses = []
    for part in text.split(f" {AND} "):
        words = part.split()
        literals = " ".join(words[1:-1]).split(f" {OR} ")
        names = [literal.removeprefix(f"{NOT} ") for literal in literals]
        if words[:1] != ["("] or words[-1:] != [")"] or not all(name.isascii() and name.isdigit() for name in names):
            raise UserError(f"{part[:60]!r} is no clause")
        clauses.append([-int(n) if word.startswith(NOT) else int(n) for word, n in zip(literals, names, strict=True)])
    return clauses


def from_published(text: str) -> str:
    """Return the stream of a search in published words in the dialect `compact`, without its first and last mark, and
    each clause once.

    Every restated formula and every answer has to be true, or a UserError says which is not; whether moves are forced
    and the end is right is for `sos.stream.verify` to say.
    """
    prompt, found, rest = text.partition(f" {PROMPT_END} ")
    if not found:
        raise UserError(f"there is no {PROMPT_END} in {text[:60]!r}")
    clauses = read_formula(prompt)
    once = list({frozenset(clause): clause for clause in reversed(clauses)}.values())
    once.sort(key=clauses.index)
    reader = _Reader(clauses)
    for part in rest.split(f"{CALL} ")[1:]:
        reader.call(part)
    return " ".join([_compact_formula(once), "=", *reader.words, *reader.end()])


class _Reader:
    """Reads the calls of a search; `words` are those of `compact`."""

    def __init__(self, clauses: Clauses) -> None:
        self.calls: list[_Call] = []
        self.next = _Call(clauses, 1)  # what a call is to be about
        self.words: list[str] = []
        self.solved = self.returned = False
        self.due = True  # a call has to come next, and only then may one

    def call(self, text: str) -> None:
        """Read a call's formula, and what is said up to the next call."""
        if not self.due:
            raise UserError(f"{CALL} stands where nothing is called: {text[:60]!r}")
        self.due = False
        question, _, rest = text.strip().partition(" Found ")
        rest = f"Found {rest}" if rest else ""
        if " Try " in question:
            question, _, tail = question.partition(" Try ")
            rest = f"Try {tail} {rest}".strip()
        if read_formula(question.removeprefix("Question: ")) != self.next.clauses:
            raise UserError(f"{question[:80]!r} is not what is left of the formula: {formula_text(self.next.clauses)}")
        self.calls.append(self.next)
        words = iter(rest.split())
        for word in words:
            if self.due:
                raise UserError(f"{word[:60]!r} stands where a call is to come")
            if word == SEP:
                self._return(next(words, ""), next(words, ""), next(words, ""))
            else:
                self._move(word, words)

    def _move(self, word: str, words: Iterator[str]) -> None:
        if word == "Found":
            negated = next(words, "")
            literal = -_number(next(words, "")) if negated == NOT else _number(negated)
            if next(words, "") != "Let":
                raise UserError(f"Let is missing behind Found {literal}")
        elif word != "Try":
            raise UserError(f"{word[:60]!r} is none of Try, Found, {CALL} and {SEP}")
        name, _, value = _number(next(words, "")), next(words, ""), next(words, "")
        said = name if value == "True" else -name
        if value not in ("True", "False") or (word == "Found" and said != literal):
            raise UserError(f"{word} {name} = {value} is not what was found")
        if not self.calls:
            raise UserError(f"{word} stands behind the end")
        call, is_choice = self.calls[-1], word == "Try"
        if is_choice and self.returned:
            self.words += ["<", str(call.level)]
        self.returned = False
        self.words += ["?"] * is_choice + [f"{said:+}"]
        self.next = _Call(left(call.clauses, said), call.level + is_choice)
        if not self.next.clauses:
            self.words.append("!")
            self.solved = True
        elif [] in self.next.clauses:
            self.words.append("x")
        else:
            self.due = True

    def _return(self, label: str, answer: str, mark: str) -> None:
        if (label, mark) != ("Answer:", RETURN) or answer != str(self.solved) or not self.calls:
            raise UserError(f"{SEP} {label} {answer} {mark} is not the answer there, which is {self.solved}")
        self.calls.pop()
        self.returned = True

    def end(self) -> list[str]:
        """Return the last word: that there is no solution, or nothing where one was found; `...` without an end."""
        return [] if self.solved else ["none"] if not self.calls else ["..."]
