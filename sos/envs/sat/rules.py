"""3-SAT by DPLL: is there an assignment that makes every clause true? (Davis, Logemann and Loveland 1962.)

A formula has clauses of three different variables each, none twice. An action gives a variable a value, said as the
literal that becomes true; a goal is an assignment, of all variables or not, by which every clause has a true literal,
and a dead end one by which a clause has false literals alone. Problems without a solution are problems like others,
which a search answers by a refutation: see `refuted` in `sos.envs.protocol`.

What a search deduces is its heuristic: `none` takes the lowest variable that is left, true first; `unit` first follows
unit clauses, the first in the order of the formula; `pure` does so too, and then sets literals whose negation is left
in no clause; `frequent` follows unit clauses, and branches on the variable that is most frequent in the shortest
clauses, the sign that it has more often first.

Rows: problem = [three literals for each clause, ..., number of clauses] with zeros behind the clauses; state =
[variables that are true, those that are false], as sets (bit v for variable v); action = [literal]. Which number a
literal is, `sos.envs.sat.formula` says.

The witness of a dead end is the number of a falsified clause, from 1, and that of a forced move the number of the unit
clause; 0 for a pure literal.
"""

from __future__ import annotations

from importlib import resources
from importlib.resources.abc import Traversable
from typing import NamedTuple

import numpy as np

from sos.envs import lessons as contract
from sos.envs import problems, protocol
from sos.envs.protocol import Field, implements
from sos.envs.sat import lessons
from sos.envs.sat.formula import (
    FALSE,
    LITERALS,
    MINUS,
    PLUS,
    SATISFIED,
    TRUE,
    bit,
    clause_sets,
    first_falsified,
    is_pure,
    is_unit,
    literal_of,
    literal_symbols,
    load_masks,
    lowest,
    num_clauses,
    num_free,
    sign_of,
    size,
    variable_of,
    variables_of,
)
from sos.envs.sat.moves import DEDUCED, most_frequent, unit_move, variables_left
from sos.envs.sat.solver import LEVEL_WIDTH, draw_formula, is_new, is_satisfiable
from sos.envs.sat.symmetry import twin_hash
from sos.kernels import inner
from sos.rng import fold, uniform

LITERAL = 0  # column of an action
NONE, UNIT, PURE, FREQUENT = range(4)
HEURISTICS = ("none", "unit", "pure", "frequent")
CLASS = 7  # what decides whether a problem is to have a solution takes this element of its key


@problems.ungrouped
class Sat(NamedTuple):
    """How many variables a formula has, clauses for each of them, names to choose from, and the share with a solution;
    -1: as they are drawn."""

    min_variables: int = 5
    max_variables: int = 6
    ratio: float = 5.0
    num_labels: int = 8
    satisfiable: float = 0.5

    @property
    def most_clauses(self) -> int:
        return int(self.max_variables * self.ratio)

    @property
    def problem_width(self) -> int:
        return LITERALS * self.most_clauses + 1

    @property
    def state_width(self) -> int:
        return 2

    @property
    def action_width(self) -> int:
        return 1

    @property
    def max_children(self) -> int:
        return 2

    @property
    def max_depth(self) -> int:
        return self.num_labels

    @property
    def scratch_size(self) -> int:
        return 2 * self.most_clauses

    @property
    def largest_number(self) -> int:
        """A variable, or a clause that a witness numbers."""
        return max(self.num_labels, self.most_clauses)

    @property
    def heuristics(self) -> tuple[str, ...]:
        return HEURISTICS

    @property
    def measures(self) -> tuple[str, ...]:
        """The heuristics that value states: none; these are ways to deduce."""
        return ()

    @property
    def heuristic_scale(self) -> int:
        return 1

    @property
    def fields(self) -> dict[str, tuple[Field, ...]]:
        """Template field -> what it stands for, in each row that has it."""
        count, symbols = LITERALS * self.most_clauses, literal_symbols(self.num_labels)
        texts = (symbols,) * LITERALS
        clauses = Field("problem", 0, self.most_clauses, count, LITERALS, item_symbols=texts, numbered=True)
        return {"clauses": (clauses,), "literal": (Field("action", LITERAL, symbols=symbols),)}

    @property
    def lesson_features(self) -> tuple[str, ...]:
        return lessons.FEATURES

    @property
    def lesson_classes(self) -> tuple[str, ...]:
        return lessons.CLASSES

    @property
    def dialects(self) -> Traversable:
        """The folder of the dialects that are shipped for it."""
        return resources.files("sos") / "stream" / "dialect" / "yaml" / "sat"

    def check_problems(self, rows: np.ndarray) -> None:
        problems.check_rows(self, rows)

    @property
    def tree_nodes(self) -> int:
        """The nodes of a tree in which every name is a variable, and has both values."""
        return int(2 ** (self.num_labels + 1) - 1)

    def describe(self) -> str:
        """Return what problems are drawn from, in words."""
        least, most = self.min_variables, self.max_variables
        num = str(least) if least == most else f"{least} to {most}"
        return f"3-SAT formulas of {num} variables with {self.ratio:g} clauses for each, named 1 to {self.num_labels}"

    def clauses(self, problem: problems.Row) -> list[list[int]]:
        """Return the clauses of a problem as in DIMACS: a literal is its variable, below 0 where it is negated."""
        num = int(problem[len(problem) - 1])
        numbers = [int(number) for number in problem[: LITERALS * num]]
        literals = [(1 - 2 * (number % 2)) * (number // 2 + 1) for number in numbers]
        return [literals[k : k + LITERALS] for k in range(0, len(literals), LITERALS)]

    def row(self, clauses: list[list[int]]) -> list[int]:
        """Return the row of clauses as in DIMACS; more of them than a formula has make it too long."""
        numbers = [2 * abs(literal) - 2 + int(literal < 0) for clause in clauses for literal in clause]
        missing = LITERALS * self.most_clauses - len(numbers)
        return [*numbers, *[0] * missing, len(clauses)]

    def problem_key(self, problem: problems.Row) -> tuple[int, ...]:
        """Return what two problems have in common that count as the same: the literals of each clause, in order."""
        return tuple(literal for clause in sorted(sorted(one) for one in self.clauses(problem)) for literal in clause)

    def longest_problem(self) -> list[int]:
        """Return a problem whose statement is as long as any; it need not be one."""
        return self.row([[-self.num_labels] * LITERALS] * self.most_clauses)

    def proof_work(self) -> np.ndarray:
        """Allocate the work space of `solvable`: the clauses, and a stack."""
        return np.zeros(2 * self.most_clauses + LEVEL_WIDTH * (self.num_labels + 1), np.int64)


@implements(protocol.root_state, Sat)
def _root_state(env, problem, state):
    state[TRUE] = 0
    state[FALSE] = 0


@implements(protocol.status, Sat)
def _status(env, problem, state):
    found = protocol.GOAL
    for clause in range(num_clauses(problem)):
        num = num_free(problem, state, clause)
        if num == 0:
            return protocol.DEAD
        if num != SATISFIED:
            found = protocol.OPEN
    return found


@implements(protocol.witness, Sat)
def _witness(env, problem, state):
    return first_falsified(problem, state)


@implements(protocol.proves_dead, Sat)
def _proves_dead(env, problem, state, value):
    return 1 <= value <= num_clauses(problem) and num_free(problem, state, np.int64(value - 1)) == 0


implements(contract.find_features, Sat)(lessons.find_features)
implements(contract.action_class, Sat)(lessons.action_class)

# Moves


@implements(protocol.prepare, Sat)
def _prepare(env, kind, problem, scratch):
    load_masks(problem, scratch)


@implements(protocol.successors, Sat)
def _successors(env, kind, problem, scratch, state, moves, values):
    num, true, false = num_clauses(problem), np.int64(state[TRUE]), np.int64(state[FALSE])
    values[0] = 0
    if kind != NONE:
        moves[0] = unit_move(num, scratch, true, false)
        if moves[0] >= 0:
            return 1
    plus, minus, shortest, length = variables_left(num, scratch, true, false)
    if plus | minus == 0:
        return 0
    pure = (plus & ~minus) | (minus & ~plus)
    if kind == PURE and pure != 0:
        variable = lowest(pure)
        moves[0] = literal_of(PLUS if plus & bit(variable) else MINUS, variable) + DEDUCED
        return 1
    variable, sign = lowest(plus | minus), PLUS
    if kind == FREQUENT:
        variable, sign = most_frequent(num, scratch, true, false, shortest, length)
    moves[0] = literal_of(sign, variable)
    moves[1] = literal_of(1 - sign, variable)
    values[1] = 0
    return 2


@implements(protocol.deduced, Sat)
def _deduced(env, move):
    return move >= DEDUCED


@inner
def _is_literal(env, literal):
    return 0 <= literal < 2 * env.num_labels


@inner
def _assign(state, literal, child):
    """Write `state` with a literal made true."""
    sign, variable = sign_of(literal), bit(variable_of(literal))
    child[TRUE] = np.int64(state[TRUE]) | (variable if sign == PLUS else 0)
    child[FALSE] = np.int64(state[FALSE]) | (0 if sign == PLUS else variable)


@implements(protocol.make_child, Sat)
def _make_child(env, problem, state, move, action, child):
    literal = move & (DEDUCED - 1)
    action[LITERAL] = literal
    _assign(state, literal, child)


@implements(protocol.judge, Sat)
def _judge(env, problem, state, action, child):
    """A variable that is none of the formula's, or has a value, is not held."""
    child[TRUE] = state[TRUE]
    child[FALSE] = state[FALSE]
    if not _is_literal(env, action[LITERAL]):
        return protocol.NOT_HELD
    variable = bit(variable_of(action[LITERAL]))
    if (np.int64(state[TRUE]) | np.int64(state[FALSE])) & variable:
        return protocol.NOT_HELD
    _assign(state, action[LITERAL], child)
    return protocol.HOLDS if variables_of(problem) & variable else protocol.NOT_HELD


@implements(protocol.reason, Sat)
def _reason(env, problem, state, action):
    if not _is_literal(env, action[LITERAL]):
        return np.int64(0)
    for clause in range(num_clauses(problem)):
        if is_unit(problem, state, clause, action[LITERAL]):
            return np.int64(clause + 1)
    return np.int64(0)


@implements(protocol.proves_forced, Sat)
def _proves_forced(env, problem, state, action, value):
    if not _is_literal(env, action[LITERAL]) or value < 0 or value > num_clauses(problem):
        return False
    if value == 0:
        return is_pure(problem, state, action[LITERAL])
    return is_unit(problem, state, np.int64(value - 1), action[LITERAL])


@implements(protocol.forced, Sat)
def _forced(env, problem, state, action):
    return protocol.proves_forced(env, problem, state, action, protocol.reason(env, problem, state, action))


@implements(protocol.refuted, Sat)
def _refuted(env, problem, state, actions, num):
    """Both values of a variable."""
    plus, minus = np.int64(0), np.int64(0)
    for k in range(num):
        variable = bit(variable_of(actions[k, LITERAL]))
        if sign_of(actions[k, LITERAL]) == PLUS:
            plus |= variable
        else:
            minus |= variable
    return plus & minus != 0


@implements(protocol.canonical, Sat)
def _canonical(env, problem, state, out):
    out[TRUE] = state[TRUE]
    out[FALSE] = state[FALSE]


# Problems


@implements(protocol.can_pose, Sat)
def _can_pose(env, problem):
    num = num_clauses(problem)
    if num < 1 or num > len(problem) // LITERALS:
        return False
    for k in range(LITERALS * num, len(problem) - 1):
        if problem[k] != 0:
            return False
    for clause in range(num):
        found = np.int64(0)
        for k in range(LITERALS):
            literal = problem[LITERALS * clause + k]
            if not _is_literal(env, literal):
                return False
            found |= bit(variable_of(literal))
        if size(found) != LITERALS or not is_new(problem, clause):
            return False
    return True


@implements(protocol.draw, Sat)
def _draw(env, key, group, attempt, problem):
    draw_formula(env, fold(key, attempt), problem)


@implements(protocol.posed, Sat)
def _posed(env, key):
    if env.satisfiable < 0:
        return np.int64(-1)
    return np.int64(1 if uniform(fold(key, CLASS), 0) < env.satisfiable else 0)


@implements(protocol.cue, Sat)
def _cue(env, problem):
    """By how much the signs of the variables are out of balance, summed: the more, the likelier a solution."""
    total = np.int64(0)
    for variable in range(1, env.num_labels + 1):
        balance = np.int64(0)
        for clause in range(num_clauses(problem)):
            positive, negative = clause_sets(problem, clause)
            balance += np.int64((positive & bit(variable)) != 0) - np.int64((negative & bit(variable)) != 0)
        total += abs(balance)
    return total


@implements(protocol.hash_key, Sat)
def _hash_key(env, key, problem):
    return twin_hash(problem, key, env.num_labels)


@implements(protocol.solvable, Sat)
def _solvable(env, problem, work):
    return is_satisfiable(problem, work, np.int64(len(problem) // LITERALS))
