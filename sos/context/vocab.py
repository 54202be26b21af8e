"""The tokens of the slot, behind those of a dialect."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from sos.context.items import NAMES
from sos.errors import UserError
from sos.stream.dialect.compile import Dialect
from sos.stream.dialect.vocab import Vocabulary
from sos.stream.slot import Slot

BEGIN, END, THEN, FILLER = "<context>", "</context>", "<then>", "<filler>"


def with_slot(dialect: Dialect, kinds: Sequence[str]) -> Dialect:
    """Return the dialect with a slot for items of some kinds, at least one; its own tokens keep their ids.

    Raises UserError where the dialect has a word that is one of the slot's.
    """
    names = [name for kind in kinds for name in NAMES[kind]]
    words = (BEGIN, END, THEN, FILLER, *(f"<{name}>" for name in names))
    vocab = dialect.vocab
    if taken := [word for word in words if word in vocab.ids]:
        raise UserError(f"dialect {dialect.name} has the word {taken[0]}, which is the context slot's")
    vocab = Vocabulary((*vocab.symbols, *words), vocab.whole_max, vocab.spaced)
    begin, end, then, filler, *items = (vocab.ids[word] for word in words)
    slot = Slot(begin, end, then, filler, dict(zip(names, items, strict=True)))
    return dataclasses.replace(dialect, vocab=vocab, slot=slot)
