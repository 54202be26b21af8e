"""Penalties of rollouts for resampling on correct (rStar2-Agent, arXiv 2508.20722), from our verdicts.

p_err is the share of calls that went wrong, 0.5 without calls; p_format is 1 without an answer, else (answers - 1) /
turns, 1 at most. Here a call is an event that states something which the verifier replays: an operation, or a visit
with its restatement; it went wrong where the verifier has an error for it. An answer is a claimed goal. A turn is a
call and what follows it, so that there is one more of them than calls. A rollout that becomes unreadable has one more
call, which went wrong.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sos.trace import Event

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
CALLS = (Event.EXPAND, Event.GENERATE, Event.BACKTRACK, Event.PLAN)


class Calls(NamedTuple):
    """What is counted of N rollouts, int64 (N,) each."""

    calls: Counts
    errors: Counts
    answers: Counts
    turns: Counts


def error_penalties(calls: npt.ArrayLike, errors: npt.ArrayLike) -> Floats:
    """Return p_err, float64 (N,): errors / calls, 0.5 without calls."""
    num = np.asarray(calls, np.float64)
    return np.where(num > 0, np.asarray(errors, np.float64) / np.maximum(num, 1), 0.5)


def format_penalties(answers: npt.ArrayLike, turns: npt.ArrayLike) -> Floats:
    """Return p_format, float64 (N,): 1 without an answer or a turn, else (answers - 1) / turns, 1 at most."""
    found, num = np.asarray(answers, np.float64), np.asarray(turns, np.float64)
    several = np.minimum(1.0, (found - 1) / np.maximum(num, 1))
    return np.where((found > 0) & (num > 0), several, 1.0)


def count_calls(
    kinds: npt.NDArray[np.int8], errors: npt.NDArray[np.int8], offsets: Counts, malformed: npt.NDArray[np.bool_]
) -> Calls:
    """Count the calls of N rollouts whose events lie one after the other: kinds and errors int8 (E,), offsets (N + 1,).

    The first event of each is the problem, which the policy did not write.
    """
    called = np.isin(kinds, CALLS)
    called[offsets[:-1][offsets[:-1] < offsets[1:]]] = False
    extra = malformed.astype(np.int64)
    calls, wrong = _sums(called, offsets) + extra, _sums(called & (errors != 0), offsets) + extra
    return Calls(calls, wrong, _sums(kinds == Event.GOAL, offsets), calls + 1)


def penalised(rewards: npt.ArrayLike, penalties: npt.ArrayLike, weight: float) -> Floats:
    """Return rewards minus weighted penalties, float64 (N,): what resampling is compared with."""
    return np.asarray(rewards, np.float64) - weight * np.asarray(penalties, np.float64)


def text_penalties(text: str) -> tuple[float, float]:
    """Return (p_err, p_format) of a text with tags, as the released code counts them (microsoft/rStar, ecbfb94).

    A call is a `<tool_response>`, wrong where it holds the word error in any case; turns are those from
    `<|im_start|>assistant` to `<|im_end|>`. The first turn is not seen, as its mark belongs to the prompt.
    """
    responses = _between(text, "<tool_response>", "</tool_response>")
    wrong = sum("error" in response.lower() for response in responses)
    answers = len(_between(text, "<answer>", "</answer>"))
    turns = len(_between(text, "<|im_start|>assistant", "<|im_end|>"))
    if not text.count("<answer>") == text.count("</answer>") == answers:
        answers = 0
    return float(error_penalties(len(responses), wrong)), float(format_penalties(answers, turns))


def _between(text: str, start: str, end: str) -> list[str]:
    """Return what stands between each start and the next end behind it, in linear time."""
    found, place = [], 0
    while (begin := text.find(start, place)) >= 0:
        stop = text.find(end, begin + len(start))
        if stop < 0:
            break
        found.append(text[begin + len(start) : stop])
        place = stop + len(end)
    return found


def _sums(values: npt.NDArray[np.bool_], offsets: Counts) -> Counts:
    totals = np.concatenate([[0], np.cumsum(values, dtype=np.int64)])
    return totals[offsets[1:]] - totals[offsets[:-1]]
