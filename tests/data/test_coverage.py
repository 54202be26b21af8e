"""The ceilings of tables: what a search solves, and what the streams of a view solve when they are read back."""

from __future__ import annotations

import numpy as np
import pytest

from sos.compose import compose
from sos.data.coverage import coverage, view_ceiling, view_coverage
from sos.data.splits import sample_problems
from sos.system import build_system

FOUR = ("env.num_numbers=4", "env.max_number=99", "env.max_value=300", "data.context=4096")


@pytest.mark.parametrize("view", ["full", "no_backtrack"])
def test_a_view_that_shows_the_whole_search_solves_what_the_search_solves(view: str) -> None:
    system = build_system(compose([*FOUR, f"stream.view={view}"]))
    problems = sample_problems(system.env, system.splits, "val", 120)
    found = coverage(
        system.env, system.strategy, system.dialect, problems, max_tokens=system.context, max_nodes=system.max_nodes
    )
    shown = view_coverage(system, problems)
    fits = found.lengths >= 0
    assert fits.sum() > 60
    assert np.array_equal(shown.solved[fits], found.solved[fits])
    assert (shown.lengths[fits] <= found.lengths[fits]).all()
    if view == "full":
        assert np.array_equal(shown.lengths, found.lengths)
        assert np.array_equal(shown.prompts, found.prompts)
    else:
        assert shown.returns_dropped > 1000
        assert shown.returns_kept > 50


def test_the_ceiling_of_a_view_is_its_own() -> None:
    short = build_system(compose([*FOUR, "search.max_nodes=4", "stream.view=full"]))
    path = build_system(compose([*FOUR, "search.max_nodes=4", "stream.view=solution_path"]))
    problems = sample_problems(short.env, short.splits, "val", 60)
    assert view_ceiling(short, problems).mean() < 0.5
    assert view_ceiling(path, problems).all()  # the oracle's solution, where the search found none
    lengths = view_coverage(path, problems)
    to_read = int(np.median(lengths.lengths - lengths.prompts))
    assert 0.3 < view_ceiling(path, problems, to_read).mean() <= 1.0
    assert not view_ceiling(path, problems, 3).any()
