"""Random configurations, end to end: the search beside its oracle, then its view, its stream, and the verdict on it."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from configurations import check, draw
from sizes import plain

from sos.trace import Outcome

NUM_EACH = plain(100, 60)


@pytest.mark.parametrize("seed", range(plain(3, 1)))
def test_random_configurations_agree_with_the_oracles(seed: int) -> None:
    rng = np.random.default_rng(seed)
    outcomes: Counter[Outcome] = Counter()
    kinds: Counter[str] = Counter()
    for _ in range(NUM_EACH):
        configuration = draw(rng)
        try:
            outcomes[check(configuration, rng)] += 1
        except AssertionError as error:
            raise AssertionError(f"{configuration}: {error}") from error
        kinds["Mixture" if len(configuration.strategies) > 1 else type(configuration.strategies[0]).__name__] += 1
    assert outcomes.total() == NUM_EACH
    assert set(outcomes) == set(Outcome)
    assert set(kinds) == {"DepthFirst", "Beam", "BestFirst", "Widening", "Mixture"}
