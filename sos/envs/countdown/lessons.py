"""What lessons in Countdown are about: how the numbers stand to the target, and the operator of the first step."""

from __future__ import annotations

import numpy as np

from sos.kernels import inner

# The rarest first, with three numbers up to 20 and targets from 10 to 100.
FEATURES = (
    "one_among_numbers",
    "equal_numbers",
    "number_above_target",
    "target_above_product",  # of the two largest numbers
    "target_below_sum",  # of all numbers, or equal to it
    "number_divides_target",  # one above 1
    "target_in_lower_half",  # of the range of targets
    "target_odd",
    "target_even",
    "target_in_upper_half",
    "no_number_divides_target",
    "target_above_sum",
)
(
    ONE,
    EQUAL,
    LARGER,
    ABOVE_PRODUCT,
    BELOW_SUM,
    DIVIDES,
    LOWER,
    ODD,
    EVEN,
    UPPER,
    NONE_DIVIDES,
    ABOVE_SUM,
) = range(len(FEATURES))


@inner
def find_features(env, problem, out):
    """See `sos.envs.lessons`."""
    for k in range(len(out)):
        out[k] = 0
    target = np.int64(problem[0])
    total, first, second = np.int64(0), np.int64(0), np.int64(0)
    for k in range(2, env.num_numbers + 2):
        number = np.int64(problem[k])
        total += number
        if number > first:
            second = first
            first = number
        elif number > second:
            second = number
        if number == 1:
            out[ONE] = 1
        if number > target:
            out[LARGER] = 1
        if number > 1 and target % number == 0:
            out[DIVIDES] = 1
        for m in range(k + 1, env.num_numbers + 2):
            if problem[m] == number:
                out[EQUAL] = 1
    upper = 2 * target > env.min_target + env.max_target
    out[ABOVE_PRODUCT] = target > first * second
    out[ABOVE_SUM] = target > total
    out[BELOW_SUM] = target <= total
    out[UPPER] = upper
    out[LOWER] = not upper
    out[ODD] = target % 2
    out[EVEN] = 1 - target % 2
    out[NONE_DIVIDES] = 1 - out[DIVIDES]


@inner
def action_class(env, problem, state, action):
    """The operator. See `sos.envs.lessons`."""
    return np.int64(action[1])
