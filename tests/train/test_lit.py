"""Tests of the training step's small parts."""

from __future__ import annotations

from itertools import product

from sos.train.lit import dropout_seed


def test_dropout_draws_anew_for_every_seed_rank_and_step_and_the_same_when_resumed() -> None:
    """Ranks that draw the same noise would drop the same channels of different rows."""
    cases = list(product(range(3), range(8), range(50)))
    seeds = [dropout_seed(*case) for case in cases]
    assert len(set(seeds)) == len(cases) == 1200
    assert seeds == [dropout_seed(*case) for case in cases]
    assert all(-(2**63) <= seed < 2**64 for seed in seeds)  # what torch.manual_seed takes
