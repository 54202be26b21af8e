"""A dialect in a package of somebody else is checked when it is registered, and is used like one of our own."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drivers import run_search
from places import ROOT
from sizes import plain

from sos.compose import compose
from sos.data.splits import sample_problems
from sos.envs.countdown.rules import Countdown
from sos.envs.path_star.rules import PathStar
from sos.errors import UserError
from sos.search import DepthFirst
from sos.stream.codec import decode, encode
from sos.stream.dialect.compile import load_dialect, load_source
from sos.stream.dialect.registry import register_dialect
from sos.stream.dialect.source import DIALECTS
from sos.stream.verify import verify_tokens
from sos.stream.viewing import view_trace
from sos.system import build_system

HOME = ROOT / "tests" / "user_package"
ENV = Countdown(num_numbers=3)


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The user's package on the path, of which nothing is known yet."""
    before = dict(DIALECTS)
    monkeypatch.syspath_prepend(str(HOME))
    monkeypatch.delitem(sys.modules, "loud", raising=False)
    yield
    sys.modules.pop("loud", None)
    DIALECTS.clear()
    DIALECTS.update(before)


@pytest.mark.usefixtures("home")
def test_a_module_of_the_user_names_a_dialect() -> None:
    system = build_system(compose(["stream.dialect=loud:loud", "stream.numbers=whole"]))
    assert system.dialect.name == "loud:loud"
    trace = run_search(DepthFirst(), ENV, [11, 3, 5, 11, 17])
    tokens = encode(system.dialect, trace)[0]
    assert system.dialect.text(tokens).startswith("MAKE 11 OF 5 11 17 NOW 17 - 5 IS 12 ;")
    assert decode(system.dialect, ENV, tokens).trace.equals(trace)
    assert load_dialect("loud", ENV, 9).name == "loud"  # it is registered by now


@pytest.mark.usefixtures("home")
def test_a_folder_of_the_search_path_may_choose_it(tmp_path: Path) -> None:
    (tmp_path / "stream").mkdir()
    (tmp_path / "stream" / "shouted.yaml").write_text("dialect: loud:loud\nnumbers: digits\n")
    config = compose([f"hydra.searchpath=[file://{tmp_path}]", "stream=shouted"])
    assert build_system(config).dialect.name == "loud:loud"


@pytest.mark.usefixtures("home")
def test_an_installed_package_names_a_dialect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = tmp_path / "loud-1.0.dist-info"
    entry.mkdir()
    (entry / "METADATA").write_text("Metadata-Version: 2.1\nName: loud\nVersion: 1.0\n")
    (entry / "entry_points.txt").write_text("[sos.dialects]\nloud = loud\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert [(part.name, part.package) for part in DIALECTS.listed()] == [("loud", "loud")]
    assert load_dialect("loud", ENV, 9).templates["goal"] == "YES"


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    ("name", "env", "said"),
    [
        (
            "quiet",
            ENV,
            "stream.dialect: no dialect 'quiet'; those of Countdown are checked, checked_dense, compact, dense, sos, or "
            "give a YAML file or MODULE:NAME",
        ),
        (
            "loud:quiet",
            ENV,
            "no dialect 'loud:quiet'; those of Countdown are checked, checked_dense, compact, dense, sos, loud, or",
        ),
        ("loud:loud", PathStar(), "no dialect 'loud:loud' for PathStar, but for Countdown; those of PathStar are"),
        ("noise:loud", ENV, "stream.dialect=noise:loud: there is no module noise; is its folder on PYTHONPATH?"),
    ],
)
def test_what_is_not_there_is_one_line(name: str, env: Any, said: str) -> None:
    with pytest.raises(UserError, match=re.escape(said)) as caught:
        load_source(name, env)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("home")
def test_its_plan_is_written_read_back_and_judged() -> None:
    system = build_system(compose(["stream.dialect=loud:loud", "stream.plan=true"]))
    assert "SO" not in load_dialect("loud", ENV, 120).vocab.tokens
    planned = 0
    for problem in sample_problems(system.env, system.splits, "train", plain(20, 5)):
        trace = view_trace(system.view, system.env, run_search(system.strategy, system.env, problem))
        tokens = encode(system.dialect, trace)[0]
        assert decode(system.dialect, system.env, tokens).trace.equals(trace)
        verdict, row = verify_tokens(system.dialect, system.env, problem, tokens)[0], list(tokens)
        assert (verdict.solved, verdict.planned) == (True, True)
        assert not verdict.errors.any()
        last = len(row) - 1 - row[::-1].index(system.dialect.vocab.tokens.index("SO"))
        short = verify_tokens(system.dialect, system.env, problem, np.array([*row[:last], row[-1]]))[0]
        assert (short.solved, short.planned) == (True, False)  # the plan stops on the way
        planned += 1
    assert planned == plain(20, 5)


@pytest.mark.usefixtures("home")
def test_without_the_form_no_plan_can_be_asked_for() -> None:
    forms = {name: form for name, form in load_source("loud:loud", ENV).source["forms"].items() if name != "plan"}
    register_dialect("hushed", {"spacing": "free", "forms": forms}, "countdown")
    assert build_system(compose(["stream.dialect=hushed"])).dialect.name == "hushed"
    with pytest.raises(UserError, match=r"hushed.*needs the form 'plan'") as caught:
        build_system(compose(["stream.dialect=hushed", "stream.plan=true"]))
    assert "\n" not in str(caught.value)


def changed(**changes: Any) -> dict[str, Any]:
    source = load_source("compact", ENV).source
    return source | {"forms": source["forms"] | changes}


@pytest.mark.parametrize(
    ("name", "source", "environment", "said"),
    [
        ("mine", changed(goal="x"), "countdown", r"dialect mine is ambiguous: .*'dead_end' 'x'.*'goal' 'x'"),
        ("mine", changed(goal="{score}"), "countdown", "dialect mine: form 'goal' has the unknown field {score}"),
        ("mine", {"forms": 3}, "countdown", "dialect mine: needs a mapping with the key 'forms'"),
        ("mine", Path("no.yaml"), "countdown", "dialect mine: no.yaml: No such file"),
        ("mine", changed(), "path_star", "dialect mine: form .* has the unknown field"),
        (
            "mine",
            changed(),
            "chess",
            r"register_dialect\('mine'\): environment must be one of countdown, path_star, layered",
        ),
        ("compact", changed(), "countdown", "dialect compact of countdown is registered already"),
        ("a:b", changed(), "countdown", "'a:b' is no name of a dialect: it may hold no colon"),
    ],
)
def test_a_dialect_is_checked_when_it_is_registered(name: str, source: Any, environment: str, said: str) -> None:
    before = dict(DIALECTS)
    with pytest.raises(UserError, match=said) as caught:
        register_dialect(name, source, environment)
    assert "\n" not in str(caught.value)
    assert before == DIALECTS
