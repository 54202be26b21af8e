"""Verification: every kind of error injected and found, against the oracle, and never fooled."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from damaged_streams import COMPACT, ENV, IN_SOS, PROBLEM, SOS, damaged, swapped
from drivers import all_envs, all_searches, random_problem, read_jsonl, run_search, tokenize
from naive import text as naive_text
from naive import verify as naive_verify
from sizes import INTERPRETED, plain, some

from sos.envs.countdown.rules import Countdown
from sos.search.depth_first import DepthFirst
from sos.stream.codec import DecodeStatus
from sos.stream.verify import Error, Verdict, verify, verify_tokens
from sos.trace import FLAGS, KIND, NODE, Event, Flag, Outcome


def judge(dialect_of, text: str, *, name: str = "sos", env: Countdown = ENV, problem: np.ndarray = PROBLEM) -> Verdict:
    dialect = dialect_of(name, env, 9)
    return verify_tokens(dialect, env, problem, tokenize(dialect.vocab.tokenizer(), text))[0]


def found(verdict: Verdict) -> dict[int, Error]:
    return {e: Error(code) for e, code in enumerate(verdict.errors) if code}


def test_the_undamaged_examples_are_right(dialect_of) -> None:
    for name, text in (("sos", SOS), ("compact", COMPACT)):
        verdict = judge(dialect_of, text, name=name)
        assert (verdict.solved, found(verdict), verdict.goal_event, verdict.status) == (True, {}, 7, DecodeStatus.OK)


@pytest.mark.parametrize(("error", "event", "solved", "changes"), IN_SOS)
def test_every_error_is_found_where_it_is(error: Error, event: int, solved: bool, changes, dialect_of) -> None:
    text = swapped(SOS, *changes)
    verdict = judge(dialect_of, text)
    codes = found(verdict)
    assert codes.get(event) == error
    assert verdict.solved == solved == naive_text.solves(text, [4, 6, 9], 19)
    # Local: nothing else is blamed, but what follows from a jump, a goal or another state.
    assert all(e >= event for e in codes)
    if (error, event) not in ((Error.JUMP, 5), (Error.STATE, 5), (Error.FALSE_GOAL, 4), (Error.FALSE_DEAD_END, 7)):
        assert codes == {event: error}


def test_every_kind_of_error_has_its_example() -> None:
    assert {error for error, *_ in IN_SOS} | {Error.NONE, Error.UNANNOUNCED, Error.NOT_FORCED} == set(Error)


IN_COMPACT = [
    (Error.ORDER, 8, True, "!", "! x"),
    (Error.ORDER, 8, True, "!", "! [19]"),
    (Error.JUMP, 5, False, "< 1 [9,10]", "< 2 [9,10]"),
    (Error.JUMP, 5, False, "< 1 [9,10]", "> 0,1 [9,10]"),
    (Error.JUMP, 5, False, "< 1 [9,10]", "> 1 [9,10]"),
    (Error.STATE, 5, True, "< 1 [9,10]", "> 0,0 [9,10,1]"),
    (Error.OPERAND, 3, True, "9*10=90", "9*11=99"),
    (Error.ILLEGAL, 3, True, "9*10=90", "10-90=80"),
    (Error.ARITHMETIC, 3, True, "9*10=90", "9*10=91"),
    (Error.STATE, 2, True, "10, [9,10]", "10, [9,11]"),
    (Error.FALSE_GOAL, 4, False, "x", "!"),
    (Error.FALSE_DEAD_END, 7, False, "!", "x"),
    (Error.OUTCOME, 8, True, "!", "! none"),
    (Error.UNANNOUNCED, 5, False, "< 1 [9,10] 9+10=19", "4+9=13"),
]


@pytest.mark.parametrize(("error", "event", "solved", "old", "new"), IN_COMPACT)
def test_errors_in_the_compact_dialect(error: Error, event: int, solved: bool, old: str, new: str, dialect_of) -> None:
    text = swapped(COMPACT, (old, new))
    verdict = judge(dialect_of, text, name="compact")
    codes = found(verdict)
    assert set(codes) <= set(range(event, 99))
    if error == Error.ILLEGAL:  # also an operand that is not there, which comes first
        error = Error.OPERAND
    assert codes.get(event) == error
    assert verdict.solved == solved


def test_a_jump_to_an_ancestor_is_a_return(dialect_of) -> None:
    verdict = judge(dialect_of, swapped(COMPACT, ("< 1 [9,10]", "> 0,0 [9,10]")), name="compact")
    assert (verdict.solved, found(verdict)) == (True, {})


LEAF = "90,19 unequal: No Solution\n"
LEAF_VISIT = "Moving to Node #0,0,{}\nCurrent State: 19:[90], Operations: ['4+6=10', '9*{}=90']\n"


@pytest.mark.parametrize(
    ("before", "after", "codes"),
    [
        ("", LEAF_VISIT.format(0, 10), {}),  # a dead end, visited once
        ("", LEAF_VISIT.format(0, 10) * 2, {6: Error.ORDER}),
        (LEAF_VISIT.format(0, 10), "", {4: Error.ORDER}),  # before its verdict
        ("", LEAF_VISIT.format(1, 10), {5: Error.JUMP}),  # leaves go by 0
        ("", LEAF_VISIT.format(0, 11), {5: Error.JUMP}),  # the operation says which
    ],
)
def test_a_leaf_may_be_visited_once_after_its_verdict(before: str, after: str, codes, dialect_of) -> None:
    text = swapped(SOS, (LEAF, before + LEAF + after))
    verdict = judge(dialect_of, text)
    assert (verdict.solved, found(verdict)) == (True, codes)
    assert naive_text.solves(text, [4, 6, 9], 19)


def test_a_result_above_the_limit_is_illegal(dialect_of) -> None:
    text = swapped(COMPACT, ("4+6=10, [9,10] 9*10=90, x < 1 [9,10] 9+10=19", "6*9=54, [4,54] 4+54=58"), ("!", "x none"))
    limited = ENV._replace(max_value=57)
    assert found(judge(dialect_of, text, name="compact", env=limited)) == {3: Error.ILLEGAL}
    assert found(judge(dialect_of, text, name="compact")) == {}


def test_a_wrong_result_that_hits_the_target_is_no_goal(dialect_of) -> None:
    text = swapped(COMPACT, ("9*10=90, x", "9*10=19, !"))
    verdict = judge(dialect_of, text, name="compact")
    assert not verdict.solved
    assert [found(verdict)[e] for e in (3, 4, 5)] == [Error.ARITHMETIC, Error.FALSE_GOAL, Error.ORDER]


def test_an_unannounced_return_is_still_sound(dialect_of) -> None:
    text = "4,6,9 > 19 : 6*9=54, [4,54] 4+54=58, x 4+6=10, [9,10] 9+10=19, !"
    verdict = judge(dialect_of, text, name="compact")
    assert verdict.solved
    assert found(verdict) == {5: Error.UNANNOUNCED}


def test_the_first_goal_decides(dialect_of) -> None:
    good_then_bad = COMPACT + " < 0 [4,6,9] 4+9=19, !"
    bad_then_good = swapped(COMPACT, ("x", "!"))
    assert judge(dialect_of, good_then_bad, name="compact").solved
    assert not judge(dialect_of, bad_then_good, name="compact").solved


def test_a_truncated_answer_counts_from_its_goal_on(dialect_of) -> None:
    dialect = dialect_of("compact", ENV, 9)
    tokens = tokenize(dialect.vocab.tokenizer(), COMPACT)[:-1]
    verdict, _, _ = verify_tokens(dialect, ENV, PROBLEM, tokens)
    assert (verdict.solved, verdict.status) == (True, DecodeStatus.TRUNCATED)
    verdict, _, _ = verify_tokens(dialect, ENV, PROBLEM, tokens[:-1])
    assert (verdict.solved, verdict.status) == (False, DecodeStatus.TRUNCATED)


@pytest.mark.parametrize("other", [[19, 3, 4, 9, 6], [20, 3, 4, 6, 9], [19, 3, 4, 6, 8]])
def test_the_answer_to_another_problem_solves_nothing(other: list[int], dialect_of) -> None:
    verdict = judge(dialect_of, COMPACT, name="compact", problem=np.array(other, np.int32))
    assert (verdict.solved, verdict.goal_event) == (False, -1)


CHEATS = [
    # (numbers, target, compact text): what a verifier that does not consume numbers lets pass.
    ([20, 3, 5, 7], 60, "20+20=40, [3,5,7,40] 20+40=60, !"),
    ([20, 3, 5, 7], 60, "20+20=40, [3,5,40] 40+20=60, [3,5,60] !"),
    ([20, 3, 5, 7], 60, "20+20=40, 40+20=60, !"),
    ([20, 3, 5, 7], 60, "20*3=60, !"),
    ([20, 3, 5, 7], 60, "20*3=60, [60] !"),
    ([20, 3, 5, 7], 60, "20*3=60, [5,7,60] 7-5=2, [2,60] !"),
    ([20, 3, 5, 7], 60, "20*3=60, [5,7,60] 60-5=55, [7,55] 55+7=60, !"),
    ([20, 3, 5, 7], 60, "[60] !"),
    ([20, 3, 5, 7], 60, "!"),
    ([20, 3, 5, 7], 60, "< 0 [60] !"),
    ([20, 3, 5, 7], 60, "20*3=60, [5,7,60] 7-5=2, [2,60] 60-0=60, !"),
    ([20, 3, 5, 7], 60, "20*3=60, [5,7,60] 5/7=0, [60,0] 60+0=60, !"),
    ([20, 3, 5, 7], 60, "20*3=60, [5,7,60] 7-5=0, [60,0] 60+0=60, !"),
    ([20, 3, 5, 7], 60, "20*3=60, [60,0,0] 60+0=60, [60,0] 60+0=60, !"),
]


@pytest.mark.parametrize(("numbers", "target", "body"), CHEATS)
def test_cheats_do_not_pass(numbers: list[int], target: int, body: str, dialect_of) -> None:
    env = Countdown()
    problem = np.array(env.problem_row(target, numbers), np.int32)
    text = f"{','.join(map(str, numbers))} > {target} : {body}"
    verdict = judge(dialect_of, text, name="compact", env=env, problem=problem)
    assert not verdict.solved
    assert verdict.errors.any()


def test_numbers_used_once_in_the_published_wording(dialect_of) -> None:
    text = (
        "Current State: 60:[20, 3, 5, 7], Operations: []\n"
        "Exploring Operation: 20+20=40, Resulting Numbers: [3, 5, 40]\n"
        "Generated Node #0,0: 60:[3, 5, 40] Operation: 20+20=40\n"
        "Moving to Node #0,0\nCurrent State: 60:[3, 5, 40], Operations: ['20+20=40']\n"
        "Exploring Operation: 40+20=60, Resulting Numbers: [60]\n60,60 equal: Goal Reached\n"
    )
    env = Countdown()
    verdict = judge(dialect_of, text, env=env, problem=np.array([60, 4, 20, 3, 5, 7], np.int32))
    assert not verdict.solved
    assert found(verdict)[1] == Error.OPERAND
    assert not naive_text.solves(text, [20, 3, 5, 7], 60)


def test_published_verdicts(reference, dialect_of) -> None:
    rows = some(read_jsonl(reference / "verdicts.jsonl"), 60)
    assert len(rows) == plain(480, 60)
    tokenizers = {n: dialect_of("sos", Countdown(num_numbers=n), 9).vocab.tokenizer() for n in (3, 4)}
    false_positives = 0
    for row in rows:
        numbers, target = row["nums"], row["target"]
        env = Countdown(num_numbers=len(numbers))
        problem = np.array(env.problem_row(target, numbers), np.int32)
        tokens = tokenize(tokenizers[len(numbers)], row["text"])
        verdict, trace, _ = verify_tokens(dialect_of("sos", env, 9), env, problem, tokens)
        true = naive_text.solves(row["text"], numbers, target)
        assert verdict.solved == true, row["text"]
        if len(trace.events):
            assert naive_verify.verify(env, trace)[1] == verdict.errors.tolist()
        false_positives += bool(row["rating"]) and not true
    assert false_positives > 0


def assert_agreement(
    rng: np.random.Generator, env: Countdown, strategy: DepthFirst, num_damaged: int
) -> tuple[int, set[int]]:
    """Verify one search and damaged copies of it; return (how many are solved, the error codes seen)."""
    trace = run_search(strategy, env, random_problem(rng, env))
    verdict = verify(env, trace)
    assert not verdict.errors.any()
    assert verdict.solved == (trace.outcome == Outcome.SOLVED)
    assert naive_verify.verify(env, trace) == (verdict.solved, verdict.errors.tolist())
    num_solved, codes = int(verdict.solved), {0}
    for _ in range(num_damaged):
        wrong = damaged(rng, trace)
        verdict = verify(env, wrong)
        assert naive_verify.verify(env, wrong) == (verdict.solved, verdict.errors.tolist())
        assert verdict.solved == (verdict.goal_event >= 0)
        num_solved += verdict.solved
        codes |= set(verdict.errors.tolist())
    return num_solved, codes


def test_agreement_with_the_oracle() -> None:
    rng = np.random.default_rng(0)
    codes: set[int] = set()
    num_solved = 0
    for (_, env), (_, strategy) in some(product(all_envs(), all_searches()), 40):
        for _ in range(plain(10, 1)):
            solved, seen = assert_agreement(rng, env, strategy._replace(max_nodes=12), 15)
            num_solved += solved
            codes |= seen
    assert codes == {int(error) for error in Error} or INTERPRETED
    assert num_solved > plain(100, 5)


def test_events_of_nodes_that_were_never_generated_are_jumps() -> None:
    trace = run_search(DepthFirst(), ENV, PROBLEM)
    generated = np.flatnonzero(trace.events[:, KIND] == Event.GENERATE)
    cut = trace._replace(events=np.delete(trace.events, generated, axis=0))
    verdict = verify(ENV, cut)
    assert not verdict.solved
    after_goal = cut.events[:-1, KIND].tolist().index(Event.GOAL) + 1
    kinds = cut.events[:after_goal, KIND]
    of_nodes = (cut.events[:after_goal, NODE] > 0) & (kinds != Event.BACKTRACK)
    assert of_nodes.sum() > 3
    assert (verdict.errors[:after_goal][of_nodes] == Error.JUMP).all()


def test_flags_come_last_and_in_order() -> None:
    trace = run_search(DepthFirst(), ENV, PROBLEM)
    cases = [(15, Error.QUOTE), (14, Error.LABEL), (12, Error.UNANNOUNCED), (8, Error.NOT_FORCED)]
    for flags, error in [*cases, (int(Flag.QUOTE), Error.QUOTE)]:
        events = trace.events.copy()
        events[1, FLAGS] = flags
        assert found(verify(ENV, trace._replace(events=events))) == {1: error}


def test_an_empty_trace_is_not_solved() -> None:
    trace = run_search(DepthFirst(), ENV, PROBLEM)
    verdict = verify(ENV, trace._replace(events=trace.events[:0]))
    assert (verdict.solved, len(verdict.errors), verdict.goal_event) == (False, 0, -1)
