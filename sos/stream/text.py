"""Annotated text of a stream, for people: an event per line, with mistakes and the goal marked."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby, pairwise
from typing import Any

import numpy as np

from sos.stream.codec import DecodeStatus, encode_prompt
from sos.stream.dialect.compile import Dialect
from sos.stream.dialect.vocab import FIRST_NUMBER, SPECIALS
from sos.stream.verify import Error, verify_tokens
from sos.trace import KIND, Event

MALFORMED = "malformed"
WIDEST = 72  # characters before the notes, where lines are not longer
LONGEST_TAIL = 24  # tokens shown of what cannot be read


def annotate(dialect: Dialect, env: Any, problem: np.ndarray, tokens: Any) -> str:
    """Return Markdown of one stream (any integers), read as an answer to `problem` (int32 (P,)).

    An arrow points at the first mistake; `*` marks the goal that solves the problem. What cannot be read is shown too.
    """
    ids = [int(token) for token in tokens]
    verdict, trace, align = verify_tokens(dialect, env, problem, ids)
    num_events = len(verdict.errors)
    # Tokens of a form that was begun and not understood belong to no event.
    starts = np.searchsorted(np.where(align < 0, num_events, align), np.arange(num_events + 1)).tolist()
    texts = [words(dialect, ids[start:stop]) for start, stop in pairwise(starts)]
    mistakes = [Error(code).name.lower() if code else "" for code in verdict.errors]
    rest, unread = ids[starts[-1] : len(align)], ids[len(align) :]
    readable = verdict.status in (DecodeStatus.OK, DecodeStatus.TRUNCATED)
    if not readable:
        more = f" (and {len(unread) - LONGEST_TAIL} more tokens)" if len(unread) > LONGEST_TAIL else ""
        tail = words(dialect, unread[:LONGEST_TAIL]) + more
        texts.append(f"{words(dialect, rest)} [unreadable from here:] {tail}".strip())
        mistakes.append(MALFORMED)
    elif verdict.status == DecodeStatus.TRUNCATED and (rest or unread):
        texts.append(words(dialect, rest + unread))
        mistakes.append("")

    first = next((e for e, mistake in enumerate(mistakes) if mistake), None)
    width = min(WIDEST, max(map(len, texts), default=0))
    lines = []
    for e, (text, mistake) in enumerate(zip(texts, mistakes, strict=True)):
        mark = "→" if e == first else "*" if e in (verdict.goal_event, verdict.plan_event) else " "
        notes = [f"← {mistake}"] if mistake else []
        notes += (
            [("refuted" if verdict.refuted else "goal")]
            if e == verdict.goal_event
            else ["right plan"]
            if e == verdict.plan_event
            else []
        )
        lines.append(f"{mark} {e:>3}  {text:<{width}}  {', '.join(notes)}".rstrip())

    result = "not solved"
    if verdict.solved:
        to_goal = starts[verdict.goal_event + 1] - starts[1]
        result = (
            f"{'refuted' if verdict.refuted else 'solved'} with {to_goal} of {len(ids) - starts[1]} generated tokens"
        )
    if (trace.events[:, KIND] == Event.PLAN).any():
        result += f", the plan is {'right' if verdict.planned else 'wrong'}"
    ending = "never ends" if readable else "becomes unreadable"
    if trace.outcome is not None:
        ending = f"ends as {trace.outcome.name.lower()}"
    count = "no mistake"
    if first is not None:
        num = sum(map(bool, mistakes))
        count = f"{num} mistake{'s' * (num > 1)}, the first at event {first} ({mistakes[first]})"
    posed = words(dialect, encode_prompt(dialect, problem, ())[1:])
    head = f"Problem: `{posed}`\n\nVerdict: **{result}**; {ending}; {count}."
    return "\n".join([head, "", "```text", *lines, "```", ""])


def words(dialect: Dialect, ids: Sequence[int]) -> str:
    """Return tokens as one line of text, special tokens by name and integers that are no token in angle brackets."""
    size = len(dialect.vocab)
    parts: list[str] = []
    for ordinary, run in groupby(ids, lambda token: FIRST_NUMBER <= token < size):
        if ordinary:
            parts.append(dialect.text(run).strip().replace("\n", " | "))
        else:
            parts += [SPECIALS[token] if 0 <= token < FIRST_NUMBER else f"<{token}>" for token in run]
    return " ".join(parts)
