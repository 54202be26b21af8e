"""A heuristic in a package of somebody else orders the nodes of any search of the environment that it is for."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pytest
from drivers import random_problem
from places import ROOT
from sizes import plain

from sos.compose import compose
from sos.envs.countdown.heuristics import HEURISTIC_SCALE
from sos.envs.countdown.rules import Countdown
from sos.envs.heuristics import HEURISTICS, register_heuristic
from sos.envs.protocol import estimate, implements
from sos.errors import UserError
from sos.search import DepthFirst, Mixture
from sos.search.guided import Guided
from sos.search.mixture import OpenMixture
from sos.search.run import run_search
from sos.stream.verify import verify
from sos.system import build_strategy, build_system
from sos.trace import ACTION, EXPAND, GENERATE, KIND, NODE, PARENT

HOME = ROOT / "tests" / "user_package"
ENV = Countdown(num_numbers=4, max_number=30)


class Same(NamedTuple):
    """It says what Countdown's `sum` says."""

    scale: int = HEURISTIC_SCALE


@implements(estimate, Same)
def _estimate(heuristic, env, problem, state):
    total = 0
    for k in range(1, state[0] + 1):
        total += abs(problem[0] - state[k])
    return heuristic.scale * total // state[0]


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = dict(HEURISTICS)
    monkeypatch.syspath_prepend(str(HOME))
    sys.modules.pop("gap", None)
    yield
    sys.modules.pop("gap", None)
    HEURISTICS.clear()
    HEURISTICS.update(before)


WORDS = {
    "dfs": [],
    "dfs, pruned": ["search.look_ahead=1", "search.skip_out_of_range=true"],
    "beam": ["search=beam", "search.width=3"],
    "best_first": ["search=best_first", "search.depth_weight=-2"],
    "widening": ["search=widening"],
}


@pytest.mark.slow
@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("words", WORDS.values(), ids=WORDS)
def test_the_same_heuristic_gives_the_same_searches(words: list[str]) -> None:
    register_heuristic("same", Same, "countdown")
    rng = np.random.default_rng(0)
    own, added = (build_strategy(compose([*words, f"search.heuristic={h}"]).search, ENV)[0] for h in ("sum", "same"))
    assert isinstance(added, Guided)
    looked = 0
    for _ in range(plain(20, 3)):
        problem = np.array(random_problem(rng, ENV), np.int32)
        trace = run_search(added, ENV, problem, 6000)
        assert trace.equals(run_search(own, ENV, problem, 6000))
        looked += len(trace.nodes)
    assert looked > 50


@pytest.mark.slow
@pytest.mark.usefixtures("home")
def test_a_module_of_the_user_names_a_heuristic() -> None:
    system = build_system(compose(["search.heuristic=gap:gap", "env.num_numbers=4", "env.max_number=30"]))
    problem = np.array([24, 4, 3, 5, 7, 11], np.int32)
    trace = run_search(system.strategy, ENV, problem, 6000)
    assert not verify(ENV, trace).errors.any()
    first = trace.events[(trace.events[:, KIND] == GENERATE)][0, NODE]
    gaps = [abs(24 - value) for value in _results(problem)]
    assert abs(24 - trace.nodes[first, ACTION:][-1]) == min(gaps)


def _results(problem: np.ndarray) -> list[int]:
    """The results of all actions from the root, by a search that writes them all."""
    trace = run_search(DepthFirst(0, False, False, False, 1000), ENV, problem, 6000)
    assert trace.events[0, KIND] == EXPAND
    return [int(row[ACTION:][-1]) for row in trace.nodes if row[PARENT] == 0]


@pytest.mark.slow
@pytest.mark.usefixtures("home")
def test_members_of_a_mixture_may_have_it() -> None:
    words = ["search.name=mixture", "+search.strategies.a.heuristic=gap:gap", "+search.strategies.b.heuristic=mult"]
    strategy, names = build_strategy(compose(words).search, ENV)
    assert isinstance(strategy, OpenMixture)
    assert names == ("a", "b")
    problem = np.array([24, 4, 3, 5, 7, 11], np.int32)
    for choice, heuristic in enumerate(("gap:gap", "mult")):
        alone = build_strategy(compose(["search=dfs", f"search.heuristic={heuristic}"]).search, ENV)[0]
        assert run_search(strategy, ENV, problem, 6000, choice).equals(run_search(alone, ENV, problem, 6000))
    plain_words = ["search.name=mixture", "+search.strategies.b.heuristic=mult"]
    assert isinstance(build_strategy(compose(plain_words).search, ENV)[0], Mixture)


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["search.heuristic=best"],
            "search.heuristic=best: Countdown orders nodes by none, sum, mult, size, operator, or MODULE:NAME of one of "
            "your own",
        ),
        (["search.heuristic=gap:best"], "search.heuristic=gap:best: Countdown orders nodes by none, sum, mult, size, operator, gap"),
        (["search.heuristic=hole:gap"], "search.heuristic=hole:gap: there is no module hole; is its folder on PYTHONPATH?"),
        (["env=path_star", "search.heuristic=gap:gap"], "search.heuristic=gap:gap: PathStar orders nodes by none"),
        (["search=dfs_paper", "search.heuristic=gap:gap"], "search.threshold=target needs search.heuristic=sum or mult, got gap:gap"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(words: list[str], said: str) -> None:
    with pytest.raises(UserError, match=re.escape(said)) as caught:
        build_system(compose(words))
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("home")
def test_a_heuristic_is_checked_when_it_is_registered() -> None:
    class Bare(NamedTuple):
        one: int = 1

    class Open(NamedTuple):
        one: int

    implements(estimate, Open)(lambda heuristic, env, problem, state: 0)
    register_heuristic("same", Same, "countdown")
    before = dict(HEURISTICS)
    for name, kind, environment, said in (
        ("mine", Bare, "countdown", "Bare lacks the kernel estimate: @implements(sos.envs.protocol.estimate, Bare)"),
        ("mine", Open, "countdown", "Open must have a field or more, each with a default"),
        ("sum", Same, "countdown", "heuristic sum of countdown is registered already"),
        ("same", Same, "countdown", "heuristic same of countdown is registered already"),
        ("mine", Same, "chess", "register_heuristic('mine'): environment must be one of countdown, path_star, layered"),
    ):
        with pytest.raises(UserError, match=f"^{re.escape(said)}"):
            register_heuristic(name, kind, environment)
    assert before == HEURISTICS
