"""What an environment says to people: its problems, states, actions and mistakes in words, and drawings of its states.

The kernels of `sos.envs.protocol` decide; this says. The words of an environment lie in the module `words` beside its
rules: a class that extends `Words` and is registered with `words_for`. `words_of(env)` finds it. Nothing here is
compiled, and a row is an int32 array as in the protocol.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from typing import Any, ClassVar, NamedTuple, Protocol, TypeVar

import numpy as np

from sos.envs.protocol import can_pose, solvable
from sos.envs.registry import ENVIRONMENTS
from sos.errors import UserError

Part = int | str


class Mistake(NamedTuple):
    """A wrong event, and what was said before it. What does not apply is None, or -1 for a number."""

    error: str  # its name in `sos.stream.verify.Error`
    problem: np.ndarray
    node: int  # the event's
    value: int  # the number that it quotes
    generates: bool  # it makes the node, and does not visit or judge it
    parent: int = -1
    action: np.ndarray | None = None  # that made the node, as it was claimed
    before: np.ndarray | None = None  # what was last stated for the parent
    held: np.ndarray | None = None  # what was last stated for the node
    stated: np.ndarray | None = None  # what the event states
    expected: np.ndarray | None = None  # of the error STATE: what it should have stated


class Words(Protocol):
    """The words of one environment. What has a body here is right for most. A file's rows pass `wrong_problems`,
    `wrong_states` and `wrong_actions` before anything else here is given them."""

    env: Any
    problem_form: ClassVar[str]  # how a problem is typed, such as [target,number,...]
    problem_fields: ClassVar[dict[str, str]] = {
        "problem": "ints"
    }  # field of `problem_record` -> what it holds: int, ints, text or texts
    held_out: ClassVar[str]  # what `split=val_target` holds out, in a word
    holds: ClassVar[str] = "holds"  # the verb between a node and its state
    mistake_names: ClassVar[dict[str, str]] = {}  # name of an error -> how it is called here, where not as everywhere

    def __init__(self, env: Any) -> None:
        self.env = env

    @classmethod
    def env_of(cls, problem: np.ndarray) -> Any:
        """Return an environment that a problem from a file belongs to, with the widest ranges. Raises UserError for
        what is no problem."""
        ...

    def wrong_problems(self, problems: np.ndarray) -> np.ndarray:
        """Return bool (N,): which rows (N, P) from a file are no problems, so that no kernel may be given them."""
        return np.array([not can_pose(self.env, problem) for problem in problems], bool)

    def wrong_states(self, states: np.ndarray) -> np.ndarray:
        """Return bool (N,): which rows (N, W) from a file are no states, so that no kernel may be given them."""
        wrong: np.ndarray = np.any(states < 0, axis=1)
        return wrong

    def wrong_actions(self, actions: np.ndarray) -> np.ndarray:
        """Return bool (N,): which rows (N, A) from a file no kernel may be given. Symbols are checked apart."""
        wrong: np.ndarray = np.any(actions < 0, axis=1)
        return wrong

    def parse_problem(self, text: str) -> np.ndarray:
        """Return the row of a problem that a user typed. Raises UserError that names what `env` does not allow."""
        try:
            numbers = [int(part) for part in text.strip().removeprefix("[").removesuffix("]").split(",")]
        except ValueError:
            raise UserError(f"problem must be {self.problem_form}, got {text}") from None
        return self.checked_row(numbers, f"problem={text}")

    def checked_row(self, numbers: list[int], where: str) -> np.ndarray:
        """Return the row of a problem, int32 (P,). Raises UserError unless the environment can pose it."""
        fits = len(numbers) == self.env.problem_width and all(abs(number) < 2**31 for number in numbers)
        row = np.array(numbers if fits else [0] * self.env.problem_width, np.int32)
        if not fits or not can_pose(self.env, row):
            raise UserError(f"{where} is none of {self.env.describe()}: {self.problem_form}")
        return row

    def listed_problem(self, given: str | list[int]) -> np.ndarray:
        """Return the row of a problem of a list (`sos.data.listed`), a text or numbers. Raises UserError that says what
        is wrong with it."""
        return self.parse_problem(given) if isinstance(given, str) else self.checked_row(given, "what stands there")

    def listed_file(self, suffix: str, text: str, where: str) -> Iterable[tuple[int, list[int] | str]] | None:
        """Return (line, numbers or text) of each problem of a file in a format of the environment's own, by its suffix;
        None for any other. UserErrors while it is read begin with `where`, the file, and the line."""
        return None

    def wrong_listed(self, problems: np.ndarray, solutions: Sequence[str | None]) -> tuple[int, str] | None:
        """Return the first of the problems (N, P) of a list that should not be posed, and why: one without a solution,
        or another one than the list says, where the environment can tell. None where all are right."""
        work = self.env.proof_work()
        for k, problem in enumerate(problems):
            if not solvable(self.env, problem, work):
                return k, "it has no solution"
        return None

    def problem_parts(self, problem: np.ndarray) -> tuple[list[Part], Part]:
        """Return what is given, and what is to be reached."""
        ...

    def problem_text(self, problem: np.ndarray) -> str:
        """Return a problem in short."""
        given, goal = self.problem_parts(problem)
        return f"{' '.join(map(str, given)) or 'none'} → {goal}"

    def task_text(self, problem: np.ndarray, state: np.ndarray) -> str:
        """Return what is to be done from `state`, which begins a sentence: `from 1, 2 make 3`."""
        ...

    def problem_record(self, problem: np.ndarray) -> dict[str, Any]:
        """Return a problem as the fields of a table or of a JSON line, those of `problem_fields`."""
        return {"problem": problem.tolist()}

    def row_of_record(self, record: dict[str, Any]) -> np.ndarray:
        """Return the problem of `problem_record`'s fields. Raises UserError that names the field and the value."""
        numbers = record.get("problem")
        if not isinstance(numbers, list) or not all(type(number) is int for number in numbers):
            raise UserError(f"problem must be a list of whole numbers, got {str(numbers)[:60]}")
        return self.checked_row(numbers, f"problem={str(numbers)[:60]}")

    def state_parts(self, state: np.ndarray) -> list[Part]:
        """Return what a state is shown as, part by part."""
        ...

    def state_text(self, state: np.ndarray) -> str:
        """Return a state in words."""
        return ", ".join(map(str, self.state_parts(state))) or "nothing"

    def state_key(self, state: np.ndarray) -> str:
        """Return a text that two states share if they are one to the reader; it is lit where the other is."""
        return " ".join(map(str, self.state_parts(state)))

    def action_text(self, action: np.ndarray) -> str:
        """Return an action as people write it."""
        ...

    def action_record(self, action: np.ndarray) -> str:
        """Return an action as a table says it."""
        return self.action_text(action)

    def made_part(self, action: np.ndarray) -> Part | None:
        """Return the part of the new state that the action made, which stands out; None: none does."""
        return None

    def verdict_text(self, problem: np.ndarray, goal: bool, value: Part) -> str:
        """Return the sentence of an event that calls a state the goal, or a dead end, and quotes `value` for it."""
        return "The goal." if goal else "A dead end."

    def explain(self, mistake: Mistake) -> str:
        """Return what is right, and why, for the errors that are about states and actions: ORDER of a state that is
        neither goal nor dead end, OPERAND, ILLEGAL, ARITHMETIC, STATE, FALSE_GOAL, FALSE_DEAD_END, VALUE, QUOTE."""
        ...

    def draw(self, problem: np.ndarray, state: np.ndarray) -> dict[str, Any] | None:
        """Return a drawing of a state, or None where its text says it all.

        A graph is `{"kind": "graph", "nodes": [{"id": 3, "x": 0.5, "y": 0.1}, ...], "edges": [[3, 4], ...],
        "current": 3, "target": 4, "visited": [...]}`, x and y from 0 to 1, `visited` in the order of the way that was
        taken; an edge of a node without a place is left out. A grid of digits, row by row, 0 for an empty cell, is
        `{"kind": "grid", "box": [2, 3], "given": [...], "digits": [...]}` with the rows and columns of a box.
        A maze is `{"kind": "maze", "width": 8, "height": 8, "start": 3, "goal": 9, "walls": [...], "cell": 4, "cost":
        1, "estimate": 2}` with cells as numbers, row by row from below; the viewer adds what was said of other cells up
        to the event that is shown. A formula is `{"kind": "clauses", "clauses": [[1, -2, 3], ...], "true": [1, -3]}`,
        with the literals that are true. A level is `{"kind": "sokoban", "width": 7, "height": 7, "walls": [...],
        "docks": [...], "boxes": [...], "worker": 9}`, row by row from above. What is equal in all drawings of a trace
        is stored once.
        """
        return None


W = TypeVar("W", bound=Words)
_WORDS: dict[type, type[Words]] = {}


def words_for(kind: type) -> Callable[[type[W]], type[W]]:
    """Register the decorated class as the words of the environment `kind`."""

    def register(words: type[W]) -> type[W]:
        _WORDS[kind] = words
        return words

    return register


def words_class(kind: type) -> type[Words]:
    """Return the words of the environments of type `kind`. Raises TypeError that names it."""
    if kind not in _WORDS:
        beside = f"{kind.__module__.rpartition('.')[0]}.words"
        try:
            import_module(beside)  # which registers them
        except ModuleNotFoundError as error:
            if error.name != beside and not beside.startswith("."):
                raise
    if kind not in _WORDS:
        raise TypeError(f"{kind.__name__} has no words")
    return _WORDS[kind]


def words_of(env: Any) -> Words:
    """Return the words of an environment, found by its type."""
    return words_class(type(env))(env)


def words_named(name: Any) -> type[Words]:
    """Return the words of the environments that are registered as `name`. Raises UserError that lists the names."""
    if not isinstance(name, str) or name not in ENVIRONMENTS:
        raise UserError(f"env must be one of {', '.join(ENVIRONMENTS)}, got {str(name)[:60]!r}")
    return words_class(ENVIRONMENTS[name].kind)
