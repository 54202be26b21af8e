"""An environment: climb stairs to a step, by three steps at a time or to twice the height.

Rows of int32: a problem is [start, target], a state [step], an action [how, to]. The kernels below are compiled; what
each is for stands in `sos.envs.protocol`.
"""

from dataclasses import dataclass
from importlib import resources
from typing import Any, NamedTuple

import numpy as np

from sos.envs import problems, protocol
from sos.envs.config import EnvConfig
from sos.envs.protocol import Field, implements
from sos.envs.registry import register_environment
from sos.envs.words import Words, words_for
from sos.rng import below, fold
from sos.schema.keys import check_keys, key

MOVES = ("up", "twice")


@dataclass
class ClimbConfig(EnvConfig):
    """The keys of the group `env`."""

    name: str = key("climb", "The environment.")
    top: int = key(40, "The highest step.", low=5, high=60)

    def __post_init__(self) -> None:
        check_keys(self, "env")


class Climb(NamedTuple):
    """The rules and the sampler's range."""

    top: int = 40
    problem_width, state_width, action_width = 2, 1, 2
    max_children, max_depth, scratch_size = 2, 15, 1
    heuristics, heuristic_scale = ("none", "distance"), 1
    groups = property(problems.one_group)
    describe_group = problems.no_group
    problem_key = problems.whole_row
    check_problems = problems.check_problems
    tree_nodes = 2**16
    dialects = resources.files("climb") / "dialects"
    fields = {  # noqa: RUF012
        "start": (Field("problem", 0),),
        "target": (Field("problem", 1),),
        "step": (Field("state", 0),),
        "how": (Field("action", 0, symbols=MOVES),),
        "to": (Field("action", 1),),
    }

    largest_number = property(lambda self: 2 * self.top)

    describe = lambda self: f"stairs of {self.top} steps"  # noqa: E731

    longest_problem = lambda self: [self.top, self.top]  # noqa: E731

    def proof_work(self) -> np.ndarray:
        return np.zeros(2 * self.top + 4, np.bool_)


@implements(protocol.root_state, Climb)
def _root_state(env, problem, state):
    state[0] = problem[0]


@implements(protocol.status, Climb)
def _status(env, problem, state):
    if state[0] == problem[1]:
        return protocol.GOAL
    return protocol.DEAD if state[0] > problem[1] or state[0] < 1 else protocol.OPEN


@implements(protocol.successors, Climb)
def _successors(env, kind, problem, scratch, state, moves, values):
    for how in range(2):
        moves[how] = how
        values[how] = abs(problem[1] - (2 * state[0] if how else state[0] + 3)) if kind else 0
    return 2


@implements(protocol.make_child, Climb)
def _make_child(env, problem, state, move, action, child):
    action[0] = move
    action[1] = 2 * state[0] if move else state[0] + 3
    child[0] = action[1]


@implements(protocol.judge, Climb)
def _judge(env, problem, state, action, child):
    child[0] = action[1]
    true = 2 * state[0] if action[0] else state[0] + 3
    return protocol.HOLDS if action[1] == true else protocol.WRONG_RESULT


@implements(protocol.canonical, Climb)
def _canonical(env, problem, state, out):
    out[0] = state[0]


@implements(protocol.can_pose, Climb)
def _can_pose(env, problem):
    return 1 <= problem[0] < problem[1] <= env.top


@implements(protocol.draw, Climb)
def _draw(env, key, group, attempt, problem):
    problem[1] = 2 + below(fold(key, attempt), 0, env.top - 1)
    problem[0] = 1 + below(fold(key, attempt), 1, problem[1] - 1)


@implements(protocol.hash_key, Climb)
def _hash_key(env, key, problem):
    return fold(fold(key, problem[0]), problem[1])


@implements(protocol.solvable, Climb)
def _solvable(env, problem, work):
    work[:] = False
    work[problem[0]] = True
    for step in range(problem[0], problem[1]):
        if work[step]:
            work[min(step + 3, len(work) - 1)] = True
            work[min(2 * step, len(work) - 1)] = True
    return work[problem[1]]


@words_for(Climb)
class ClimbWords(Words):
    """What the viewer, tables and errors say."""

    problem_form, held_out = "[start,target]", "group"

    @classmethod
    def env_of(cls, problem: np.ndarray) -> Climb:
        return Climb(60)

    def problem_parts(self, problem: np.ndarray) -> Any:
        return [int(problem[0])], int(problem[1])

    def task_text(self, problem: np.ndarray, state: np.ndarray) -> str:
        return f"climb from {int(state[0])} to {int(problem[1])}"

    def state_parts(self, state: np.ndarray) -> Any:
        return [int(state[0])]

    def action_text(self, action: np.ndarray) -> str:
        return f"{MOVES[int(action[0])]} to step {int(action[1])}"

    def explain(self, mistake: Any) -> str:
        return f"This is wrong: {mistake.error.lower()}."


register_environment("climb", ClimbConfig, Climb)
