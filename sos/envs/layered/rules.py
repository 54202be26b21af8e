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
from sos.envs.protocol import Field, implements
from sos.kernels import inlined, inner
from sos.rng import below, fold, permute, uniform

START, TARGET, EDGES = range(3)  # columns of a problem; the edges are the rest, but for their count
FROM, TO, COST, EDGE_WIDTH = range(4)  # numbers of an edge
NODE, PATH_COST = range(2)  # of a state, and of an action
NONE, LAYERS = range(2)  # heuristics
# What a draw takes from its key: the sizes, the labels, which edges there are, what they cost, and their order.
SIZES, LABELS, PAIRS, REPAIRS, COSTS, ORDER = range(6)
PLACES = 64  # more than the nodes of a layer: what numbers the pairs of nodes


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
    def dialects(self) -> Traversable:
        """The folder of the dialects that are shipped for it."""
        return resources.files("sos") / "stream" / "dialect" / "yaml" / "layered"

    @property
    def groups(self) -> np.ndarray:
        return problems.one_group(self)

    def describe_group(self, problem: problems.Row) -> str:
        return problems.no_group(self, problem)

    def check_problems(self, rows: np.ndarray) -> None:
        if rows.shape[1] != self.problem_width:
            problems.check_problems(self, rows)  # which says so
        wrong = np.flatnonzero(problems.wrong_rows(self, rows))
        if len(wrong):
            raise ValueError(f"problems[{wrong[0]}] is none of {self.describe()}")

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


# Edges


@inlined
def _most_edges(env):
    return np.int64(2 * env.max_nodes + (env.max_layers - 2) * env.max_nodes * env.max_nodes)


@inlined
def _num_edges(env, problem):
    return np.int64(problem[EDGES + EDGE_WIDTH * _most_edges(env)])


@inlined
def _number(problem, e, which):
    """Return a number of edge `e`."""
    return np.int64(problem[EDGES + EDGE_WIDTH * e + which])


@inner
def _edge(env, problem, a, b):
    """Return the first edge from `a` to `b`, -1 if there is none. O(edges)."""
    for e in range(_num_edges(env, problem)):
        if _number(problem, e, FROM) == a and _number(problem, e, TO) == b:
            return e
    return np.int64(-1)


@inner
def _first(env, problem, which, node):
    """Return the first edge that leaves `node` (`FROM`) or enters it (`TO`), -1 if there is none. O(edges)."""
    for e in range(_num_edges(env, problem)):
        if _number(problem, e, which) == node:
            return e
    return np.int64(-1)


@inner
def _layer(env, problem, node):
    """Return how many edges back from `node` the start is, always by the first edge, -1 if it is not reached.
    O(layers x edges)."""
    for layer in range(env.max_layers + 1):
        if node == problem[START]:
            return np.int64(layer)
        e = _first(env, problem, TO, node)
        if e < 0:
            return np.int64(-1)
        node = _number(problem, e, FROM)
    return np.int64(-1)


# States


@implements(protocol.root_state, Layered)
def _root_state(env, problem, state):
    state[NODE] = problem[START]
    state[PATH_COST] = 0


@implements(protocol.status, Layered)
def _status(env, problem, state):
    if state[NODE] == problem[TARGET]:
        return protocol.GOAL
    return protocol.OPEN if _first(env, problem, FROM, state[NODE]) >= 0 else protocol.DEAD


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
        for e in range(_num_edges(env, problem)):
            if scratch[_number(problem, e, TO)] == layer:
                scratch[_number(problem, e, FROM)] = layer + 1


@implements(protocol.successors, Layered)
def _successors(env, kind, problem, scratch, state, moves, values):
    num = 0
    for e in range(_num_edges(env, problem)):
        if _number(problem, e, FROM) == state[NODE] and num < env.max_nodes:
            moves[num] = e
            values[num] = scratch[_number(problem, e, TO)] if kind == LAYERS else 0
            num += 1
    return num


@implements(protocol.make_child, Layered)
def _make_child(env, problem, state, move, action, child):
    action[NODE] = _number(problem, move, TO)
    action[PATH_COST] = state[PATH_COST] + _number(problem, move, COST)
    child[NODE] = action[NODE]
    child[PATH_COST] = action[PATH_COST]


@implements(protocol.judge, Layered)
def _judge(env, problem, state, action, child):
    child[NODE] = action[NODE]
    child[PATH_COST] = action[PATH_COST]
    e = _edge(env, problem, state[NODE], action[NODE])
    if e < 0:
        return protocol.NOT_HELD
    true = np.int64(state[PATH_COST]) + _number(problem, e, COST)
    return protocol.HOLDS if action[PATH_COST] == true else protocol.WRONG_RESULT


# Problems


@implements(protocol.can_pose, Layered)
def _can_pose(env, problem):
    """A graph of a size that is drawn: each edge leads on by one layer, and each node is on a path to the target."""
    if not _has_numbers(env, problem):
        return False
    num, last = _num_edges(env, problem), _layer(env, problem, problem[TARGET])
    if last < env.min_layers:
        return False
    for e in range(num):
        a, b = _number(problem, e, FROM), _number(problem, e, TO)
        layer = _layer(env, problem, a)
        if layer < 0 or _layer(env, problem, b) != layer + 1 or _edge(env, problem, a, b) != e:
            return False
        # What no edge leaves is the target, and it is all of the last layer.
        if (layer + 1 == last) != (b == problem[TARGET]) or (_first(env, problem, FROM, b) < 0) != (layer + 1 == last):
            return False
    for layer in range(1, last):
        nodes = _nodes_of(env, problem, layer)
        if nodes < env.min_nodes or nodes > env.max_nodes:
            return False
    return True


@inner
def _has_numbers(env, problem):
    """Say whether the number of edges is possible, and every number in range."""
    num = _num_edges(env, problem)
    if num < 1 or num > _most_edges(env):
        return False
    for k in range(EDGES + EDGE_WIDTH * num, EDGES + EDGE_WIDTH * _most_edges(env)):
        if problem[k] != 0:
            return False
    for k in range(EDGES + EDGE_WIDTH * num):
        costs = k >= EDGES and (k - EDGES) % EDGE_WIDTH == COST
        low, high = (1, env.max_cost) if costs else (0, env.num_labels - 1)
        if problem[k] < low or problem[k] > high:
            return False
    return True


@inner
def _nodes_of(env, problem, layer):
    """Return how many nodes a layer has. O(layers x edges**2)."""
    nodes = 0
    for e in range(_num_edges(env, problem)):
        node = _number(problem, e, TO)
        nodes += _first(env, problem, TO, node) == e and _layer(env, problem, node) == layer
    return nodes


@inner
def _put_edge(env, key, place, a, b, problem):
    """Write the edge between nodes `a` and `b` behind the last one. `place` numbers the pair."""
    labels, e = fold(key, LABELS), _num_edges(env, problem)
    problem[EDGES + EDGE_WIDTH * e + FROM] = permute(labels, a, env.num_labels)
    problem[EDGES + EDGE_WIDTH * e + TO] = permute(labels, b, env.num_labels)
    problem[EDGES + EDGE_WIDTH * e + COST] = 1 + below(fold(key, COSTS), place, env.max_cost)
    problem[EDGES + EDGE_WIDTH * _most_edges(env)] = e + 1


@inner
def _join(env, key, layer, sizes, first, problem):
    """Draw the edges from a layer, whose nodes begin with number `first`, to the next; `sizes` are those of both."""
    num_before, num_behind = sizes
    pairs, repairs = fold(key, PAIRS), fold(key, REPAIRS)
    behind = first + num_before
    start = _num_edges(env, problem)
    for a in range(num_before):
        begin = _num_edges(env, problem)
        for b in range(num_behind):
            place = (layer * PLACES + a) * PLACES + b
            if uniform(pairs, place) < env.connectivity:
                _put_edge(env, key, place, first + a, behind + b, problem)
        if _num_edges(env, problem) == begin:  # every node is left
            b = below(repairs, 2 * (layer * PLACES + a), num_behind)
            _put_edge(env, key, (layer * PLACES + a) * PLACES + b, first + a, behind + b, problem)
    for b in range(num_behind):  # and entered
        label, entered = permute(fold(key, LABELS), behind + b, env.num_labels), False
        for e in range(start, _num_edges(env, problem)):
            entered |= _number(problem, e, TO) == label
        if not entered:
            a = below(repairs, 2 * (layer * PLACES + b) + 1, num_before)
            _put_edge(env, key, (layer * PLACES + a) * PLACES + b, first + a, behind + b, problem)


@implements(protocol.draw, Layered)
def _draw(env, key, group, attempt, problem):
    key = fold(key, attempt)
    sizes, order = fold(key, SIZES), fold(key, ORDER)
    last = env.min_layers + below(sizes, 0, env.max_layers - env.min_layers + 1)
    for k in range(len(problem)):
        problem[k] = 0
    num, first = np.int64(1), np.int64(0)
    for layer in range(last):
        behind = np.int64(1)
        if layer + 1 < last:
            behind = env.min_nodes + below(sizes, layer + 1, env.max_nodes - env.min_nodes + 1)
        _join(env, key, layer, (num, behind), first, problem)
        first += num
        num = behind
    problem[START] = permute(fold(key, LABELS), 0, env.num_labels)
    problem[TARGET] = permute(fold(key, LABELS), first, env.num_labels)
    for e in range(_num_edges(env, problem) - 1, 0, -1):
        f = below(order, e, e + 1)
        for k in range(EDGE_WIDTH):
            a, b = EDGES + EDGE_WIDTH * e + k, EDGES + EDGE_WIDTH * f + k
            problem[a], problem[b] = problem[b], problem[a]


@inner
def _profile(env, key, problem, node):
    """Return a hash of what the edges at `node` cost, the same for any names and order. O(edges)."""
    h = np.uint64(0)
    for e in range(_num_edges(env, problem)):
        if _number(problem, e, TO) == node:
            h += fold(fold(key, 0), _number(problem, e, COST))
        if _number(problem, e, FROM) == node:
            h += fold(fold(key, 1), _number(problem, e, COST))
    return h


@implements(protocol.hash_key, Layered)
def _hash_key(env, key, problem):
    # The same for graphs that differ in the names of nodes and in the order of edges alone: all of them are in one
    # split. Graphs that differ in more may share a hash, too. O(edges**2).
    h = np.uint64(0)
    for e in range(_num_edges(env, problem)):
        a = _profile(env, fold(key, 0), problem, _number(problem, e, FROM))
        b = _profile(env, fold(key, 1), problem, _number(problem, e, TO))
        h += fold(fold(a, _number(problem, e, COST)), b)
    return fold(key, h)


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
        for e in range(_num_edges(env, problem)):
            a, b = _number(problem, e, FROM), _number(problem, e, TO)
            cost = work[a] + _number(problem, e, COST)
            if work[a] >= 0 and (work[b] < 0 or cost < work[b]):
                work[b] = cost
    return work[problem[TARGET]]
