"""The first action of an answer: where it ends, and what it costs, by which the entropy of the first choice is seen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sos.model.rollout import Rollout
from sos.stream.codec import decode
from sos.system import System
from sos.trace import GENERATE, KIND

FIRST_TOKENS = 64  # of an answer, in which its first action is looked for


def first_end(system: System, tokens: np.ndarray, num_prompt: int) -> int:
    """Return how many written tokens there are up to the end of the first action of a stream, int (T,), whose prompt
    has `num_prompt`; 0 where none was read."""
    decoded = decode(system.dialect, system.env, tokens[: num_prompt + FIRST_TOKENS])
    events = decoded.align[num_prompt:]
    says = np.flatnonzero((events >= 0) & (decoded.trace.events[events, KIND] == GENERATE))
    return int(np.flatnonzero(events == events[says[0]])[-1]) + 1 if len(says) else 0


def first_costs(system: System, rollouts: Sequence[Rollout]) -> np.ndarray:
    """Return minus the log-probability of the first action of each rollout that has one, float64 (N',): of all tokens
    up to its end together, however many say it. The mean over sampled ones estimates the entropy of the first choice.
    """
    found = []
    for answer in rollouts:
        end = first_end(system, answer.tokens, answer.num_prompt)
        if end:
            found.append(-float(answer.logprobs[:end].sum(dtype=np.float64)))
    return np.array(found, np.float64)
