"""Lessons: typed rules, `condition on the problem -> prefer or avoid a class of actions at the root`.

Conditions are the environment's features, and classes its classes of actions (`sos.envs.lessons`). A lesson applies to
the problems that have its condition. It is mined from a search by rule (`mine`):

- from one that succeeded: prefer the class of the branch of the root in which the goal was found.
- from one that failed: avoid the class of the costliest branch that was searched to its end in vain, unless the solver
  finds the goal by this class; and prefer the class by which the solver finds it, which is the counterfactual.

Who judges may be wrong. A failure that is taken for a success has no branch with the goal, and the last branch that was
followed stands in its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from sos.envs import protocol as environment
from sos.envs.lessons import action_class, features_of
from sos.trace import ACTION, END, EXHAUSTED, GOAL, KIND, NODE, PARENT, VALUE, Trace

NO_CLASS = -1


class Lesson(NamedTuple):
    """A rule. Numbers are indices into the environment's `lesson_features` and `lesson_classes`."""

    condition: int
    prefer: bool  # or avoid
    of: int  # the class of actions

    def described(self, env: Any) -> str:
        """Return the rule in words, such as `if target_odd prefer *`."""
        verb = "prefer" if self.prefer else "avoid"
        return f"if {env.lesson_features[self.condition]} {verb} {env.lesson_classes[self.of]}"


class Branch(NamedTuple):
    """What a search did below one child of the root."""

    of: int  # the class of the action
    nodes: int  # generated, the child among them
    goal: bool  # the search's goal is in it
    closed: bool  # the search went on elsewhere, or was through


def root_branches(env: Any, trace: Trace, *, claimed: bool = True) -> list[Branch]:
    """Return the branches of a trace in the order of generation; a child by an action that does not hold, as a model
    may claim one, is none. O(nodes + events).

    The trace of a search of ours is not `claimed`: its actions hold, and are not asked.
    """
    num = len(trace.nodes)
    root = np.zeros(env.state_width, np.int32)
    environment.root_state(env, trace.problem, root)
    tops, child = np.full(num, -1, np.int64), np.zeros(env.state_width, np.int32)
    found: list[int] = []
    for node in range(1, num):
        parent = int(trace.nodes[node, PARENT])
        if parent > 0:
            tops[node] = tops[parent] if parent < node else -1
        elif parent == 0 and (
            not claimed
            or environment.judge(env, trace.problem, root, trace.nodes[node, ACTION:], child) == environment.HOLDS
        ):
            tops[node] = node
            found.append(node)
    kinds, nodes = trace.events[:, KIND], trace.events[:, NODE]
    goals = [int(node) for node in nodes[kinds == GOAL][:1] if 0 <= node < num]
    goal = int(tops[goals[0]]) if goals else -1
    last = next((int(tops[node]) for node in nodes[::-1] if 0 < node < num and tops[node] > 0), -1)
    through = bool(len(kinds)) and kinds[-1] == END and trace.events[-1, VALUE] == EXHAUSTED
    return [
        Branch(
            int(action_class(env, trace.problem, root, trace.nodes[top, ACTION:])),
            int((tops == top).sum()),
            top == goal,
            top != goal and (through or top != last),
        )
        for top in found
    ]


def solving_class(branches: Sequence[Branch]) -> int:
    """Return the class of the branch with the goal, `NO_CLASS` where there is none."""
    return next((branch.of for branch in branches if branch.goal), NO_CLASS)


def costliest_class(branches: Sequence[Branch], besides: int = NO_CLASS) -> int:
    """Return the class of the closed branch with the most nodes, the first of several; those of the class `besides` do
    not count. `NO_CLASS` where there is none."""
    closed = [branch for branch in branches if branch.closed and branch.of != besides]
    return max(closed, key=lambda branch: branch.nodes).of if closed else NO_CLASS


def condition_of(env: Any, problem: np.ndarray) -> int:
    """Return the first, which is the rarest, of a problem's features."""
    return int(np.flatnonzero(features_of(env, problem))[0])


def mine(env: Any, trace: Trace, succeeded: bool, solver: int = NO_CLASS) -> list[Lesson]:
    """Return the lessons of one experience, two at most.

    `succeeded` is what the judge says; `solver` the class by which the solver finds the goal, as far as it is known.
    """
    branches, condition = root_branches(env, trace), condition_of(env, trace.problem)
    if succeeded:
        own = solving_class(branches)
        own = branches[-1].of if own == NO_CLASS and branches else own
        return [Lesson(condition, True, own)] if own != NO_CLASS else []
    worst = costliest_class(branches, solver)
    found = [Lesson(condition, False, worst)] if worst != NO_CLASS else []
    return [*found, Lesson(condition, True, solver)] if solver != NO_CLASS else found


def contrast(env: Any, traces: Sequence[Trace], succeeded: Sequence[bool]) -> list[Lesson]:
    """Return the lessons of several attempts at one problem, each once, those of successes first. A failure's
    counterfactual is not the solver's but that of the first success beside it, where there is one."""
    right = [trace for trace, own in zip(traces, succeeded, strict=True) if own]
    found = [lesson for trace in right for lesson in mine(env, trace, True)]
    known = found[0].of if found else NO_CLASS
    for trace, own in zip(traces, succeeded, strict=True):
        found += [] if own else mine(env, trace, False, known)
    return list(dict.fromkeys(found))


def nearest(fits: np.ndarray, agree: np.ndarray) -> list[int]:
    """Return the numbers of experiences, the nearest to a problem first: before all others those with a lesson that
    applies (`fits`, bool (N,)), then those that agree with the problem in most features (`agree`, int (N,)), of equal
    ones the latest. O(N log N)."""
    numbers = np.arange(len(fits))
    return np.lexsort((-numbers, -agree, ~fits)).tolist()


def applies(env: Any, lesson: Lesson, problem: np.ndarray) -> bool:
    """Say whether a problem has the condition of a lesson."""
    return bool(features_of(env, problem)[lesson.condition])


def votes_of(env: Any, lessons: Sequence[Lesson], problem: np.ndarray) -> np.ndarray:
    """Return what lessons say of the classes of actions on a problem, int64 (C,): one for each that prefers a class,
    one less for each that has it avoided; those that do not apply say nothing."""
    votes = np.zeros(len(env.lesson_classes), np.int64)
    for lesson in lessons:
        if applies(env, lesson, problem):
            votes[lesson.of] += 1 if lesson.prefer else -1
    return votes
