"""Costs as claims: read back, verified whole, and judged like the oracle does, on a graph with two facts to a node."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from naive import a_star as naive
from naive import costs
from sizes import plain
from toy_atlas import Atlas, atlas_dialect, draw, parts_of

from sos.search.a_star import AStar
from sos.search.run import run_search
from sos.stream.codec import DecodeStatus, decode, encode
from sos.stream.dialect.vocab import FIRST_NUMBER
from sos.stream.refute import refutes
from sos.stream.verify import Error, Verdict, verify, verify_tokens
from sos.stream.viewing import view_trace
from sos.stream.views import VIEWS, View
from sos.trace import FLAGS, KIND, NODE, STATE, VALUE, Event, Outcome, Trace

ENV = Atlas(6, 14)
SMALL = Atlas(4, 4)
# From 0 to 3: by 1 it costs 9, by 2 it costs 5.
PROBLEM = np.array([0, 3, 2, 1, 1, 0, 0, 1, 4, 0, 2, 2, 1, 3, 5, 2, 3, 3], np.int32)
TEXT = (
    "start 0 goal 3 left 2 , 1 , 1 , 0 roads 0 , 1 , 4 | 0 , 2 , 2 | 1 , 3 , 5 | 2 , 3 , 3 : "
    "create 1 c 4 c 1 create 2 c 2 c 1 close 2 c 2 c 1 create 3 c 5 c 0 close 1 c 4 c 1 close 3 c 5 c 0 found 5"
)


def oracle(env: Atlas, trace: Trace) -> costs.Judged:
    start, target, roads, estimate = parts_of(env, trace.problem)
    return costs.verify(naive.Graph(start, target, roads), lambda place: [estimate(place)], trace)


def agrees(env: Atlas, trace: Trace) -> Verdict:
    """Verify a trace; the oracle says the same of it."""
    verdict, judged = verify(env, trace), oracle(env, trace)
    assert (verdict.solved, verdict.errors.tolist()) == (judged.solved, judged.codes)
    assert (verdict.planned, verdict.cost, verdict.plan_cost) == (judged.planned, judged.cost, judged.plan_cost)
    return verdict


def searched(rng: np.random.Generator, env: Atlas, most_estimate: int = 12) -> Trace:
    strategy = AStar(1, 64, 64 * int(rng.integers(2)), int(rng.integers(4)), bool(rng.integers(2)))
    return run_search(strategy, env, draw(rng, env, most_estimate), 2000)


def test_the_text_is_that_of_the_search() -> None:
    dialect = atlas_dialect(SMALL)
    trace = run_search(AStar(1), SMALL, PROBLEM, 100)
    assert dialect.text(encode(dialect, trace)[0]) == TEXT
    assert agrees(SMALL, trace).cost == 5


@pytest.mark.slow
def test_streams_of_all_views_read_back() -> None:
    rng, dialect, tried, late = np.random.default_rng(0), atlas_dialect(ENV), 0, 0
    for _ in range(plain(100, 4)):
        trace = searched(rng, ENV)
        for kind, plan in ((kind, plan) for kind in range(6) for plan in (False, True)):
            if trace.outcome != Outcome.SOLVED and VIEWS[kind] not in ("full", "no_backtrack"):
                continue
            if VIEWS[kind] == "plan_only" and not plan:
                continue
            shown = view_trace(View(kind, 0.5, plan), ENV, trace, int(rng.integers(2**32)), 2000)
            tokens, align, _ = encode(dialect, shown)
            read = decode(dialect, ENV, tokens)
            assert read.trace.equals(shown)
            assert np.array_equal(read.align, align)
            verdict = agrees(ENV, shown)
            assert not verdict.errors.any(), (VIEWS[kind], verdict)
            assert (verdict.solved or VIEWS[kind] == "plan_only") == (trace.outcome == Outcome.SOLVED)
            assert verdict.planned == (plan and trace.outcome == Outcome.SOLVED)
            if verdict.solved and verdict.planned:
                assert verdict.plan_cost == verdict.cost
            if VIEWS[kind] == "redundant":
                assert len(shown.events) == len(trace.events) + plan * (len(shown.nodes) - 1) // 2
                late += 1
            tried += 1
    assert tried > plain(700, 20)
    assert late > plain(60, 2)


@pytest.mark.parametrize(
    ("old", "new", "error", "event", "solved"),
    [
        ("close 2 c 2 c 1", "close 2 c 3 c 1", Error.STATE, 3, True),  # costs stated again
        ("close 2 c 2 c 1", "close 2 c 2 c 9", Error.STATE, 3, True),  # an estimate is
        ("close 1 c 4 c 1", "close 1 c 5 c 1", Error.STATE, 5, True),
        ("create 1 c 4 c 1", "create 1 c 5 c 1", Error.ARITHMETIC, 1, True),
        ("create 2 c 2 c 1", "create 2 c 2 c 0", Error.ARITHMETIC, 2, False),
        ("create 3 c 5 c 0", "create 3 c 6 c 0", Error.ARITHMETIC, 4, False),
        ("create 3 c 5 c 0", "create 0 c 5 c 2", Error.OPERAND, 4, False),
        ("close 1 c 4 c 1", "close 0 c 0 c 2", Error.NONE, 5, True),  # a return to what was visited
        ("found 5", "found 6", Error.VALUE, 7, True),
        ("close 3 c 5 c 0 found 5", "found 5", Error.FALSE_GOAL, 6, False),
        ("found 5", "stuck 5", Error.FALSE_DEAD_END, 7, False),
        ("found 5", "close 3 c 5 c 0", Error.ORDER, 7, False),  # the target has no moves
        ("found 5", "found 5 plan 2 c 2 c 1 plan 3 c 5 c 0", Error.NONE, 8, True),
        ("found 5", "found 5 plan 2 c 2 c 1 plan 3 c 6 c 0", Error.ARITHMETIC, 9, True),
    ],
)
def test_each_error_is_found(old: str, new: str, error: Error, event: int, solved: bool) -> None:
    assert TEXT.count(old) == 1
    dialect, text = atlas_dialect(SMALL), TEXT.replace(old, new)
    tokens = dialect.vocab.tokenizer().encode(f"<bos> {text} <eos>", add_special_tokens=False).ids
    verdict, trace, _ = verify_tokens(dialect, SMALL, PROBLEM, tokens)
    assert verdict.status == DecodeStatus.OK
    assert Error(verdict.errors[event]) == error
    assert verdict.solved == solved
    assert verdict.cost == (5 if solved else -1)
    assert agrees(SMALL, trace).errors.tolist() == verdict.errors.tolist()


def test_a_plan_has_a_cost_of_its_own() -> None:
    dialect = atlas_dialect(SMALL)
    for plan, cost in (("plan 1 c 4 c 1 plan 3 c 9 c 0", 9), ("plan 2 c 2 c 1 plan 3 c 5 c 0", 5), ("", -1)):
        text = f"<bos> {TEXT} {plan} <eos>"
        tokens = dialect.vocab.tokenizer().encode(text, add_special_tokens=False).ids
        verdict = verify_tokens(dialect, SMALL, PROBLEM, tokens)[0]
        assert (verdict.cost, verdict.plan_cost, verdict.planned) == (5, cost, cost >= 0)
    other = PROBLEM.copy()
    other[2] = 1
    verdict = verify_tokens(dialect, SMALL, other, tokens)[0]
    assert (verdict.cost, verdict.plan_cost) == (-1, -1)


def damaged(rng: np.random.Generator, trace: Trace) -> Trace:
    """Change numbers of events, nodes and states."""
    events, nodes, states = (rows.copy() for rows in trace[1:])
    for _ in range(rng.integers(1, 4)):
        e = int(rng.integers(1, len(events)))
        match rng.integers(6):
            case 0:
                events[e, NODE] = rng.integers(len(nodes)) if events[e, KIND] != Event.END else -1
            case 1:
                events[e, VALUE] += rng.integers(-1, 2)
            case 2:
                events[e, FLAGS] = rng.integers(16)
            case 3:
                states[rng.integers(len(states)), rng.integers(1, 3)] += rng.integers(-1, 2)
            case 4:
                nodes[rng.integers(len(nodes)), 3 + rng.integers(2)] += rng.integers(-1, 2)
            case _:
                kinds = (Event.EXPAND, Event.BACKTRACK, Event.GOAL, Event.DEAD_END)
                if events[e, KIND] in kinds:
                    events[e, KIND] = rng.choice(kinds)
    return Trace(trace.problem, events, nodes, states)


def test_damaged_traces_are_judged_as_the_oracle_judges_them() -> None:
    rng, tried, codes, solved = np.random.default_rng(4), 0, set(), 0
    for _ in range(plain(150, 3)):
        trace = searched(rng, ENV)
        if trace.outcome == Outcome.SOLVED:
            trace = view_trace(View(0, 1.0, True), ENV, trace, 0, 2000)
        for _ in range(plain(10, 4)):
            verdict = agrees(ENV, damaged(rng, trace))
            codes |= set(verdict.errors.tolist())
            solved += verdict.solved
            tried += 1
    assert tried == plain(1500, 12)
    assert codes == set(map(int, Error)) - {Error.OPERAND, Error.ILLEGAL} | (codes & {Error.OPERAND}) or tried < 100
    assert solved > plain(300, 0)


def test_damaged_streams_are_judged_as_the_oracle_judges_them() -> None:
    rng, dialect, tried, codes, planned = np.random.default_rng(5), atlas_dialect(ENV), 0, set(), 0
    while tried < plain(2000, 20):
        trace = searched(rng, ENV)
        if trace.outcome == Outcome.SOLVED:
            trace = view_trace(View(0, 1.0, True), ENV, trace, 0, 2000)
        tokens, _, num_prompt = encode(dialect, trace)
        wrong: list[Any] = tokens.astype(np.int64).tolist()
        for _ in range(rng.integers(1, 4)):
            k = int(rng.integers(num_prompt, len(wrong)))
            if rng.random() < 0.7 and wrong[k] >= FIRST_NUMBER:
                wrong[k] = FIRST_NUMBER + int(rng.integers(12))
            else:
                wrong[k] = wrong[int(rng.integers(num_prompt, len(wrong)))]
        read = decode(dialect, ENV, np.array(wrong))
        verdict = agrees(ENV, read.trace)
        codes |= set(verdict.errors.tolist())
        planned += verdict.planned
        tried += 1
    assert (
        codes >= {Error.ORDER, Error.JUMP, Error.OPERAND, Error.ARITHMETIC, Error.STATE, Error.FALSE_GOAL} or tried < 99
    )
    assert planned > plain(200, 0)


def test_an_exhausted_search_refutes_and_one_cut_short_does_not() -> None:
    rng, refuted = np.random.default_rng(6), 0
    for _ in range(plain(300, 10)):
        problem = draw(rng, ENV, 5)
        start, target, roads, _ = parts_of(ENV, problem)
        none = naive.cheapest(naive.Graph(start, target, roads)) < 0
        assert refutes(ENV, run_search(AStar(), ENV, problem, 500)) == none
        assert not refutes(ENV, run_search(AStar(max_nodes=1), ENV, problem, 500)) or none
        refuted += none
    assert refuted > plain(10, -1)


def test_the_node_that_a_wrong_cost_names_is_the_latest_of_its_place() -> None:
    dialect, rng, tried = atlas_dialect(ENV), np.random.default_rng(7), 0
    while tried < plain(50, 2):
        trace = searched(rng, ENV)
        closes = [e for e in np.flatnonzero(trace.events[:, KIND] == Event.EXPAND) if e > 0]
        if not closes:
            continue
        tokens, align, _ = encode(dialect, trace)
        e = int(rng.choice(closes))
        node = int(trace.events[e, NODE])
        word = int(np.flatnonzero(align == e)[3])  # close PLACE c COST
        tokens[word] = FIRST_NUMBER + 500
        read = decode(dialect, ENV, tokens)
        assert read.trace.events[e, NODE] >= node
        assert read.trace.states[node, 0] == trace.states[read.trace.events[e, NODE], 0]
        assert read.trace.states[read.trace.events[e, STATE]].tolist()[1] == 500
        assert verify(ENV, read.trace).errors[e] in (Error.STATE, Error.JUMP, Error.ORDER)
        tried += 1
    assert tried == plain(50, 2)
