"""One wrong step: what is exchanged and what is not, and what counts as coming back."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from naive import recovery as naive
from naive.verify import verify as naive_verify
from stages import TASK
from tiny_run import untrained

from sos.analysis.recovery import row_of
from sos.commands.cli import main
from sos.compose import compose
from sos.data.splits import sample_problems
from sos.envs import protocol as environment
from sos.improve.recovery import (
    DEAD,
    PLAIN,
    STARTS,
    WRONG,
    Case,
    cases_of,
    outcomes_of,
    reaches_goal,
    reference_streams,
)
from sos.runs.folder import RunFolder
from sos.stream.codec import DecodeStatus, decode
from sos.stream.dialect.vocab import EOS
from sos.stream.verify import verify_tokens
from sos.system import System, build_system
from sos.trace import ACTION, GENERATE, KIND, NODE, PARENT

WHOLE = "experiment=whole_numbers"
NUM = 12


@cache
def made(*words: str) -> tuple[System, np.ndarray, list[np.ndarray], list[Case]]:
    system = build_system(compose(list(words)))
    problems = sample_problems(system.env, system.splits, "train", NUM, seed=5, solvable=True)
    streams = reference_streams(system, problems, 3)
    return system, problems, streams, cases_of(system, problems, streams, 3)


STARS = [*TASK, "env.num_arms=3", "env.num_labels=12", "stream.whole_max=12", "data.context=128"]
CASES = [STARS, [WHOLE], ["experiment=practice", "stream.markers=[wait,dead]", "stream.marker_heuristic=mult"]]


@pytest.mark.parametrize("words", CASES, ids=["stars", "whole", "markers"])
def test_the_three_beginnings_differ_in_their_last_step_alone(words: list[str]) -> None:
    system, problems, streams, cases = made(*words)
    assert len(cases) >= NUM // 3
    promising = set()
    for case in cases:
        plain, dead = case.starts[PLAIN], case.starts[DEAD]
        assert np.array_equal(plain, streams[case.number][: len(plain)])
        read = {start: decode(system.dialect, system.env, tokens) for start, tokens in case.starts.items()}
        for start, found in read.items():
            verdict = verify_tokens(system.dialect, system.env, problems[case.number], case.starts[start])[0]
            assert found.status == DecodeStatus.TRUNCATED
            assert len(found.trace.events) == case.event + 1
            assert found.trace.events[-1, KIND] == GENERATE
            assert found.trace.events[-1, NODE] == case.node
            assert np.array_equal(found.trace.events[:-1], read[PLAIN].trace.events[:-1])
            assert not verdict.errors[:-1].any()
            assert verdict.errors[-1] == (case.error if start == WRONG else 0)
        assert case.error
        assert (plain != case.starts[WRONG]).sum() == 1
        actions = [read[start].trace.nodes[case.node, ACTION:].tolist() for start in (PLAIN, DEAD)]
        assert actions[0] != actions[1]
        assert read[DEAD].trace.nodes[case.node, PARENT] == read[PLAIN].trace.nodes[case.node, PARENT]
        assert not np.array_equal(plain, dead)
        promising.add(case.promising)
    assert promising == {True, False}
    again = cases_of(system, problems, streams, 3)
    assert [case.starts[DEAD].tolist() for case in again] == [case.starts[DEAD].tolist() for case in cases]


def numbers_of(state: np.ndarray) -> list[int]:
    return sorted(int(n) for n in state[1 : 1 + int(state[0])])


def test_dead_branches_are_those_from_which_no_order_of_operations_leads_to_the_target() -> None:
    system, problems, _, cases = made(WHOLE)
    for case in cases:
        target = int(problems[case.number][0])
        found = {start: decode(system.dialect, system.env, case.starts[start]).trace for start in STARTS}
        leads = {}
        for start in (PLAIN, DEAD):
            trace = found[start]
            path, node = [], case.node
            while node > 0:
                path.append(node)
                node = int(trace.nodes[node, PARENT])
            state = np.zeros(system.env.state_width, np.int32)
            environment.root_state(system.env, trace.problem, state)
            for at in path[::-1]:
                child = np.zeros_like(state)
                assert environment.judge(system.env, trace.problem, state, trace.nodes[at, ACTION:], child) == 0
                state = child
            leads[start] = naive.can_reach(system.env, numbers_of(state), target)
            assert reaches_goal(system, problems[case.number], state) == leads[start]
        assert leads == {PLAIN: case.promising, DEAD: False}
        errors = naive_verify(system.env, found[WRONG])[1]
        assert [bool(code) for code in errors] == [False] * case.event + [True]
    assert reaches_goal(system, problems[0], state, most=1) in (None, False)


def test_who_goes_on_as_the_reference_does_comes_back_and_who_stops_does_not() -> None:
    system, problems, streams, cases = made(WHOLE)
    rests = [streams[case.number][len(case.starts[PLAIN]) :] for case in cases]
    for start in (PLAIN, WRONG):
        whole = [np.concatenate([case.starts[start], rest]) for case, rest in zip(cases, rests, strict=True)]
        found = outcomes_of(system, problems, cases, start, whole)
        elsewhere = np.array([not case.promising for case in cases])
        assert found.solved[elsewhere].all()
        assert found.back[elsewhere].all()
        assert not found.claimed[elsewhere].any()
        # A goal below the step is one that no sound path reaches if the step is wrong.
        below = found.claimed
        assert below.any()
        assert found.solved[below].all() == (start == PLAIN)
        assert found.solved[below].any() == (start == PLAIN)
        assert found.tokens.tolist() == [len(rest) for rest in rests]
    stopped = [np.append(case.starts[DEAD], EOS).astype(np.int32) for case in cases]
    found = outcomes_of(system, problems, cases, DEAD, stopped)
    assert not (found.solved | found.back | found.claimed).any()
    assert (found.tokens == 1).all()


def test_a_run_is_made_to_err_and_its_table_is_plain_counting(
    base: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["problems=24", "splits=[val]", f"out={tmp_path}"]
    assert main(["recovery", str(base.path), *words]) == 0
    text = capsys.readouterr().out
    (run,) = json.loads((tmp_path / "recovery.json").read_text())["runs"]
    found = run["splits"]["val"]
    rates = {start: np.mean(found["starts"][start]["solved"]) for start in STARTS}
    for start in STARTS:
        (line,) = (line for line in text.splitlines() if line.startswith(f"{start} "))
        assert line.split()[1] == f"{100 * rates[start]:.1f}%"
        cells = row_of([found, found], start)
        assert cells[1] == f"{100 * rates[start]:.1f}% ({100 * rates[start]:.1f}, {100 * rates[start]:.1f})"
        assert cells[2].startswith("" if start == PLAIN else f"{100 * (rates[start] - rates[PLAIN]):+.1f} [")
    assert rates[PLAIN] > 0
    assert sum(found["errors"].values()) == len(found["numbers"]) > 2
    complaints = {
        ("splits=[]",): "splits must name something, and each once, got []",
        ("splits=[val,val]",): "each once, got [val,val]",
        (str(base.path),): "is given twice",
        ("beginning=best",): "beginning must be one of own, reference, got best",
        ("splits=[test]",): "test",
    }
    for more, complaint in complaints.items():
        assert main(["recovery", str(base.path), *more]) == 2
        error = capsys.readouterr().err
        assert complaint in error
        assert error.count("\n") == 1
    bare = untrained(tmp_path / "run")  # whose own searches begin with a mistake
    assert main(["recovery", str(bare.path), "beginning=own", "problems=3"]) == 2
    assert "no search for one of 3 problems has a step that can be exchanged" in capsys.readouterr().err
