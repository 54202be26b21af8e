"""Tests of layered graphs: their problems, searches and costs against an oracle, networkx and the published lines."""

from __future__ import annotations

import json
import random
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import networkx
import numpy as np
import pytest
from drivers import hash_kernel
from naive import a_star as naive_search
from naive import costs as naive_costs
from naive import layered as naive
from sizes import plain

from sos.data.splits import make_splits, sample_problems
from sos.envs import protocol
from sos.envs.layered.config import LayeredConfig
from sos.envs.layered.rules import Layered
from sos.envs.problems import wrong_rows
from sos.errors import UserError
from sos.judge.optima import optima
from sos.search import AStar, DepthFirst
from sos.search.run import run_search
from sos.stream.codec import DecodeStatus, decode, encode
from sos.stream.dialect.compile import load_dialect
from sos.stream.verify import Error, Verdict, verify
from sos.stream.viewing import view_trace
from sos.stream.views import View
from sos.trace import ACTION, EVENT_COLUMNS, KIND, NODE, VALUE, Event, Outcome, Trace

SIZES = [
    Layered(),
    Layered(2, 2, 1, 1, 9, 0.5, 3),
    Layered(2, 7, 2, 6, 5, 0.6, 40),
    Layered(3, 3, 3, 3, 5, 0.0, 8),
    Layered(4, 6, 1, 3, 2, 1.0, 17),
]
DIALECTS = ("compact", "checked")
DEEP = DepthFirst(heuristic=0, use_threshold=False, skip_seen=True, announce_leaves=False)


def problems_of(env: Layered, num: int, split: str = "train", seed: int = 3) -> np.ndarray:
    return sample_problems(env, make_splits(env, 0.2, 0.0), split, num, seed=seed)


def row_of(graph: naive_search.Graph, env: Layered) -> np.ndarray:
    numbers = [graph.start, graph.target, *(number for edge in graph.edges for number in edge)]
    return np.array([*numbers, *[0] * (env.count_column - len(numbers)), len(graph.edges)], np.int32)


def posed(env: Layered, row: np.ndarray) -> bool:
    return not wrong_rows(env, row[None])[0]


def drawn(rng: random.Random, env: Layered) -> naive_search.Graph:
    layers = rng.randint(env.min_layers, env.max_layers)
    return naive.draw(rng, layers, (env.min_nodes, env.max_nodes), env.max_cost, env.num_labels)


def digraph(graph: naive_search.Graph) -> networkx.DiGraph:
    found = networkx.DiGraph()
    found.add_weighted_edges_from(graph.edges)
    return found


# Problems


def is_layered(env: Layered, graph: naive_search.Graph) -> bool:
    """By networkx: all paths from the start to a node are equally long, and all nodes are on one to the target."""
    nodes = [graph.start, graph.target, *(node for edge in graph.edges for node in edge[:2])]
    if not all(0 <= node < env.num_labels for node in nodes):
        return False
    if not all(1 <= cost <= env.max_cost for _, _, cost in graph.edges):
        return False
    found = digraph(graph)
    if found.number_of_edges() != len(graph.edges) or graph.start not in found or graph.target not in found:
        return False
    near = networkx.single_source_shortest_path_length(found, graph.start)
    if len(near) != len(found) or any(near[b] != near[a] + 1 for a, b in found.edges):
        return False
    counts = Counter(near.values())
    last = max(counts)
    return (
        [node for node in found if found.out_degree(node) == 0] == [graph.target]
        and near[graph.target] == last
        and env.min_layers <= last <= env.max_layers
        and all(env.min_nodes <= counts[layer] <= env.max_nodes for layer in range(1, last))
    )


@pytest.mark.parametrize("env", SIZES)
def test_problems_are_layered_graphs_of_all_sizes(env: Layered) -> None:
    layers, costs, edges, pairs = set(), set(), 0, 0
    for row in problems_of(env, plain(200, 5)):
        graph = naive.graph_of(row.tolist())
        assert is_layered(env, graph)
        assert posed(env, row)
        found = naive.layers_of(graph)
        layers.add(len(found) - 1)
        costs |= {cost for _, _, cost in graph.edges}
        edges += len(graph.edges)
        pairs += sum(len(a) * len(b) for a, b in pairwise(found))
    if plain(True, False):
        assert layers == set(range(env.min_layers, env.max_layers + 1))
        assert costs == set(range(1, env.max_cost + 1))
    assert env.connectivity <= edges / pairs + 0.02
    assert edges < pairs or env.connectivity == 1 or env.max_nodes == 1


@pytest.mark.parametrize("env", SIZES)
def test_what_can_be_posed_is_what_networkx_calls_layered(env: Layered) -> None:
    rng, counts = random.Random(5), [0, 0]
    for _ in range(plain(800, 40)):
        graph = drawn(rng, env)
        row = row_of(graph, env)
        for _ in range(rng.choice([0, 1, 1, 2])):
            row[rng.randrange(2 + 3 * len(graph.edges))] = rng.randrange(-1, max(env.num_labels, env.max_cost) + 2)
        if rng.random() < 0.1:
            row[-1] += rng.choice([-1, 1])
        kept = 2 + 3 * int(row[-1])
        padded = 0 < row[-1] <= env.most_edges and not row[kept:-1].any()
        found = posed(env, row)
        assert found == (padded and is_layered(env, naive.graph_of(row.tolist()))), row.tolist()
        counts[found] += 1
    assert sum(counts) == plain(800, 40)
    assert min(counts) > plain(50, 2)


def test_graphs_that_differ_in_names_and_order_alone_are_in_one_split() -> None:
    env, key, rng, hashes = Layered(), np.uint64(7), random.Random(2), set()
    for row in problems_of(env, plain(100, 5)):
        graph = naive.graph_of(row.tolist())
        found = set()
        for _ in range(4):
            names = rng.sample(range(env.num_labels), env.num_labels)
            edges = [(names[a], names[b], cost) for a, b, cost in rng.sample(graph.edges, len(graph.edges))]
            twin = naive_search.Graph(names[graph.start], names[graph.target], edges)
            found.add(int(hash_kernel(env, key, row_of(twin, env))))
        assert found == {int(hash_kernel(env, key, row))}
        hashes |= found
    assert len(hashes) > plain(80, 3)  # two layers of two nodes are drawn twice now and then


def test_no_graph_of_one_split_is_in_another_under_other_names() -> None:
    env = Layered(2, 3, 2, 2, 2, 0.6, 10)  # so small that graphs recur
    shapes: list[dict[Any, list[networkx.DiGraph]]] = [{}, {}]
    for split, found in zip(("train", "val"), shapes, strict=True):
        for row in problems_of(env, plain(300, 10), split):
            graph = naive.graph_of(row.tolist())
            found.setdefault((len(graph.edges), *sorted(cost for *_, cost in graph.edges)), []).append(digraph(graph))

    def twins(a: list[networkx.DiGraph], b: list[networkx.DiGraph]) -> bool:
        same = networkx.isomorphism.numerical_edge_match("weight", 0)
        return any(x is not y and networkx.is_isomorphic(x, y, edge_match=same) for x in a for y in b)

    assert not [key for key in shapes[0] if twins(shapes[0][key], shapes[1].get(key, []))]
    assert [key for key in shapes[0] if twins(shapes[0][key], shapes[0][key])] or len(shapes[0]) < 20


def test_no_label_and_no_place_tells_the_layer() -> None:
    """How often a label is the start's, the target's or an inner node's, and how often an edge from the start is first."""
    env, num = Layered(3, 3, 2, 2, 5, 0.6, 10), plain(6000, 300)
    starts, targets, first = Counter(), Counter(), 0.0
    for row in problems_of(env, num):
        graph = naive.graph_of(row.tolist())
        starts[graph.start] += 1
        targets[graph.target] += 1
        leaving = sum(a == graph.start for a, _, _ in graph.edges)
        first += (graph.edges[0][0] == graph.start) - leaving / len(graph.edges)
    for counts in (starts, targets):
        assert set(counts) == set(range(10))
        assert max(abs(count - num / 10) for count in counts.values()) < 5 * np.sqrt(num * 0.09)
    assert abs(first) < 4 * np.sqrt(num * 0.25)


# Searches


@pytest.mark.parametrize("env", SIZES)
def test_searches_are_the_oracles_and_optimal(env: Layered) -> None:
    rng, tried, improved = random.Random(1), 0, 0
    for _ in range(plain(60, 4)):
        graph = drawn(rng, env)
        row, layers = row_of(graph, env), naive.layers_of(graph)
        left = {node: len(layers) - 1 - k for k, nodes in enumerate(layers) for node in nodes}
        best = networkx.dijkstra_path_length(digraph(graph), graph.start, graph.target)
        assert protocol.optimum(env, row, env.proof_work()) == best == naive_search.cheapest(graph)
        for heuristic in (0, 1):
            rules = naive_search.Rules(
                lambda cost, place, h=heuristic: cost + h * left[place],  # noqa: B023
                lambda node, place: (place, node),
                lambda node, num: list(range(num)),
            )
            found = naive_search.a_star(graph, rules)
            trace = run_search(AStar(heuristic), env, row, 2000)
            assert [tuple(event) for event in trace.events[:, [KIND, NODE, VALUE]].tolist()] == found.events
            assert trace.events[-2, VALUE] == best
            improved += found.improved
            tried += 1
    assert tried == 2 * plain(60, 4)
    assert improved > 0 or env.max_nodes < 3 or env.connectivity == 0


def judged(env: Layered, trace: Trace) -> Verdict:
    """Verify a trace; the oracle says the same of it."""
    verdict = verify(env, trace)
    found = naive_costs.verify(naive.graph_of(trace.problem.tolist()), lambda node: [], trace)
    assert (verdict.solved, verdict.errors.tolist()) == (found.solved, found.codes)
    assert (verdict.planned, verdict.cost, verdict.plan_cost) == (found.planned, found.cost, found.plan_cost)
    return verdict


@pytest.mark.parametrize("name", DIALECTS)
def test_streams_read_back(name: str) -> None:
    tried = 0
    for env in SIZES:
        dialect = load_dialect(name, env, 99, True)
        for row in problems_of(env, plain(40, 2)):
            for strategy in (AStar(), AStar(1, ties=3, shuffle=True), DEEP):
                trace = run_search(strategy, env, row, 5000)
                shown = view_trace(View(0, 1.0, True), env, trace)
                tokens, _, _ = encode(dialect, shown)
                read = decode(dialect, env, tokens)
                assert (read.status, read.trace.equals(shown)) == (DecodeStatus.OK, True)
                verdict = judged(env, shown)
                assert not verdict.errors.any()
                assert verdict.solved
                assert verdict.plan_cost == verdict.cost
                tried += 1
    assert tried == len(SIZES) * 3 * plain(40, 2)


def test_a_depth_first_search_is_solved_and_often_not_optimal() -> None:
    env = Layered()
    rows = problems_of(env, plain(200, 10))
    best = optima(env, rows)
    assert best is not None
    deep, cheap = ([verify(env, run_search(s, env, row, 5000)).cost for row in rows] for s in (DEEP, AStar()))
    assert (np.array(cheap) == best).all()
    assert (np.array(deep) >= best).all()
    assert 0.05 < (np.array(deep) == best).mean() < 0.8


def test_damaged_streams_are_judged_as_the_oracle_judges_them() -> None:
    rng, counts = np.random.default_rng(0), Counter[str]()
    for number, row in enumerate(problems_of(Layered(), plain(400, 8))):
        env, dialect = Layered(), load_dialect(DIALECTS[number % 2], Layered(), 99, True)
        trace = view_trace(View(0, 1.0, True), env, run_search(AStar(number % 2), env, row, 5000))
        tokens, _, num_prompt = encode(dialect, trace)
        for _ in range(5):
            wrong = tokens.astype(np.int64)
            for _ in range(rng.integers(1, 4)):
                k = int(rng.integers(num_prompt if rng.random() < 0.95 else 0, len(wrong)))
                m = int(rng.integers(num_prompt, len(wrong)))
                wrong[k] = wrong[m] if rng.random() < 0.6 else rng.integers(len(dialect.vocab))
            read = decode(dialect, env, wrong)
            counts["unread"] += read.status == DecodeStatus.NO_PROMPT
            if read.status != DecodeStatus.NO_PROMPT:
                verdict = judged(env, read.trace)
                counts["solved"] += verdict.solved
                counts["planned"] += verdict.planned
                counts.update(Error(code).name for code in set(verdict.errors.tolist()))
    assert counts["unread"] + counts["NONE"] == plain(2000, 40)
    assert min(counts[name] for name in ("solved", "planned", "OPERAND", "ARITHMETIC", "STATE", "JUMP")) > plain(20, -1)


# The published lines


def published_env(record: dict[str, Any]) -> Layered:
    nodes = 1 + max(node for edge in record["edges"] for node in edge[:2])
    return Layered(2, record.get("max_layers", 7), 2, record.get("max_nodes", 6), 5, 0.6, nodes)


def published_row(record: dict[str, Any], env: Layered) -> np.ndarray:
    edges = [tuple(edge) for edge in record["edges"]]
    return row_of(naive_search.Graph(0, max(b for _, b, _ in edges), edges), env)


def test_published_questions_and_answers_are_ours(reference: Path) -> None:
    num = 0
    for line in (reference / "graphs" / "layered.jsonl").read_text().splitlines():
        record = json.loads(line)
        env = published_env(record)
        row = published_row(record, env)
        graph = naive.graph_of(row.tolist())
        assert posed(env, row)
        layer = {node: k for k, nodes in enumerate(naive.layers_of(graph)) for node in nodes}
        assert naive.question(env.edges(row), layer) == record["question"]
        trace = run_search(AStar(), env, row, 5000)
        verdict = verify(env, trace)
        assert verdict.cost == record["best_cost"] == protocol.optimum(env, row, env.proof_work())
        shown = view_trace(View(1, 0.0), env, trace)
        path, cost = shown.states[:, 0].tolist(), int(shown.events[-2, VALUE])
        others = {record[eta]["answer"] for eta in ("eta_5", "eta_0", "eta_-5")} | {
            f"BoS {record['sorted_answer']} EoS"
        }
        if naive.answer(path, cost) not in others:  # there may be several
            assert naive.path_cost(graph, path) == cost
        for text in others:
            read = naive.read_answer(text)
            assert read is not None
            assert naive.answer(*read) == text
            assert plan_of(env, row, *read).plan_cost == record["best_cost"]
        num += 1
    assert num >= 20


def plan_of(env: Layered, row: np.ndarray, path: list[int], cost: int) -> Verdict:
    """Verify a path as a plan that says true costs on the way and `cost` at its end."""
    graph, path = naive.graph_of(row.tolist()), path if path[:1] == [int(row[0])] else [-1, *path]
    costs = [naive.path_cost(graph, path[: k + 1]) or 0 for k in range(len(path))]
    states = np.array([[path[0], 0], *([node, c] for node, c in zip(path[1:], costs[1:], strict=True))], np.int32)
    if len(path) > 1:
        states[-1, 1] = cost
    num = len(path)
    nodes, events = np.zeros((num, ACTION + 2), np.int32), np.zeros((num + 1, EVENT_COLUMNS), np.int32)
    for n in range(num):
        nodes[n] = [n - 1, 0, *states[n]]
        events[n, :3] = [Event.EXPAND if n == 0 else Event.PLAN, n, n]
    nodes[0, ACTION:] = 0
    events[-1] = [Event.END, -1, -1, Outcome.SOLVED, 0]
    return verify(env, Trace(row, events, nodes, states))


def test_published_answers_are_judged_as_they_should(reference: Path) -> None:
    num, optimal = 0, 0
    for line in (reference / "graphs" / "layered_verdicts.jsonl").read_text().splitlines():
        record = json.loads(line)
        env = published_env(record)
        row = published_row(record, env)
        read = naive.read_answer(record["text"])
        assert (read is not None) == record["well_formed"]
        if read is not None:
            path, cost = read
            true = naive.path_cost(naive.graph_of(row.tolist()), path)
            assert plan_of(env, row, path, true or 0).planned == record["path_valid"]
            verdict = plan_of(env, row, path, cost)
            assert verdict.planned == (record["path_valid"] and record["cost_true"])
            best = protocol.optimum(env, row, env.proof_work())
            assert (verdict.planned and verdict.plan_cost == best) == record["optimal"]
            optimal += record["optimal"]
        num += 1
    assert num >= 29
    assert optimal > 5


def trace_of(row: np.ndarray, steps: list[tuple[list[int], int]]) -> Trace | None:
    """Return a search of theirs as a trace, each step below the node whose path it goes on; None where there is none."""
    events, nodes, states = [[Event.EXPAND, 0, 0, 0, 0]], [[-1, 0, 0, 0]], [[0, 0]]
    node_of, visited = {(0,): 0}, {0}
    for path, cost in steps:
        parent, node = node_of.get(tuple(path[:-1]), -1), len(nodes)
        if parent < 0:
            return None
        events.append([Event.BACKTRACK if parent in visited else Event.EXPAND, parent, parent, 0, 0])
        visited.add(parent)
        nodes.append([parent, 0, path[-1], cost])
        states.append([path[-1], cost])
        events.append([Event.GENERATE, node, node, 0, 0])
        node_of[tuple(path)] = node
    return Trace(row, *(np.array(rows, np.int32) for rows in (events, nodes, states)))


def test_published_steps_are_judged_one_by_one(reference: Path) -> None:
    """A step that goes on from no path before it has another path's cost: an ancestor was improved, a defect at eta 0."""
    rng, off, num = random.Random(3), Counter[str](), 0
    for line in (reference / "graphs" / "layered.jsonl").read_text().splitlines():
        record = json.loads(line)
        env = published_env(record)
        row = published_row(record, env)
        for eta in ("eta_5", "eta_0", "eta_-5"):
            steps = naive.steps(record[eta]["search"])
            trace = trace_of(row, steps)
            wrong = [naive.path_cost(naive.graph_of(row.tolist()), path) != cost for path, cost in steps]
            off[eta] += any(wrong)
            num += 1
            if trace is None:
                continue
            assert not any(wrong)
            assert not verify(env, trace).errors.any()
            k = rng.randrange(len(steps))
            steps[k] = (steps[k][0], steps[k][1] + rng.choice([-1, 1]))
            damaged = trace_of(row, steps)
            assert damaged is not None
            errors = verify(env, damaged).errors
            assert errors[2 * k + 2] == Error.ARITHMETIC
            assert set(errors.tolist()) == {Error.NONE, Error.ARITHMETIC}
    assert num >= 60
    assert off["eta_0"] > 0
    assert off["eta_5"] == off["eta_-5"] == 0


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"min_layers": 6}, "env.min_layers=6 is above env.max_layers=5"),
        ({"min_nodes": 5}, "env.min_nodes=5 is above env.max_nodes=4"),
        ({"num_labels": 17}, "env.num_labels=17 is too few: env.max_layers=5 and env.max_nodes=4 make up to 18 nodes"),
        ({"connectivity": 1.5}, "env.connectivity"),
        ({"max_cost": 0}, "env.max_cost"),
    ],
)
def test_impossible_sizes_are_refused(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        LayeredConfig(**keys)
