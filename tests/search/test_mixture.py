"""Mixtures: which strategy a problem gets, that streams know it, and what is refused."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from drivers import random_problem, run_search

from sos.config import BuiltInConfig, SearchConfig, config_from_dict
from sos.data.coverage import coverage
from sos.data.splits import make_splits, sample_problems
from sos.data.streams import StreamSource
from sos.data.traces import strategy_of
from sos.envs.countdown.rules import Countdown
from sos.kernels import allocating
from sos.rng import stream_key
from sos.search import Beam, BestFirst, DepthFirst, mix
from sos.search.protocol import choose, search_chosen
from sos.search.work import new_work
from sos.stream.codec import decode, encode, encode_prompt
from sos.stream.views import FULL, View
from sos.trace import ACTION, Outcome, new_buffer, to_trace

ENV = Countdown(num_numbers=3, max_number=20)
STRATEGIES = (
    DepthFirst(2, False, True, False, 50),
    Beam(2, 1, True, False, 40),
    BestFirst(1, -600, False, True, 30),
    DepthFirst(),
    Beam(3, 2, False, True, 20),
    DepthFirst(3, False, True, False, 50, skip_out_of_range=True),
)
MIXTURE = mix(STRATEGIES, [1, 2, 0, 3, 2, 2])


@allocating
def chosen_kernel(strategy, choice, env, problem, work, trace):
    return search_chosen(strategy, choice, env, problem, work, trace)


@allocating
def choose_kernel(strategy, key, num):
    choices = np.zeros(num, np.int64)
    for index in range(num):
        choices[index] = choose(strategy, key, index)
    return choices


def test_strategies_are_drawn_by_weight() -> None:
    num = 20_000
    counts = np.bincount(choose_kernel(MIXTURE, np.uint64(7), num), minlength=6)
    expected = num * np.array([1, 2, 0, 3, 2, 2]) / 10
    drawn = expected > 0
    assert counts[~drawn].sum() == 0
    chi_square = ((counts - expected)[drawn] ** 2 / expected[drawn]).sum()
    assert chi_square < 18.5  # 4 degrees of freedom, p = 0.001
    assert (choose_kernel(DepthFirst(), np.uint64(7), 50) == 0).all()


@pytest.mark.parametrize("weights", [[0, 0, 1], [1, 0, 0], [0.1, 0.2, 0.0], [1e-300, 0, 1e-300], [3, 3, 3]])
def test_every_draw_names_a_strategy_that_weighs(weights: list[float]) -> None:
    mixture = mix(STRATEGIES[:3], weights)
    assert mixture.bounds[-1] == 1.0
    assert set(choose_kernel(mixture, np.uint64(1), 3000)) <= {m for m, weight in enumerate(weights) if weight > 0}


def test_a_member_searches_as_it_does_alone() -> None:
    rng = np.random.default_rng(0)
    work, buffer = new_work(ENV, 3000), new_buffer(12_000, 3000, ACTION + ENV.action_width, ENV.state_width)
    for choice, strategy in enumerate(STRATEGIES):
        for _ in range(5):
            problem = np.array(random_problem(rng, ENV), np.int32)
            assert chosen_kernel(MIXTURE, choice, ENV, problem, work, buffer) == 0
            assert to_trace(problem, buffer).equals(run_search(strategy, ENV, problem))


def test_streams_know_their_strategy(dialect_of) -> None:
    dialect = dialect_of("compact", ENV, 9)
    splits = make_splits(ENV, 0.1, 0.1)
    options = (MIXTURE, View(FULL), dialect, splits, 2000, 5)
    names = ("a", "b", "c", "d", "e", "f")
    source = StreamSource(ENV, *options, num_problems=30, max_nodes=2000, strategy_names=names)
    chunk = source.chunk(0, 60)
    assert chunk.num_dropped == 0
    by_problem = {}
    for k, (a, b) in enumerate(pairwise(chunk.offsets)):
        problem = decode(dialect, ENV, chunk.tokens[a:b]).trace.problem
        choice = int(chunk.strategies[k])
        expected = encode(dialect, run_search(STRATEGIES[choice], ENV, problem))[0]
        assert np.array_equal(chunk.tokens[a:b], expected)
        assert by_problem.setdefault(tuple(problem.tolist()), choice) == choice  # the same in every epoch
    assert set(by_problem.values()) == {0, 1, 3, 4, 5}
    parts = np.concatenate([source.chunk(a, b).strategies for a, b in ((0, 7), (7, 60))])
    assert np.array_equal(parts, chunk.strategies)
    endless = StreamSource(ENV, *options, max_nodes=2000).chunk(10, 20)
    key = stream_key(5, "train")
    assert endless.strategies.tolist() == [strategy_of(MIXTURE, key, index) for index in range(10, 20)]


def test_coverage_of_a_mixture_is_that_of_its_members(dialect_of) -> None:
    dialect = dialect_of("compact", ENV, 9)
    problems = sample_problems(ENV, make_splits(ENV, 0.1, 0.1), "val", 60)
    found = coverage(ENV, MIXTURE, dialect, problems, max_tokens=300, max_nodes=2000)
    assert set(found.strategies.tolist()) == {0, 1, 3, 4, 5}
    for p, problem in enumerate(problems):
        trace = run_search(STRATEGIES[found.strategies[p]], ENV, problem)
        length = len(encode(dialect, trace)[0])
        assert found.solved[p] == (trace.outcome == Outcome.SOLVED)
        assert found.lengths[p] == (length if length <= 300 else -1)
        assert found.prompts[p] == (len(encode_prompt(dialect, problem)) if length <= 300 else 0)
    assert 0 < (found.lengths < 0).sum() < 60


@pytest.mark.parametrize(
    ("match", "options"),
    [
        ("search.name must be one of dfs, beam, best_first, widening, a_star, branches, mixture, .*got 'bfs'", {"name": "bfs"}),
        ("search.strategies must name at least one strategy", {"name": "mixture"}),
        ("search.weights.b: no such strategy; search.strategies has a", {"weights": {"b": 1.0}}),
        ("search.weights.a must be at least 0, got -1.0", {"weights": {"a": -1.0}}),
        ("search.weights.a must be a finite number, got nan", {"weights": {"a": float("nan")}}),
        ("search.weights sum to 0", {"weights": {"a": 0.0}}),
        ("search.strategies.a.width must be at least 1, got 0", {"strategies": {"a": {"name": "beam", "width": 0}}}),
        ("search.strategies.a.name must be one of dfs, beam, .*got 'mixture'", {"strategies": {"a": {"name": "mixture"}}}),
        ("search.weights.* has no use with search.name=dfs", {"name": "dfs", "strategies": {}, "weights": {"a": 1.0}}),
        ("search.heuristic=operator orders the children", {"name": "beam", "heuristic": "operator"}),
        ("search.heuristic=operator orders the children", {"name": "best_first", "heuristic": "operator"}),
        ("search.threshold=target has no use with search.name=beam", {"name": "beam", "threshold": "target"}),
        ("search.threshold=target needs search.heuristic", {"name": "dfs", "threshold": "target", "heuristic": "none"}),
    ],
)  # fmt: skip
def test_mistakes_are_named(match: str, options: dict) -> None:
    if "name" not in options:
        options = {"name": "mixture", "strategies": {"a": {}}} | options
    with pytest.raises(ValueError, match=match) as caught:
        config_from_dict({"search": options})
    assert "\n" not in str(caught.value)


def test_a_strategy_without_a_weight_weighs_one() -> None:
    config = SearchConfig("mixture", strategies={"a": BuiltInConfig(), "b": BuiltInConfig("beam")}, weights={"b": 3.0})
    assert [config.weight(name) for name in config.strategies] == [1.0, 3.0]
