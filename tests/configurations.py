"""Random configurations of environment, search, view and dialect, each tried end to end beside the slow oracles."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
from drivers import DIALECTS, random_problem, reads_back, run_search, solvable_kernel
from naive import search as naive
from naive import widening as naive_widening
from naive.verify import verify as naive_verify
from sizes import plain

from sos.envs.countdown.heuristics import BY_OPERATOR, HEURISTIC_SCALE, HEURISTICS, MULT, SUM
from sos.envs.countdown.rules import INT32_MAX, Countdown
from sos.errors import UserError
from sos.rng import below, fold
from sos.search import Beam, BestFirst, DepthFirst, Mixture, Widening, mix
from sos.search.beam import SHUFFLE_KEY
from sos.search.best_first import MOST_COST
from sos.search.run import run_search as search_mixture
from sos.stream.codec import decode, encode
from sos.stream.dialect.compile import load_dialect
from sos.stream.verify import verify, verify_tokens
from sos.stream.viewing import view_trace
from sos.stream.views import PLAN_ONLY, VIEWS, View
from sos.trace import Outcome, Trace


def shuffled(problem: list[int]) -> Callable[[list[Any], int], list[Any]]:
    key = SHUFFLE_KEY
    for number in problem:
        key = np.uint64(fold(key, number))

    def shuffle(children: list[Any], node: int) -> list[Any]:
        children = list(children)
        for k in range(len(children) - 1, 0, -1):
            m = below(np.uint64(fold(key, node)), k, k + 1)
            children[k], children[m] = children[m], children[k]
        return children

    return shuffle


ORACLES: dict[type, Callable[..., naive.Found]] = {
    DepthFirst: naive.depth_first,
    Beam: naive.beam,
    BestFirst: naive.best_first,
    Widening: naive_widening.widening,
}


def oracle(strategy: Any, env: Countdown, problem: list[int]) -> naive.Found:
    """Search with the slow oracle of a strategy."""
    options = strategy._asdict()
    options["heuristic_name"] = HEURISTICS[options.pop("heuristic")]
    if "shuffle" in options:
        options["shuffle"] = shuffled(problem) if options["shuffle"] else None
    if "skip_out_of_range" in options:
        in_range = range(env.min_target, env.max_target + 1)
        options["targets"] = in_range if options.pop("skip_out_of_range") else None
    if "depth_weight" in options:
        options["depth_weight"] = Fraction(strategy.depth_weight, HEURISTIC_SCALE)
    options |= {"max_value": env.max_value, "descending": env.descending}
    return ORACLES[type(strategy)](problem[2:], problem[0], **options)


class Configuration(NamedTuple):
    env: Countdown
    strategies: tuple[Any, ...]  # more than one: a mixture
    view: View
    dialect: str
    whole_max: int


def _env(rng: np.random.Generator) -> Countdown:
    min_number = int(rng.choice([1, 1, 1, 2, 10]))
    max_number = min_number + int(rng.choice([0, 4, 19, 98, 998, INT32_MAX // 2]))
    min_target = int(rng.choice([2, 10, 100]))
    max_target = min_target + int(rng.choice([0, 20, 90, 900]))
    least = max(max_target, max_number)
    max_value = min(least + int(rng.choice([0, 20, 1000, INT32_MAX // 2])), INT32_MAX)
    return Countdown(
        num_numbers=int(rng.choice(plain([2, 3, 3, 4, 4, 4, 5, 6], [2, 3, 3, 4]))),
        min_number=min_number,
        max_number=max_number,
        min_target=min_target,
        max_target=max_target,
        max_value=max_value,
        descending=bool(rng.integers(2)),
    )


def _strategy(rng: np.random.Generator, env: Countdown, kinds: tuple[type, ...]) -> Any:
    kind = kinds[rng.integers(len(kinds))]
    compares_all_nodes = kind in (Beam, BestFirst)
    heuristic = int(rng.integers(BY_OPERATOR if compares_all_nodes else len(HEURISTICS)))
    largest = MOST_COST // env.max_depth
    values = {
        "heuristic": heuristic,
        "use_threshold": heuristic in (SUM, MULT) and bool(rng.integers(2)),
        "skip_seen": bool(rng.integers(2)),
        "announce_leaves": bool(rng.integers(2)),
        "max_nodes": int(rng.choice([1, 2, 7, 30, 60, 300])),
        "look_ahead": int(rng.integers(3)),
        "skip_out_of_range": bool(rng.integers(2)),
        "width": int(rng.choice([1, 2, 3, 5, 9, 60, 1990, 2**40])),
        "visit_leaves": bool(rng.integers(2)),
        "shuffle": bool(rng.integers(2)),
        "depth_weight": int(rng.choice([0, 60, -60, -6000, 10**9, largest, -largest])),
        "bound": int(rng.choice([env.max_target, env.max_target + 200, 2**31])),
    }
    return kind(**{name: values[name] for name in kind._fields})  # type: ignore[attr-defined]


def draw(rng: np.random.Generator) -> Configuration:
    """Draw a configuration; every option of every part varies."""
    env = _env(rng)
    num = int(rng.choice([1, 1, 1, 2, 3]))
    kinds = (DepthFirst, Beam, BestFirst, Widening) if num == 1 else (DepthFirst, Beam, BestFirst)
    strategies = tuple(_strategy(rng, env, kinds) for _ in range(num))
    # What a stream without returns may leave out is tested where views are.
    views = [name for name in VIEWS if name not in ("no_backtrack", "swapped")]
    name = views[rng.integers(len(views))]
    plan = name == "plan_only" or bool(rng.random() < 0.3)
    view = View(VIEWS.index(name), float(rng.choice([0.0, 0.3, 1.0])), plan)
    return Configuration(env, strategies, view, DIALECTS[rng.integers(len(DIALECTS))], int(rng.choice([9, 120, 999])))


def _problem(rng: np.random.Generator, env: Countdown) -> tuple[list[int], bool]:
    """Draw a problem, more often than not one with a solution; say whether it has one."""
    problems = np.array([random_problem(rng, env) for _ in range(int(rng.choice([1, plain(40, 3)])))], np.int32)
    solvable = np.zeros(len(problems), np.bool_)
    solvable_kernel(env, problems, solvable)
    found = int(np.argmax(solvable))
    return problems[found].tolist(), bool(solvable[found])


def _search(configuration: Configuration, problem: list[int], choice: int) -> Trace:
    env, strategies = configuration.env, configuration.strategies
    if len(strategies) == 1:
        return run_search(strategies[0], env, problem)
    mixture: Mixture = mix(strategies, [1.0] * len(strategies))
    return search_mixture(mixture, env, np.array(problem, np.int32), 20_000, choice)


def check(configuration: Configuration, rng: np.random.Generator) -> Outcome:
    """Try a configuration on a random problem; return how the search ended. Raises AssertionError where it is not right."""
    env, strategies = configuration.env, configuration.strategies
    problem, solvable = _problem(rng, env)
    choice = int(rng.integers(len(strategies)))
    trace = _search(configuration, problem, choice)
    events, nodes, states = naive.as_rows(oracle(strategies[choice], env, problem), env.state_width)
    assert trace.events.tolist() == events
    assert trace.nodes.tolist() == nodes
    assert trace.states.tolist() == states
    assert trace.outcome is not None
    verdict = verify(env, trace)
    assert not verdict.errors.any()
    assert solvable or not verdict.solved
    assert verdict.solved == (trace.outcome == Outcome.SOLVED) == naive_verify(env, trace)[0]

    try:
        viewed = view_trace(configuration.view, env, trace, key=int(rng.integers(2**32)))
    except UserError as error:
        if solvable or "needs a solution" not in str(error):
            raise
        return Outcome(trace.outcome)
    dialect = load_dialect(configuration.dialect, env, configuration.whole_max, configuration.view.plan)
    tokens = encode(dialect, viewed)[0].astype(np.int64)
    assert reads_back(dialect, decode(dialect, env, tokens).trace, viewed)
    read = verify_tokens(dialect, env, viewed.problem, tokens)[0]
    assert not read.errors.any()
    solved = viewed.outcome == Outcome.SOLVED
    assert (read.solved, read.planned) == (
        solved and configuration.view.kind != PLAN_ONLY,
        solved and configuration.view.plan,
    )
    return Outcome(trace.outcome)
