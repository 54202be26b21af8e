"""The notebooks are what their scripts say, were run without an error, and run again."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
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


def run_cells(name: str) -> int:
    """Run the cells of a script here; return how many."""
    matplotlib.use("Agg")
    names: dict[str, Any] = {}
    code = [source for kind, source in MAKE["cells"](name) if kind == "code"]
    for number, source in enumerate(code):
        exec(compile(source, f"{name}, cell {number}", "exec"), names)
    return len(code)


@pytest.mark.parametrize("name", ["first_search"])
def test_a_notebook_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_cells(name) > 5


@pytest.mark.slow
def test_notebooks_that_train_run(tmp_path: Path) -> None:
    """In a process of their own: one registers an environment. Few tokens are trained on."""
    names = [name for name in NAMES if name != "first_search"]
    code = f"import test_notebooks; assert all(test_notebooks.run_cells(name) > 5 for name in {names!r})"
    paths = os.pathsep.join(map(str, [ROOT, ROOT / "tests", Path(__file__).parent]))
    subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"SOS_NOTEBOOK_TOKENS": "20000", "PYTHONPATH": paths},
        check=True,
    )
    made = sorted(path.parent.name for path in tmp_path.glob("runs/*/metrics.json"))
    assert made == ["climb", "full_1", "full_2", "solution_path_1", "solution_path_2"]


@pytest.mark.slow
def test_jupyter_runs_a_notebook() -> None:
    pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    made = MAKE["run"]("first_search")
    assert any("image/png" in output.get("data", {}) for cell in made.cells for output in cell.get("outputs", []))
