"""`sos parts` lists what there is, each with the package that it comes from."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from places import ROOT

from sos.commands.cli import call
from sos.commands.parts import KINDS

HOMES = [ROOT / "tests" / "user_package", ROOT / "sos" / "starter"]


def run(folders: list[Path], *words: str) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, [*folders, ROOT]))}
    return subprocess.run(
        [sys.executable, "-m", "sos", "parts", *words], cwd=ROOT, env=env, capture_output=True, text=True, timeout=100
    )


def test_each_part_of_this_package_has_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("parts", []) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if not line.startswith(" ")] == list(KINDS)
    found = [line.split() for line in lines if line.startswith(" ")]
    for line in (
        ["path_star", "sos", "4", "arms", "of", "4", "nodes", "with", "30", "labels"],
        ["beam", "sos", "heuristic,", "max_nodes,", "shuffle,", "visit_leaves,", "width"],
        ["operator", "sos", "for", "countdown"],
        ["published", "sos", "for", "path_star"],
        ["no_backtrack", "sos"],
    ):
        assert line in found
    assert call("parts", ["searches"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [
        "searches", "dfs", "beam", "best_first", "widening", "a_star", "branches",
    ]  # fmt: skip


def test_modules_of_the_user_are_listed_with_their_names() -> None:
    done = run(HOMES, "modules=[climb,probes,gap,loud]")
    assert done.returncode == 0, done.stderr
    found = [line.split() for line in done.stdout.splitlines()]
    for line in (
        ["climb", "climb", "stairs", "of", "40", "steps"],
        ["probes", "probes", "heuristic,", "most"],
        ["gap", "gap", "for", "countdown"],
        ["distance", "climb", "for", "climb"],
        ["loud", "loud", "for", "countdown"],
    ):
        assert line in found


def test_installed_packages_are_listed_and_what_cannot_be_imported_says_so(tmp_path: Path) -> None:
    entry = tmp_path / "mine-1.0.dist-info"
    entry.mkdir()
    (entry / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    (entry / "entry_points.txt").write_text(
        "[sos.environments]\nclimb = climb\ntower = tower.rules\n[sos.searches]\nprobes = probes\n"
    )
    done = run([*HOMES, tmp_path])
    assert done.returncode == 0, done.stderr
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert "climb climb stairs of 40 steps" in lines
    assert "probes probes heuristic, most" in lines
    said = "env.name=tower, entry point tower.rules: there is no module tower; is its folder on PYTHONPATH?"
    assert f"tower tower {said}" in lines


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["serches"], "there is no kind 'serches'; kinds are environments, searches, heuristics, dialects, views"),
        (["modules=[no.where]"], "modules=no.where: there is no module no; is its folder on PYTHONPATH?"),
        (["modules=[a-b]"], "modules=a-b: 'a-b' is no name of a module"),
    ],
)
def test_mistakes_are_one_line(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("parts", words) == 2
    assert capsys.readouterr().err.strip() == f"error: {said}"
