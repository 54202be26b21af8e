"""The view `apart`: a stream is a problem's failure or its success, and both are sound."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from drivers import DIALECTS, all_searches, reads_back, run_search
from sizes import plain

from sos.compose import compose
from sos.data.splits import make_splits, sample_problems
from sos.envs.countdown.rules import Countdown
from sos.stream.added import AddedView
from sos.stream.apart import Apart
from sos.stream.codec import decode, encode
from sos.stream.dialect.compile import load_dialect
from sos.stream.verify import Error, verify
from sos.stream.viewing import view_trace
from sos.stream.views import SOLUTION_PATH, View
from sos.system import build_system
from sos.trace import END, GENERATE, KIND, NODE, PARENT, Outcome, Trace

ENV = Countdown(num_numbers=4, max_number=20, max_value=120)
FAILURES, PATHS, HALF = (AddedView(Apart(share)) for share in (1.0, 0.0, 0.5))
SEARCHES = dict(all_searches())


@cache
def solved_traces(search: str) -> list[Trace]:
    problems = sample_problems(ENV, make_splits(ENV, 0.1, 0.1), "train", plain(20, 4), seed=3)
    traces = [run_search(SEARCHES[search], ENV, problem) for problem in problems]
    return [trace for trace in traces if trace.outcome == Outcome.SOLVED]


def naive_failure(trace: Trace) -> Any:
    """Return the events up to the last of a node that is no ancestor of the goal, or None."""
    way, node = set(), int(trace.events[-2, NODE])
    while node >= 0:
        way.add(node)
        node = int(trace.nodes[node, PARENT])
    told = [e for e, event in enumerate(trace.events.tolist()) if event[KIND] != END and event[NODE] not in way]
    return trace.events[: told[-1] + 1] if told else None


@pytest.mark.parametrize("search", SEARCHES)
def test_a_failure_is_the_search_up_to_its_last_mistake(search: str) -> None:
    failed = 0
    for trace in solved_traces(search):
        path = view_trace(View(SOLUTION_PATH), ENV, trace)
        assert view_trace(PATHS, ENV, trace).equals(path)
        shown, events = view_trace(FAILURES, ENV, trace), naive_failure(trace)
        if events is None:
            assert shown.equals(path)
            continue
        failed += 1
        assert shown.outcome == Outcome.BUDGET
        assert np.array_equal(shown.events[:-1], events)
        num = 1 + int((events[:, KIND] == GENERATE).sum())
        assert np.array_equal(shown.nodes, trace.nodes[:num])
        assert np.array_equal(shown.states, trace.states[: len(shown.states)])
        verdict = verify(ENV, shown)
        assert not verdict.solved
        assert set(verdict.errors.tolist()) == {Error.NONE}
    assert failed or search.startswith("beam"), search


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_failure_reads_back(dialect: str) -> None:
    words, num = load_dialect(dialect, ENV, 99), 0
    for search in ("dfs", "dfs-mult-unseen-silent", "beam", "best_first"):
        for trace in solved_traces(search):
            shown = view_trace(FAILURES, ENV, trace)
            tokens, _, _ = encode(words, shown)
            back = decode(words, ENV, tokens)
            assert reads_back(words, back.trace, shown), (search, trace.problem)
            num += 1
    assert num > plain(30, 6)


def test_a_draw_decides_for_a_stream_as_a_whole() -> None:
    trace = next(trace for trace in solved_traces("dfs") if naive_failure(trace) is not None)
    outcomes = [view_trace(HALF, ENV, trace, key).outcome for key in range(200)]
    assert outcomes == [view_trace(HALF, ENV, trace, key).outcome for key in range(200)]
    assert 70 < outcomes.count(Outcome.BUDGET) < 130


def test_a_plan_stands_behind_a_success_alone() -> None:
    trace = next(trace for trace in solved_traces("dfs") if naive_failure(trace) is not None)
    with_plan = [view_trace(view._replace(plan=True), ENV, trace) for view in (FAILURES, PATHS)]
    assert with_plan[0].equals(view_trace(FAILURES, ENV, trace))
    assert with_plan[1].equals(view_trace(View(SOLUTION_PATH, plan=True), ENV, trace))


def test_a_config_says_the_share() -> None:
    view = build_system(compose(["control=apart"])).view
    assert view == AddedView(Apart(0.5))
    assert build_system(compose(["stream.view=apart", "stream.dose=0.25"])).view == AddedView(Apart(0.25))
