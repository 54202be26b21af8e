"""Path-star: which of the arms that leave a start ends in the target? (Bachmann and Nagarajan 2024, section 4.)

A star has `num_arms` arms of `arm_nodes` nodes each, the start among them; nodes are labels below `num_labels`. The
problem lists the edges in random order, each away from the start. A model that is only shown paths has to guess the
first step, for every later one is an edge to look up: it stays at one in `num_arms`. A search walks arm after arm.

With `min_arms` or `min_arm_nodes` the stars to learn from have as many arms and nodes of an arm or more, every size as
often as any; those of other splits keep the full size. A short list of edges is where looking up is learned.

Rows: problem = [start, target, from, to, from, to, ...], state = [node], action = [node that is gone to]. Where sizes
differ, zeros follow the edges, and the last column counts these.
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
# What a draw takes from its key: the labels, the order of the edges, the arm of the target and the size.
LABELS, ORDER, ARM, SIZE = range(4)


@problems.ungrouped
class PathStar(NamedTuple):
    """The size of the star, and of the smallest to learn from; 0: as large as any."""

    num_arms: int = 4
    arm_nodes: int = 4
    num_labels: int = 30
    min_arms: int = 0
    min_arm_nodes: int = 0

    @property
    def num_edges(self) -> int:
        """The edges of the largest star."""
        return self.num_arms * (self.arm_nodes - 1)

    @property
    def mixed(self) -> bool:
        """Whether stars differ in size."""
        return self.min_arms > 0 or self.min_arm_nodes > 0

    @property
    def problem_width(self) -> int:
        return EDGES + 2 * self.num_edges + self.mixed

    @property
    def count_column(self) -> int:
        """The column that counts the edges; -1: there are always as many."""
        return EDGES + 2 * self.num_edges if self.mixed else -1

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
            "edges": (Field("problem", EDGES, size=self.num_edges, counted=self.count_column, width=2),),
            "node": (Field("state", 0),),
            "to": (Field("action", 0),),
        }

    @property
    def dialects(self) -> Traversable:
        """The folder of the dialects that are shipped for it."""
        return resources.files("sos") / "stream" / "dialect" / "yaml" / "path_star"

    @property
    def tree_nodes(self) -> int:
        """The nodes of the star."""
        return 1 + self.num_edges

    def describe(self) -> str:
        """Return what problems are drawn from, in words."""
        smallest = f"{self.min_arms or self.num_arms} arms of {self.min_arm_nodes or self.arm_nodes} to " * self.mixed
        return f"{smallest}{self.num_arms} arms of {self.arm_nodes} nodes with {self.num_labels} labels"

    def problem_key(self, problem: Sequence[int] | np.ndarray) -> tuple[int, ...]:
        """Return what two problems have in common that count as the same: start, target and the edges, in order."""
        start, target = int(problem[START]), int(problem[TARGET])
        edges = sorted(self.edges(problem))
        return (start, target, *(label for edge in edges for label in edge))

    def edges(self, problem: Sequence[int] | np.ndarray) -> list[tuple[int, int]]:
        """Return the edges of a problem in the order in which they are listed."""
        num = int(problem[self.count_column]) if self.mixed else self.num_edges
        labels = [int(label) for label in problem[EDGES : EDGES + 2 * num]]
        return list(zip(labels[::2], labels[1::2], strict=True))

    def row(self, labels: Sequence[int]) -> list[int]:
        """Return the row of [start, target, from, to, ...]; an odd length, or more edges than a star has, is kept."""
        missing = EDGES + 2 * self.num_edges - len(labels)
        if not self.mixed or missing % 2 or missing < 0:
            return list(labels)
        return [*labels, *[0] * missing, (len(labels) - EDGES) // 2]

    def longest_problem(self) -> list[int]:
        """Return a problem whose statement is as long as any; it need not be one."""
        return self.row([self.num_labels - 1] * (EDGES + 2 * self.num_edges))

    def proof_work(self) -> np.ndarray:
        """Allocate the work space of `solvable`, which needs none."""
        return np.zeros(1, np.int64)


@inner
def _num_edges(env, problem):
    full = np.int64(env.num_arms * (env.arm_nodes - 1))
    if env.min_arms > 0 or env.min_arm_nodes > 0:
        return np.int64(problem[EDGES + 2 * full])
    return full


@inner
def _next(env, problem, node):
    """Return where the first listed edge from `node` leads, -1 if there is none. O(edges)."""
    for e in range(_num_edges(env, problem)):
        if problem[EDGES + 2 * e] == node:
            return np.int64(problem[EDGES + 2 * e + 1])
    return np.int64(-1)


@inner
def _has_edge(env, problem, a, b):
    for e in range(_num_edges(env, problem)):
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
    for e in range(_num_edges(env, problem)):
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
    """A star of a size that is drawn: every label is there, no node is entered twice, and all arms are equally
    long."""
    arm_nodes = _arm_nodes(env, problem)
    if arm_nodes == 0:
        return False
    num = _num_edges(env, problem)
    for k in range(EDGES + 2 * num):
        if problem[k] < 0 or problem[k] >= env.num_labels:
            return False
    for e in range(num):
        node = np.int64(problem[EDGES + 2 * e + 1])
        if node == problem[START]:
            return False
        for f in range(e):
            if problem[EDGES + 2 * f + 1] == node:
                return False
        if problem[EDGES + 2 * e] != problem[START]:
            continue
        # No node is entered twice, so that arms are apart: each has as many edges as it should, or none of them can.
        for _ in range(arm_nodes - 2):
            node = _next(env, problem, node)
            if node < 0:
                return False
        if _next(env, problem, node) >= 0:
            return False
    return _is_end(env, problem, problem[TARGET])


@inner
def _arm_nodes(env, problem):
    """Return how many nodes each arm has to have, the start among them, by the counts of arms and edges; 0 if stars
    have no such counts."""
    full, num = env.num_arms * (env.arm_nodes - 1), _num_edges(env, problem)
    if num < 1 or num > full:
        return 0
    for k in range(EDGES + 2 * num, EDGES + 2 * full):
        if problem[k] != 0:
            return 0
    arms = 0
    for e in range(num):
        arms += problem[EDGES + 2 * e] == problem[START]
    if arms < 1 or arms < (env.min_arms or env.num_arms) or arms > env.num_arms or num % arms != 0:
        return 0
    nodes = num // arms + 1
    return nodes if (env.min_arm_nodes or env.arm_nodes) <= nodes <= env.arm_nodes else 0


@inner
def _is_end(env, problem, node):
    """Say whether `node` is entered and not left."""
    entered = False
    for e in range(_num_edges(env, problem)):
        entered |= problem[EDGES + 2 * e + 1] == node
    return entered and _next(env, problem, node) < 0


@implements(protocol.draw, PathStar)
def _draw(env, key, group, attempt, problem):
    key = fold(key, attempt)
    labels, order, size = fold(key, LABELS), fold(key, ORDER), fold(key, SIZE)
    arms, arm_edges = np.int64(env.num_arms), np.int64(env.arm_nodes - 1)
    if env.min_arms > 0:
        arms -= below(size, 0, env.num_arms - env.min_arms + 1)
    if env.min_arm_nodes > 0:
        arm_edges -= below(size, 1, env.arm_nodes - env.min_arm_nodes + 1)
    num = arms * arm_edges
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
    problem[TARGET] = problem[EDGES + 2 * (below(fold(key, ARM), 0, arms) + 1) * arm_edges - 1]
    for e in range(num - 1, 0, -1):
        f = below(order, e, e + 1)
        for k in range(2):
            a, b = EDGES + 2 * e + k, EDGES + 2 * f + k
            problem[a], problem[b] = problem[b], problem[a]
    _count(env, num, problem)


@inner
def _count(env, num, problem):
    """Write zeros behind the `num` edges, and their count, where sizes differ."""
    if env.min_arms > 0 or env.min_arm_nodes > 0:
        full = env.num_arms * (env.arm_nodes - 1)
        for k in range(EDGES + 2 * num, EDGES + 2 * full):
            problem[k] = 0
        problem[EDGES + 2 * full] = num


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
    for e in range(_num_edges(env, problem)):
        h += fold(fold(key, problem[EDGES + 2 * e]), problem[EDGES + 2 * e + 1])
    return fold(h, problem[START])


@implements(protocol.solvable, PathStar)
def _solvable(env, problem, work):
    return True


@implements(protocol.practice, PathStar)
def _practice(env, problem):
    return _num_edges(env, problem) < env.num_arms * (env.arm_nodes - 1)
