"""Streams as pieces: what a loader makes of them, and what it counts."""

from __future__ import annotations

import numpy as np
import pytest
from sizes import plain

from sos.compose import compose
from sos.data.loader import Budget, PackedLoader
from sos.data.packing import IGNORE
from sos.datasets.source import build_source
from sos.system import build_system

WORDS = ["stream.erase=true", "data.context=96"]


def test_every_new_token_is_a_target_once_and_streams_are_counted_once() -> None:
    config = compose(WORDS)
    system = build_system(config)
    source = build_source(config, system)
    num = plain(300, 12)
    chunk = source.chunk(0, num)
    assert chunk.continued is not None
    assert len(chunk.prompts) > len(set(chunk.visits.tolist()))  # streams have several pieces
    assert (~chunk.continued).sum() == len(set(chunk.visits.tolist())) == num - chunk.num_dropped
    assert np.diff(chunk.offsets).max() <= 96
    loader = PackedLoader(source, Budget("problems", num), rows_per_batch=2, block=100, prompt_loss=False)
    batches = list(loader)
    last = batches[-1]["cursor"]
    assert last["streams"] + last["dropped"] == num
    targets = sum(int((batch["targets"] != IGNORE).sum()) for batch in batches)
    assert targets == int((np.diff(chunk.offsets) - chunk.prompts).sum())


def test_a_whole_stream_may_be_longer_than_the_context_and_no_piece_is() -> None:
    erased, whole = (build_source(c, build_system(c)) for c in (compose(WORDS), compose(WORDS[1:])))
    num = plain(300, 30)
    assert erased.chunk(0, num).num_dropped < whole.chunk(0, num).num_dropped


@pytest.mark.parametrize("start", [0, 7])
def test_pieces_of_a_visit_do_not_depend_on_what_is_asked_for_with_it(start: int) -> None:
    config = compose(WORDS)
    source = build_source(config, build_system(config))
    many, few = source.chunk(0, 12), source.chunk(start, start + 3)
    wanted = np.isin(many.visits, few.visits)
    tokens = np.repeat(wanted, np.diff(many.offsets))
    assert np.array_equal(many.tokens[tokens], few.tokens)
    assert np.array_equal(many.prompts[wanted], few.prompts)
