"""Arms: what each keeps of an experience, and what it shows of its memory before a task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from sos.context.forms import write_context
from sos.context.items import Item, lesson_item, no_actions
from sos.context.lessons import Lesson, nearest
from sos.errors import UserError
from sos.memory.records import Record
from sos.rng import below, permute
from sos.schema.slot import DEMONSTRATION, LESSON, TRANSCRIPT
from sos.stream.dialect.compile import Dialect

NOTHING = ""
NEAREST, ANY, SHUFFLED, BLANK = "nearest", "any", "shuffled", "blank"
# What is drawn for a task, from its key.
FLIP, CHOICE = range(2)


class Arm(NamedTuple):
    """One way to remember."""

    success: str = NOTHING  # the kind of the items that a success leaves
    failure: str = NOTHING
    shows: str = NEAREST  # the nearest records; ANY: drawn ones; SHUFFLED: with other classes; BLANK: filler as long
    k: int = 1  # records at most
    each: bool = False  # k successes and k failures, not k of all
    flips: float = 0.0  # the share of verdicts that the judge turns round
    solver: bool = True  # a failure's lessons have the counterfactual that the solver finds
    attempts: int = 1  # at each task, drawn where they are several; the first that the judge accepts is the answer
    contrast: bool = False  # they leave lessons together: what a failure did not know is what a success did


ARMS = {
    "none": Arm(),
    "success": Arm(success=LESSON),
    "failure": Arm(failure=LESSON),
    "both": Arm(LESSON, LESSON),
    "failure_avoid": Arm(failure=LESSON, solver=False),
    "both_avoid": Arm(LESSON, LESSON, solver=False),
    "both_k2": Arm(LESSON, LESSON, k=2),
    "both_k4": Arm(LESSON, LESSON, k=4),
    "random": Arm(LESSON, LESSON, shows=ANY),
    "shuffled": Arm(LESSON, LESSON, shows=SHUFFLED),
    "filler": Arm(LESSON, LESSON, shows=BLANK),
    "raw": Arm(TRANSCRIPT, TRANSCRIPT),
    "raw_success": Arm(success=TRANSCRIPT),
    "raw_failure": Arm(failure=TRANSCRIPT),
    "flips_10": Arm(LESSON, LESSON, flips=0.1),
    "flips_30": Arm(LESSON, LESSON, flips=0.3),
    # Of each sort one in a prompt: what becomes of successes, and what of failures.
    "lesson_and_lesson": Arm(LESSON, LESSON, each=True),
    "demo_and_lesson": Arm(DEMONSTRATION, LESSON, each=True),
    "demo_and_raw": Arm(DEMONSTRATION, TRANSCRIPT, each=True),
    "lesson_and_raw": Arm(LESSON, TRANSCRIPT, each=True),
    "demo_and_lesson_filler": Arm(DEMONSTRATION, LESSON, shows=BLANK, each=True),
    # Several attempts at each task: without a memory, with the lessons of each attempt by itself, with as many tokens
    # that say nothing, and with the lessons of their contrast. No solver says anything.
    **{f"best_of_{num}": Arm(attempts=num) for num in (3, 5)},
    **{f"apart_{num}": Arm(LESSON, LESSON, solver=False, attempts=num) for num in (3, 5)},
    **{f"filler_{num}": Arm(LESSON, LESSON, shows=BLANK, solver=False, attempts=num) for num in (3, 5)},
    **{f"contrast_{num}": Arm(LESSON, LESSON, solver=False, attempts=num, contrast=True) for num in (3, 5)},
}
# What is played where none is named.
FIRST = tuple(name for name, arm in ARMS.items() if not arm.each and arm.attempts == 1)


def check_arms(names: Sequence[str]) -> None:
    """Raise UserError where names are not some arms, each once."""
    if unknown := [name for name in names if name not in ARMS]:
        raise UserError(f"arms: {unknown[0]!r} is none of {', '.join(ARMS)}")
    if not names or len(set(names)) < len(names):
        raise UserError(f"arms must name some of {', '.join(ARMS)}, each once")


def needed_kinds(names: Sequence[str]) -> set[str]:
    """Return the kinds of items that some arms show."""
    return {kind for name in names for kind in (ARMS[name].success, ARMS[name].failure) if kind}


def retrieve(arm: Arm, records: Sequence[Record], features: np.ndarray, key: np.uint64) -> list[Record]:
    """Return the records to show before a task, the nearest first: before all others those with a lesson that applies,
    then those that agree with the task in most features, of equal ones the latest. O(records x features)."""
    usable = [record for record in records if record.items]
    if not usable or arm.k < 1:
        return []
    if arm.shows == ANY:
        return [usable[below(key, CHOICE, len(usable))]]
    agree = np.array([(record.features == features).sum() for record in usable])
    order = nearest(np.array([any_applies(record.items, features) for record in usable]), agree)
    if not arm.each:
        return [usable[k] for k in order[: arm.k]]
    found: list[Record] = []
    for succeeded in (True, False):
        found += [usable[k] for k in order if usable[k].succeeded == succeeded][: arm.k]
    return found


def shown(dialect: Dialect, arm: Arm, records: Sequence[Record], most: int, room: int, key: np.uint64) -> np.ndarray:
    """Return the tokens of the context that shows records, int64 (T,): `most` lessons at most, and as many items as
    `room` tokens hold."""
    items: list[Item] = []
    num = 0
    for item in (item for record in records for item in record.items):
        if item.lesson is not None:
            num += 1
            if num > most:
                continue
            item = lesson_item(dialect.env, _shuffled(dialect.env, item.lesson, key)) if arm.shows == SHUFFLED else item
        longer = [*items, item]
        if len(write_context(dialect, longer)) > room:
            break
        items = longer
    if arm.shows == BLANK:
        items = [_blank(dialect, item) for item in items]
    return write_context(dialect, items)


def _shuffled(env: Any, lesson: Lesson, key: np.uint64) -> Lesson:
    """Return the lesson with another class, by a fixed permutation of the classes that leaves none in its place."""
    num = len(env.lesson_classes)
    order = [permute(key, k, num) for k in range(num)]
    return lesson._replace(of=order[(order.index(lesson.of) + 1) % num])


def _blank(dialect: Dialect, item: Item) -> Item:
    length = len(write_context(dialect, [item])) - 3
    return Item(item.name, no_actions(dialect.env), filler=length)


def any_applies(items: Sequence[Item], features: np.ndarray) -> bool:
    """Say whether one of some items is a lesson whose condition is among a problem's features, int8 (F,)."""
    return any(item.lesson is not None and bool(features[item.lesson.condition]) for item in items)
