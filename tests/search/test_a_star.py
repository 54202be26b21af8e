"""A*: against its oracle on graphs with loops and any estimates, and what makes a first goal an optimal one."""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from typing import Any

import networkx
import numpy as np
import pytest
from drivers import search_kernel
from naive import a_star as naive
from sizes import plain, some
from toy_atlas import Atlas, draw, parts_of

from sos.compose import compose
from sos.envs.countdown.rules import Countdown
from sos.errors import UserError
from sos.rng import below
from sos.rng import fold as fold_key
from sos.search.a_star import PROBLEM_KEY, AStar
from sos.search.a_star_config import TIES, WEIGHT_SCALE, AStarConfig
from sos.search.registry import SEARCHES
from sos.search.run import run_search
from sos.search.work import new_work
from sos.system import build_system
from sos.trace import ACTION, KIND, NODE, PARENT, RANK, VALUE, Event, Outcome, Status, Trace, new_buffer

ENVS = [Atlas(2, 1), Atlas(4, 7), Atlas(6, 14), Atlas(9, 30), Atlas(12, 60)]


def fold(key: Any, counter: int) -> np.uint64:
    return np.uint64(fold_key(key, counter))


def rules_of(strategy: AStar, env: Atlas, problem: np.ndarray) -> naive.Rules:
    """Return the oracle's rules; what is drawn is drawn by the same hash."""
    *_, estimate = parts_of(env, problem)
    weight = Fraction(strategy.weight, WEIGHT_SCALE) if strategy.heuristic else 0
    key = PROBLEM_KEY
    for number in problem.tolist():
        key = fold(key, number)
    tie = {
        "state": lambda node, place: (place, node),
        "first": lambda node, place: node,
        "last": lambda node, place: -node,
        "random": lambda node, place: int(fold(fold(key, 0), node)),
    }[TIES[strategy.ties]]

    def order(node: int, num: int) -> list[int]:
        numbers = list(range(num))
        for k in range(num - 1, 0, -1) if strategy.shuffle else ():
            m = int(below(fold(fold(key, 1), node), k, k + 1))
            numbers[k], numbers[m] = numbers[m], numbers[k]
        return numbers

    def value(cost: int, place: int) -> Fraction:
        return (cost if strategy.cost_weight else 0) + weight * estimate(place)

    return naive.Rules(value, tie, order, strategy.max_nodes)


def found_in(trace: Trace) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
    """Return events (kind, node, value) and nodes (parent, rank, place, cost) as the oracle has them."""
    events = [tuple(event) for event in trace.events[:, [KIND, NODE, VALUE]].tolist()]
    nodes = [tuple(node) for node in trace.nodes[:, [PARENT, RANK, ACTION, ACTION + 1]].tolist()]
    return events, nodes


def compared(strategy: AStar, env: Atlas, problem: np.ndarray) -> naive.Found:
    """Compare a search with the oracle's, and return that."""
    start, target, roads, _ = parts_of(env, problem)
    found = naive.a_star(naive.Graph(start, target, roads), rules_of(strategy, env, problem))
    events, nodes = found_in(run_search(strategy, env, problem, 2000))
    assert events == found.events
    assert nodes[1:] == found.nodes[1:]
    return found


def test_searches_are_the_oracles() -> None:
    rng, tried, totals, outcomes = np.random.default_rng(0), 0, np.zeros(2, int), set()
    weights = (0, WEIGHT_SCALE, 3 * WEIGHT_SCALE, 17)
    for env, ties, weight, greedy, shuffle in some(
        product(ENVS, range(len(TIES)), weights, (False, True), (False, True)), 8
    ):
        for most_estimate, max_nodes in ((3, 1000), (40, 1000), (10, 4)):
            problem = draw(rng, env, most_estimate)
            strategy = AStar(int(weight > 0), weight, 0 if greedy else WEIGHT_SCALE, ties, shuffle, max_nodes)
            found = compared(strategy, env, problem)
            totals += (found.improved, found.reopened)
            outcomes.add(found.events[-1][2])
            tried += 1
    assert tried == 3 * plain(320, 8)
    assert min(totals) > plain(50, 0), totals
    assert outcomes == {Outcome.SOLVED, Outcome.EXHAUSTED, Outcome.BUDGET} or tried < 100


def admissible(env: Atlas, problem: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the problem with estimates that are at most what is left, by networkx, and often inconsistent."""
    _, target, roads, _ = parts_of(env, problem)
    graph = networkx.DiGraph()
    graph.add_nodes_from(range(env.num_places))
    graph.add_weighted_edges_from(roads)
    left = networkx.single_source_dijkstra_path_length(graph.reverse(), target)
    result = problem.copy()
    for place in range(env.num_places):
        result[2 + place] = rng.integers(0, left[place] + 1) if place in left else 0
    return result


def test_the_first_goal_is_an_optimal_one_where_estimates_are_admissible() -> None:
    rng, solved, reopened = np.random.default_rng(1), 0, 0
    for env in ENVS[1:]:
        for _ in range(plain(60, 4)):
            problem = admissible(env, draw(rng, env, 0), rng)
            start, target, roads, _ = parts_of(env, problem)
            best = naive.cheapest(naive.Graph(start, target, roads))
            for heuristic in (0, 1):
                found = compared(AStar(heuristic), env, problem)
                goals = [value for kind, _, value in found.events if kind == Event.GOAL]
                assert goals == ([best] if best >= 0 else [])
                solved += best >= 0
                reopened += found.reopened
                assert not (found.reopened and heuristic == 0)
    assert solved > plain(200, 10)
    assert reopened > plain(3, -1)


def test_a_node_that_a_cheaper_one_replaced_is_never_expanded() -> None:
    rng, replaced = np.random.default_rng(2), 0
    for _ in range(plain(200, 10)):
        env = ENVS[3]
        trace = run_search(AStar(1), env, draw(rng, env, 20), 2000)
        latest: dict[int, int] = {0: 0}
        for kind, node in trace.events[:, [KIND, NODE]].tolist():
            place = int(trace.states[node, 0])
            if kind == Event.GENERATE:
                replaced += place in latest
                latest[place] = node
            if kind == Event.EXPAND and node:
                assert latest[place] == node
    assert replaced > plain(50, 1)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_a_full_buffer_is_a_status(size: int) -> None:
    env = Atlas(9, 30)
    problem = draw(np.random.default_rng(3), env, 5)
    for events, nodes in ((size + 2, 400), (800, size)):
        buffer = new_buffer(events, nodes, ACTION + env.action_width, env.state_width)
        assert search_kernel(AStar(), env, problem, new_work(env, 400), buffer) == Status.BUFFER_FULL
    buffer = new_buffer(800, 400, ACTION + env.action_width, env.state_width)
    assert search_kernel(AStar(), env, problem, new_work(env, 400), buffer) == Status.OK


def test_an_environment_without_costs_is_refused_by_name() -> None:
    with pytest.raises(UserError, match=r"search\.name=a_star: Countdown has no path_cost"):
        SEARCHES["a_star"].build(AStarConfig(), Countdown())
    with pytest.raises(UserError, match=r"search\.name=a_star: Countdown has no path_cost"):
        build_system(compose(["search=a_star", "search.heuristic=sum"]))


def built(**keys: Any) -> AStar:
    return SEARCHES["a_star"].build(AStarConfig(**keys), Atlas())


def test_keys_say_what_the_search_does() -> None:
    assert built(max_nodes=1000) == AStar()
    assert built(heuristic="told", weight=1.5, ties="random") == AStar(1, 96, WEIGHT_SCALE, 3, max_nodes=2000)
    assert built(heuristic="told", greedy=True).cost_weight == 0
    for key, value in (("ties", "alphabet"), ("weight", -1.0), ("max_nodes", 0)):
        with pytest.raises(UserError, match=f"search.{key}"):
            AStarConfig(**{key: value}).check("search")
