"""The erasing rule as a pattern that is replaced in a text, return by return. An answer may hold a call, a thought none."""

from __future__ import annotations

import re

RULE = re.compile(r"\[CALL\](?:(?!\[CALL\]|\[RETURN\]).)*\[SEP\]((?:(?!\[SEP\]|\[RETURN\]).)*)\[RETURN\]")


def contexts(prompt: str, text: str) -> list[tuple[str, str]]:
    """Return for each return, and for the end, what was left before and what is new, as texts without blanks at the
    ends; an AssertionError for a return from nothing."""
    found, left = [], prompt.strip()
    *until, rest = re.split(r"(?<=\[RETURN\])", text)
    for new in until:
        found.append((left, new.strip()))
        joined = f"{left} {new.strip()}".strip()
        match = [*RULE.finditer(joined)][-1:]
        assert match
        assert match[0].end() == len(joined)
        left = " ".join((joined[: match[0].start()] + match[0][1]).split())
    return [*found, (left, rest.strip())]
