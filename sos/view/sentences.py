"""The mistakes of a trace in words: what each error of `sos.stream.verify` is about, with the numbers of the event."""

from __future__ import annotations

from typing import Any

import numpy as np

from sos.envs import protocol as environment
from sos.stream.verify import Error
from sos.trace import ACTION, PARENT, Event, Outcome, Trace

WORDS = {
    Error.ORDER: "out of order",
    Error.JUMP: "impossible jump",
    Error.OPERAND: "number not available",
    Error.ILLEGAL: "illegal operation",
    Error.ARITHMETIC: "wrong result",
    Error.STATE: "wrong state",
    Error.FALSE_GOAL: "false goal",
    Error.FALSE_DEAD_END: "missed goal",
    Error.VALUE: "wrong number",
    Error.OUTCOME: "wrong outcome",
    Error.QUOTE: "wrong quote",
    Error.LABEL: "wrong label",
    Error.UNANNOUNCED: "unannounced return",
}
END_WORDS = {
    Outcome.SOLVED: "a goal was found",
    Outcome.EXHAUSTED: "every branch was explored",
    Outcome.BUDGET: "the budget ran out",
    Outcome.EMPTY: "nothing is left to visit",
}


def explain_mistakes(env: Any, trace: Trace, errors: np.ndarray) -> dict[int, str]:
    """Return a sentence for each event of `trace` whose error in `errors` (int8 (E,)) is not `NONE`. O(events).

    Operands and states are judged, as in `verify`, against what was last stated for the node.
    """
    texts: dict[int, str] = {}
    state_of: dict[int, int] = {}
    expanded: set[int] = set()
    goal_seen = False
    for e, (kind, node, row, _, _) in enumerate(trace.events.tolist()):
        if errors[e]:
            texts[e] = _explain(env, trace, e, Error(int(errors[e])), state_of, expanded, goal_seen)
        if kind in (Event.EXPAND, Event.BACKTRACK, Event.GENERATE) and node >= 0:
            state_of[node] = row
            if kind != Event.GENERATE:
                expanded.add(node)
        goal_seen |= kind == Event.GOAL
    return texts


def _numbers(state: np.ndarray) -> str:
    return ", ".join(map(str, state[1 : 1 + state[0]].tolist())) or "nothing"


def _explain(
    env: Any, trace: Trace, e: int, error: Error, state_of: dict[int, int], expanded: set[int], goal_seen: bool
) -> str:
    kind, node, row, value, _ = trace.events[e].tolist()
    held = trace.states[state_of[node]] if node in state_of else None
    target = int(trace.problem[0])
    match error:
        case Error.ORDER:
            if goal_seen:
                return "The goal was reached before: nothing but the end may follow."
            if kind in (Event.EXPAND, Event.BACKTRACK):
                return f"Node {node} is a leaf: there is nothing to explore below it."
            numbers = _numbers(held)  # type: ignore[arg-type]
            return f"Node {node} still holds {numbers}: only a single number can be judged."
        case Error.JUMP:
            if kind == Event.GENERATE:
                return "The node that it starts from does not exist, or was not visited."
            if node < 0 or held is None:
                return "The node that it names does not exist."
            if kind == Event.BACKTRACK:
                return f"Node {node} was not visited before: there is nothing to return to."
            return f"Node {node} was visited before."
        case Error.OPERAND:
            parent = int(trace.nodes[node, PARENT])
            state = trace.states[state_of[parent]]
            missing = _missing(env, state, trace.nodes[node, ACTION:])
            return f"Node {parent} holds {_numbers(state)}, not {missing}."
        case Error.ILLEGAL:
            return f"The rules do not allow it: {_why_illegal(env, trace.nodes[node, ACTION:])}."
        case Error.ARITHMETIC:
            a, operator, b, claim = operation(env, trace.nodes[node, ACTION:])
            return f"The result is {_true_result(a, operator, b)}, not {claim}."
        case Error.STATE:
            if kind == Event.GENERATE:
                parent = int(trace.nodes[node, PARENT])
                true = np.zeros(trace.states.shape[1], np.int32)
                environment.judge(env, trace.problem, trace.states[state_of[parent]], trace.nodes[node, ACTION:], true)
                return f"The numbers left are {_numbers(true)}, not {_numbers(trace.states[row])}."
            return f"Node {node} holds {_numbers(held)}, not {_numbers(trace.states[row])}."  # type: ignore[arg-type]
        case Error.FALSE_GOAL:
            if held is not None and held[0] == 1 and held[1] == target:
                return f"{target} was reached through a mistake: no true path leads here."
            return f"Node {node} holds {_numbers(held)}: this is not {target}."  # type: ignore[arg-type]
        case Error.FALSE_DEAD_END:
            return f"{target} is the target: this is the goal."
        case Error.VALUE:
            return f"Node {node} holds {_numbers(held)}, not {value}."  # type: ignore[arg-type]
        case Error.OUTCOME:
            found = "a goal was claimed" if goal_seen else "no goal was claimed"
            return f"It ends as {Outcome(value).name.lower()}, though {found}."
        case Error.QUOTE:
            return "It repeats the target, an operation or a history, and differs from what was said before."
        case Error.LABEL:
            return "The label of the new node is missing, or is not the next free one."
        case Error.UNANNOUNCED:
            parent = int(trace.nodes[node, PARENT])
            return f"It goes on from node {parent} without saying so."
    raise AssertionError(f"error {error} has no words")


def operation(env: Any, action: np.ndarray) -> tuple[int, str, int, int]:
    """Return a, the operator's text, b and the claimed result of an action row."""
    columns = {name: column for name, (row, column) in env.fields.items() if row != "problem"}
    a, operator, b, result = (int(action[columns[name]]) for name in ("a", "op", "b", "result"))
    return a, env.symbols[operator], b, result


def _true_result(a: int, operator: str, b: int) -> int:
    return a // b if operator == "/" else {"+": a + b, "*": a * b}.get(operator, a - b)


def _missing(env: Any, state: np.ndarray, action: np.ndarray) -> str:
    """Return the operands that `state` does not hold."""
    a, _, b, _ = operation(env, action)
    left = state[1 : 1 + state[0]].tolist()
    missing = []
    for operand in (a, b):
        if operand in left:
            left.remove(operand)
        else:
            missing.append(operand)
    if a == b and len(missing) == 1:
        return f"{a} twice"
    return " or ".join(str(operand) for operand in dict.fromkeys(missing))


def _why_illegal(env: Any, action: np.ndarray) -> str:
    a, operator, b, _ = operation(env, action)
    if operator == "/" and b == 0:
        return "a division by 0"
    if operator in "-/" and a < b:
        return f"{a} is smaller than {b}"
    if operator == "/" and a % b:
        return f"{a} is not a multiple of {b}"
    return f"the result {_true_result(a, operator, b)} is above {env.max_value}"
