"""A view in a package of somebody else shows searches like one of our own, on the fly, in streams and as one trace."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pytest
from drivers import random_problem, run_search
from places import ROOT
from sizes import plain

from sos.compose import compose
from sos.config import config_from_dict, to_dict
from sos.data.coverage import view_ceiling
from sos.data.splits import sample_problems
from sos.datasets.source import build_source
from sos.errors import UserError
from sos.schema.stream import ADDED_VIEWS
from sos.stream.added import AddedView, added_view, register_view
from sos.stream.codec import decode
from sos.stream.viewing import view_trace
from sos.stream.views import FULL, SOLUTION_PATH, View
from sos.system import build_system

HOME = ROOT / "tests" / "user_package"


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = dict(ADDED_VIEWS)
    monkeypatch.syspath_prepend(str(HOME))
    sys.modules.pop("short", None)
    yield
    sys.modules.pop("short", None)
    ADDED_VIEWS.clear()
    ADDED_VIEWS.update(before)


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("plan", [False, True])
@pytest.mark.slow
def test_a_module_of_the_user_names_a_view(plan: bool) -> None:
    config = compose(["stream.view=short:short", f"stream.plan={plan}", "data.context=160"])
    assert config_from_dict(to_dict(config)) == config
    system = build_system(config)
    assert isinstance(system.view, AddedView)
    seen = set()
    for problem in sample_problems(system.env, system.splits, "train", plain(40, 10)):
        trace = run_search(system.strategy, system.env, problem)
        kind = FULL if len(trace.events) <= 20 else SOLUTION_PATH
        seen.add(kind)
        expected = view_trace(View(kind, 0.0, plan), system.env, trace)
        assert view_trace(system.view, system.env, trace).equals(expected)
    assert seen == {FULL, SOLUTION_PATH}
    problems = sample_problems(system.env, system.splits, "val", 10)
    assert view_ceiling(system, problems).all()


@pytest.mark.slow
@pytest.mark.usefixtures("home")
def test_streams_are_those_of_its_traces() -> None:
    config = compose(["stream.view=short:short"])
    system = build_system(config)
    chunk = build_source(config, system).chunk(0, 30)
    looked = 0
    for a, b in pairwise(chunk.offsets):
        shown = decode(system.dialect, system.env, chunk.tokens[a:b]).trace
        trace = run_search(system.strategy, system.env, shown.problem)
        assert shown.equals(view_trace(system.view, system.env, trace))
        looked += 1
    assert looked == 30


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    ("view", "said"),
    [
        ("ful", "stream.view must be one of full, solution_path, dose, no_backtrack, redundant, plan_only, swapped"),
        (
            "short:ful",
            "stream.view must be one of short, full, solution_path, dose, no_backtrack, redundant, plan_only, swapped",
        ),
        ("shorter:short", "stream.view=shorter:short: there is no module shorter; is its folder on PYTHONPATH?"),
    ],
)
def test_what_is_not_there_is_one_line(view: str, said: str) -> None:
    with pytest.raises(UserError, match=re.escape(said)) as caught:
        compose([f"stream.view={view}"])
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("home")
def test_a_view_is_checked_when_it_is_registered() -> None:
    class Bare(NamedTuple):
        most: int = 1

    kind = type(added_view("short:short").shown)
    before = dict(ADDED_VIEWS)
    for name, given, said in (
        ("mine", Bare, "Bare lacks the kernel show: @implements(sos.stream.added.show, Bare)"),
        ("dose", kind, "view dose is registered already"),
        ("short", kind, "view short is registered already"),
    ):
        with pytest.raises(UserError, match=f"^{re.escape(said)}$"):
            register_view(name, given)
    assert before == ADDED_VIEWS


@pytest.mark.usefixtures("home")
def test_the_others_say_their_names() -> None:
    system = build_system(compose(["stream.view=short:short"]))
    trace = run_search(system.strategy, system.env, random_problem(np.random.default_rng(0), system.env))
    with pytest.raises(UserError, match="view 'Short' of the trace needs more than 2 nodes"):
        view_trace(system.view, system.env, trace, max_nodes=2)
