"""What lessons are about: features of a problem, and classes of the actions at its root. A capability.

A lesson says "where the problem has this feature, prefer (or avoid) actions of this class". An environment that knows
lessons has two attributes, `lesson_features` and `lesson_classes` (names, in the order of their numbers, the rarest
feature first), and implements the two stubs below. Every problem has at least one of the features, and every action one
class. None of this needs a search.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sos.envs.protocol import implementation_of
from sos.envs.stubs import capability, has
from sos.errors import UserError


def _no_features(env, problem, out):
    return None


@capability(_no_features)
def find_features(env, problem, out):
    """Write into `out` int8 (F,) which of the `lesson_features` `problem` has: 1 or 0."""
    return implementation_of("find_features", type(env))(env, problem, out)


def _one_class(env, problem, state, action):
    return 0


@capability(_one_class)
def action_class(env, problem, state, action):
    """Return the class of `action` int32 (A,), which holds in `state`: an index into `lesson_classes`."""
    return implementation_of("action_class", type(env))(env, problem, state, action)


def knows_lessons(env: Any) -> bool:
    """Say whether an environment has features and classes."""
    return has("find_features", type(env)) and has("action_class", type(env))


def check_lessons(env: Any, asker: str) -> None:
    """Raise UserError, in the name of what asks for lessons, where the environment has none."""
    if not knows_lessons(env):
        raise UserError(f"{asker}: {type(env).__name__} has no features and classes of actions, as lessons need")


def features_of(env: Any, problem: np.ndarray) -> np.ndarray:
    """Return which features a problem has, int8 (F,)."""
    out = np.zeros(len(env.lesson_features), np.int8)
    find_features(env, problem, out)
    return out
