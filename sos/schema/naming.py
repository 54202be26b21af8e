"""Values as words that can be typed, and names of folders of runs."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

PLAIN = re.compile(r"[\w/.+\-@%]+", re.ASCII)  # a value that needs no quotes


def quoted(text: str) -> str:
    """Return text as a value in Hydra's override grammar."""
    kept = re.sub(r"(\\+)(?='|$)", r"\1\1", text)
    return "'" + kept.replace("'", "\\'") + "'"


def as_word(name: str, value: str | Path) -> str:
    """Return `name=value` as it can be typed, quoted only where the grammar needs it."""
    return f"{name}={value}" if PLAIN.fullmatch(str(value)) else f"{name}={quoted(str(value))}"


LONGEST_NAME = 80


def run_name(words: Sequence[str], longest: int = LONGEST_NAME) -> str:
    """Return a name for a folder of a run that these words describe, which needs no quotes: `seed-1__stream.view-full`.

    What would be longer is cut between words, or within the first, and ends with a hash of all. "default" for no words.
    """
    shown = [re.sub(r"[^\w.+]+", "-", word.lstrip("+~")).strip("-._") for word in words if not _names_no_run(word)]
    name = "__".join(filter(None, shown))
    if not name:
        return "default"
    if len(name) <= longest:
        return name
    kept = name[: longest - 10]
    whole = kept.rpartition("__")[0]
    return f"{whole or kept}__{digest(words)}"


def digest(words: Sequence[str]) -> str:
    """Return 8 hex digits over words."""
    return hashlib.sha256("\n".join(words).encode()).hexdigest()[:8]


def _names_no_run(word: str) -> bool:
    return word.lstrip("+~").partition("=")[0] == "sweep" or word.lstrip("+~").startswith("hydra")
