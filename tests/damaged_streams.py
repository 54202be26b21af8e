"""A small search in two dialects, and every kind of mistake put into it."""

from __future__ import annotations

import numpy as np

from sos.envs.countdown.rules import Countdown
from sos.stream.verify import Error
from sos.trace import ACTION, FLAGS, KIND, NODE, PARENT, STATE, VALUE, Event, Trace

ENV = Countdown(num_numbers=3, max_value=500)
PROBLEM = np.array([19, 3, 4, 6, 9], np.int32)
SOS = """\
Current State: 19:[4, 6, 9], Operations: []
Exploring Operation: 4+6=10, Resulting Numbers: [9, 10]
Generated Node #0,0: 19:[9, 10] Operation: 4+6=10
Moving to Node #0,0
Current State: 19:[9, 10], Operations: ['4+6=10']
Exploring Operation: 9*10=90, Resulting Numbers: [90]
90,19 unequal: No Solution
Moving to Node #0,0
Current State: 19:[9, 10], Operations: ['4+6=10']
Exploring Operation: 9+10=19, Resulting Numbers: [19]
19,19 equal: Goal Reached
"""
COMPACT = "4,6,9 > 19 : 4+6=10, [9,10] 9*10=90, x < 1 [9,10] 9+10=19, !"
# Events: 0 root, 1 generate, 2 expand, 3 generate, 4 dead end, 5 backtrack, 6 generate, 7 goal, 8 end.
GOAL_LINE = "19,19 equal: Goal Reached\n"


def swapped(text: str, *changes: tuple[str, str]) -> str:
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    return text


MOVE = "Moving to Node #0,0\nCurrent State: 19:"
IN_SOS = [
    # (error, event, solved, changes)
    (Error.ORDER, 8, True, [(GOAL_LINE, GOAL_LINE + "19,19 equal: Goal Reached\n")]),
    (Error.ORDER, 3, True, [("Exploring Operation: 9*10=90, Resulting Numbers: [90]\n90,19", "10,19")]),
    (Error.JUMP, 5, False, [("Solution\nMoving to Node #0,0", "Solution\nMoving to Node #0,7")]),
    (Error.OPERAND, 3, True, [("9*10=90, Resulting Numbers: [90]\n90,", "9*11=99, Resulting Numbers: [99]\n99,")]),
    (Error.ILLEGAL, 3, True, [("9*10=90, Resulting Numbers: [90]\n90,", "9-10=1, Resulting Numbers: [1]\n1,")]),
    (Error.ILLEGAL, 3, True, [("9*10=90, Resulting Numbers: [90]\n90,", "10/9=1, Resulting Numbers: [1]\n1,")]),
    (Error.ARITHMETIC, 3, True, [("9*10=90, Resulting Numbers: [90]\n90,", "9*10=80, Resulting Numbers: [80]\n80,")]),
    (Error.STATE, 3, True, [("9*10=90, Resulting Numbers: [90]\n90,", "9*10=90, Resulting Numbers: [91]\n91,")]),
    (Error.STATE, 5, True, [("Solution\n" + MOVE + "[9, 10]", "Solution\n" + MOVE + "[9, 10, 1]")]),
    (Error.FALSE_GOAL, 4, False, [("90,19 unequal: No Solution", "90,19 equal: Goal Reached")]),
    (Error.FALSE_DEAD_END, 7, False, [(GOAL_LINE, "19,19 unequal: No Solution\n")]),
    (Error.VALUE, 4, True, [("90,19", "80,19")]),
    (Error.VALUE, 7, True, [("19,19 equal", "18,19 equal")]),
    (Error.OUTCOME, 8, True, [(GOAL_LINE, GOAL_LINE + "Budget exhausted\n")]),
    (Error.QUOTE, 4, True, [("90,19", "90,18")]),
    (Error.QUOTE, 1, True, [("[9, 10] Operation: 4+6=10", "[9, 10] Operation: 4+6=11")]),
    (Error.QUOTE, 1, True, [("#0,0: 19:[9, 10]", "#0,0: 19:[10, 10]")]),
    (Error.QUOTE, 2, True, [("['4+6=10']\nExploring Operation: 9*", "['4+6=11']\nExploring Operation: 9*")]),
    (Error.QUOTE, 0, True, [("[4, 6, 9], Operations: []", "[4, 6, 9], Operations: ['4+6=10']")]),
    (Error.LABEL, 1, True, [("Node #0,0", "Node #0,3")]),
    (Error.LABEL, 1, True, [("Generated Node #0,0: 19:[9, 10] Operation: 4+6=10\n", "")]),
]  # fmt: skip


def damaged(rng: np.random.Generator, trace: Trace) -> Trace:
    """Change a few entries of a trace, all rows staying within their arrays."""
    problem, events, nodes, states = (array.copy() for array in trace)
    for _ in range(int(rng.integers(1, 4))):
        e = int(rng.integers(1, len(events)))
        node = int(rng.integers(len(nodes)))
        way = rng.integers(11)
        if way == 0:
            events[e, NODE] = rng.integers(0 if events[e, KIND] in (Event.GENERATE, Event.PLAN) else -1, len(nodes))
        elif way == 1:
            events[e, STATE] = rng.integers(len(states))
        elif way == 2:
            events[e, VALUE] = rng.choice([events[e, VALUE] + 1, problem[0], 0])
        elif way == 3:
            events[e, KIND] = rng.integers(len(Event))
            events[e, NODE] = max(events[e, NODE], 0)
            events[e, STATE] = max(events[e, STATE], 0)
        elif way == 4:
            events[e, FLAGS] = rng.integers(16)
        elif way == 5:
            column = rng.choice([ACTION, ACTION + 2, ACTION + 3])
            nodes[node, column] = rng.choice([nodes[node, column] + 1, problem[0], problem[2]])
        elif way == 6:
            nodes[node, ACTION + 1] = rng.integers(4)
        elif way == 7 and node:
            nodes[node, PARENT] = rng.integers(-1, node)
        elif way == 8:
            states[node, 1] = rng.choice([problem[0], states[node, 1] + 1])
        elif way == 9:
            i, j = rng.integers(1, len(events), 2)
            events[[i, j]] = events[[j, i]]
        else:
            events = np.delete(events, e, axis=0) if len(events) > 2 else events
    return Trace(problem, events, nodes, states)
