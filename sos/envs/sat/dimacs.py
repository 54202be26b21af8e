"""Formulas as text in the format of DIMACS, read with an error that names the line, and written.

`c` begins a comment, `p cnf VARIABLES CLAUSES` a formula, and each clause is its literals (a variable, below 0 where it
is negated) and a 0, on one line or on several. Several formulas may stand one behind the other. A line `%` ends a
formula, as in the collections of SATLIB, which write a 0 behind it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sos.envs.sat.formula import LITERALS
from sos.errors import UserError

Clause = list[int]


def check_clause(clause: Sequence[int], before: Iterable[frozenset[int]], num_labels: int) -> None:
    """Raise UserError that says what is wrong with a clause that stands behind others."""
    text = " ".join(map(str, clause))
    if not clause:
        raise UserError("the clause is empty")
    for literal in clause:
        if not 1 <= abs(literal) <= num_labels:
            raise UserError(f"clause {text} has variable {abs(literal)}, and env.num_labels={num_labels}")
    if len(clause) != LITERALS:
        raise UserError(f"clause {text} has {len(clause)} literals, not {LITERALS}")
    if len({abs(literal) for literal in clause}) < LITERALS:
        raise UserError(f"clause {text} has a variable twice")
    if frozenset(clause) in before:
        raise UserError(f"clause {text} stands there before, in this or another order")


def formula_row(env: Any, clauses: Sequence[Clause]) -> list[int]:
    """Return the row of a formula. Raises UserError that says which clause is wrong, or that there are too many."""
    before: set[frozenset[int]] = set()
    for number, clause in enumerate(clauses, 1):
        try:
            check_clause(clause, before, env.num_labels)
        except UserError as error:
            raise UserError(f"clause {number}: {error}") from error
        before.add(frozenset(clause))
    return _sized_row(env, clauses)


def _sized_row(env: Any, clauses: Sequence[Clause]) -> list[int]:
    if not 1 <= len(clauses) <= env.most_clauses:
        raise UserError(
            f"a formula has 1 to {env.most_clauses} clauses (env.max_variables x env.ratio), got {len(clauses)}"
        )
    row: list[int] = env.row(clauses)
    return row


class _Formula:
    """A formula that is being read."""

    def __init__(self, env: Any, line: int, header: list[str]) -> None:
        if len(header) != 4 or header[1] != "cnf" or not all(part.isascii() and part.isdigit() for part in header[2:]):
            raise UserError(f"a formula begins with p cnf VARIABLES CLAUSES, got {' '.join(header)[:60]}")
        self.env, self.line = env, line
        self.num_variables, self.num_clauses = int(header[2]), int(header[3])
        self.clauses: list[Clause] = []
        self.before: set[frozenset[int]] = set()
        self.open: Clause = []  # the clause that no 0 has ended yet

    def take(self, words: list[str]) -> None:
        for word in words:
            try:
                literal = int(word)
            except ValueError:
                raise UserError(f"{word[:60]!r} is no literal") from None
            if abs(literal) > self.num_variables:
                raise UserError(f"literal {literal} is out of range: the header says {self.num_variables} variables")
            if literal:
                self.open.append(literal)
                continue
            check_clause(self.open, self.before, self.env.num_labels)
            self.before.add(frozenset(self.open))
            self.clauses.append(self.open)
            self.open = []

    def finish(self) -> tuple[int, list[int]]:
        if self.open:
            raise UserError(f"clause {' '.join(map(str, self.open))} is not ended by 0")
        if len(self.clauses) != self.num_clauses:
            raise UserError(f"the header says {self.num_clauses} clauses, and there are {len(self.clauses)}")
        return self.line, _sized_row(self.env, self.clauses)


def read_dimacs(env: Any, text: str, where: str) -> Iterator[tuple[int, list[int] | str]]:
    """Yield the line that each formula begins on and its row. Raises UserError: `where`, the line, and what is wrong
    there."""
    formula: _Formula | None = None
    number, ended = 0, False
    try:
        for number, line in enumerate(text.splitlines(), 1):
            words = line.split()
            if not words or words[0].startswith("c"):
                continue
            if words[0].startswith("p"):
                if formula is not None:
                    yield formula.finish()
                formula, ended = _Formula(env, number, words), False
            elif words[0] == "%":
                ended = True
            elif ended and words == ["0"]:
                continue
            elif formula is None:
                raise UserError("a clause stands before p cnf VARIABLES CLAUSES")
            elif ended:
                raise UserError("a clause stands behind %, which ends the formula")
            else:
                formula.take(words)
        if formula is not None:
            yield formula.finish()
    except UserError as error:
        raise UserError(f"{where}:{number}: {error}") from error


def write_dimacs(formulas: Iterable[Sequence[Clause]]) -> str:
    """Return formulas, each a list of clauses, as text that `read_dimacs` reads."""
    lines = []
    for clauses in formulas:
        variables = max(abs(literal) for clause in clauses for literal in clause)
        lines.append(f"p cnf {variables} {len(clauses)}")
        lines += [" ".join(map(str, [*clause, 0])) for clause in clauses]
    return "\n".join([*lines, ""])
