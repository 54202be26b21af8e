"""No verb writes over what it reads, by whatever path that is named."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from sos.commands.cli import main
from sos.compose import compose
from sos.runs.folder import RunFolder
from sos.runs.identity import identity

READ = '{"nums": [3, 4], "target": 7, "text": "<answer>3 + 4</answer>"}\n'


@pytest.mark.parametrize(
    "words",
    [
        ["score", "PLACE"],
        ["score", "OTHER", "PLACE"],
        ["convert", "PLACE"],
        ["view", "PLACE"],
        ["view", "checkpoint=PLACE"],
        ["view", "tokens=PLACE"],
        ["losses", "PLACE"],
        ["experience", "PLACE"],
        ["alignment", "PLACE"],
        ["scaling", "PLACE"],
    ],
)
def test_what_is_read_is_not_written_over(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    place, other, link = Path("answers.jsonl"), Path("other.jsonl"), Path("link.jsonl")
    place.write_text(READ)
    other.write_text(READ)
    os.symlink(place, link)
    named = [word.replace("PLACE", str(place)).replace("OTHER", str(other)) for word in words]
    for out in (place, Path("..") / tmp_path.name / place, link):
        assert main([*named, f"out={out}"]) == 2
        assert capsys.readouterr().err == (
            f"error: out={out} is what the command reads, and would be overwritten; name another place\n"
        )
    assert place.read_text() == other.read_text() == READ
    assert sorted(path.name for path in tmp_path.iterdir()) == ["answers.jsonl", "link.jsonl", "other.jsonl"]


def test_another_file_of_the_same_name_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("answers.jsonl").write_text(READ)
    assert main(["score", "answers.jsonl", "out=verdicts/answers.jsonl"]) == 0
    assert Path("answers.jsonl").read_text() == READ
    assert '"right"' in Path("verdicts/answers.jsonl").read_text()


def test_the_result_of_a_run_stays_what_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "metrics.json").write_text("{}")
    assert main(["evaluate", str(tmp_path), "eval.num_problems=4", f"out={tmp_path}"]) == 2
    assert f"error: out={tmp_path} is a run's own folder" in capsys.readouterr().err
    assert main(["repeat", str(tmp_path), f"out={tmp_path}/."]) == 2
    assert "is what the command reads" in capsys.readouterr().err
    assert (tmp_path / "metrics.json").read_text() == "{}"


def test_the_same_run_again_is_said_before_what_trains_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["experiment=smoke", "trainer.num_threads=1"]
    this = identity(compose(words))
    home = RunFolder(tmp_path)
    home.provenance.write_text(json.dumps(this._asdict()))
    record = {"config_hash": this.config_hash, "code_hash": this.code_hash}
    home.metrics.write_text(json.dumps(record | {"metrics": {"solve/val": {"value": 0.5}}}))
    monkeypatch.setitem(sys.modules, "sos.train.pretrain", None)  # importing it is an error
    monkeypatch.setattr(sys, "argv", ["sos"])
    assert main(["train", *words, f"hydra.run.dir={tmp_path}"]) == 0
    assert f"{tmp_path} holds the result of this run already; to make it again, choose" in capsys.readouterr().out
    with pytest.raises(ImportError):
        main(["train", *words, "seed=2", f"hydra.run.dir={tmp_path}"])
