"""Tests whose kernels take minutes to compile, run as plain Python: the same code, with smaller counts.

Compiled, they are slow ones. `.ci/coverage` runs all kernels' tests so.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
from places import ROOT

PATHS = [
    "tests/envs/test_sokoban_streams.py",
    "tests/stream/test_dropping.py",
    "tests/context/test_forms.py",
    "tests/stream/test_markers.py",
]


@pytest.mark.compiled  # it starts what would run anyway
def test_what_takes_minutes_to_compile_holds_as_plain_python() -> None:
    command = [sys.executable, "-W", "ignore", "-m", "pytest", "-m", "", "-p", "no:cacheprovider", *PATHS]
    env = {**os.environ, "NUMBA_DISABLE_JIT": "1", "PYTEST_ADDOPTS": ""}
    env = {name: value for name, value in env.items() if not name.startswith("PYTEST_XDIST")}
    result = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stdout[-3000:]
    passed = re.search(r"(\d+) passed", result.stdout)
    assert passed is not None, result.stdout[-500:]
    assert int(passed[1]) >= 24
