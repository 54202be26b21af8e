"""The mistakes of a trace in words: what each error of `sos.stream.verify` is about, with what the event says.

What holds in every environment is said here; what is about states and actions, by the environment's `Words`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from sos.envs import protocol as environment
from sos.envs.words import Mistake, Words, words_of
from sos.stream.verify import Error
from sos.trace import ACTION, PARENT, Event, Outcome, Trace

WORDS = {
    Error.ORDER: "out of order",
    Error.JUMP: "impossible jump",
    Error.OPERAND: "not available",
    Error.ILLEGAL: "illegal action",
    Error.ARITHMETIC: "wrong result",
    Error.STATE: "wrong state",
    Error.FALSE_GOAL: "false goal",
    Error.FALSE_DEAD_END: "missed goal",
    Error.VALUE: "wrong value",
    Error.OUTCOME: "wrong outcome",
    Error.QUOTE: "wrong quote",
    Error.LABEL: "wrong label",
    Error.UNANNOUNCED: "unannounced return",
    Error.NOT_FORCED: "not forced",
}
END_WORDS = {
    Outcome.SOLVED: "a goal was found",
    Outcome.EXHAUSTED: "every branch was explored",
    Outcome.BUDGET: "the budget ran out",
    Outcome.EMPTY: "nothing is left to visit",
}


class Said(NamedTuple):
    """What a trace said before an event."""

    state_of: dict[int, int]  # node -> row of the state last stated for it
    expanded: set[int]
    goal: bool  # a goal was claimed
    plan: bool  # an action of a plan was


def mistake_names(words: Words) -> dict[Error, str]:
    """Return what each error is called in an environment."""
    return WORDS | {Error[name]: called for name, called in words.mistake_names.items()}


def explain_mistakes(env: Any, trace: Trace, errors: np.ndarray) -> dict[int, str]:
    """Return a sentence for each event of `trace` whose error in `errors` (int8 (E,)) is not `NONE`. O(events).

    Actions and states are judged, as in `verify`, against what was last stated for the node.
    """
    texts: dict[int, str] = {}
    said = Said({}, set(), False, False)
    for e, (kind, node, row, _, _) in enumerate(trace.events.tolist()):
        if errors[e]:
            texts[e] = _explain(env, trace, e, Error(int(errors[e])), said)
        if kind in (Event.EXPAND, Event.BACKTRACK, Event.GENERATE, Event.PLAN) and node >= 0:
            said.state_of[node] = row
            if kind in (Event.EXPAND, Event.BACKTRACK):
                said.expanded.add(node)
        if kind == Event.GOAL:
            said = said._replace(goal=True)
        if kind == Event.PLAN:
            said = said._replace(plan=True)
    return texts


def _explain(env: Any, trace: Trace, e: int, error: Error, said: Said) -> str:
    kind, node, _, value, _ = trace.events[e].tolist()
    match error:
        case Error.ORDER if said.plan:
            return "A plan was given before: nothing but the end may follow."
        case Error.ORDER if said.goal:
            return "The goal was reached before: nothing but the end may follow."
        case Error.ORDER if kind in (Event.EXPAND, Event.BACKTRACK):
            return f"Node {node} is a leaf: there is nothing to explore below it."
        case Error.JUMP if kind == Event.PLAN:
            return "It does not go on from the action before."
        case Error.JUMP:
            if kind == Event.GENERATE:
                return "The node that it starts from does not exist, or was not visited."
            if node < 0 or node not in said.state_of:
                return "The node that it names does not exist."
            if kind == Event.BACKTRACK:
                return f"Node {node} was not visited before: there is nothing to return to."
            return f"Node {node} was visited before."
        case Error.OUTCOME:
            found = "a goal was claimed" if said.goal or said.plan else "no goal was claimed"
            return f"It ends as {Outcome(value).name.lower()}, though {found}."
        case Error.LABEL:
            return "The label of the new node is missing, or is not the next free one."
        case Error.UNANNOUNCED:
            return f"It goes on from node {int(trace.nodes[node, PARENT])} without saying so."
        case Error.NOT_FORCED:
            return "It is called forced, and deduction leaves other moves."
    return words_of(env).explain(_mistake(env, trace, e, error, said))


def _mistake(env: Any, trace: Trace, e: int, error: Error, said: Said) -> Mistake:
    """Return what the environment needs to say what is wrong with event e."""
    kind, node, row, value, _ = trace.events[e].tolist()
    generates = kind in (Event.GENERATE, Event.PLAN)
    held = trace.states[said.state_of[node]] if node in said.state_of else None
    mistake = Mistake(error.name, trace.problem, node, value, generates, held=held)
    if row >= 0:
        mistake = mistake._replace(stated=trace.states[row], expected=held)
    if node < 1:
        return mistake
    parent, action = int(trace.nodes[node, PARENT]), trace.nodes[node, ACTION:]
    mistake = mistake._replace(parent=parent, action=action)
    if parent not in said.state_of:
        return mistake
    before = trace.states[said.state_of[parent]]
    if generates and error == Error.STATE:
        expected = np.zeros(trace.states.shape[1], np.int32)
        environment.judge(env, trace.problem, before, action, expected)
        mistake = mistake._replace(expected=expected)
    return mistake._replace(before=before)
