"""Optimal answers: of the least cost that the environment knows, by the search's goal and by the plan, each apart."""

from __future__ import annotations

from dataclasses import replace

import networkx
import numpy as np
import pytest
from naive import layered as naive

from sos.compose import compose
from sos.data.splits import sample_problems
from sos.envs.countdown.rules import Countdown
from sos.judge.metrics import is_counted, is_rate
from sos.judge.optima import optima
from sos.judge.rollouts import judge, pass_metrics, summarize
from sos.model.rollout import Rollout
from sos.search import AStar, DepthFirst
from sos.search.run import run_search
from sos.stream.codec import encode
from sos.stream.viewing import view_trace
from sos.stream.views import VIEWS, View
from sos.system import System, build_system
from sos.trace import END, GOAL, KIND, PLAN, Trace

NUM = 40
DEEP = DepthFirst(heuristic=0, use_threshold=False, skip_seen=True, announce_leaves=False)


@pytest.fixture(scope="module")
def system() -> System:
    return build_system(compose(["experiment=layered"]))


@pytest.fixture(scope="module")
def problems(system: System) -> np.ndarray:
    return sample_problems(system.env, system.splits, "val", NUM, seed=1)


def answers(
    system: System, problems: np.ndarray, search: AStar | DepthFirst, plan: AStar | DepthFirst
) -> list[Rollout]:
    """Return the streams of one search, with the plans of another behind them."""
    found = []
    for row in problems:
        first, second = (run_search(strategy, system.env, row, 5000) for strategy in (search, plan))
        whole = view_trace(View(0, 1.0, True), system.env, first)
        tokens, align, num_prompt = encode(system.dialect, whole)
        only = view_trace(View(VIEWS.index("plan_only"), 1.0, True), system.env, second)
        planned, planned_align, _ = encode(system.dialect, only)
        kept = tokens[~np.isin(whole.events[align, KIND], (PLAN, END))]
        said = planned[np.isin(only.events[planned_align, KIND], (PLAN, END))]
        found.append(Rollout(np.concatenate([kept, said]).astype(np.int32), num_prompt, True, np.zeros(0, np.float32)))
    return found


def costs_of(problems: np.ndarray, traces: list[Trace]) -> list[int]:
    """Return what the path to each goal costs, by the problem's own edges."""
    found = []
    for row, trace in zip(problems, traces, strict=True):
        path, node = [], int(trace.events[trace.events[:, KIND] == GOAL][0, 1])
        while node >= 0:
            path.append(int(trace.states[node, 0]))
            node = int(trace.nodes[node, 0])
        cost = naive.path_cost(naive.graph_of(row.tolist()), path[::-1])
        assert cost is not None
        found.append(cost)
    return found


def test_optima_are_those_of_networkx(system: System, problems: np.ndarray) -> None:
    found = optima(system.env, problems)
    assert found is not None
    for row, cost in zip(problems, found.tolist(), strict=True):
        graph = naive.graph_of(row.tolist())
        peer = networkx.DiGraph()
        peer.add_weighted_edges_from(graph.edges)
        assert networkx.dijkstra_path_length(peer, graph.start, graph.target) == cost
    assert len(found) == NUM
    assert optima(Countdown(), np.zeros((3, 6), np.int32)) is None


def test_search_and_plan_are_optimal_each_by_itself(system: System, problems: np.ndarray) -> None:
    best = optima(system.env, problems)
    assert best is not None
    deep = np.array(costs_of(problems, [run_search(DEEP, system.env, row, 5000) for row in problems]))
    share = float((deep == best).mean())
    assert 0.1 < share < 0.9
    for search, plan, optimal, planned in (
        (AStar(), AStar(), 1.0, 1.0),
        (DEEP, AStar(), share, 1.0),
        (AStar(), DEEP, 1.0, share),
    ):
        judged = judge(system, problems, answers(system, problems, search, plan))
        assert (judged.cost == (best if optimal == 1 else deep)).all()
        metrics = summarize(judged, True, best)
        assert (metrics["solve"].value, metrics["plan"].value) == (1.0, 1.0)
        assert (metrics["optimal"].value, metrics["plan_optimal"].value) == pytest.approx((optimal, planned))
        assert "plan_optimal" not in summarize(judged, False, best)
        assert "optimal" not in summarize(judged, True)


def test_what_is_not_solved_is_not_optimal(system: System, problems: np.ndarray) -> None:
    others = answers(system, np.roll(problems, 1, axis=0), AStar(), AStar())
    judged = judge(system, problems, others)  # each an answer to another problem
    metrics = summarize(judged, True, optima(system.env, problems))
    assert (judged.cost == -1).all()
    assert (metrics["optimal"].value, metrics["plan_optimal"].value) == (0.0, 0.0)


def test_one_and_three_of_k_answers_are_optimal(system: System, problems: np.ndarray) -> None:
    """Problem p has p % 5 optimal answers, each kind apart, among four."""
    best = optima(system.env, problems)
    assert best is not None
    num = np.arange(NUM) % 5
    cheap, dear = (answers(system, problems, search, search) for search in (AStar(), DEEP))
    deep = np.array([run_search(DEEP, system.env, row, 5000).outcome == 0 for row in problems])
    assert deep.all()
    worse = judge(system, problems, dear).cost > best
    chosen = np.flatnonzero(worse)
    samples = [cheap[p] if k < num[p] else dear[p] for p in chosen for k in range(4)]
    judged = judge(system, problems[chosen].repeat(4, 0), samples)
    metrics = pass_metrics(judged, np.ones(len(samples)), 4, [1, 2, 4], True, best[chosen])
    for kind in ("optimal", "plan_optimal"):
        assert metrics[f"{kind}@1"].value == pytest.approx(num[chosen].mean() / 4)
        assert metrics[f"{kind}@4"].value == pytest.approx((num[chosen] > 0).mean())
        assert metrics[f"{kind}_3@4"].value == pytest.approx((num[chosen] >= 3).mean())
        assert f"{kind}_3@2" not in metrics
        assert metrics[f"{kind}@4"].num == len(chosen)
    assert len(chosen) > 10
    assert "optimal@4" not in pass_metrics(judged, np.ones(len(samples)), 4, [4], True)


def test_a_search_is_valid_without_a_mistake_whatever_it_finds(system: System, problems: np.ndarray) -> None:
    right = answers(system, problems, AStar(), DEEP)
    assert judge(system, problems, right).trace_valid.all()
    alone = [
        Rollout(np.concatenate([one.tokens[: one.num_prompt], one.tokens[-1:]]), one.num_prompt, True, one.logprobs)
        for one in right
    ]
    assert not judge(system, problems, alone).trace_valid.any()
    cut = [replace(one, tokens=one.tokens[:-1]) for one in right]
    assert not judge(system, problems, cut).trace_valid.any()
    wrong = []
    for one in right:
        tokens = one.tokens.copy()
        tokens[one.num_prompt + 1] += 1  # a number of the first thing said
        wrong.append(replace(one, tokens=tokens))
    assert not judge(system, problems, wrong).trace_valid.any()
    assert judge(system, problems, wrong).planned.any()


def test_the_new_metrics_are_shares() -> None:
    for name in ("optimal", "plan_optimal", "trace_valid", "optimal@4", "plan_optimal@64", "plan_optimal_3@64"):
        assert is_rate(f"{name}/val")
    assert is_counted("trace_valid/val")
    assert not is_counted("plan_optimal_3@64/val")
