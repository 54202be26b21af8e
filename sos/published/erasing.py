"""The erasing of finished calls (Yang et al. 2025, PENCIL, arXiv 2503.14337): `C [CALL] T [SEP] A [RETURN]` -> `C A`.

A text of 3-SAT in the published words (`sos.published.sat`) is erased as soon as a call returns: of the call there is
left what stands between its separator and the return, its answer. So a model never sees the whole text, but one piece
after the other: what the erasing left of the one before, and what is written until the next return. It is trained on
the pieces, each with loss on what is new in it, and while it writes, the rule is applied at every return.

`pieces` are what it is trained on, `Context` is what it has before it while it writes, and `whole_of` puts the pieces
together again. The longest piece is what the model has to hold, in place of the whole text.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from sos.data.splits import make_splits, sample_problems
from sos.envs.sat.rules import Sat
from sos.errors import UserError
from sos.judge.teachers import CONTEXTS, MAX_NODES, Row
from sos.published.sat import CALL, PROMPT_END, RETURN, SEP, to_published
from sos.search.run import run_search
from sos.stream.codec import encode
from sos.stream.dialect.compile import load_dialect
from sos.stream.verify import verify


class Piece(NamedTuple):
    """What a model is trained on at once."""

    words: list[str]
    num_old: int  # of them, in front: the prompt, or what the erasing left, on which there is no loss


class Context:
    """What a model has before it while it writes; `peak` is the most that it was, in words."""

    def __init__(self, words: Iterable[str] = ()) -> None:
        self.words = list(words)
        self.peak = len(self.words)

    def push(self, word: str) -> bool:
        """Add a word, and erase the call that it returns from, if it does; return whether something was erased. Raises
        UserError for a return from nothing."""
        self.words.append(word)
        self.peak = max(self.peak, len(self.words))
        if word == RETURN:
            self.words = reduced(self.words)
        return word == RETURN


def reduced(words: Sequence[str]) -> list[str]:
    """Return what is left of words that end with a return: the call that was begun last, and is not returned from, goes
    but for its answer. Raises UserError where there is no call, or no separator in it."""
    separator = _last(words, SEP, len(words) - 1)
    call = _last(words, CALL, separator)
    if call < 0:
        missing = SEP if separator < 0 else CALL
        raise UserError(f"there is no {missing} in front of {RETURN}: {' '.join(words[-12:])!r}")
    return [*words[:call], *words[separator + 1 : -1]]


def _last(words: Sequence[str], word: str, stop: int) -> int:
    return next((k for k in range(stop - 1, -1, -1) if words[k] == word), -1)


def pieces(text: str) -> list[Piece]:
    """Return the pieces of a text in the published words, one more than it has returns: the last one may have nothing
    new but the end. Raises UserError for a text without a prompt, or with a return from nothing."""
    words = text.split()
    if PROMPT_END not in words:
        raise UserError(f"there is no {PROMPT_END} in {text[:60]!r}")
    start = words.index(PROMPT_END) + 1
    context, found, num_old = Context(words[:start]), [], start
    for word in words[start:]:
        if word == RETURN:
            found.append(Piece([*context.words, word], num_old))
        if context.push(word):
            num_old = len(context.words)
    return [*found, Piece(context.words, num_old)]


def whole_of(parts: Sequence[Piece]) -> str:
    """Return the text that has these pieces. Raises UserError where one does not begin with what the one before
    leaves."""
    words: list[str] = []
    left: list[str] | None = None
    for number, (said, num_old) in enumerate(parts):
        if left is not None and said[:num_old] != left:
            raise UserError(f"piece {number} does not begin with what piece {number - 1} leaves")
        words += said if left is None else said[num_old:]
        left = reduced(said) if said[-1:] == [RETURN] else None
        if left is None and number < len(parts) - 1:
            raise UserError(f"piece {number} does not end with {RETURN}")
    return " ".join(words)


def peak(text: str) -> int:
    """Return how many words the longest piece has."""
    return max(len(piece.words) for piece in pieces(text))


WORDINGS = ("published words, whole", "published words, erased")


def erased_rows(env: Any, num_problems: int, named: dict[str, Any]) -> list[Row]:
    """Return the rows of `sos.judge.teachers.cover` for the published words, with every word as a token: of whole
    texts, and of their longest pieces. Raises UserError for an environment that is not 3-SAT."""
    if not isinstance(env, Sat):
        raise UserError(f"erased=true is for env=sat, whose calls are erased, and not for {env.describe()}")
    problems = sample_problems(env, make_splits(env, 0.1, 0.0), "train", num_problems)
    dialect = load_dialect("compact", env, max(9, env.largest_number))
    rows = []
    for name, strategy in named.items():
        lengths = np.full((2, num_problems), np.inf)
        for p, problem in enumerate(problems):
            trace = run_search(strategy, env, problem, MAX_NODES)
            if verify(env, trace).solved:
                text = to_published(dialect.text(encode(dialect, trace)[0]))
                lengths[:, p] = len(text.split()), peak(text)
        solved = float(np.isfinite(lengths[0]).mean())
        for wording, sizes in zip(WORDINGS, lengths, strict=True):
            fits = tuple(float((sizes <= context).mean()) for context in CONTEXTS)
            rows.append(Row(name, wording, solved, fits, float(np.median(sizes))))
    return rows
