"""What Countdown's searches are pruned and ordered by, beside the rules; `sos.envs.countdown.rules` registers it."""

from __future__ import annotations

import numpy as np

from sos.envs.countdown.heuristics import MULT
from sos.envs.countdown.proof import pair_hits


def prepare(env, kind, problem, scratch):
    """Fill in, for `mult`, the distance of each number up to the target to the nearest factor in 2..target; a target
    below 2 stands for itself.
    """
    if kind != MULT:
        return
    target = np.int64(problem[0])
    for value in range(target + 1):
        scratch[value] = target - value
    factor = 2
    while factor * factor <= target:
        if target % factor == 0:
            scratch[factor] = 0
            scratch[target // factor] = 0
        factor += 1
    for value in range(1, target):
        scratch[value] = min(scratch[value], scratch[value - 1] + 1)
    for value in range(target - 1, -1, -1):
        scratch[value] = min(scratch[value], scratch[value + 1] + 1)


def hopeless(env, problem, state, look_ahead):
    """See `sos.envs.protocol.hopeless`. A goal with two numbers left is one operation away."""
    if state[0] == 1:
        return look_ahead >= 1 and state[1] != problem[0]
    if state[0] == 2:
        return look_ahead >= 2 and not pair_hits(np.int64(state[1]), np.int64(state[2]), problem[0], env.max_value)
    return False


def out_of_range(env, problem, state):
    """See `sos.envs.protocol.out_of_range`: a result that is no target."""
    return state[0] == 1 and not env.min_target <= state[1] <= env.max_target


def reach(env, problem, state):
    """See `sos.envs.protocol.reach`."""
    # All numbers but one can be combined. A product is the most that they give, where a 1 can do as much as a 2 and a
    # 0 nothing.
    count = state[0]
    least = np.int64(state[1])
    for k in range(2, count + 1):
        least = min(least, np.int64(state[k]))
    most = np.int64(1)
    spared = False
    for k in range(1, count + 1):
        value = np.int64(state[k])
        if value == least and not spared:
            spared = True
        elif value > 0:
            most = min(env.max_value, most * max(value, 2))
    return most if count > 2 else np.int64(0)
