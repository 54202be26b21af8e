"""Path-star: which of the arms that leave a start ends in the target? (Bachmann and Nagarajan 2024, section 4.)

A star has `num_arms` arms of `arm_nodes` nodes each, the start among them; nodes are labels below `num_labels`. The
problem lists the edges in random order, each away from the start. A model that is only shown paths has to guess the
first step, for every later one is an edge to look up: it stays at one in `num_arms`. A search walks arm after arm.

Rows: problem = [start, target, from, to, from, to, ...], state = [node], action = [node that is gone to].
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from importlib.resources.abc import Traversable
from typing import NamedTuple

import numpy as np

from sos.envs import problems, protocol
from sos.envs.protocol import Field, implements
from sos.kernels import inner
from sos.rng import below, fold

START, TARGET, EDGES = range(3)  # columns of a problem; the edges are the rest
# What a draw takes from its key: the labels, the order of the edges and the arm of the target.
LABELS, ORDER, ARM = range(3)


class PathStar(NamedTuple):
    """The size of the star."""

    num_arms: int = 4
    arm_nodes: int = 4
    num_labels: int = 30

    @property
    def num_edges(self) -> int:
        return self.num_arms * (self.arm_nodes - 1)

    @property
    def problem_width(self) -> int:
        return EDGES + 2 * self.num_edges

    @property
    def state_width(self) -> int:
        return 1

    @property
    def action_width(self) -> int:
        return 1

    @property
    def max_children(self) -> int:
        return self.num_arms

    @property
    def max_depth(self) -> int:
        return self.arm_nodes - 1

    @property
    def scratch_size(self) -> int:
        return 1

    @property
    def largest_number(self) -> int:
        return self.num_labels - 1

    @property
    def heuristics(self) -> tuple[str, ...]:
        return ("none",)

    @property
    def heuristic_scale(self) -> int:
        return 1

    @property
    def fields(self) -> dict[str, tuple[Field, ...]]:
        """Template field -> what it stands for, in each row that has it."""
        return {
            "start": (Field("problem", START),),
            "target": (Field("problem", TARGET),),
            "edges": (Field("problem", EDGES, size=self.num_edges, width=2),),
            "node": (Field("state", 0),),
            "to": (Field("action", 0),),
        }

    @property
    def dialects(self) -> Traversable:
        """The folder of the dialects that are shipped for it."""
        return resources.files("sos") / "stream" / "dialect" / "yaml" / "path_star"

    @property
    def groups(self) -> np.ndarray:
        return problems.one_group(self)

    def describe_group(self, problem: problems.Row) -> str:
        return problems.no_group(self, problem)

    def check_problems(self, rows: np.ndarray) -> None:
        problems.check_problems(self, rows)

    @property
    def tree_nodes(self) -> int:
        """The nodes of the star."""
        return 1 + self.num_edges

    def describe(self) -> str:
        """Return what problems are drawn from, in words."""
        return f"{self.num_arms} arms of {self.arm_nodes} nodes with {self.num_labels} labels"

    def problem_key(self, problem: Sequence[int] | np.ndarray) -> tuple[int, ...]:
        """Return what two problems have in common that count as the same: start, target and the edges, in order."""
        start, target, *labels = (int(label) for label in problem)
        edges = sorted(zip(labels[::2], labels[1::2], strict=True))
        return (start, target, *(label for edge in edges for label in edge))

    def longest_problem(self) -> list[int]:
        """Return a problem whose statement is as long as any; it need not be one."""
        return [self.num_labels - 1] * self.problem_width

    def proof_work(self) -> np.ndarray:
        """Allocate the work space of `solvable`, which needs none."""
        return np.zeros(1, np.int64)


@inner
def _next(env, problem, node):
    """Return where the first listed edge from `node` leads, -1 if there is none. O(edges)."""
    for e in range(env.num_arms * (env.arm_nodes - 1)):
        if problem[EDGES + 2 * e] == node:
            return np.int64(problem[EDGES + 2 * e + 1])
    return np.int64(-1)


@inner
def _has_edge(env, problem, a, b):
    for e in range(env.num_arms * (env.arm_nodes - 1)):
        if problem[EDGES + 2 * e] == a and problem[EDGES + 2 * e + 1] == b:
            return True
    return False


@implements(protocol.root_state, PathStar)
def _root_state(env, problem, state):
    state[0] = problem[START]


@implements(protocol.status, PathStar)
def _status(env, problem, state):
    if _next(env, problem, state[0]) >= 0:
        return protocol.OPEN
    return protocol.GOAL if state[0] == problem[TARGET] else protocol.DEAD


@implements(protocol.witness, PathStar)
def _witness(env, problem, state):
    return state[0]


@implements(protocol.successors, PathStar)
def _successors(env, kind, problem, scratch, state, moves, values):
    num = 0
    for e in range(env.num_arms * (env.arm_nodes - 1)):
        if problem[EDGES + 2 * e] == state[0] and num < env.num_arms:
            moves[num] = problem[EDGES + 2 * e + 1]
            values[num] = 0
            num += 1
    return num


@implements(protocol.make_child, PathStar)
def _make_child(env, problem, state, move, action, child):
    action[0] = move
    child[0] = move


@implements(protocol.judge, PathStar)
def _judge(env, problem, state, action, child):
    child[0] = action[0]
    return protocol.HOLDS if _has_edge(env, problem, state[0], action[0]) else protocol.NOT_HELD


@implements(protocol.canonical, PathStar)
def _canonical(env, problem, state, out):
    out[0] = state[0]


@implements(protocol.can_pose, PathStar)
def _can_pose(env, problem):
    """A star of this size: every label is there, no node is entered twice, and all arms are as long as they should
    be."""
    num = env.num_arms * (env.arm_nodes - 1)
    for k in range(EDGES + 2 * num):
        if problem[k] < 0 or problem[k] >= env.num_labels:
            return False
    arms = 0
    for e in range(num):
        node = np.int64(problem[EDGES + 2 * e + 1])
        if node == problem[START]:
            return False
        for f in range(e):
            if problem[EDGES + 2 * f + 1] == node:
                return False
        if problem[EDGES + 2 * e] != problem[START]:
            continue
        arms += 1
        # No node is entered twice, so that arms are apart: each has as many edges as it should, or none of them can.
        for _ in range(env.arm_nodes - 2):
            node = _next(env, problem, node)
            if node < 0:
                return False
        if _next(env, problem, node) >= 0:
            return False
    return arms == env.num_arms and _is_end(env, problem, problem[TARGET])


@inner
def _is_end(env, problem, node):
    """Say whether `node` is entered and not left."""
    entered = False
    for e in range(env.num_arms * (env.arm_nodes - 1)):
        entered |= problem[EDGES + 2 * e + 1] == node
    return entered and _next(env, problem, node) < 0


@implements(protocol.draw, PathStar)
def _draw(env, key, group, attempt, problem):
    key = fold(key, attempt)
    labels, order = fold(key, LABELS), fold(key, ORDER)
    arm_edges = env.arm_nodes - 1
    num = env.num_arms * arm_edges
    draws = np.int64(1)
    problem[START] = below(labels, 0, env.num_labels)
    for e in range(num):
        # From the end of the edge before or, where an arm begins, from the start, to a label that is not there yet.
        problem[EDGES + 2 * e] = problem[START] if e % arm_edges == 0 else problem[EDGES + 2 * e - 1]
        label = below(labels, draws, env.num_labels)
        draws += 1
        while _is_there(problem, e, label):
            label = below(labels, draws, env.num_labels)
            draws += 1
        problem[EDGES + 2 * e + 1] = label
    problem[TARGET] = problem[EDGES + 2 * (below(fold(key, ARM), 0, env.num_arms) + 1) * arm_edges - 1]
    for e in range(num - 1, 0, -1):
        f = below(order, e, e + 1)
        for k in range(2):
            a, b = EDGES + 2 * e + k, EDGES + 2 * f + k
            problem[a], problem[b] = problem[b], problem[a]


@inner
def _is_there(problem, num, label):
    """Say whether `label` is the start's or that of an end of the first `num` edges."""
    found = problem[START] == label
    for e in range(num):
        found |= problem[EDGES + 2 * e + 1] == label
    return found


@implements(protocol.hash_key, PathStar)
def _hash_key(env, key, problem):
    # The same for any order of the edges and any target: a star is in one split with all its questions.
    h = np.uint64(0)
    for e in range(env.num_arms * (env.arm_nodes - 1)):
        h += fold(fold(key, problem[EDGES + 2 * e]), problem[EDGES + 2 * e + 1])
    return fold(h, problem[START])


@implements(protocol.solvable, PathStar)
def _solvable(env, problem, work):
    return True
