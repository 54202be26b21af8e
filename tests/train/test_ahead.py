"""What is compiled beside a run is what the run needs, and a helper that fails costs nothing."""

from __future__ import annotations

import gc
import io
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from numba.core.dispatcher import Dispatcher
from places import ROOT

from sos.compose import compose
from sos.kernels.claims import tell_cold
from sos.runs.provenance import Origin
from sos.train import ahead
from sos.train.pretrain import pretrain

TINY = ["experiment=smoke", "data.train_tokens=4000", "eval.num_problems=4", "eval.pass_k=[]", "trainer.probe_every=0"]


def overloads() -> set[tuple[str, str, Any]]:
    """What is compiled of this package's kernels in this process."""
    kernels: list[Any] = [found for found in gc.get_objects() if issubclass(type(found), Dispatcher)]  # no weak proxies
    ours = [k for k in kernels if k.py_func.__module__.startswith("sos.")]
    return {(k.py_func.__module__, k.py_func.__qualname__, types) for k in ours for types in k.overloads}


@pytest.mark.slow
@pytest.mark.compiled
@pytest.mark.parametrize("first", range(len(ahead.PARTS)))
def test_what_is_compiled_ahead_is_what_the_run_needs(first: int, tmp_path: Path) -> None:
    config = compose(TINY)
    assert pretrain(config, tmp_path / "run", Origin("test")) is not None
    of_the_run = overloads()
    assert len(of_the_run) > 20
    ahead.compile_parts(config, first)
    assert overloads() == of_the_run


class Recorded:
    """Stands in for `subprocess.Popen`."""

    started: list[list[str]]

    def __init__(self, command: list[str], **options: Any) -> None:
        self.started.append(command)
        self.stdin = io.BytesIO()


@pytest.mark.parametrize(("cores", "helpers"), [(1, 0), (2, 1), (3, 2), (64, 2)])
def test_helpers_are_started_once_where_something_is_to_be_compiled(
    cores: int, helpers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    Recorded.started = []
    monkeypatch.setattr(subprocess, "Popen", Recorded)
    monkeypatch.setattr(ahead, "usable_cores", lambda: cores)
    with ahead.compiling_ahead(compose(TINY)):
        assert Recorded.started == []
        for _ in range(3):
            tell_cold()
        assert len(Recorded.started) == helpers
    with ahead.compiling_ahead(compose(TINY)):
        pass
    tell_cold()
    assert len(Recorded.started) == helpers


def test_nothing_is_started_beside_a_run_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    Recorded.started = []
    monkeypatch.setattr(subprocess, "Popen", Recorded)
    with ahead.compiling_ahead(compose([*TINY, "trainer.accelerator=gpu"])):
        tell_cold()
    assert Recorded.started == []


def test_a_helper_that_cannot_be_started_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any, **options: Any) -> None:
        raise OSError("no more processes")

    before = list(ahead.HELPERS)
    monkeypatch.setattr(subprocess, "Popen", refuse)
    monkeypatch.setattr(ahead, "usable_cores", lambda: 2)
    with ahead.compiling_ahead(compose(TINY)):
        tell_cold()
    assert before == ahead.HELPERS


PARENT = """
import subprocess, sys, time
from sos.compose import compose
from sos.train import ahead
ahead.usable_cores = lambda: 2
ahead._start(compose(["experiment=smoke"]))
(helper,) = ahead.HELPERS
print(helper.pid, helper.poll(), flush=True)
"""


def test_a_helper_ends_with_its_run(tmp_path: Path) -> None:
    variables = os.environ | {"PYTHONPATH": str(ROOT), "SOS_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", PARENT], env=variables, text=True, capture_output=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    number, state = done.stdout.split()
    assert state == "None"
    for _ in range(600):  # it notices when it has imported what it needs
        status = Path(f"/proc/{number}/stat")
        if not status.exists() or status.read_text().rpartition(") ")[2].startswith("Z"):
            return
        time.sleep(0.1)
    pytest.fail("the helper outlives its run")
