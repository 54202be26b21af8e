"""The published wording (Gandhi et al. 2024): texts of traces and tokens of texts, with the `sos` dialect."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from sos.envs.countdown.rules import Countdown
from sos.errors import UserError
from sos.stream.codec import decode, encode
from sos.stream.dialect.compile import Dialect, load_dialect
from sos.stream.dialect.vocab import FIRST_NUMBER
from sos.trace import Trace

MAX_TARGET = 1_000_000


@cache
def language(num_numbers: int) -> tuple[Countdown, Dialect]:
    """Return the widest rules for `num_numbers` numbers and the published wording with digits."""
    env = Countdown(num_numbers, max_target=MAX_TARGET)
    return env, load_dialect("sos", env, 9)


@cache
def _words(num_numbers: int) -> tuple[re.Pattern[str], dict[str, int]]:
    """Return the pattern of one token, the longest symbol first, and the token ids. Ten times as fast as the
    tokenizer."""
    vocab = language(num_numbers)[1].vocab
    symbols = "|".join(re.escape(symbol) for symbol in sorted(vocab.symbols, key=len, reverse=True))
    return re.compile(f"{symbols}|[0-9]"), vocab.ids


def token_ids(num_numbers: int, text: str) -> list[int]:
    """Return the token ids of a text. Raises ValueError that quotes the first place without a token."""
    pattern, ids = _words(num_numbers)
    found = pattern.findall(text)
    if sum(map(len, found)) < len(text):
        place = 0
        while match := pattern.match(text, place):
            place = match.end()
        line = text.count("\n", 0, place) + 1
        raise UserError(
            f"line {line} of search_path holds {text[place : place + 8]!r}, which is not in the published wording"
        )
    return [ids[word] for word in found]


def trace_text(trace: Trace) -> str:
    """Return the text of a trace in the published wording. Raises ValueError where it cannot be written."""
    _, dialect = language(int(trace.problem[1]))
    words = dialect.vocab.tokens
    return "".join([words[token] for token in encode(dialect, trace)[0].tolist() if token >= FIRST_NUMBER])


def published_text(dialect: Dialect, env: Any, tokens: Any) -> str:
    """Return any tokens of a dialect as a text in the published wording, mistakes kept.

    Tokens of another dialect are decoded and written anew: what cannot be read is then left out, as is everything
    behind it.
    """
    if dialect.name == "sos":
        return dialect.text(tokens)
    trace = decode(dialect, env, tokens).trace
    return trace_text(trace) if len(trace.events) else ""
