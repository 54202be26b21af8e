"""The tokens of the markers, behind those of a dialect and of the context slot."""

from __future__ import annotations

import dataclasses

from sos.errors import UserError
from sos.schema.stream import MARKERS, OF_VALUES, StreamConfig
from sos.search.keys import StrategyConfig
from sos.stream.dialect.compile import Dialect
from sos.stream.dialect.vocab import Vocabulary
from sos.stream.markers import Markers
from sos.stream.measure import build_measure


def with_markers(dialect: Dialect, stream: StreamConfig, search: StrategyConfig) -> Dialect:
    """Return the dialect with the markers that a config asks for, at least one; its own tokens keep their ids.

    Raises UserError where the dialect has a word that is one of theirs, and where the environment has no heuristic that
    a marker compares values of.
    """
    names = tuple(name for name in MARKERS if name in stream.markers)
    words = [f"<{name}>" for name in names]
    vocab = dialect.vocab
    if taken := [word for word in words if word in vocab.ids]:
        raise UserError(f"dialect {dialect.name} has the word {taken[0]}, which is a marker's")
    measure = None
    if set(names) & set(OF_VALUES):
        measure = build_measure(dialect.env, search, stream.marker_heuristic, stream.marker_tie)
    symbols = (*vocab.symbols, *words)
    markers = Markers(names, len(vocab), measure)
    return dataclasses.replace(dialect, vocab=Vocabulary(symbols, vocab.whole_max, vocab.spaced), markers=markers)
