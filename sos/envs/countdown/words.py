"""Countdown in words: numbers, operations and a target."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from sos.envs.countdown.rules import INT32_MAX, MAX_NUMBERS, OPERAND_A, OPERAND_B, OPERATOR, RESULT, Countdown
from sos.envs.words import Mistake, Part, Words, words_for
from sos.errors import UserError

SIGNS = {"*": "×", "-": "−", "/": "÷"}  # operators as people write them


@words_for(Countdown)
class CountdownWords(Words):
    """A state is its numbers, a goal the target."""

    problem_form: ClassVar[str] = "[target,number,...]"
    problem_fields: ClassVar[dict[str, str]] = {"nums": "ints", "target": "int"}
    held_out: ClassVar[str] = "target"
    mistake_names: ClassVar[dict[str, str]] = {
        "OPERAND": "number not available",
        "ILLEGAL": "illegal operation",
        "VALUE": "wrong number",
    }

    # Problems

    @classmethod
    def env_of(cls, problem: np.ndarray) -> Countdown:
        count = len(problem) - 2
        if not (2 <= count <= MAX_NUMBERS and problem[1] == count):
            raise UserError(f"problem must be [target, count, numbers...], got {str(problem.tolist())[:60]}")
        return Countdown(num_numbers=count)

    def wrong_problems(self, problems: np.ndarray) -> np.ndarray:
        return (problems[:, 1] != self.env.num_numbers) | (problems < 0).any(1)

    def wrong_states(self, states: np.ndarray) -> np.ndarray:
        most = self.env.num_numbers
        numbered = np.arange(most) < states[:, :1]
        return (states[:, 0] < 1) | (states[:, 0] > most) | ((states[:, 1:] < 0) & numbered).any(1)

    def parse_problem(self, text: str) -> np.ndarray:
        try:
            target, *numbers = (int(part) for part in text.strip().removeprefix("[").removesuffix("]").split(","))
        except ValueError:
            raise UserError(f"problem must be {self.problem_form}, got {text}") from None
        env = self.env
        if len(numbers) != env.num_numbers:
            raise UserError(
                f"problem={text} has {len(numbers)} numbers, env.num_numbers={env.num_numbers}: change one of them"
            )
        for name, value, low, high in (
            ("target", target, env.min_target, env.max_target),
            *(("number", number, env.min_number, env.max_number) for number in numbers),
        ):
            if not low <= value <= high:
                raise UserError(
                    f"problem={text}: {name} {value} is outside env.min_{name}={low} and env.max_{name}={high}"
                )
        return np.array(env.problem_row(target, numbers), np.int32)

    def problem_parts(self, problem: np.ndarray) -> tuple[list[Part], Part]:
        target, count, *numbers = problem.tolist()
        return numbers[:count], target

    def task_text(self, problem: np.ndarray, state: np.ndarray) -> str:
        return f"from {', '.join(map(str, self.state_parts(state)))} make {int(problem[0])}"

    def problem_record(self, problem: np.ndarray) -> dict[str, Any]:
        return {"nums": problem[2:].tolist(), "target": int(problem[0])}

    def row_of_record(self, record: dict[str, Any]) -> np.ndarray:
        numbers, target = record.get("nums"), record.get("target")
        if not isinstance(numbers, list) or len(numbers) != self.env.num_numbers:
            raise UserError(f"nums must be a list of {self.env.num_numbers} numbers, got {str(numbers)[:60]}")
        for name, value in (("target", target), *(("nums", number) for number in numbers)):
            if type(value) is not int or not 0 <= value <= INT32_MAX:
                raise UserError(f"{name} must hold whole numbers below 2**31, got {str(value)[:60]!r}")
        return np.array([target, len(numbers), *numbers], np.int32)

    # States and actions

    def state_parts(self, state: np.ndarray) -> list[Part]:
        return state[1 : 1 + state[0]].tolist()

    def state_key(self, state: np.ndarray) -> str:
        return " ".join(map(str, sorted(state[1 : 1 + state[0]].tolist())))

    def action_text(self, action: np.ndarray) -> str:
        a, operator, b, result = self._operation(action)
        return f"{a} {SIGNS.get(operator, operator)} {b} = {result}"

    def action_record(self, action: np.ndarray) -> str:
        a, operator, b, result = self._operation(action)
        return f"{a}{operator}{b}={result}"

    def made_part(self, action: np.ndarray) -> Part | None:
        return int(action[RESULT])

    def _operation(self, action: np.ndarray) -> tuple[int, str, int, int]:
        """Return a, the operator's text, b and the claimed result."""
        a, b, result = (int(action[column]) for column in (OPERAND_A, OPERAND_B, RESULT))
        return a, self.env.symbols[int(action[OPERATOR])], b, result

    # Verdicts and mistakes

    def verdict_text(self, problem: np.ndarray, goal: bool, value: Part) -> str:
        return f"{value}: the goal." if goal else f"{value} is not {int(problem[0])}: a dead end."

    def explain(self, mistake: Mistake) -> str:
        node, target = mistake.node, int(mistake.problem[0])
        held = "nothing" if mistake.held is None else self.state_text(mistake.held)
        match mistake.error:
            case "ORDER":
                return f"Node {node} still holds {held}: only a single number can be judged."
            case "OPERAND" | "ILLEGAL" | "ARITHMETIC":
                return self._explain_action(mistake)
            case "STATE":
                expected, stated = (self.state_text(state) for state in _both(mistake.expected, mistake.stated))
                if mistake.generates:
                    return f"The numbers left are {expected}, not {stated}."
                return f"Node {node} holds {expected}, not {stated}."
            case "FALSE_GOAL":
                if mistake.held is not None and self.state_parts(mistake.held) == [target]:
                    return f"{target} was reached through a mistake: no true path leads here."
                return f"Node {node} holds {held}: this is not {target}."
            case "FALSE_DEAD_END":
                return f"{target} is the target: this is the goal."
            case "VALUE":
                return f"Node {node} holds {held}, not {mistake.value}."
            case "QUOTE":
                return "It repeats the target, an operation or a history, and differs from what was said before."
        raise AssertionError(f"error {mistake.error} has no words")

    def _explain_action(self, mistake: Mistake) -> str:
        before, action = _both(mistake.before, mistake.action)
        a, operator, b, claim = self._operation(action)
        if mistake.error == "OPERAND":
            return f"Node {mistake.parent} holds {self.state_text(before)}, not {self._missing(before, a, b)}."
        if mistake.error == "ILLEGAL":
            return f"The rules do not allow it: {self._why_illegal(a, operator, b)}."
        return f"The result is {_true_result(a, operator, b)}, not {claim}."

    def _missing(self, state: np.ndarray, a: int, b: int) -> str:
        """Return the operands that `state` does not hold."""
        left = self.state_parts(state)
        missing = []
        for operand in (a, b):
            if operand in left:
                left.remove(operand)
            else:
                missing.append(operand)
        if a == b and len(missing) == 1:
            return f"{a} twice"
        return " or ".join(str(operand) for operand in dict.fromkeys(missing))

    def _why_illegal(self, a: int, operator: str, b: int) -> str:
        if operator == "/" and b == 0:
            return "a division by 0"
        if operator in "-/" and a < b:
            return f"{a} is smaller than {b}"
        if operator == "/" and a % b:
            return f"{a} is not a multiple of {b}"
        return f"the result {_true_result(a, operator, b)} is above {self.env.max_value}"


def _both(first: np.ndarray | None, second: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    assert first is not None
    assert second is not None
    return first, second


def _true_result(a: int, operator: str, b: int) -> int:
    return a // b if operator == "/" else {"+": a + b, "*": a * b}.get(operator, a - b)
