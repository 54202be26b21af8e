"""The package tells type checkers its types: a script of a user's is checked strictly."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from places import ROOT

pytestmark = pytest.mark.slow

RIGHT = """
from pathlib import Path

import sos
from torch.utils.data import DataLoader

answer: sos.Answer = sos.solve({"nums": [9, 7, 1], "target": 56}, "search=dfs")
path: list[str] = answer.path
solved: bool = sos.verify(answer.text, problem=[56, 9, 7, 1]).solved
endless: sos.StreamDataset = sos.stream_dataset("experiment=sudoku", split="train", rank=0, world_size=2)
listed: sos.MapStreamDataset = sos.stream_dataset(sos.Config(), visits=100, packed=True)
size: int = len(listed)
for batch in DataLoader(endless, batch_size=2, collate_fn=endless.collate):
    endless.seen(batch)
state: dict[str, object] = endless.state_dict()
run: sos.Trained = sos.load(Path("outputs/RUN"), device="cpu")
rate = run.evaluate(num_problems=10).metrics["solve/val"].value
texts: list[str] = [one.text for one in run.rollout(run.problems(4), samples=2, temperature=1.0)]
page: Path = sos.save_page("page.html", [answer])
try:
    sos.pretrain("seed=2", folder="outputs/mine")
except sos.UserError as error:
    print(error)
"""
WRONG = {
    "sos.solve(3.5)": "arg-type",
    "sos.solve([1, 2], 3)": "arg-type",
    "sos.stream_dataset(visits=3).state_dict()": "attr-defined",
    "sos.verify([1]).solved()": "operator",
    "sos.slove([1])": "attr-defined",
}


def checked(script: Path, text: str) -> str:
    script.write_text(text)
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", f"--cache-dir={ROOT}/.mypy_cache/user"]
    found = subprocess.run(
        [*command, "--ignore-missing-imports", "--follow-imports=silent", script],
        capture_output=True,
        text=True,
        cwd=script.parent,
        env={"MYPYPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        check=False,
    )
    return found.stdout + found.stderr


def test_a_users_script_is_checked(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    assert "Success" in checked(tmp_path / "right.py", RIGHT)
    said = checked(tmp_path / "wrong.py", "\n".join(["import sos", *WRONG]))
    for number, (line, code) in enumerate(WRONG.items(), start=2):
        assert any(part.startswith(f"wrong.py:{number}:") and f"[{code}]" in part for part in said.splitlines()), (
            line,
            said,
        )
    assert len(WRONG) == 5
