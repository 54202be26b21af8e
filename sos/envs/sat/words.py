"""3-SAT in words and as a drawing: clauses of literals, assignments, and what falsifies a clause."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import numpy as np

from sos.envs.problems import which_solvable, wrong_rows
from sos.envs.sat.dimacs import formula_row, read_dimacs
from sos.envs.sat.formula import FALSE, LITERALS, TRUE
from sos.envs.sat.rules import LITERAL, Sat
from sos.envs.words import Mistake, Part, Words, words_for
from sos.errors import UserError

MOST_VARIABLES, MOST_LABELS = 20, 30
SUFFIXES = (".cnf", ".dimacs")
LABELS = {
    **dict.fromkeys(("sat", "satisfiable", "true"), True),
    **dict.fromkeys(("unsat", "unsatisfiable", "false"), False),
}


def literal_text(literal: int) -> str:
    """Return a literal as in DIMACS, below 0 where it is negated, in words."""
    return str(literal) if literal > 0 else f"¬{-literal}"


def said(action: np.ndarray) -> int:
    """Return the literal of an action as in DIMACS."""
    number = int(action[LITERAL])
    return (1 - 2 * (number % 2)) * (number // 2 + 1)


def clause_text(clause: Sequence[int]) -> str:
    return " ∨ ".join(map(literal_text, clause))


@words_for(Sat)
class SatWords(Words):
    """A state is the literals that are true."""

    problem_form: ClassVar[str] = "clauses of three literals, each ended by 0: 1 -2 3 0 -1 2 4 0"
    problem_fields: ClassVar[dict[str, str]] = {"clauses": "ints"}
    held_out: ClassVar[str] = "group"
    holds: ClassVar[str] = "has"
    mistake_names: ClassVar[dict[str, str]] = {
        "OPERAND": "no free variable",
        "FALSE_DEAD_END": "missed goal",
        "VALUE": "not falsified",
        "NOT_FORCED": "not forced by this clause",
    }

    # Problems

    @classmethod
    def env_of(cls, problem: np.ndarray) -> Sat:
        most = (len(problem) - 1) // LITERALS
        for num in range(MOST_VARIABLES, LITERALS - 1, -1):
            env = Sat(LITERALS, num, most / num, MOST_LABELS, -1.0)
            if env.problem_width == len(problem) and not wrong_rows(env, problem[None]).any():
                return env
        raise UserError(f"problem must be the row of a formula, got {str(problem.tolist())[:60]}")

    def wrong_problems(self, problems: np.ndarray) -> np.ndarray:
        return wrong_rows(self.env, problems)

    def parse_problem(self, text: str) -> np.ndarray:
        try:
            numbers = [int(part) for part in text.strip().removeprefix("[").removesuffix("]").replace(",", " ").split()]
        except ValueError:
            raise UserError(f"problem must be {self.problem_form}, got {text[:100]}") from None
        return self._row(numbers, f"problem={text[:100]}")

    def _row(self, numbers: list[int], where: str) -> np.ndarray:
        """Return the row of clauses, each ended by 0."""
        clauses: list[list[int]] = [[]]
        for number in numbers:
            if number:
                clauses[-1].append(number)
            else:
                clauses.append([])
        if clauses.pop():
            raise UserError(f"{where}: the last clause is not ended by 0")
        try:
            return np.array(formula_row(self.env, clauses), np.int32)
        except UserError as error:
            raise UserError(f"{where}: {error}") from error

    def listed_problem(self, given: str | list[int]) -> np.ndarray:
        """A text is as it is typed; numbers are the literals of the clauses, three each, and zeros behind them."""
        if isinstance(given, str):
            return self.parse_problem(given)
        if len(given) == self.env.problem_width and LITERALS * given[-1] < len(given):
            row = np.array(given, np.int64)
            if not wrong_rows(self.env, row[None]).any():  # a row of this environment
                return row.astype(np.int32)
        if len(given) % LITERALS:
            raise UserError(f"{len(given)} literals are no clauses of {LITERALS}")
        clauses = [list(given[k : k + LITERALS]) for k in range(0, len(given), LITERALS)]
        while clauses and not any(clauses[-1]):
            clauses.pop()
        return np.array(formula_row(self.env, clauses), np.int32)

    def listed_file(self, suffix: str, text: str, where: str) -> Iterable[tuple[int, list[int] | str]] | None:
        return read_dimacs(self.env, text, where) if suffix in SUFFIXES else None

    def wrong_listed(self, problems: np.ndarray, solutions: Sequence[str | None]) -> tuple[int, str] | None:
        """A formula without a solution is a problem like others; what the list says of it has to be right."""
        solvable = which_solvable(self.env, problems)
        for k, said in enumerate(solutions):
            if not said:
                continue
            label = LABELS.get(said.lower())
            if label is not None and label != solvable[k]:
                return k, f"it {'has a' if solvable[k] else 'has no'} solution, and the list says {said[:60]}"
            if label is None and (wrong := self._wrong_assignment(problems[k], said)):
                return k, wrong
        return None

    def _wrong_assignment(self, problem: np.ndarray, said: str) -> str:
        try:
            literals = {int(part) for part in said.replace(",", " ").split()}
        except ValueError:
            return f"{said[:60]!r} is neither satisfiable nor unsatisfiable, nor literals that are true"
        if any(-literal in literals for literal in literals if literal):
            return f"{said[:60]!r} says both of a variable"
        open_ = next((c for c in self.env.clauses(problem) if not literals & set(c)), None)
        return f"{said[:60]!r} leaves {clause_text(open_)} without a true literal" if open_ else ""

    def problem_parts(self, problem: np.ndarray) -> tuple[list[Part], Part]:
        return [f"({clause_text(clause)})" for clause in self.env.clauses(problem)], "all true"

    def task_text(self, problem: np.ndarray, state: np.ndarray) -> str:
        left = [f"({clause_text(c)})" for c in self.env.clauses(problem) if not set(self._literals(state)) & set(c)]
        return f"make {' '.join(left) or 'all clauses'} true"

    def problem_record(self, problem: np.ndarray) -> dict[str, Any]:
        return {"clauses": [number for clause in self.env.clauses(problem) for number in (*clause, 0)]}

    def row_of_record(self, record: dict[str, Any]) -> np.ndarray:
        clauses = record.get("clauses")
        if not isinstance(clauses, list) or not all(type(number) is int for number in clauses):
            raise UserError(f"clauses must be literals, and a 0 behind each clause, got {str(clauses)[:60]!r}")
        return self._row(clauses, "clauses")

    # States and actions

    def _literals(self, state: np.ndarray) -> list[int]:
        """Return the literals that are true, by variable."""
        true, false = int(state[TRUE]), int(state[FALSE])
        found = []
        for variable in range(1, 32):
            found += [variable] * (true >> variable & 1) + [-variable] * (false >> variable & 1)
        return found

    def state_parts(self, state: np.ndarray) -> list[Part]:
        return [literal_text(literal) for literal in self._literals(state)]

    def action_text(self, action: np.ndarray) -> str:
        return literal_text(said(action))

    def made_part(self, action: np.ndarray) -> Part | None:
        return self.action_text(action)

    # Verdicts and mistakes

    def verdict_text(self, problem: np.ndarray, goal: bool, value: Part) -> str:
        return "Every clause is true: the goal." if goal else f"Clause {value} is falsified: a dead end."

    def _clause(self, mistake: Mistake) -> str:
        clauses = self.env.clauses(mistake.problem)
        if not 1 <= mistake.value <= len(clauses):
            return f"There is no clause {mistake.value}."
        return f"Clause {mistake.value}, {clause_text(clauses[mistake.value - 1])}, is not falsified."

    def explain(self, mistake: Mistake) -> str:
        node = mistake.node
        match mistake.error:
            case "ORDER":
                return f"Node {node} leaves clauses that are not true yet, and falsifies none."
            case "OPERAND":
                assert mistake.before is not None
                assert mistake.action is not None
                variable = abs(said(mistake.action))
                held = {abs(literal): literal for literal in self._literals(mistake.before)}.get(variable)
                if held is None:
                    return f"{variable} is no variable of the formula."
                return f"{variable} has a value: {literal_text(held)} is true."
            case "STATE":
                return f"Node {node} is another assignment."
            case "FALSE_GOAL":
                return f"Node {node} leaves a clause without a true literal, or was reached through a mistake."
            case "FALSE_DEAD_END":
                return "Every clause is true: this is the goal."
            case "VALUE":
                return self._clause(mistake)
            case "QUOTE":
                return "It repeats a level or a clause, and differs from what was said before."
        raise AssertionError(f"error {mistake.error} has no words")

    def draw(self, problem: np.ndarray, state: np.ndarray) -> dict[str, Any]:
        """The clauses, and the literals that are true."""
        return {"kind": "clauses", "clauses": self.env.clauses(problem), "true": self._literals(state)}
