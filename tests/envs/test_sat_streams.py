"""Streams of 3-SAT: read back in every view, each error found, refutations with and without a hole, damaged streams."""

from __future__ import annotations

from collections import Counter
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drivers import damage
from formulas import DIALECTS, SIZES, WHOLE_MAX, literals_of, problems_of, search_of
from naive import sat as naive
from sizes import plain

from sos.data.splits import UNSOLVABLE
from sos.envs.sat.rules import HEURISTICS, Sat
from sos.errors import UserError
from sos.search.run import run_search
from sos.stream.codec import DecodeStatus, decode, encode
from sos.stream.dialect.compile import load_dialect
from sos.stream.refute import refutes
from sos.stream.text import annotate
from sos.stream.verify import Error, verify, verify_tokens
from sos.stream.viewing import view_trace
from sos.stream.views import VIEWS, View
from sos.trace import FLAGS, KIND, NODE, STATE, VALUE, Event, Flag, Outcome, Trace

ENV = Sat()
BARE = ("solution_path", "plan_only", "redundant")


@pytest.mark.parametrize("called", DIALECTS)
@pytest.mark.parametrize("env", [SIZES[0], SIZES[3]])
def test_every_view_reads_back_and_verifies(env: Sat, called: str) -> None:
    counts = Counter[str]()
    dialects = {plan: load_dialect(called, env, WHOLE_MAX, plan) for plan in (False, True)}
    for key, (row, kind, plan) in enumerate(product(problems_of(env, plain(8, 2)), HEURISTICS, (False, True))):
        trace = run_search(search_of(kind), env, row, 20_000)
        exhausted = trace.outcome == Outcome.EXHAUSTED
        for view, name in enumerate(VIEWS):
            if name == "swapped" or (name == "plan_only" and not plan):
                continue
            shown = view_trace(View(view, 0.5, plan), env, trace, key)
            tokens, align, _ = encode(dialects[plan], shown)
            read = decode(dialects[plan], env, tokens)
            assert (read.status, read.position) == (DecodeStatus.OK, len(tokens))
            assert read.trace.equals(shown)
            assert np.array_equal(read.align, align)
            verdict = verify(env, read.trace)
            assert set(verdict.errors.tolist()) <= ({0, Error.UNANNOUNCED} if name == "no_backtrack" else {0})
            bare = exhausted and len(shown.nodes) == 1
            assert verdict.solved == (not bare and name != "plan_only")
            assert verdict.planned == (plan and not exhausted)
            assert verdict.refuted == (exhausted and not bare)
            assert naive.solves(env.clauses(row), shown) == (
                "refuted" if verdict.refuted else "satisfied" if verdict.solved else ""
            )
            if bare:
                assert name in (*BARE, "dose")
                text = dialects[plan].text(tokens).split(" = ")[1]
                returns = len(trace.events) - 2 if name == "redundant" else 0
                assert text == " ".join(["< 1"] * returns + ["none"])
            counts[f"{name} {exhausted} {bare}"] += 1
    for name in BARE:
        assert counts[f"{name} True True"] > 0
        assert counts[f"{name} True False"] == 0
    assert counts["full True False"] > 0
    assert counts["full False False"] > 0
    assert counts["dose True True"] > 0 or not plain(1, 0)
    assert counts["dose True False"] > 0 or not plain(1, 0)


@pytest.mark.parametrize(
    ("called", "old", "new", "message"),
    [
        ("checked", "x {clauses}", "x {clauses} {level}", "form 'dead_end' cannot hold the field {level}"),
        (
            "checked",
            "{level} {literal}",
            "{clauses} {level} {literal}",
            "form 'generate' cannot hold the field {clauses}",
        ),
        ("checked", '"x {clauses}"', '"? {clauses}"', "is ambiguous"),
        ("compact", '"x"', '"x {clauses}"', "is ambiguous"),  # a forced move begins like a clause
        ("checked", "> {literal}", "{literal}", "is ambiguous"),
        ("compact", '"? {literal}"', '"?"', "form 'generate' needs {literal}"),
    ],
)
def test_dialects_that_cannot_be_read_are_refused(
    tmp_path: Path, called: str, old: str, new: str, message: str
) -> None:
    source = (ENV.dialects / f"{called}.yaml").read_text()
    assert old in source
    (tmp_path / "odd.yaml").write_text(source.replace(old, new))
    with pytest.raises(UserError) as caught:
        load_dialect(str(tmp_path / "odd.yaml"), ENV, WHOLE_MAX)
    assert message in str(caught.value)


def test_a_dialect_may_say_the_number_of_a_clause(tmp_path: Path) -> None:
    source = (ENV.dialects / "checked.yaml").read_text()
    source = source.replace("x {clauses}", "x {value} {clauses}").replace(": {clauses} >", ": {value} >")
    (tmp_path / "numbers.yaml").write_text(source)
    dialect, tried = load_dialect(str(tmp_path / "numbers.yaml"), ENV, WHOLE_MAX), 0
    for row in problems_of(ENV, plain(10, 2)):
        trace = run_search(search_of("pure"), ENV, row, 500)
        tokens = encode(dialect, trace)[0]
        assert decode(dialect, ENV, tokens).trace.equals(trace)
        tried += int((trace.events[:, KIND] == Event.DEAD_END).sum())
        ids = tokens.astype(np.int64)
        for at in np.flatnonzero(ids[:-1] == dialect.vocab.ids["x"]):
            wrong = ids.copy()
            wrong[at + 1] += 1 if wrong[at + 1] < dialect.vocab.ids["25"] else -1
            errors = verify_tokens(dialect, ENV, row, wrong)[0].errors.tolist()
            assert set(errors) & {Error.QUOTE, Error.VALUE}
    assert tried > plain(10, 0)


def test_a_dialect_without_the_form_writes_forced_moves_as_others(tmp_path: Path) -> None:
    source = (ENV.dialects / "compact.yaml").read_text()
    source = source.replace('  forced: "{literal}"\n', "").replace("< {level}", "< {depth}")
    (tmp_path / "plain.yaml").write_text(source)
    dialect, forced = load_dialect(str(tmp_path / "plain.yaml"), ENV, WHOLE_MAX), 0
    for row in problems_of(ENV, plain(10, 2)):
        trace = run_search(search_of("unit"), ENV, row, 500)
        read = decode(dialect, ENV, encode(dialect, trace)[0]).trace
        forced += int(np.count_nonzero(trace.events[:, FLAGS]))
        events = trace.events.copy()
        events[events[:, KIND] == Event.GENERATE, VALUE] = 0
        events[:, FLAGS] = 0
        assert read.equals(trace._replace(events=events))
        verdict = verify(ENV, read)  # what is forced closes a state, whether it was called so or not
        assert (verdict.solved, verdict.refuted) == (True, trace.outcome == Outcome.EXHAUSTED)
    assert forced > 0


# (1 ∨ 2 ∨ 3) (1 ∨ 2 ∨ ¬3) (1 ∨ ¬2 ∨ 3) (1 ∨ ¬2 ∨ ¬3), and the same with ¬1: no solution
EVERY = [[a, 2 * b, 3 * c] for a in (1, -1) for b in (1, -1) for c in (1, -1)]
SOLVABLE = EVERY[:-1]  # true 1, 2 and 3


def told(text: str, clauses: naive.Clauses, called: str = "compact") -> tuple[Any, list[Error], Trace]:
    dialect = load_dialect(called, ENV, WHOLE_MAX, plan=True)
    prompt = " | ".join(" ".join(map(naive.said, clause)) for clause in clauses)
    ids = dialect.vocab.tokenizer().encode(f"<bos> {prompt} = {text} <eos>", add_special_tokens=False).ids
    verdict, trace, _ = verify_tokens(dialect, ENV, np.array(ENV.row(clauses), np.int32), ids)
    assert verdict.status == DecodeStatus.OK
    return verdict, [Error(code) for code in verdict.errors], trace


@pytest.mark.parametrize(
    ("called", "text", "event", "error"),
    [
        ("compact", "? +1", 1, Error.NONE),
        ("compact", "+1", 1, Error.NOT_FORCED),
        ("compact", "? +1 ? +2 +3", 5, Error.NONE),  # clause 7, ¬1 ∨ ¬2 ∨ 3
        ("compact", "? +1 ? +2 -3", 5, Error.NOT_FORCED),
        ("compact", "? +4", 1, Error.OPERAND),  # no variable of the formula
        ("compact", "? +8", 1, Error.OPERAND),  # neither, and the last there is
        ("compact", "? +1 ? -1", 3, Error.UNANNOUNCED),  # it has a value: it goes back to where it had none
        ("compact", "? +1 < 1 ? -1", 4, Error.NONE),
        ("compact", "? +1 < 2 ? +2", 4, Error.NONE),
        ("compact", "? +1 < 3 ? +2", 3, Error.JUMP),
        ("compact", "? +1 !", 2, Error.FALSE_GOAL),
        ("compact", "? +1 x", 2, Error.ORDER),
        ("compact", "? +1 ? +2 +3 !", 6, Error.NONE),
        ("compact", "? +1 ? +2 +3 x", 6, Error.FALSE_DEAD_END),
        ("compact", "? +1 ? +2 +3 ! ? +1", 7, Error.ORDER),
        ("compact", "? +1 ? +2 +3 ! none", 7, Error.OUTCOME),
        ("compact", "? +1", 3, Error.OUTCOME),
        ("compact", "none", 1, Error.NONE),
        ("compact", "plan +1 plan +2 plan +3", 4, Error.NONE),
        ("compact", "plan +1 plan +1", 2, Error.OPERAND),
        ("checked", "? 1 +1 ? 2 +2 : -1 -2 +3 > +3", 5, Error.NONE),
        ("checked", "? 1 +1 ? 2 +2 : -1 +2 +3 > +3", 5, Error.NOT_FORCED),  # another clause
        ("checked", "? 1 +1 ? 2 +2 : -1 -2 -3 > +3", 5, Error.NOT_FORCED),  # none of the formula
        ("checked", "? 1 +1 ? 2 +2 : > +3", 5, Error.NONE),  # it is pure
        ("checked", "? 1 +1 : > +2", 3, Error.NOT_FORCED),
        ("checked", "? 1 +1 ? 2 +2 ? 3 -3 x -1 -2 +3", 6, Error.NONE),
        ("checked", "? 1 +1 ? 2 +2 ? 3 -3 x -1 +2 +3", 6, Error.VALUE),
        ("checked", "? 1 +1 ? 2 +2 ? 3 -3 x", 6, Error.VALUE),
        ("checked", "? 1 +1 ? 2 +2 ? 3 -3 x -1 -2 -3", 6, Error.VALUE),
        ("checked", "? 2 +1", 1, Error.QUOTE),
    ],
)
def test_each_error_is_found(called: str, text: str, event: int, error: Error) -> None:
    _, errors, _ = told(text, SOLVABLE, called)
    assert errors[event] == error
    assert set(errors[:event]) <= {Error.NONE}


def test_pure_literals_need_no_clause() -> None:
    formula = [[1, 2, 3], [1, -2, -3], [-1, 2, -3]]
    for called in DIALECTS:
        text = "? 1 +1 : > +2" if called == "checked" else "? +1 +2"
        assert told(text, formula, called)[1][3] == Error.NONE
        text = "? 1 +1 : > -2" if called == "checked" else "? +1 -2"
        assert told(text, formula, called)[1][3] == Error.NOT_FORCED
        text = "? 1 +1 : > -3" if called == "checked" else "? +1 -3"
        assert told(text, formula, called)[1][3] == Error.NONE


REFUTATION = "? +1 ? +2 +3 x < 2 ? -2 +3 x < 1 ? -1 ? +2 +3 x < 2 ? -2 +3 x none"


@pytest.mark.parametrize(
    ("text", "refuted"),
    [
        (REFUTATION, True),
        (REFUTATION.replace("? +2 +3", "? +2 -3"), True),  # the other unit clause
        (REFUTATION.replace("? -2 +3 x <", "? -2 ? +3 x ? -3 x <"), True),  # guessed, both values
        (REFUTATION.replace("? -2 +3 x <", "? -2 ? +3 x <"), True),  # forced, though it was not called so
        (REFUTATION.replace("none", "..."), False),  # the budget ran out
        (REFUTATION.replace("none", ""), False),
        ("none", False),
        ("? +1 none", False),
        (REFUTATION.replace("? -2 +3 x none", "none"), False),  # a value is left
        (REFUTATION.replace("? -2 +3 x none", "? -2 +3 none"), False),  # no dead end
        (REFUTATION.replace("< 1 ? -1 ? +2 +3 x < 2 ? -2 +3 x ", ""), False),
        (REFUTATION.replace("+3 x none", "+3 ! none"), False),  # a goal is claimed
        ("? +1 x ? -1 x none", False),  # dead ends that are none
        ("? +1 ? +2 +3 x < 1 ? -1 ? +2 +3 x < 2 ? -2 +3 x none", False),  # 2 has one value
        ("? +1 ? +2 +3 x < 2 ? +2 -3 x < 1 ? -1 ? +2 +3 x < 2 ? -2 +3 x none", False),  # one value twice
        (f"plan +1 plan +2 {REFUTATION}", False),
    ],
)
def test_what_refutes_a_formula(text: str, refuted: bool) -> None:
    verdict, _, trace = told(text, EVERY)
    assert (verdict.solved, verdict.refuted) == (refuted, refuted)
    assert verdict.goal_event == (len(trace.events) - 1 if refuted else -1)
    assert refutes(ENV, trace) == refuted
    assert (naive.solves(EVERY, trace) == "refuted") == refuted


def test_the_named_clause_of_every_dead_end_has_to_be_falsified() -> None:
    row = problems_of(ENV, 1, solvable=UNSOLVABLE)[0]
    trace = run_search(search_of("unit"), ENV, row, 500)
    assert verify(ENV, trace).refuted
    tried = 0
    for e in np.flatnonzero(trace.events[:, KIND] == Event.DEAD_END):
        proofs = naive.falsified(ENV.clauses(row), literals_of(trace.states[trace.events[e, STATE]]))
        for value in range(30):
            events = trace.events.copy()
            events[e, VALUE] = value
            verdict = verify(ENV, trace._replace(events=events))
            assert verdict.refuted == (value in proofs)
            assert verdict.errors[e] == (Error.NONE if value in proofs else Error.VALUE)
            tried += 1
    assert tried >= 60


def test_the_clause_of_every_forced_move_has_to_be_a_unit() -> None:
    counts = Counter[bool]()
    for row in problems_of(ENV, plain(5, 1), solvable=UNSOLVABLE):
        trace = run_search(search_of("unit"), ENV, row, 500)
        for e in np.flatnonzero(trace.events[:, FLAGS] == Flag.FORCED):
            node = trace.events[e, NODE]
            before = literals_of(trace.states[trace.nodes[node, 0]])
            (literal,) = literals_of(trace.states[node]) - before
            for value in range(30):
                events = trace.events.copy()
                events[e, VALUE] = value
                right = value in naive.proofs(ENV.clauses(row), before, literal)
                verdict = verify(ENV, trace._replace(events=events))
                assert (verdict.errors[e] == Error.NONE) == verdict.refuted == right
                assert right or verdict.errors[e] == Error.NOT_FORCED
                counts[right] += 1
    assert min(counts.values()) > plain(20, 0)


def test_a_rollout_text_says_what_was_refuted() -> None:
    row = problems_of(ENV, 1, solvable=UNSOLVABLE)[0]
    dialect = load_dialect("checked", ENV, WHOLE_MAX)
    trace = run_search(search_of("unit"), ENV, row, 500)
    text = annotate(dialect, ENV, row, encode(dialect, trace)[0])
    assert "**refuted with " in text
    assert "ends as exhausted; no mistake" in text
    bare = annotate(dialect, ENV, row, encode(dialect, view_trace(View(VIEWS.index("solution_path")), ENV, trace))[0])
    assert "**not solved**; ends as exhausted; no mistake" in bare


def flipped(rng: np.random.Generator, ids: np.ndarray, start: int, stop: int, of: dict[str, int]) -> np.ndarray:
    """Negate one of the literals from `start` to `stop`, if there is any."""
    negation = {
        of[f"{a}{text[1:]}"]: of[f"{b}{text[1:]}"] for text in of for a, b in ("+-", "-+") if text[0] == a and text[1:]
    }
    literals = np.flatnonzero(np.isin(ids[start:stop], list(negation))) + start
    if len(literals):
        k = int(rng.choice(literals))
        ids[k] = negation[int(ids[k])]
    return ids


def cut(rng: np.random.Generator, tokens: np.ndarray, of: dict[str, int]) -> np.ndarray:
    """Damage a stream as searches are: a return's level, a literal, an end, a move left out, a part told twice."""
    ids, at = tokens.astype(np.int64), int(np.flatnonzero(tokens == of["="])[0]) + 1
    k = int(rng.integers(at, len(ids)))
    match rng.integers(0, 6):
        case 0:
            return np.concatenate([ids[:k], ids[k + int(rng.integers(1, 12)) :]])
        case 1:
            ids = flipped(rng, ids, at, len(ids), of)
        case 2:
            ids = np.concatenate([ids[:-2], [of[str(rng.choice(["none", "!", "x", "..."]))]], ids[-1:]])
        case 3:
            m = int(rng.integers(at, len(ids)))
            ids = np.concatenate([ids[: max(k, m)], ids[min(k, m) : max(k, m)], ids[max(k, m) :]])
        case 4:
            # Another formula: a literal of a clause, so that it may have a solution.
            ids = flipped(rng, ids, 0, at, of)
    return ids


def hostile(num: int, seed: int) -> Counter[str]:
    """Read and verify damaged streams; what is called solved is so for the oracle, and the other way round, and no
    formula with a solution is refuted."""
    rng, counts, cases = np.random.default_rng(seed), Counter[str](), []
    for env, kind, called in product((SIZES[0], SIZES[2], SIZES[3]), HEURISTICS, DIALECTS):
        dialect = load_dialect(called, env, WHOLE_MAX)
        for row in problems_of(env, 6):
            cases.append((env, dialect, encode(dialect, run_search(search_of(kind), env, row, 5000))[0]))
    models: dict[tuple[int, ...], bool] = {}
    for k in range(num):
        env, dialect, tokens = cases[k % len(cases)]
        for _ in range(int(rng.integers(1, 3))):
            if rng.random() < 0.5:
                tokens = damage(rng, tokens.astype(np.int64), len(dialect.vocab))
            elif np.any(tokens == dialect.vocab.ids["="]) and tokens[-1] != dialect.vocab.ids["="]:
                tokens = cut(rng, tokens, dialect.vocab.ids)
        read = decode(dialect, env, tokens)
        if read.status == DecodeStatus.NO_PROMPT:
            counts["unread"] += 1
            continue
        verdict, clauses = verify(env, read.trace), env.clauses(read.trace.problem)
        found = naive.solves(clauses, read.trace)
        assert (verdict.solved, verdict.refuted) == (bool(found), found == "refuted")
        counts[found or "unsolved"] += 1
        if found:
            key = tuple(read.trace.problem.tolist())
            if key not in models:
                models[key] = naive.has_model(clauses)
            assert models[key] == (found == "satisfied")
    return counts


def test_damaged_streams_are_solved_where_the_oracle_says_so() -> None:
    counts = hostile(plain(3000, 24), seed=0)
    assert sum(counts.values()) == plain(3000, 24)
    assert len(counts) == 4 or not plain(1, 0)
    assert min(counts.values()) > plain(50, 0), counts
