"""Streams of Sudoku searches: read back in every view, each error found, damaged ones judged as by the oracle."""

from __future__ import annotations

import random
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drivers import damage
from naive import sudoku as naive
from sizes import plain
from sudoku_grids import DIALECTS, SIZES, WHOLE_MAX, grid_of, problems_of, read_state, row_of, search_of

from sos.envs.sudoku.rules import HEURISTICS, Sudoku
from sos.errors import UserError
from sos.search.run import run_search
from sos.stream.codec import DecodeStatus, decode, encode
from sos.stream.dialect.compile import load_dialect
from sos.stream.verify import Error, verify, verify_tokens
from sos.stream.viewing import view_trace
from sos.stream.views import VIEWS, View
from sos.trace import ACTION, FLAGS, KIND, NODE, PARENT, STATE, VALUE, Event, Flag, Trace

WITHOUT_PLAN = [kind for kind, called in enumerate(VIEWS) if called not in ("plan_only", "swapped")]


@pytest.mark.parametrize("called", DIALECTS)
@pytest.mark.parametrize("env", plain(SIZES, SIZES[:3]))
def test_every_view_reads_back_and_verifies(env: Sudoku, called: str) -> None:
    tried, forced = 0, 0
    dialects = {plan: load_dialect(called, env, WHOLE_MAX, plan) for plan in (False, True)}
    for row, kind, plan in product(problems_of(env, plain(6, 1)), HEURISTICS, (False, True)):
        if env.size == 9 and kind == "none":
            continue
        trace = run_search(search_of(kind), env, row, 20_000)
        for view in WITHOUT_PLAN:
            shown = view_trace(View(view, 0.5, plan), env, trace, 7)
            tokens, align, _ = encode(dialects[plan], shown)
            read = decode(dialects[plan], env, tokens)
            assert (read.status, read.position) == (DecodeStatus.OK, len(tokens))
            assert read.trace.equals(shown)
            assert np.array_equal(read.align, align)
            verdict = verify(env, read.trace)
            assert (verdict.solved, verdict.planned) == (True, plan)
            assert set(verdict.errors.tolist()) <= ({0, Error.UNANNOUNCED} if VIEWS[view] == "no_backtrack" else {0})
            forced += int(np.count_nonzero(shown.events[:, FLAGS] & Flag.FORCED))
            tried += 1
    assert tried >= plain(6, 1) * len(WITHOUT_PLAN) * 6
    assert forced > 0


def test_a_dialect_without_the_form_writes_forced_moves_as_others(tmp_path: Path) -> None:
    env = Sudoku(4, 5, 7)
    source = (env.dialects / "compact.yaml").read_text()
    source = source.replace('  forced: "{cell} {digit}"\n', "").replace("< {level}", "< {depth}")
    (tmp_path / "plain.yaml").write_text(source)
    dialect, forced = load_dialect(str(tmp_path / "plain.yaml"), env, WHOLE_MAX), 0
    for row in problems_of(env, plain(10, 2)):
        trace = run_search(search_of("naked"), env, row, 500)
        read = decode(dialect, env, encode(dialect, trace)[0]).trace
        forced += int(np.count_nonzero(trace.events[:, FLAGS]))
        assert not read.events[:, FLAGS].any()
        events = trace.events.copy()
        events[:, FLAGS] = 0
        assert read.equals(trace._replace(events=events))
        assert verify(env, read).solved
    assert forced > 0


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('  forced: "{cell} {digit}"\n', "", "form 'backtrack' has {level}, which needs the form 'forced'"),
        ("{cell} {digit}", "{cell}", "form 'generate' needs {digit}"),
        ('"? {cell} {digit}"', '"{cell} {digit} ?"', "is ambiguous: form 'forced'"),
        ('dead_end: "x"', 'dead_end: "x {level}"', "form 'dead_end' cannot hold the field {level}"),
        ('jump: "> {path}"', 'jump: "> {path} {level}"', "form 'jump' cannot hold the field {level}"),
        ('backtrack: "< {level}"', 'backtrack: "<"', "form 'backtrack' needs {path}, {depth}, {level} or the state"),
    ],
)
def test_dialects_that_cannot_be_read_are_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    env = Sudoku(4)
    source = (env.dialects / "compact.yaml").read_text()
    assert old in source
    (tmp_path / "odd.yaml").write_text(source.replace(old, new))
    with pytest.raises(UserError) as caught:
        load_dialect(str(tmp_path / "odd.yaml"), env, WHOLE_MAX)
    assert message in str(caught.value)


def test_a_form_for_forced_moves_is_for_environments_that_have_some(tmp_path: Path, dialect_of: Any) -> None:
    from sos.envs.path_star.rules import PathStar

    source = (PathStar().dialects / "compact.yaml").read_text()
    (tmp_path / "odd.yaml").write_text(source.replace("forms:\n", 'forms:\n  forced: "! {to}"\n'))
    with pytest.raises(UserError, match="form 'forced' is for moves that are forced, and PathStar has none"):
        load_dialect(str(tmp_path / "odd.yaml"), PathStar(), 99)


# 1 . | . .
# . . | 2 .
# ----+----
# . 4 | . .
# . . | . 3
PUZZLE = "1000002004000003"


def told(text: str, called: str = "compact") -> tuple[bool, list[Error], Trace]:
    env = Sudoku(4)
    dialect = load_dialect(called, env, 54)
    tokenizer = dialect.vocab.tokenizer()
    ids = tokenizer.encode(f"<bos> {' '.join(PUZZLE)} = {text} <eos>", add_special_tokens=False).ids
    verdict, trace, _ = verify_tokens(dialect, env, row_of(PUZZLE), ids)
    assert verdict.status == DecodeStatus.OK
    return verdict.solved, [Error(code) for code in verdict.errors], trace


def test_the_puzzle_of_the_examples() -> None:
    (solution,) = naive.solutions(PUZZLE)
    assert solution[:4] == "1234"
    assert naive.proofs(naive.put(PUZZLE, 1, 3)) == [3, 10, 20, 22, 51, 52]


@pytest.mark.parametrize(
    ("called", "text", "event", "error"),
    [
        ("compact", "12 2", 1, Error.NONE),  # the place of 2 in its box
        ("compact", "? 12 3", 1, Error.NONE),
        ("compact", "12 3", 1, Error.NOT_FORCED),
        ("compact", "? 12 1", 1, Error.ILLEGAL),  # its row has it
        ("compact", "? 12 5", 1, Error.ILLEGAL),
        ("compact", "? 12 0", 1, Error.ILLEGAL),
        ("compact", "? 11 2", 1, Error.OPERAND),  # a given stays
        ("compact", "? 51 2", 1, Error.OPERAND),
        ("compact", "? 12 3 ? 12 2", 3, Error.UNANNOUNCED),  # a cell is filled once: it goes back to where it was empty
        ("compact", "? 12 3 < 1 ? 12 2", 4, Error.NONE),
        ("compact", "? 12 3 < 2 ? 12 2", 4, Error.UNANNOUNCED),
        ("compact", "? 12 3 < 3 ? 12 2", 3, Error.JUMP),
        ("compact", "12 2 < 1 ? 13 3", 4, Error.NONE),  # what is forced belongs to the level of the choice before
        ("compact", "? 12 3 !", 2, Error.FALSE_GOAL),
        ("compact", "? 12 3 x", 2, Error.NONE),
        ("compact", "12 2 x", 2, Error.ORDER),  # nothing proves it
        ("checked", "? 1 12 3 x 51", 2, Error.NONE),  # the first box has no place for 2
        ("checked", "? 1 12 3 x 12", 2, Error.VALUE),
        ("checked", "12 2 x 12", 2, Error.ORDER),
        ("checked", "? 2 12 3", 1, Error.QUOTE),
        ("checked", "? 1 12 3 ? 2 13 4", 3, Error.NONE),
        ("checked", "12 2 ? 1 13 3", 3, Error.NONE),
        ("checked", "12 2 ? 2 13 3", 3, Error.QUOTE),
    ],
)
def test_each_error_is_found(called: str, text: str, event: int, error: Error) -> None:
    _, errors, _ = told(text, called)
    assert errors[event] == error
    assert set(errors[:event]) <= {Error.NONE}


def test_any_valid_witness_of_a_dead_end_will_do() -> None:
    env, rng, counts = Sudoku(4), random.Random(4), {Error.NONE: 0, Error.VALUE: 0, Error.ORDER: 0}
    dialect = load_dialect("checked", env, 54)
    for row in problems_of(env, plain(60, 3)):
        trace = run_search(search_of("hidden" if rng.random() < 0.5 else "none"), env, row, 500)
        for e in np.flatnonzero(trace.events[:, KIND] == Event.DEAD_END):
            proofs = naive.proofs(read_state(env, trace.states[trace.events[e, STATE]]))
            assert int(trace.events[e, VALUE]) in proofs
            for value in range(60):
                events = trace.events.copy()
                events[e, VALUE] = value
                errors = verify(env, trace._replace(events=events)).errors
                expected = Error.NONE if value in proofs else Error.VALUE
                assert errors[e] == expected
                counts[expected] += 1
        # A node from which the search goes on is no dead end, whatever is quoted, unless that is a proof.
        for e in np.flatnonzero(trace.events[:, KIND] == Event.EXPAND)[1:]:
            proofs = naive.proofs(read_state(env, trace.states[trace.events[e, STATE]]))
            events = trace.events.copy()
            events[e, [KIND, VALUE]] = Event.DEAD_END, rng.choice([12, *proofs])
            expected = Error.NONE if events[e, VALUE] in proofs else Error.VALUE if proofs else Error.ORDER
            assert verify(env, trace._replace(events=events)).errors[e] == expected
            counts[expected] += 1
        assert decode(dialect, env, encode(dialect, trace)[0]).trace.equals(trace)
    assert min(counts.values()) > plain(20, -1), counts


def test_every_forced_claim_is_judged_in_the_stated_state() -> None:
    """Each generation of a search, called forced or not."""
    env, counts = Sudoku(6, 10, 12), [0, 0]
    for row, kind in product(problems_of(env, plain(8, 1)), ("none", "naked", "hidden")):
        trace = run_search(search_of(kind), env, row, 5000)
        for e in np.flatnonzero(trace.events[:, KIND] == Event.GENERATE)[:60]:
            node = trace.events[e, NODE]
            before = read_state(env, trace.states[trace.nodes[node, PARENT]])
            place, digit = (int(number) for number in trace.nodes[node, ACTION:])
            forced = naive.is_forced(before, (place // 10 - 1) * 6 + place % 10 - 1, digit)
            events = trace.events.copy()
            events[e, FLAGS] = Flag.FORCED
            assert verify(env, trace._replace(events=events)).errors[e] == (Error.NONE if forced else Error.NOT_FORCED)
            counts[forced] += 1
    assert min(counts) > plain(50, 0)


def claims_of(trace: Trace) -> list[tuple[str, int, int, int, int]]:
    nodes = trace.nodes
    return [
        (
            Event(int(e[KIND])).name.lower(),
            int(e[NODE]),
            *(int(k) for k in nodes[e[NODE], [PARENT, ACTION, ACTION + 1]]),
        )
        for e in trace.events
    ]  # type: ignore[misc]


def hostile(num: int, seed: int) -> dict[str, int]:
    """Read and verify damaged streams; what is called solved is so for the oracle, and the other way round."""
    rng, counts, cases = np.random.default_rng(seed), {"solved": 0, "unsolved": 0, "unread": 0}, []
    for env, kind in ((Sudoku(4, 5, 7), "none"), (Sudoku(6, 10, 12), "hidden"), (Sudoku(9, 26, 30), "naked")):
        for called in DIALECTS:
            dialect = load_dialect(called, env, WHOLE_MAX)
            for row in problems_of(env, 8):
                cases.append((env, dialect, encode(dialect, run_search(search_of(kind), env, row, 5000))[0]))
    for k in range(num):
        env, dialect, tokens = cases[k % len(cases)]
        read = decode(dialect, env, damage(rng, tokens.astype(np.int64), len(dialect.vocab)))
        if read.status == DecodeStatus.NO_PROMPT:
            counts["unread"] += 1
            continue
        verdict = verify(env, read.trace)
        assert verdict.solved == naive.solves(grid_of(read.trace.problem), claims_of(read.trace))
        counts["solved" if verdict.solved else "unsolved"] += 1
    return counts


def test_damaged_streams_are_solved_where_the_oracle_says_so() -> None:
    counts = hostile(plain(2000, 20), seed=0)
    assert sum(counts.values()) == plain(2000, 20)
    assert min(counts.values()) > plain(50, 0)
