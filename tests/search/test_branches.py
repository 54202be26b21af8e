"""The search over open branches: against its oracle, optimal, and beside the published searches."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from naive import branches as naive
from naive import layered
from naive.a_star import cheapest
from sizes import plain

from sos.compose import compose
from sos.data.splits import make_splits, sample_problems
from sos.envs import protocol
from sos.envs.layered.rules import Layered
from sos.errors import UserError
from sos.rng import fold, stream_key, uniform
from sos.search.branches import Branches
from sos.search.run import run_search
from sos.stream.codec import DecodeStatus, decode, encode
from sos.stream.dialect.compile import load_dialect
from sos.stream.verify import verify
from sos.stream.viewing import view_trace
from sos.stream.views import View
from sos.system import build_system
from sos.trace import ACTION, KIND, NODE, PARENT, RANK, VALUE, Event, Outcome

SIZES = [Layered(), Layered(2, 2, 1, 1, 1, 0.0, 3), Layered(3, 4, 2, 3, 9, 1.0, 14), Layered(2, 7, 2, 6, 5, 0.6, 40)]
ETAS = (5.0, 0.0, -5.0, 0.7)
WORDS = {Event.EXPAND: "visit", Event.BACKTRACK: "return", Event.GENERATE: "step"}


def draws(problem: np.ndarray) -> Any:
    key = stream_key(0, "branches")
    for number in problem:
        key = np.uint64(fold(key, int(number)))
    return lambda step: float(uniform(key, step))


def problems_of(env: Layered, num: int) -> np.ndarray:
    return sample_problems(env, make_splits(env, 0.2, 0.0), "train", num, seed=3)


@pytest.mark.parametrize("env", SIZES)
def test_searches_are_the_oracles_and_optimal(env: Layered) -> None:
    tried, reopened = 0, 0
    for row in problems_of(env, plain(25, 2)):
        graph = layered.graph_of(row.tolist())
        for eta in ETAS:
            found = naive.search(graph, eta, draws(row))
            trace = run_search(Branches(eta, 10_000), env, row, 10_000)
            told = [
                (WORDS[e[KIND]], e[NODE], trace.states[e[NODE], 0]) for e in trace.events.tolist() if e[KIND] in WORDS
            ]
            assert told == found.events
            assert trace.nodes[:, PARENT].tolist() == found.parents
            assert trace.states[:, 1].tolist() == found.costs
            assert trace.outcome == Outcome.SOLVED
            assert int(trace.events[-2, VALUE]) == found.best == cheapest(graph)
            verdict = verify(env, trace)
            assert verdict.solved
            assert not verdict.errors.any()
            assert verdict.cost == protocol.optimum(env, row, env.proof_work())
            reopened += found.reopened
            tried += 1
    assert tried == plain(25, 2) * len(ETAS)
    assert reopened > 0 or env.max_nodes == 1 or not plain(1, 0)


def test_ranks_count_the_children_of_a_node() -> None:
    env = Layered()
    for row in problems_of(env, plain(10, 1)):
        trace = run_search(Branches(-5.0), env, row, 5000)
        counts: dict[int, int] = {}
        for parent, rank in trace.nodes[1:, [PARENT, RANK]].tolist():
            assert rank == counts.get(parent, 0)
            counts[parent] = rank + 1
        pairs = {(int(n[PARENT]), int(n[ACTION])) for n in trace.nodes[1:]}
        assert len(pairs) == len(trace.nodes) - 1  # no branch of a node is followed twice


def test_the_larger_eta_the_fewer_steps() -> None:
    env = Layered(2, 7, 2, 6, 5, 0.6, 40)
    rows = problems_of(env, plain(60, 3))
    steps = [
        [len(run_search(Branches(eta, 60_000), env, row, 60_000).nodes) - 1 for row in rows] for eta in (20, 0, -5)
    ]
    means = [float(np.mean(found)) for found in steps]
    assert means[0] < means[1] < means[2] or not plain(1, 0)
    # Layer after layer no branch is followed twice.
    assert steps[0] == [int(row[-1]) for row in rows]


def test_a_budget_ends_the_search() -> None:
    env = Layered()
    row = problems_of(env, 1)[0]
    whole = run_search(Branches(0.0), env, row, 5000)
    cut = run_search(Branches(0.0, 4), env, row, 5000)
    assert cut.outcome == Outcome.BUDGET
    assert np.array_equal(cut.nodes, whole.nodes[:4])
    assert not verify(env, cut).errors.any()
    with pytest.raises(UserError, match="generates more than 5 nodes"):
        run_search(Branches(0.0), env, row, 5)


@pytest.mark.parametrize("called", ["compact", "checked"])
def test_streams_read_back(called: str) -> None:
    env, tried = Layered(), 0
    dialect = load_dialect(called, env, 99, True)
    for row in problems_of(env, plain(20, 2)):
        for eta in ETAS:
            shown = view_trace(View(0, 1.0, True), env, run_search(Branches(eta), env, row, 5000))
            read = decode(dialect, env, encode(dialect, shown)[0])
            assert (read.status, read.trace.equals(shown)) == (DecodeStatus.OK, True)
            verdict = verify(env, read.trace)
            assert (verdict.solved, verdict.planned, verdict.errors.any()) == (True, True, False)
            tried += 1
    assert tried == plain(20, 2) * len(ETAS)


def row_of(record: dict[str, Any]) -> tuple[Layered, np.ndarray]:
    """Return the published graph as a problem of an environment that can pose it."""
    nodes = 1 + max(node for edge in record["edges"] for node in edge[:2])
    env = Layered(2, record["max_layers"], 2, record["max_nodes"], 5, 0.6, nodes)
    row = np.zeros(env.problem_width, np.int32)
    numbers = [0, nodes - 1, *(number for edge in record["edges"] for number in edge)]
    row[: len(numbers)] = numbers
    row[-1] = len(record["edges"])
    return env, row


def test_published_graphs_are_solved_at_their_cost_in_as_many_steps(reference: Path) -> None:
    """Steps are drawn: they agree in the mean, which at eta 5 is hardly more than the edges."""
    ours: dict[int, list[int]] = {5: [], 0: [], -5: []}
    theirs: dict[int, list[int]] = {5: [], 0: [], -5: []}
    for line in (reference / "graphs" / "layered.jsonl").read_text().splitlines()[: plain(None, 2)]:
        record = json.loads(line)
        env, row = row_of(record)
        for eta in ours:
            trace = run_search(Branches(eta, 60_000), env, row, 60_000)
            assert verify(env, trace).cost == record["best_cost"]
            told = record[f"eta_{eta}"]
            if told.get("redundancy"):
                continue
            paths = [tuple(path) for path, _ in layered.steps(told["search"])]
            if len(set(paths)) == len(paths):  # no step twice
                ours[eta].append(len(trace.nodes) - 1)
                theirs[eta].append(len(paths))
    assert len(ours[5]) >= plain(10, 0)
    for eta in ours if plain(1, 0) else ():
        assert sum(ours[eta]) == pytest.approx(sum(theirs[eta]), rel=0.25), eta


def test_the_search_is_chosen_by_its_name() -> None:
    system = build_system(compose(["experiment=layered", "search=branches", "search.eta=-5"]))
    assert system.strategy == Branches(-5.0, 2000)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["search=branches"], "search.name=branches: Countdown has no path_cost"),
        (["experiment=layered", "search=branches", "search.eta=21"], "search.eta must be at most 20.0, got 21.0"),
        (["experiment=layered", "search=branches", "search.max_nodes=0"], "search.max_nodes must be at least 1, got 0"),
        (["experiment=layered", "search=branches", "search.heuristic=layers"], "search.heuristic is no key"),
    ],
)
def test_what_does_not_go_is_refused(words: list[str], message: str) -> None:
    with pytest.raises(UserError) as caught:
        build_system(compose(words))
    assert message in str(caught.value)
