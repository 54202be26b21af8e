"""The tokens of the slot, behind those of a dialect."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from sos.context.items import NAMES
from sos.envs.lessons import check_lessons
from sos.errors import UserError
from sos.schema.slot import LESSON, OUTCOME
from sos.stream.dialect.compile import Dialect
from sos.stream.dialect.vocab import Vocabulary
from sos.stream.slot import Slot

BEGIN, END, THEN, FILLER = "<context>", "</context>", "<then>", "<filler>"
PREFER, AVOID = "<prefer>", "<avoid>"


def with_slot(dialect: Dialect, kinds: Sequence[str]) -> Dialect:
    """Return the dialect with a slot for items of some kinds, at least one; its own tokens keep their ids.

    Raises UserError where the dialect has a word that is one of the slot's, and for lessons in an environment that has
    none.
    """
    names = [name for kind in kinds for name in NAMES[kind]]
    of_lessons: tuple[str, ...] = ()
    if LESSON in kinds:
        check_lessons(dialect.env, f"slot.kinds=[{','.join(kinds)}]")
        of_lessons = (PREFER, AVOID, *condition_words(dialect.env), *class_words(dialect.env))
    words = (BEGIN, END, THEN, FILLER, *(f"<{name}>" for name in names), *of_lessons)
    vocab = dialect.vocab
    if taken := [word for word in words if word in vocab.ids]:
        raise UserError(f"dialect {dialect.name} has the word {taken[0]}, which is the context slot's")
    vocab = Vocabulary((*vocab.symbols, *words), vocab.whole_max, vocab.spaced)
    begin, end, then, filler, *items = (vocab.ids[word] for word in words[: 4 + len(names)])
    asks = (begin, items[0], end) if OUTCOME in kinds else ()
    slot = Slot(begin, end, then, filler, dict(zip(names, items, strict=True)), asks)
    return dataclasses.replace(dialect, vocab=vocab, slot=slot)


def condition_words(env: Any) -> tuple[str, ...]:
    """Return the words for the conditions of lessons, by their number."""
    return tuple(f"<if:{feature}>" for feature in env.lesson_features)


def class_words(env: Any) -> tuple[str, ...]:
    """Return the words for the classes of actions in lessons, by their number."""
    return tuple(f"<class:{name}>" for name in env.lesson_classes)
