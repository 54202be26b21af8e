"""Views: what stays, what goes, and that what stays is still a sound stream."""

from __future__ import annotations

import numpy as np
import pytest
from drivers import reads_back, run_search
from sizes import plain

from sos.data.splits import make_splits, sample_problems
from sos.envs.countdown.rules import Countdown
from sos.search import DepthFirst, Widening
from sos.stream.codec import decode, encode
from sos.stream.dialect.compile import load_dialect
from sos.stream.verify import Error, verify
from sos.stream.viewing import view_trace
from sos.stream.views import DOSE, FULL, NO_BACKTRACK, REDUNDANT, SOLUTION_PATH, View
from sos.trace import KIND, NODE, PARENT, Event, Outcome

ENV = Countdown(num_numbers=4)
STRATEGIES = {
    "every return": DepthFirst(),
    "few returns": DepthFirst(heuristic=1, use_threshold=False, skip_seen=True, announce_leaves=False),
    "two passes": Widening(heuristic=3, announce_leaves=False, skip_out_of_range=True, bound=100),
}


def random_problems(env, num, seed):
    return sample_problems(env, make_splits(env, 0.1, 0.1), "train", num, seed=seed)


@pytest.fixture(scope="module", params=STRATEGIES, ids=str)
def traces(request):
    problems = random_problems(ENV, plain(60, 12), seed=5)
    return [run_search(STRATEGIES[request.param], ENV, problem) for problem in problems]


def solved_only(traces):
    chosen = [t for t in traces if t.outcome == Outcome.SOLVED]
    assert len(chosen) > plain(10, 3)
    return chosen


def test_full_is_the_trace_itself(traces):
    for trace in traces:
        assert view_trace(View(FULL), ENV, trace).equals(trace)


def test_dose_one_is_full_and_dose_zero_the_solution_path(traces):
    for trace in solved_only(traces):
        assert view_trace(View(DOSE, 1.0), ENV, trace).equals(trace)
        path = view_trace(View(SOLUTION_PATH), ENV, trace)
        assert view_trace(View(DOSE, 0.0), ENV, trace).equals(path)


def test_the_solution_path_has_no_dead_ends_and_one_node_per_depth(traces):
    for trace in solved_only(traces):
        path = view_trace(View(SOLUTION_PATH), ENV, trace)
        kinds = path.events[:, KIND].tolist()
        assert kinds == [
            Event.EXPAND,
            *[Event.GENERATE, Event.EXPAND] * (ENV.max_depth - 1),
            Event.GENERATE,
            Event.GOAL,
            Event.END,
        ]
        assert path.nodes[:, PARENT].tolist() == list(range(-1, ENV.max_depth))
        goal = trace.events[-2, NODE]
        assert (path.states[-1] == trace.states[goal]).all()


def test_every_view_of_a_solved_search_verifies(traces):
    for key, trace in enumerate(solved_only(traces)):
        for view in (View(SOLUTION_PATH), View(DOSE, 0.3), View(DOSE, 0.7), View(REDUNDANT), View(NO_BACKTRACK)):
            verdict = verify(ENV, view_trace(view, ENV, trace, key))
            allowed = {Error.NONE, Error.UNANNOUNCED} if view.kind == NO_BACKTRACK else {Error.NONE}
            assert verdict.solved
            assert set(verdict.errors.tolist()) <= allowed


def test_dose_keeps_whole_branches_in_about_the_share_asked_for(traces):
    kept = dead = 0
    for key, trace in enumerate(solved_only(traces)):
        on_path = set()
        node = int(trace.events[-2, NODE])
        while node >= 0:
            on_path.add(node)
            node = int(trace.nodes[node, PARENT])
        roots = [n for n in range(len(trace.nodes)) if n not in on_path and int(trace.nodes[n, PARENT]) in on_path]
        viewed = view_trace(View(DOSE, 0.5), ENV, trace, key)
        size = len(viewed.nodes)
        half = view_trace(View(DOSE, 0.5), ENV, trace, key)
        assert half.equals(viewed)  # a pure function of the key
        path_nodes = {0}
        node = int(viewed.events[-2, NODE])
        while node >= 0:
            path_nodes.add(node)
            node = int(viewed.nodes[node, PARENT])
        dead += len(roots)
        kept += sum(1 for n in range(size) if n not in path_nodes and int(viewed.nodes[n, PARENT]) in path_nodes)
    assert dead > plain(100, 20)
    assert abs(kept / dead - 0.5) < 4 * (0.25 / dead) ** 0.5


def test_redundant_has_as_many_events_as_the_search(traces):
    for trace in solved_only(traces):
        view = view_trace(View(REDUNDANT), ENV, trace)
        assert len(view.events) == len(trace.events)
        assert len(view.nodes) == ENV.max_depth + 1


def test_no_backtrack_reads_back_and_drops_every_return_that_a_reader_finds(traces):
    dialect = load_dialect("compact", ENV, 9)
    dropped = kept = 0
    for trace in traces:
        view = view_trace(View(NO_BACKTRACK), ENV, trace)
        returns = view.events[:, KIND] == Event.BACKTRACK
        others = trace.events[trace.events[:, KIND] != Event.BACKTRACK]
        assert np.array_equal(view.events[~returns, KIND], others[:, KIND])
        assert np.array_equal(view.nodes, trace.nodes)
        back = decode(dialect, ENV, encode(dialect, view)[0]).trace
        assert reads_back(dialect, back, view)
        assert np.array_equal(back.nodes[:, PARENT], trace.nodes[:, PARENT])
        for e in np.flatnonzero(returns):
            # Without this return and those behind it, the next operation is read as another node's.
            without = view._replace(events=np.delete(view.events, e, axis=0))
            misread = decode(dialect, ENV, encode(dialect, without)[0]).trace
            child = int(view.events[e + 1, NODE])
            assert misread.nodes[child, PARENT] != view.nodes[child, PARENT]
            kept += 1
        dropped += int((trace.events[:, KIND] == Event.BACKTRACK).sum() - returns.sum())
    assert kept > plain(10, 0)
    assert dropped > plain(500, 50)


def test_an_unsolved_search_gets_the_oracles_path():
    strategy = DepthFirst(heuristic=2)
    for problem in random_problems(ENV, 80, seed=6):
        trace = run_search(strategy, ENV, problem)
        if trace.outcome == Outcome.SOLVED:
            continue
        verdict = verify(ENV, view_trace(View(SOLUTION_PATH), ENV, trace))
        assert verdict.solved
        full = view_trace(View(DOSE, 1.0), ENV, trace)
        assert full.equals(trace)
        break
    else:
        pytest.fail("no unsolved search among the problems")


def test_a_view_of_an_unsolvable_problem_is_refused():
    problem = np.array([97, 4, 1, 1, 1, 1], np.int32)
    trace = run_search(STRATEGIES["few returns"], ENV, problem)
    assert trace.outcome == Outcome.EXHAUSTED
    with pytest.raises(ValueError, match=r"solution_path.*has none"):
        view_trace(View(SOLUTION_PATH), ENV, trace)
