"""What a context holds: items, as rows, and the doses of a hint."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from sos.context.lessons import Lesson
from sos.schema.slot import ATTEMPT, DEMONSTRATION, DOSES, FAILURE, LESSON, OUTCOME, SUCCESS, TRANSCRIPT
from sos.trace import Trace

HINT = "hint"
# From little to all: the kinds of the plan's actions, in no order; its first action; its actions; they and their
# results; and the whole search, which states its problem.
CLASSES, FIRST, ACTIONS, PLAN, TRACE = DOSES
FAILED_STEPS, INSTEAD = f"{ATTEMPT}:failed", f"{ATTEMPT}:instead"  # what was tried, and what should have been
UNSAID = -1  # a number of an action that an item does not say
# Kind -> the names of its items.
NAMES = {
    HINT: tuple(f"{HINT}:{dose}" for dose in DOSES),
    LESSON: (LESSON,),
    DEMONSTRATION: (DEMONSTRATION,),
    TRANSCRIPT: (TRANSCRIPT,),
    ATTEMPT: (FAILED_STEPS, INSTEAD),
    OUTCOME: (f"{OUTCOME}:{SUCCESS}", f"{OUTCOME}:{FAILURE}"),
}
WHOLE_STREAMS = (f"{HINT}:{TRACE}", DEMONSTRATION, TRANSCRIPT)  # the others hold actions, but for lessons


class Item(NamedTuple):
    """One item of a context: actions, a whole trace, a lesson, or filler in their place. How a stream ends is a name
    alone."""

    name: str  # one of the `NAMES`
    actions: np.ndarray  # int32 (K, A), `UNSAID` where an action's number is not said; K = 0 where there are none
    trace: Trace | None = None
    filler: int = 0  # tokens
    lesson: Lesson | None = None

    def equals(self, other: Item) -> bool:
        """Say whether two items are the same."""
        same = self.trace is other.trace or (
            self.trace is not None and other.trace is not None and self.trace.equals(other.trace)
        )
        return (self.name, self.filler, self.lesson) == (other.name, other.filler, other.lesson) and (
            same and self.actions.shape == other.actions.shape and bool((self.actions == other.actions).all())
        )


def outcome_item(env: Any, succeeds: bool) -> Item:
    """Return the item that says whether a stream is a success."""
    return Item(f"{OUTCOME}:{SUCCESS if succeeds else FAILURE}", no_actions(env))


def no_actions(env: Any) -> np.ndarray:
    """Return the rows of an item that has no actions, int32 (0, A)."""
    return np.zeros((0, env.action_width), np.int32)


def lesson_item(env: Any, lesson: Lesson) -> Item:
    """Return the item that says a lesson."""
    return Item(LESSON, no_actions(env), lesson=lesson)


def _columns(env: Any, names: tuple[str, ...]) -> list[int]:
    found = {f.column for name in names for f in env.fields[name] if f.row == "action"}
    return sorted(found)


def said_columns(env: Any, name: str) -> list[int]:
    """Return the columns of an action that an item of this name says, in ascending order."""
    every = _columns(env, tuple(env.fields))
    results = set(_columns(env, getattr(env, "results", getattr(env, "facts", ()))))
    if name in (f"{HINT}:{PLAN}", FAILED_STEPS, INSTEAD):
        return every
    classes = _columns(env, getattr(env, "classes", ()))
    if name == f"{HINT}:{CLASSES}" and classes:
        return classes
    return [column for column in every if column not in results]


def said(env: Any, name: str, actions: np.ndarray) -> np.ndarray:
    """Return what an item of this name says of the actions of a plan, int32 (K, A) -> (K', A)."""
    rows = np.full_like(actions, UNSAID)
    columns = said_columns(env, name)
    rows[:, columns] = actions[:, columns]
    if name == f"{HINT}:{FIRST}":
        return rows[:1]
    return np.unique(rows, axis=0) if name == f"{HINT}:{CLASSES}" else rows


def hint(env: Any, dose: str, plan: np.ndarray, trace: Trace) -> Item:
    """Return the hint of a dose from a plan (int32 (K, A), K > 0) and the search that found it."""
    name = f"{HINT}:{dose}"
    if dose == TRACE:
        return Item(name, no_actions(env), trace)
    return Item(name, said(env, name, plan))


def attempt(env: Any, path: np.ndarray, plan: np.ndarray, *, critique: bool) -> list[Item]:
    """Return what is said of a failed attempt, which are the steps of `path`, int32 (K, A): they alone, or with them
    the critique, aligned with the steps: of `plan`, int32 (K', A), the steps that both have and the next one, which
    should have stood there. The path leaves the plan before either ends."""
    items = [Item(FAILED_STEPS, said(env, FAILED_STEPS, path))]
    if critique:
        tried, right = (said(env, f"{HINT}:{ACTIONS}", actions) for actions in (path, plan))
        both = min(len(path), len(plan))
        kept = int(np.argmin([*(tried[:both] == right[:both]).all(1), False]))
        assert kept < both, "a failed path is no part of the plan, nor the plan of it"
        items.append(Item(INSTEAD, said(env, INSTEAD, plan[: kept + 1])))
    return items
