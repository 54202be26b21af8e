"""The README's example of Python prints what stands under it."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys

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

    assert len(sos.PUBLIC) == 29
    for name, module in sos.PUBLIC.items():
        assert getattr(sos, name).__module__.startswith("sos."), name
        assert module.startswith("sos.")
        assert importlib.util.find_spec(f"sos.{name}") is None, f"{name} is a room, which would hide it"
    with pytest.raises(AttributeError, match="no attribute 'Confg'"):
        _ = sos.Confg


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse((ROOT / "sos" / "__init__.py").read_text(encoding="utf-8"))
    import sos

    seen = {
        name.asname: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for name in node.names
        if name.asname
    }
    assert seen == sos.PUBLIC


def test_the_package_is_light() -> None:
    """Whoever imports it waits for nothing: what takes seconds comes with the first name that needs it."""
    code = "import sys, sos; print([name for name in ('torch', 'numpy', 'numba', 'lightning', 'hydra') if name in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
