"""A search in a package of somebody else has its own keys, writes traces, trains and is a member of mixtures."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pytest
from places import ROOT

from sos.commands.presets import help_text
from sos.compose import compose
from sos.config import Config, config_from_dict, config_hash, to_dict
from sos.envs.protocol import implements
from sos.errors import UserError
from sos.schema.keys import key
from sos.search.keys import StrategyConfig
from sos.search.protocol import search
from sos.search.registry import SEARCHES, register_search

HOME = ROOT / "tests" / "user_package"
TRAIN = [
    "data.train_tokens=8000", "data.context=192", "model.num_layers=1", "model.width=32", "model.num_heads=2",
    "eval.num_problems=8", "eval.splits=[val]", "eval.pass_k=[]", "trainer.probe_every=0",
]  # fmt: skip
MIXED = [
    "search.name=mixture",
    "+search.strategies.a.name=dfs",
    "+search.strategies.b={name: 'probes:probes', most: 4}",
]


@dataclass
class DiveConfig(StrategyConfig):
    name: str = key("dive", "The strategy.")
    speed: float = key(1.0, "How fast.", low=0, high=9)
    depth: int = key(3, "How deep.", low=1)

    def check(self, prefix: str) -> None:
        super().check(prefix)
        if self.speed > self.depth:
            raise UserError(f"{prefix}.speed={self.speed} must not be above {prefix}.depth={self.depth}")


class Dive(NamedTuple):
    speed: float = 1.0
    depth: int = 3


class Shallow(NamedTuple):
    speed: float = 1.0


class Deep(NamedTuple):
    speed: float = 1.0
    depth: int = 3
    width: int = 2


for _kind in (Dive, Shallow, Deep):
    implements(search, _kind)(lambda strategy, env, problem, work, trace: 0)


@pytest.fixture
def dive() -> Iterator[None]:
    register_search("dive", DiveConfig, Dive)
    yield
    del SEARCHES["dive"]


def test_a_search_is_checked_when_it_is_registered() -> None:
    before = dict(SEARCHES)

    class Bare(NamedTuple):
        speed: float = 1.0
        depth: int = 3

    for name, kind, said in (
        ("dfs", Dive, "DiveConfig must derive from StrategyConfig and have the name dfs"),
        ("mixture", Dive, "mixture is no name of a search: it is what several of them make"),
        ("dive", Bare, "Bare lacks the kernel search: @implements(sos.search.protocol.search, Bare)"),
        ("dive", Shallow, "Shallow lacks a field for each of these keys of DiveConfig: depth"),
        ("dive", Deep, "DiveConfig lacks a key for each of these fields of Deep: width"),
    ):
        with pytest.raises(UserError, match=f"^{re.escape(said)}$"):
            register_search(name, DiveConfig, kind)
    assert before == SEARCHES


@pytest.mark.usefixtures("dive")
def test_a_name_is_taken_once() -> None:
    with pytest.raises(UserError, match=r"^search dive is registered already$"):
        register_search("dive", DiveConfig, Dive)


@pytest.mark.usefixtures("dive")
def test_the_name_chooses_the_keys() -> None:
    config = compose(["search.name=dive", "search.speed=2", "+search.depth=4"])
    assert config.search == DiveConfig(speed=2.0, depth=4)
    assert to_dict(config)["search"] == {"name": "dive", "speed": 2.0, "depth": 4}
    assert config_from_dict(to_dict(config)) == config
    assert config_hash(config) != config_hash(Config())
    mixed = compose(
        ["search.name=mixture", "+search.strategies.a={name: dive, depth: 5}", "+search.strategies.b.name=beam"]
    )
    assert to_dict(mixed)["search"]["strategies"]["a"] == {"name": "dive", "speed": 1.0, "depth": 5}
    assert config_from_dict(to_dict(mixed)) == mixed
    assert re.search(r"search.speed=1.0 +With search.name=dive: How fast\.", help_text("config", Config))


@pytest.mark.usefixtures("dive")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["search.name=dive", "search.width=3"], "search.width is no key of the config"),
        (["search.speed=3"], "search.speed is no key of the config"),
        (["search.name=dive", "search.sped=3"], "search.sped is no key of the config (did you mean search.speed?)"),
        (["search=beam_paper", "search.name=dive"], "search.visit_leaves is no key of the config"),
        (["search.name=dive", "search.depth=x"], "search.depth must be a whole number, got 'x'"),
        (["search.name=dive", "search.speed=10"], "search.speed must be at most 9, got 10.0"),
        (["search.name=dive", "search.speed=5"], "search.speed=5.0 must not be above search.depth=3"),
        (
            ["search.name=mixture", "+search.strategies.a={name: dive, speed: 5}"],
            "search.strategies.a.speed=5.0 must not be above search.strategies.a.depth=3",
        ),
        (["search.name=mixture", "+search.strategies.a={name: dive, width: 5}"], "search.strategies.a.width is no key"),
        (["search.name=mixture", "+search.strategies.a={name: dive, depth: x}"], "strategies.a.depth must be a whole number, got 'x'"),
        (
            ["search.name=jump"],
            "search.name must be one of dfs, beam, best_first, widening, a_star, branches, dive, mixture, or MODULE:NAME of one of "
            "your own, got 'jump'",
        ),
        (["search.name=no.where:dive"], "search.name=no.where:dive: there is no module no; is its folder on PYTHONPATH?"),
        (
            ["search.name=mixture", "+search.strategies.a.name=nowhere:dive"],
            "search.strategies.a.name=nowhere:dive: there is no module nowhere",
        ),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(words: list[str], said: str) -> None:
    with pytest.raises(UserError, match=re.escape(said)) as caught:
        compose(words)
    assert "\n" not in str(caught.value)


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}
    return subprocess.run(
        [sys.executable, "-m", "sos", *words], cwd=ROOT, env=env, capture_output=True, text=True, timeout=500
    )


def test_it_may_be_imported_before_all_else() -> None:
    """The searches of this package are those that it has, whoever registers what."""
    code = "import probes; from sos.config import Config, config_hash; print(config_hash(Config()))"
    env = os.environ | {"PYTHONPATH": f"{HOME}{os.pathsep}{ROOT}"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=100)
    assert done.stdout.strip() == config_hash(Config()), done.stderr


@pytest.mark.slow
@pytest.mark.compiled
@pytest.mark.slow
def test_a_mixture_with_it_trains_and_is_evaluated(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    done = run(HOME, "train", *MIXED, *TRAIN, f"hydra.run.dir={folder}")
    assert done.returncode == 0, done.stderr[-2000:]
    metrics = json.loads((folder / "metrics.json").read_text())["metrics"]
    assert 0 < metrics["teacher/val"]["value"] < 1
    assert metrics["solve/val"]["num"] == 8
    done = run(HOME, "evaluate", str(folder), "eval.num_problems=4", f"out={tmp_path / 'again'}", "device=cpu")
    assert done.returncode == 0, done.stderr[-2000:]
    done = run(ROOT, "evaluate", str(folder), "eval.num_problems=4", f"out={tmp_path / 'third'}", "device=cpu")
    assert done.returncode == 2
    assert "there is no module probes; is its folder on PYTHONPATH?" in done.stderr.splitlines()[-1]


@pytest.mark.slow
@pytest.mark.compiled
@pytest.mark.slow
def test_an_installed_package_names_it_and_its_kernel_is_compiled_anew_when_it_changes(tmp_path: Path) -> None:
    shutil.copytree(HOME / "probes", tmp_path / "probes")
    entry = tmp_path / "probes-1.0.dist-info"
    entry.mkdir()
    (entry / "METADATA").write_text("Metadata-Version: 2.1\nName: probes\nVersion: 1.0\n")
    (entry / "entry_points.txt").write_text("[sos.searches]\nprobes = probes\n")
    words = ["view", "search.name=probes", "search.most=1", "problem=[59,18,4,13]"]
    done = run(tmp_path, *words, f"out={tmp_path / 'a.html'}")
    assert done.returncode == 0, done.stderr[-2000:]
    module = tmp_path / "probes" / "__init__.py"
    module.write_text(module.read_text().replace("0, first, np.int64(0)", "0, first + 1, np.int64(0)"))
    done = run(tmp_path, *words, f"out={tmp_path / 'b.html'}")
    assert done.returncode == 0, done.stderr[-2000:]
    first, second = ((tmp_path / name).read_text() for name in ("a.html", "b.html"))
    assert "18 + 4 = 22" in first
    assert "18 + 4 = 22" not in second
    done = run(tmp_path, "train", "search.name=probe")
    assert "search.name must be one of dfs, beam, best_first, widening, a_star, probes, mixture, or" in done.stderr
