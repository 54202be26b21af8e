"""What the kernels are made of: indices without wraparound, and copies that are wider than what is asked for."""

from __future__ import annotations

from types import FunctionType

import numpy as np
import pytest
from numba import njit

from sos.kernels import OPTIONS
from sos.stream.write.spans import SLACK, copy_longer_run, copy_run, fill_run


def _element(row, k):
    return row[k]


def test_only_kernels_of_this_package_index_without_wraparound() -> None:
    row = np.arange(10)[5:]
    assert njit(_element)(row, -1) == 9
    ours = FunctionType(_element.__code__, {"__name__": "sos.imagined"})
    ours.__module__ = "sos.imagined"
    assert njit(ours)(row, 2) == 7
    assert njit(ours)(row, -1) == 4  # what lies before the row


@njit(**OPTIONS)
def _copy(source, start, count, target, at, longer):
    if longer:
        return copy_longer_run(source, start, count, target, at)
    return copy_run(source, start, count, target, at)


@njit(**OPTIONS)
def _fill(target, start, stop, value):
    fill_run(target, start, stop, value)


@pytest.mark.parametrize("longer", [False, True])
def test_runs_of_every_length_are_copied(longer: bool) -> None:
    source = np.arange(1, 400, dtype=np.uint16)
    for count in range(200):
        target = np.zeros(3 + count + SLACK, np.uint16)
        assert _copy(source, 7, count, target, 3, longer) == 3 + count
        assert target[3 : 3 + count].tolist() == source[7 : 7 + count].tolist()
        assert not target[:3].any()


@pytest.mark.parametrize("count", [1, 16, 17, 63, 64, 65, 150])
def test_a_run_is_copied_right_behind_itself(count: int) -> None:
    row = np.zeros(2 * count + SLACK, np.uint16)
    row[:count] = np.arange(1, count + 1)
    for longer in (False, True):
        assert _copy(row, 0, count, row, count, longer) == 2 * count
        assert row[: 2 * count].tolist() == 2 * list(range(1, count + 1))


def test_runs_of_every_length_are_filled() -> None:
    for count in range(200):
        target = np.zeros(2 + count + SLACK, np.int8)
        _fill(target, 2, 2 + count, np.int8(5))
        assert target[: 2 + count].tolist() == [0, 0, *[5] * count]
