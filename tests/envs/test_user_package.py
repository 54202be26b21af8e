"""An environment in a package of somebody else searches, trains, is evaluated and shown, and nothing here knows it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from places import ROOT

pytestmark = pytest.mark.compiled  # commands in other processes, which compile
HOME = ROOT / "sos" / "starter"  # whose package `climb` is a user's own, as `sos init` writes it
TRAIN = [
    "env.name=climb:climb", "search.heuristic=distance", "stream.whole_max=99", "data.train_tokens=8000",
    "data.context=128", "model.num_layers=1", "model.width=32", "model.num_heads=2", "eval.num_problems=8",
    "eval.splits=[val]", "eval.pass_k=[]", "trainer.probe_every=0",
]  # fmt: skip


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}
    return subprocess.run(
        [sys.executable, "-m", "sos", *words], cwd=ROOT, env=env, capture_output=True, text=True, timeout=500
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("climb") / "run"
    done = run(HOME, "train", *TRAIN, f"hydra.run.dir={folder}")
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


@pytest.mark.slow
def test_it_trains_is_evaluated_and_shown(trained: Path, tmp_path: Path) -> None:
    metrics = json.loads((trained / "metrics.json").read_text())["metrics"]
    assert metrics["teacher/val"]["value"] == metrics["ceiling/val"]["value"] == 1
    assert metrics["solve/val"]["num"] == 8
    done = run(HOME, "evaluate", str(trained), "eval.num_problems=4", f"out={tmp_path / 'again'}", "device=cpu")
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads((tmp_path / "again" / "metrics.json").read_text())["metrics"]["solve/val"]["num"] == 4
    page = tmp_path / "page.html"
    done = run(HOME, "view", "env.name=climb:climb", "search.heuristic=distance", "problem=[2,13]", f"out={page}")
    assert done.returncode == 0, done.stderr[-2000:]
    assert "climb from 2 to 13" in page.read_text()
    assert "target 13" not in page.read_text()


@pytest.mark.slow
def test_its_kernels_are_compiled_anew_when_its_files_change(tmp_path: Path) -> None:
    """The searches of this package inline the rules of that one: three steps become four."""
    shutil.copytree(HOME / "climb", tmp_path / "package" / "climb")
    rules = tmp_path / "package" / "climb" / "__init__.py"
    words = ["view", "env.name=climb:climb", "search.heuristic=none", "problem=[2,11]"]
    assert run(rules.parents[1], *words, f"out={tmp_path / 'a.html'}").returncode == 0
    rules.write_text(rules.read_text().replace("+ 3", "+ 4"))
    assert run(rules.parents[1], *words, f"out={tmp_path / 'b.html'}").returncode == 0
    assert "up to step 5" in (tmp_path / "a.html").read_text()
    assert "up to step 6" in (tmp_path / "b.html").read_text()


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("env.name=.climb:climb", "env.name=.climb:climb: '.climb' is no name of a module"),
        ("env.name=nowhere.at_all:climb", "env.name=nowhere.at_all:climb: there is no module nowhere"),
        ("env.name=climb.nothing:climb", "there is no module climb.nothing"),
        (
            "env.name=climb:ladder",
            "env.name must be one of countdown, path_star, layered, sudoku, maze, sat, sokoban, climb, or MODULE:NAME of one of your "
            "own, got 'climb:ladder'",
        ),
        (
            "env.name=chess",
            "env.name must be one of countdown, path_star, layered, sudoku, maze, sat, sokoban, or MODULE:NAME of one of your own, "
            "got 'chess'",
        ),
    ],
)
def test_what_is_not_there_is_one_line(word: str, said: str) -> None:
    done = run(HOME, "train", word)
    assert done.returncode == 2
    assert said in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["traces", "tokens"])
@pytest.mark.parametrize(
    "words",
    [
        ["env=path_star", "search.heuristic=none", "stream.whole_max=29"],
        ["env.name=climb:climb", "search.heuristic=distance", "stream.whole_max=99"],
    ],
)
def test_data_sets_are_made_shown_and_not_called_damaged(words: list[str], kind: str, tmp_path: Path) -> None:
    data, page = tmp_path / "set", tmp_path / "page.html"
    done = run(HOME, "generate", f"out={data}", f"kind={kind}", "visits=60", "workers=1", "verify=true", *words)
    assert done.returncode == 0, done.stderr[-2000:]
    done = run(HOME, "view", str(data), "index=3", f"out={page}")
    assert done.returncode == 0, done.stderr[-2000:]
    if "climb" in words[0]:
        done = run(ROOT, "view", str(data), "index=3", f"out={page}")
        assert done.returncode == 2
        assert done.stderr.splitlines()[-1].startswith("error: env.name=climb:climb: there is no module climb")


@pytest.mark.slow
def test_an_evaluation_of_nothing_is_refused_before_training() -> None:
    for words in (["env=path_star", "search.heuristic=none", "stream.whole_max=29"], ["data.held_out_fraction=0"]):
        done = run(HOME, "train", *words, "eval.splits=[val_target]")
        assert done.returncode == 2
        assert "eval.splits=[val_target]: no group of problems is held out" in done.stderr.splitlines()[-1]


def test_the_package_is_short() -> None:
    lines = sum(len(path.read_text().splitlines()) for path in (HOME / "climb").rglob("*.py"))
    assert 50 < lines <= 160
