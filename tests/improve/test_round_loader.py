"""The loader of rounds, and its cursor."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest
import torch
from stages import options_of

from sos.errors import UserError
from sos.improve.loader import MOST_SKIPPED, Round, RoundCursor, RoundLoader
from sos.schema.improve import ImproveConfig


class Fake:
    """Rounds that are made of nothing; those of `empty` leave nothing."""

    def __init__(self, options: ImproveConfig, empty: set[int]) -> None:
        self.options, self.empty, self.made = options, empty, []

    def make(self, number: int) -> Round:
        self.made.append(number)
        batch = {"doc_ids": torch.tensor([[0, 0, 1, -1]]), "positions": torch.tensor([[0, 1, 0, 0]])}
        options = self.options
        batches = [[dict(batch) for _ in range(options.minibatches)] for _ in range(options.epochs)]
        skipped = number in self.empty
        num = options.problems * options.group
        return Round([] if skipped else batches, {"reward": 1.0}, num, 5, 0.1, 0.1, "none was right" if skipped else "")


def test_rounds_of_which_nothing_is_left_are_counted_and_made_up_for() -> None:
    fake = Fake(options_of(epochs=2, minibatches=3), empty={0, 1, 3})
    loader = RoundLoader(fake, RoundCursor())
    batches = list(loader)
    assert len(batches) == len(loader) == 24
    assert fake.made == [0, 1, 2, 3, 4, 5, 6]
    ends = [batch for batch in batches if batch["ends_round"]]
    cursors = [RoundCursor(**batch["cursor"]) for batch in ends]
    assert [cursor.round for cursor in cursors] == [3, 5, 6, 7]
    assert [cursor.complaint(fake.options) for cursor in (RoundCursor(), *cursors)] == [None] * 5
    assert (cursors[-1].skipped, cursors[-1].tokens, cursors[-1].rollouts) == (3, 72, 56)
    assert [batch["progress"] for batch in batches] == pytest.approx(np.arange(24) / 24)
    assert sum(bool(batch["metrics"]) for batch in batches) == 4
    for k, cursor in enumerate(cursors[:-1]):  # a run goes on behind any round
        rest = list(RoundLoader(Fake(fake.options, fake.empty), cursor))
        for a, b in zip(rest, batches[6 * (k + 1) :], strict=True):
            counts = [{n: v for n, v in x["cursor"].items() if not n.endswith("seconds")} for x in (a, b)]
            assert counts[0] == counts[1]


def test_a_run_ends_where_nothing_is_left_of_fifty_rounds_in_a_row() -> None:
    fake = Fake(options_of(), empty=set(range(1, 60)))
    with pytest.raises(UserError, match=r"50 rounds in a row left nothing to learn from: none was right"):
        list(RoundLoader(fake, RoundCursor()))
    assert fake.made == list(range(1 + MOST_SKIPPED))


def test_cursors_that_no_run_can_have_are_complained_of() -> None:
    options = options_of()
    good = RoundCursor(3, 2, 1, 1, 6, 24, 15, 8, 4, 0.1, 0.1, 0.1)
    assert good.complaint(options) is None
    bad: list[tuple[str, Any]] = [
        (name, value) for name in asdict(good) for value in (-1, None, "1", float("nan"), True)
    ]
    bad += [("round", 4), ("trained", 1), ("problems", 7), ("rollouts", 25), ("streams", 25), ("skipped_last", 2)]
    assert len(bad) > 60
    for name, value in bad:
        assert replace(good, **{name: value}).complaint(options), (name, value)
    assert RoundCursor(5, 5, 0, 0, 10, 40).complaint(options)
