"""The README's example of Python prints what stands under it."""

from __future__ import annotations

import re

import pytest
from places import ROOT

README = ROOT / "README.md"


def test_the_five_lines_print_what_the_readme_shows(capsys: pytest.CaptureFixture[str]) -> None:
    example = re.search(r"```python\n(.*?)```\n\n```\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert example is not None
    exec(compile(example[1], "README.md", "exec"), {})
    assert capsys.readouterr().out == example[2]


def test_every_public_name_is_there() -> None:
    import sos

    assert len(sos.PUBLIC) == 19
    for name, module in sos.PUBLIC.items():
        assert getattr(sos, name).__module__.startswith("sos."), name
        assert module.startswith("sos.")
    with pytest.raises(AttributeError, match="no attribute 'Confg'"):
        _ = sos.Confg
