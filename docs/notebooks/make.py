"""Writes the notebooks from the scripts beside it and runs them: `python docs/notebooks/make.py [NAME...]`.

A script is cells behind lines `# %%`, text behind `# %% [markdown]`. Running needs the extra `notebooks` (nbclient, ipykernel).
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
NAMES = ("first_search", "ablation", "own_environment")


def cells(name: str) -> list[tuple[str, str]]:
    """Return (kind, source) of the cells of a script; kind is "code" or "markdown"."""
    text = (FOLDER / f"{name}.py").read_text(encoding="utf-8")
    found = []
    for head, body in re.findall(r"^# %%(.*)\n((?:(?!# %%).*\n?)*)", text, re.M):
        kind = "markdown" if "[markdown]" in head else "code"
        lines = body.strip("\n").split("\n")
        found.append(
            (kind, "\n".join(re.sub(r"^# ?", "", line) for line in lines) if kind == "markdown" else "\n".join(lines))
        )
    return found


def notebook(name: str) -> dict[str, Any]:
    """Return a notebook that was not run, of format 4.5."""
    made: list[dict[str, Any]] = []
    for number, (kind, source) in enumerate(cells(name)):
        cell: dict[str, Any] = {"cell_type": kind, "id": f"cell-{number}", "metadata": {}, "source": source}
        made.append(cell | ({"execution_count": None, "outputs": []} if kind == "code" else {}))
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return {"cells": made, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}


def run(name: str) -> Any:
    """Return the notebook with what its cells print and draw. Raises nbclient's CellExecutionError where one fails."""
    import nbformat
    from nbclient import NotebookClient

    made = nbformat.from_dict(notebook(name))
    with tempfile.TemporaryDirectory() as folder:
        NotebookClient(made, timeout=3600, resources={"metadata": {"path": folder}}).execute()
    for cell in made.cells:
        cell.metadata.pop("execution", None)  # when it ran
        cell["outputs"] = (
            [o for o in cell.get("outputs", []) if o.get("name") != "stderr"] if "outputs" in cell else None
        )
        if cell["outputs"] is None:
            del cell["outputs"]
    return made


def main() -> None:
    """Write those that are named, or all."""
    import nbformat

    os.environ.setdefault("PYTHONPATH", str(FOLDER.parents[1]))
    for name in sys.argv[1:] or NAMES:
        nbformat.write(run(name), FOLDER / f"{name}.ipynb")
        print(f"wrote {FOLDER / name}.ipynb")


if __name__ == "__main__":
    main()
