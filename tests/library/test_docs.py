"""The page shows what its examples print."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from places import ROOT

PAGE = (ROOT / "docs" / "library.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```\n\n```text\n(.*?)^```", PAGE, re.M | re.S)
TRAINS = "sos.pretrain("


def shown(examples: list[tuple[str, str]], capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, object] = {}
    for number, (code, printed) in enumerate(examples):
        exec(compile(code, f"library.md, example {number}", "exec"), names)
        assert capsys.readouterr().out == printed, code


def test_the_examples_print_what_the_page_shows(capsys: pytest.CaptureFixture[str]) -> None:
    examples = [example for example in EXAMPLES if TRAINS not in example[0]]
    assert len(examples) == 4
    shown(examples, capsys)


@pytest.mark.slow
def test_the_example_that_trains_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    ((code, printed),) = [example for example in EXAMPLES if TRAINS in example[0]]
    exec("import sos\n" + code, {})
    assert capsys.readouterr().out.endswith(printed)
