"""How a stream ends, said before its problem: whether it is a success or a failure.

A success answers its problem: it comes to a goal or, where problems without a solution are posed, searches everything
in vain. What is told is what the view of the search says, so that a view that shows failures, such as `apart`, has them
called failures. A model that was trained on such streams is asked for a success.
"""

from __future__ import annotations

import numpy as np

from sos.context.draws import SlotPlan, draw_key
from sos.context.forms import write_context
from sos.context.items import outcome_item
from sos.data.chunks import Chunk
from sos.data.contexts import NOTHING
from sos.data.coverage import ends_of, is_answer
from sos.data.streams import Writer
from sos.rng import fold, uniform
from sos.stream.dialect.compile import Dialect
from sos.trace import TraceRows


class OutcomeSource:
    """Makes contexts that say how a stream ends; which streams have one is a pure function of (seed, name of the
    stream, number of the stream)."""

    def __init__(self, dialect: Dialect, *, seed: int, stream: str, plan: SlotPlan | None, writer: Writer) -> None:
        """`writer` shows searches as the streams do."""
        self._key, self._plan, self._writer = draw_key(seed, stream), plan, writer
        self._said = {ends: write_context(dialect, [outcome_item(dialect.env, ends)]) for ends in (False, True)}

    def put(self, chunk: Chunk, rows: TraceRows, num: int) -> Chunk:
        """Return the streams of `chunk`, which are those of the first `num` traces of `rows`, each with how it ends
        before it, but for the share without."""
        assert self._plan is not None
        shown, count = self._writer.as_told(rows, num)
        answers = is_answer(self._writer.env, ends_of(shown, count))
        succeeds = dict(zip(shown.visits[:count].tolist(), answers.tolist(), strict=True))
        before = [
            NOTHING
            if uniform(np.uint64(fold(self._key, visit)), 0) < self._plan.dropout
            else self._said[succeeds[visit]]
            for visit in chunk.visits.tolist()
        ]
        return chunk.prefixed(before)
