"""Decides whether a Countdown problem can be solved at all."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sos.envs.countdown.four import four_reach, new_lanes
from sos.kernels import inlined, inner

ADD, MULTIPLY, SUBTRACT, DIVIDE = range(4)


class ProofWork(NamedTuple):
    """Work space of `reaches`, D numbers."""

    frames: np.ndarray  # int64 (D, 9): the numbers in columns 0..5, then i, j, operator
    lanes: np.ndarray  # see `four_reach`


def new_proof_work(num_numbers: int) -> ProofWork:
    """Allocate the work space for problems of `num_numbers` numbers."""
    return ProofWork(np.zeros((num_numbers, 9), np.int64), new_lanes())


@inner
def pair_hits(x, y, target, max_value):
    """Say whether one legal operation on x and y gives `target`."""
    if target > max_value:
        return False
    if x < y:
        x, y = y, x
    if x - y == target or x + y == target or x * y == target:
        return True
    return y != 0 and x % y == 0 and x // y == target


@inlined
def _advance(frame, count):
    """Set the frame of `count` numbers to the operation behind its present one."""
    if frame[8] < 3:
        frame[8] += 1
        return
    frame[8] = 0
    if frame[7] + 1 < count:
        frame[7] += 1
    else:
        frame[6] += 1
        frame[7] = frame[6] + 1


@inlined
def _result(a, b, operator, max_value):
    """Return what the operation on two numbers gives, -1 where it is outside the rules or another one gives the
    same."""
    x, y = max(a, b), min(a, b)
    result = np.int64(-1)
    if operator == ADD:
        result = x + y
    elif operator == MULTIPLY:
        result = x * y
    elif operator == SUBTRACT:
        result = x - y
    elif y > 1 and x % y == 0:
        # Division by 1 gives the state that multiplication by 1 gave.
        result = x // y
    return result if result <= max_value else np.int64(-1)


@inlined
def _replace_pair(frame, count, result, below_frame, i, j):
    """Write the numbers of `frame` but those at i and j, then the result, into `below_frame`; return how many."""
    k = 0
    for m in range(count):
        if m != i and m != j:
            below_frame[k] = frame[m]
            k += 1
    below_frame[k] = result
    return k + 1


@inner
def reaches(problem, max_value, work):
    """Say whether the problem row has a solution with no result above `max_value`; exact.

    Depth-first over all operations with an explicit stack, down to four numbers that are decided at once.

    Complexity: 1, 35 and about 1700 decisions of four numbers for 4, 5 and 6 numbers.
    """
    frames = work.frames
    num = np.int64(problem[1])
    target = problem[0]
    base = 4 if num >= 4 and target >= 1 else 2
    for k in range(num):
        frames[0, k] = problem[k + 2]
        if problem[k + 2] > max_value:
            base = 2
    if target > max_value:
        return False
    if num == base:
        if base == 2:
            return pair_hits(frames[0, 0], frames[0, 1], target, max_value)
        return four_reach(frames[0], target, max_value, work.lanes)
    depth = 0
    frames[0, 6] = 0
    frames[0, 7] = 1
    frames[0, 8] = 0
    while depth >= 0:
        frame = frames[depth]
        count = num - depth
        i, j, operator = frame[6], frame[7], frame[8]
        if i >= count - 1:
            depth -= 1
            continue
        _advance(frame, count)
        result = _result(frame[i], frame[j], operator, max_value)
        if result < 0:
            continue
        below_frame = frames[depth + 1]
        left = _replace_pair(frame, count, result, below_frame, i, j)
        if left > base:
            depth += 1
            below_frame[6] = 0
            below_frame[7] = 1
            below_frame[8] = 0
        elif base == 2:
            if pair_hits(below_frame[0], below_frame[1], target, max_value):
                return True
        elif four_reach(below_frame, target, max_value, work.lanes):
            return True
    return False
