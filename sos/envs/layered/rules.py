"""Layered graphs: which path from the first layer to the last costs least? (arXiv 2507.05362.)

A graph has a start, a target, and layers of nodes between them; each edge leads from a layer to the next one and costs
a whole number from 1 on. Every node is on some path from the start to the target. The problem lists the edges in random
order, and nodes are labels that are drawn anew for each problem, so that no place and no label tells a layer. A
solution is any path to the target, and an optimal one has the least sum of costs.

Rows: problem = [start, target, from, to, cost, from, to, cost, ..., number of edges] with zeros behind the edges,
state = [node, cost of the path to it], action = [node that is gone to, cost of the path to it]. The cost that an action
says is a claim, and true where it is the cost of its state and that of the edge together.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from importlib.resources.abc import Traversable
from typing import NamedTuple

import numpy as np

from sos.envs import problems, protocol
from sos.envs.layered.graphs import (
    COST,
    EDGE_WIDTH,
    EDGES,
    FROM,
    START,
    TARGET,
    TO,
    draw_graph,
    find_edge,
    first_edge,
    hash_graph,
    is_layered,
    num_edges,
    number,
)
from sos.envs.protocol import Field, implements
from sos.rng import fold

NODE, PATH_COST = range(2)  # of a state, and of an action
NONE, LAYERS = range(2)  # heuristics


@problems.ungrouped
class Layered(NamedTuple):
    """The sizes of graphs, their costs, and how many of the possible edges there are."""

    min_layers: int = 2
    max_layers: int = 5
    min_nodes: int = 2
    max_nodes: int = 4
    max_cost: int = 5
    connectivity: float = 0.6
    num_labels: int = 20

    @property
    def most_edges(self) -> int:
        """The edges of the largest graph."""
        return 2 * self.max_nodes + (self.max_layers - 2) * self.max_nodes**2

    @property
    def count_column(self) -> int:
        """The column that counts the edges."""
        return EDGES + EDGE_WIDTH * self.most_edges

    @property
    def problem_width(self) -> int:
        return self.count_column + 1

    @property
    def state_width(self) -> int:
        return 2

    @property
    def action_width(self) -> int:
        return 2

    @property
    def max_children(self) -> int:
        return self.max_nodes

    @property
    def max_depth(self) -> int:
        return self.max_layers

    @property
    def scratch_size(self) -> int:
        return self.num_labels

    @property
    def largest_number(self) -> int:
        return max(self.num_labels - 1, self.max_layers * self.max_cost)

    @property
    def heuristics(self) -> tuple[str, ...]:
        """`layers`: the edges that are left to the target, each of which costs 1 or more; it is consistent."""
        return ("none", "layers")

    @property
    def heuristic_scale(self) -> int:
        return 1

    @property
    def fields(self) -> dict[str, tuple[Field, ...]]:
        """Template field -> what it stands for, in each row that has it."""
        return {
            "start": (Field("problem", START),),
            "target": (Field("problem", TARGET),),
            "edges": (Field("problem", EDGES, size=self.most_edges, counted=self.count_column, width=EDGE_WIDTH),),
            "node": (Field("state", NODE),),
            "to": (Field("action", NODE),),
            "cost": (Field("state", PATH_COST), Field("action", PATH_COST)),
        }

    @property
    def results(self) -> tuple[str, ...]:
        """The fields of an action that say what it leads to."""
        return ("cost",)

    @property
    def dialects(self) -> Traversable:
        """The folder of the dialects that are shipped for it."""
        return resources.files("sos") / "stream" / "dialect" / "yaml" / "layered"

    def check_problems(self, rows: np.ndarray) -> None:
        problems.check_rows(self, rows)

    @property
    def tree_nodes(self) -> int:
        """The paths from the start, of any length."""
        return sum(self.max_nodes**depth for depth in range(self.max_layers)) + self.max_nodes ** (self.max_layers - 1)

    def describe(self) -> str:
        """Return what problems are drawn from, in words."""
        layers = _span(self.min_layers, self.max_layers)
        nodes = _span(self.min_nodes, self.max_nodes)
        return f"{layers} layers of {nodes} nodes with {self.num_labels} labels and costs up to {self.max_cost}"

    def problem_key(self, problem: Sequence[int] | np.ndarray) -> tuple[int, ...]:
        """Return what two problems have in common that count as the same: start, target and the edges, in order."""
        edges = sorted(self.edges(problem))
        return (int(problem[START]), int(problem[TARGET]), *(number for edge in edges for number in edge))

    def edges(self, problem: Sequence[int] | np.ndarray) -> list[tuple[int, int, int]]:
        """Return the edges (from, to, cost) of a problem in the order in which they are listed."""
        stop = EDGES + EDGE_WIDTH * int(problem[self.count_column])
        numbers = [int(number) for number in problem[EDGES:stop]]
        return list(zip(numbers[FROM::EDGE_WIDTH], numbers[TO::EDGE_WIDTH], numbers[COST::EDGE_WIDTH], strict=True))

    def row(self, numbers: Sequence[int]) -> list[int]:
        """Return the row of [start, target, from, to, cost, ...]; another length, or too many edges, is kept."""
        missing = self.count_column - len(numbers)
        if missing < 0 or missing % EDGE_WIDTH:
            return list(numbers)
        return [*numbers, *[0] * missing, (len(numbers) - EDGES) // EDGE_WIDTH]

    def longest_problem(self) -> list[int]:
        """Return a problem whose statement is as long as any; it need not be one."""
        edge = [self.num_labels - 1, self.num_labels - 1, self.max_cost]
        return self.row([self.num_labels - 1] * EDGES + edge * self.most_edges)

    def proof_work(self) -> np.ndarray:
        """Allocate the work space of `optimum`: a cost for each label."""
        return np.zeros(self.num_labels, np.int64)


def _span(low: int, high: int) -> str:
    return f"{low} to {high}" if low < high else str(high)


# States


@implements(protocol.root_state, Layered)
def _root_state(env, problem, state):
    state[NODE] = problem[START]
    state[PATH_COST] = 0


@implements(protocol.status, Layered)
def _status(env, problem, state):
    if state[NODE] == problem[TARGET]:
        return protocol.GOAL
    return protocol.OPEN if first_edge(env, problem, FROM, state[NODE]) >= 0 else protocol.DEAD


@implements(protocol.witness, Layered)
def _witness(env, problem, state):
    return state[PATH_COST]


@implements(protocol.path_cost, Layered)
def _path_cost(env, problem, state):
    return state[PATH_COST]


@implements(protocol.canonical, Layered)
def _canonical(env, problem, state, out):
    out[NODE] = state[NODE]
    out[PATH_COST] = 0


@implements(protocol.statement, Layered)
def _statement(env, problem, state, out):
    out[NODE] = state[NODE]
    out[PATH_COST] = state[PATH_COST]


# Actions


@implements(protocol.prepare, Layered)
def _prepare(env, kind, problem, scratch):
    """Write how many edges each node is away from the target, of those that are: O(layers x edges)."""
    if kind != LAYERS:
        return
    for label in range(env.num_labels):
        scratch[label] = -1
    scratch[problem[TARGET]] = 0
    for layer in range(env.max_layers):
        for e in range(num_edges(env, problem)):
            if scratch[number(problem, e, TO)] == layer:
                scratch[number(problem, e, FROM)] = layer + 1


@implements(protocol.successors, Layered)
def _successors(env, kind, problem, scratch, state, moves, values):
    num = 0
    for e in range(num_edges(env, problem)):
        if number(problem, e, FROM) == state[NODE] and num < env.max_nodes:
            moves[num] = e
            values[num] = scratch[number(problem, e, TO)] if kind == LAYERS else 0
            num += 1
    return num


@implements(protocol.make_child, Layered)
def _make_child(env, problem, state, move, action, child):
    action[NODE] = number(problem, move, TO)
    action[PATH_COST] = state[PATH_COST] + number(problem, move, COST)
    child[NODE] = action[NODE]
    child[PATH_COST] = action[PATH_COST]


@implements(protocol.judge, Layered)
def _judge(env, problem, state, action, child):
    child[NODE] = action[NODE]
    child[PATH_COST] = action[PATH_COST]
    e = find_edge(env, problem, state[NODE], action[NODE])
    if e < 0:
        return protocol.NOT_HELD
    true = np.int64(state[PATH_COST]) + number(problem, e, COST)
    return protocol.HOLDS if action[PATH_COST] == true else protocol.WRONG_RESULT


# Problems


@implements(protocol.can_pose, Layered)
def _can_pose(env, problem):
    return is_layered(env, problem)


@implements(protocol.draw, Layered)
def _draw(env, key, group, attempt, problem):
    draw_graph(env, fold(key, attempt), problem)


@implements(protocol.hash_key, Layered)
def _hash_key(env, key, problem):
    return hash_graph(env, key, problem)


@implements(protocol.solvable, Layered)
def _solvable(env, problem, work):
    return True


@implements(protocol.optimum, Layered)
def _optimum(env, problem, work):
    """Relax every edge once for each layer. O(layers x edges)."""
    for label in range(env.num_labels):
        work[label] = -1
    work[problem[START]] = 0
    for _ in range(env.max_layers):
        for e in range(num_edges(env, problem)):
            a, b = number(problem, e, FROM), number(problem, e, TO)
            cost = work[a] + number(problem, e, COST)
            if work[a] >= 0 and (work[b] < 0 or cost < work[b]):
                work[b] = cost
    return work[problem[TARGET]]
