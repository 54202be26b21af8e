"""Kernels that compile in processes beside: they leave their code in the cache, and nobody behind."""

from __future__ import annotations

import multiprocessing
import os
import time
from typing import Any

import pytest

from sos.config import Config
from sos.datasets import make as generation
from sos.datasets.make import compiled_beside

pytestmark = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="nothing compiles beside on one core")


def test_ready_waits_for_both_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    compiling = generation._compile

    def slowly(*arguments: Any) -> None:  # with a warm cache a process could end before it is looked at
        time.sleep(1)
        compiling(*arguments)

    monkeypatch.setattr(generation, "_compile", slowly)
    with compiled_beside(Config()) as ready:
        processes = multiprocessing.active_children()
        assert len(processes) == 2
        ready()
        assert [process.exitcode for process in processes] == [0, 0]


def test_no_process_outlives_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generation, "_compile", lambda *_: time.sleep(600))
    processes = []

    def refuse() -> None:
        with compiled_beside(Config()):
            processes.extend(multiprocessing.active_children())
            raise ValueError("the job is refused")

    with pytest.raises(ValueError, match="the job is refused"):
        refuse()
    assert len(processes) == 2
    assert not any(process.is_alive() for process in processes)


def test_one_core_compiles_nothing_beside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0})
    with compiled_beside(Config()) as ready:
        ready()
        assert not multiprocessing.active_children()
