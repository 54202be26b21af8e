"""A heuristic of somebody else for Countdown: how far the number that is nearest to the target is from it."""

from typing import NamedTuple

from sos.envs.countdown.heuristics import HEURISTIC_SCALE
from sos.envs.heuristics import register_heuristic
from sos.envs.protocol import estimate, implements


class Gap(NamedTuple):
    scale: int = HEURISTIC_SCALE


@implements(estimate, Gap)
def _estimate(heuristic, env, problem, state):
    least = abs(problem[0] - state[1])
    for k in range(2, state[0] + 1):
        least = min(least, abs(problem[0] - state[k]))
    return heuristic.scale * least


register_heuristic("gap", Gap, "countdown")
