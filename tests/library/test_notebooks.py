"""The notebooks are what their scripts say, were run without an error, and run again."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import pytest
from places import ROOT

FOLDER = ROOT / "docs" / "notebooks"
MAKE: dict[str, Any] = runpy.run_path(str(FOLDER / "make.py"))
NAMES: tuple[str, ...] = MAKE["NAMES"]


def stored(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((FOLDER / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]
    return found


def test_every_script_is_a_notebook() -> None:
    assert len(NAMES) == 3
    assert {path.stem for path in FOLDER.glob("*.py")} == {*NAMES, "make"}
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_was_run_as_its_script_stands(name: str) -> None:
    cells = stored(name)
    assert [(cell["cell_type"], "".join(cell["source"])) for cell in cells] == MAKE["cells"](name)
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell["outputs"]]
    assert not [output for output in outputs if output["output_type"] == "error"]
    assert any("image/png" in output.get("data", {}) for output in outputs), "a picture"
    text = json.dumps(cells)
    assert not [mark for mark in (str(ROOT), "/tmp/", "/root/", "/home/") if mark in text], "no path of a machine"


# What a test makes smaller: a text of the notebooks' cells, and what stands there instead. As plain Python, without a kernel that is
# compiled, both notebooks that train take 25 seconds of a core; compiled, with as few tokens, they took 110.
SMALLER = {
    "1_000_000": "1_500",
    "200_000": "1_500",
    '"model.num_heads=2"': '"model.num_heads=2", "model.kernels=torch"',
    "data.block=256": "data.block=16",
    '"trainer.probe_every=0.1"': '"trainer.probe_every=0.5", "trainer.probe_problems=4"',
    "eval.num_problems=200": "eval.num_problems=8",
    "eval.num_problems=100": "eval.num_problems=8",
    "*CLIMB, visits=200": '*CLIMB, "data.block=16", visits=16',
}


def smaller(names: Sequence[str]) -> dict[str, list[str]]:
    """The cells of code of some notebooks, made smaller. Raises AssertionError where a text is in none of them."""
    found = {name: [source for kind, source in MAKE["cells"](name) if kind == "code"] for name in names}
    for old, new in SMALLER.items():
        assert any(old in source for sources in found.values() for source in sources), f"no cell says {old}"
        found = {name: [source.replace(old, new) for source in sources] for name, sources in found.items()}
    return found


def run_cells(name: str, code: list[str]) -> int:
    """Run the cells of a notebook here; return how many."""
    matplotlib.use("Agg")
    names: dict[str, Any] = {}
    for number, source in enumerate(code):
        exec(compile(source, f"{name}, cell {number}", "exec"), names)
    return len(code)


def test_a_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code = [source for kind, source in MAKE["cells"]("first_search") if kind == "code"]
    assert run_cells("first_search", code) > 5


@pytest.mark.compiled  # it starts what runs as plain Python
def test_notebooks_that_train_run(tmp_path: Path) -> None:
    """In a process of their own: one registers an environment."""
    cells = smaller([name for name in NAMES if name != "first_search"])
    (tmp_path / "cells.json").write_text(json.dumps(cells), encoding="utf-8")
    code = "import json, test_notebooks as t; print([t.run_cells(*cells) for cells in json.load(open('cells.json')).items()])"
    paths = os.pathsep.join(map(str, [ROOT, ROOT / "tests", Path(__file__).parent]))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=tmp_path,
        env=os.environ | {"NUMBA_DISABLE_JIT": "1", "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines()[-1] == str([len(sources) for sources in cells.values()])
    made = sorted(path.parent.name for path in tmp_path.glob("runs/*/metrics.json"))
    assert made == ["climb", "full_1", "full_2", "solution_path_1", "solution_path_2"]


@pytest.mark.slow
def test_jupyter_runs_a_notebook() -> None:
    pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    made = MAKE["run"]("first_search")
    assert any("image/png" in output.get("data", {}) for cell in made.cells for output in cell.get("outputs", []))
