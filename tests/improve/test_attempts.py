"""Second attempts: what is wrong with the first, where it is cut, and how the next one begins."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from naive import attempts as naive
from stages import TASK

from sos.compose import compose
from sos.data.splits import sample_problems
from sos.errors import UserError
from sos.improve.attempts import (
    Attempt,
    Decision,
    Diagnosis,
    any_cut,
    certified_hopeless,
    check_trees,
    diagnose,
    gives_up,
    nodes_with_rest,
    openings,
    refine_cut,
    refused,
    root_of,
    telling,
    tried_at_root,
    untried,
)
from sos.search.run import run_search
from sos.stream.codec import decode, encode
from sos.stream.dialect.vocab import FIRST_NUMBER
from sos.stream.verify import verify
from sos.system import System, build_system
from sos.trace import ACTION, BUDGET, END, GENERATE, KIND, NODE, PARENT, VALUE

WHOLE = "experiment=whole_numbers"
TREES = [
    TASK,
    [],
    [WHOLE],
    [WHOLE, "stream=checked"],
    ["stream=sos", "data.context=4096"],
    ["experiment=sudoku"],
    ["experiment=sat"],
]
NUM = 14  # problems of each


def system_of(words: list[str]) -> System:
    return _system_of(tuple(words))


@cache
def _system_of(words: tuple[str, ...]) -> System:
    return build_system(compose(list(words)))


def drawn(system: System, num: int = NUM, solvable: bool = True) -> np.ndarray:
    return sample_problems(system.env, system.splits, "train", num, seed=5, solvable=solvable)


def attempt_of(tokens: np.ndarray, num_prompt: int, seed: int = 0, finished: bool = True) -> Attempt:
    written = np.log(np.random.default_rng(seed).random(len(tokens) - num_prompt)).astype(np.float32)
    return Attempt(tokens.astype(np.int32), num_prompt, num_prompt, 0, finished, written, Decision.FIRST)


def whole_search(system: System, problem: np.ndarray) -> tuple[np.ndarray, int]:
    tokens, _, num_prompt = encode(system.dialect, run_search(system.strategy, system.env, problem, 5000))
    return tokens.astype(np.int32), num_prompt


def damaged(system: System, problems: np.ndarray) -> list[tuple[np.ndarray, Attempt]]:
    """Searches that break off, that have a wrong token, and that fit nothing; and one that is right."""
    rng, found, vocab = np.random.default_rng(7), [], system.dialect.vocab
    for k, problem in enumerate(problems):
        tokens, prompt = whole_search(system, problem)
        at = int(rng.integers(prompt, len(tokens)))
        wrong = tokens.copy()
        is_number = [place >= prompt and vocab.is_number(int(token)) for place, token in enumerate(tokens)]
        if any(is_number):  # another number can be read there
            wrong[rng.choice(np.flatnonzero(is_number))] = rng.integers(FIRST_NUMBER, FIRST_NUMBER + vocab.whole_max)
        noise = rng.integers(3, len(system.dialect.vocab), 9)
        for made in (tokens[:at], wrong, np.concatenate([tokens[:at], noise]), tokens):
            found.append((problem, attempt_of(made, prompt, k, made[-1] == 2)))
    return found


@pytest.mark.parametrize("words", TREES, ids=lambda words: " ".join(words[:2]) if words else "default")
def test_what_a_refinement_keeps_reads_back_to_the_sound_part(words: list[str]) -> None:
    system = system_of(words)
    kinds: dict[Diagnosis, int] = {}
    for problem, attempt in damaged(system, drawn(system)):
        finding = diagnose(system, problem, attempt)
        kinds[finding.diagnosis] = kinds.get(finding.diagnosis, 0) + 1
        cuts = [any_cut(attempt, finding, draw) for draw in (0.0, 0.5, 0.999)]
        assert all(attempt.num_prompt <= cut <= len(attempt.tokens) for cut in cuts)
        if finding.diagnosis == Diagnosis.SOLVED:
            assert finding.to_goal > 0
            continue
        cut = refine_cut(system, attempt, finding)
        if finding.diagnosis == Diagnosis.OUT_OF_BUDGET and cut < 0:
            continue
        assert attempt.num_prompt <= cut <= len(attempt.tokens)
        kept = decode(system.dialect, system.env, attempt.tokens[:cut])
        assert kept.position == cut
        assert (kept.align >= 0).all()
        told = len(kept.trace.events)
        assert np.array_equal(kept.trace.events, finding.trace.events[:told])
        assert told <= finding.event
        assert not verify(system.env, kept.trace).errors.any()
    assert kinds[Diagnosis.SOLVED] >= NUM
    assert sum(kinds.values()) == 4 * NUM
    assert len(kinds) >= 4


@pytest.mark.parametrize("words", [[], [WHOLE], [WHOLE, "stream=checked"]], ids=["default", "compact", "checked"])
def test_cuts_are_those_of_a_replay_event_by_event(words: list[str]) -> None:
    system, wrong = system_of(words), 0
    for problem, attempt in damaged(system, drawn(system, 70)):
        finding = diagnose(system, problem, attempt)
        if finding.diagnosis in (Diagnosis.WRONG_STEP, Diagnosis.FALSE_GOAL):
            assert finding.event == naive.first_wrong(system.env, finding.trace)
            expected = naive.sound_cut(system.env, finding.trace, finding.align, attempt.num_prompt)
            assert refine_cut(system, attempt, finding) == expected
            wrong += 1
    assert wrong > 15


def test_a_search_without_mistakes_is_cut_where_the_model_was_least_sure_to_give_up() -> None:
    system = system_of([])
    searched = 0
    for k, problem in enumerate(drawn(system, 60)):
        budget = int(np.random.default_rng(k).integers(2, 12))
        trace = run_search(system.strategy._replace(max_nodes=budget), system.env, problem, 5000)
        if trace.events[-1, VALUE] != BUDGET:
            continue
        tokens, _, prompt = encode(system.dialect, trace)
        attempt = attempt_of(tokens, prompt, k)
        finding = diagnose(system, problem, attempt)
        assert finding.diagnosis == Diagnosis.EXHAUSTED
        places = [naive.told(finding.align, event)[0] for event in naive.give_ups(system.env, trace)]
        sureness = [attempt.logprobs[place - prompt] for place in places]
        assert refine_cut(system, attempt, finding) == places[int(np.argmin(sureness))]
        searched += len(places) > 1
    assert searched > 9


def test_nothing_is_left_of_a_search_that_tried_everything() -> None:
    system = system_of([WHOLE])
    (problem,) = drawn(system, 1, solvable=False)
    whole = system.strategy._replace(look_ahead=0, skip_out_of_range=False, use_threshold=False, skip_seen=False)
    trace = run_search(whole, system.env, problem, 5000)
    assert not nodes_with_rest(system, trace)
    assert len(gives_up(trace)) > 5
    tokens, _, prompt = encode(system.dialect, trace)
    attempt = attempt_of(tokens, prompt)
    finding = diagnose(system, problem, attempt)
    assert finding.diagnosis == Diagnosis.EXHAUSTED
    assert refine_cut(system, attempt, finding) == -1
    assert untried(openings(system, problem), tried_at_root(system, finding)) == []
    assert certified_hopeless(system, problem)
    assert not certified_hopeless(system, drawn(system, 1)[0])
    assert not certified_hopeless(system_of(["experiment=sat"]), drawn(system_of(["experiment=sat"]), 1)[0])


@pytest.mark.parametrize("words", TREES, ids=lambda words: " ".join(words[:2]) if words else "default")
def test_no_pivot_can_begin_with_what_was_tried(words: list[str]) -> None:
    """An opening reads back to its action, and what a pivot dictates begins no opening that was tried."""
    system, pivots = system_of(words), 0
    rng = np.random.default_rng(3)
    for problem in drawn(system):
        found = openings(system, problem)
        for tokens, key in zip(found.words, found.keys, strict=True):
            trace = decode(system.dialect, system.env, np.concatenate([found.prompt, tokens])).trace
            made = [event for event in trace.events if event[KIND] == GENERATE]
            assert len(made) == 1
            assert not verify(system.env, trace).errors.any()
            assert tried_at_root(system, diagnose(system, problem, _of(found.prompt, tokens))) == {key}
        tried = {key for key in found.keys if rng.random() < 0.5}
        left = untried(found, tried)
        assert [found.keys[k] in tried for k in left] == [False] * len(left)
        for chosen in left:
            words_of = telling(found, chosen, tried)
            assert np.array_equal(words_of, found.words[chosen][: len(words_of)])
            same = [k for k, other in enumerate(found.words) if np.array_equal(other[: len(words_of)], words_of)]
            assert not {found.keys[k] for k in same} & tried
            assert len(telling(found, chosen, set())) == 0
            pivots += len(words_of) > 0
    assert pivots > 5 or max(len(openings(system, problem).keys) for problem in drawn(system)) == 1


def _of(prompt: np.ndarray, tokens: np.ndarray) -> Attempt:
    return attempt_of(np.concatenate([prompt, tokens]), len(prompt), finished=False)


def test_a_wrong_result_at_the_root_is_not_tried() -> None:
    system = system_of([WHOLE])
    (problem,) = drawn(system, 1)
    tokens, prompt = whole_search(system, problem)
    attempt = attempt_of(tokens, prompt)
    finding = diagnose(system, problem, attempt)
    nodes = finding.trace.nodes.copy()
    first = int(finding.trace.events[1, NODE])
    assert nodes[first, PARENT] == 0
    before = tried_at_root(system, finding)
    nodes[first, -1] += 1
    after = tried_at_root(system, finding._replace(trace=finding.trace._replace(nodes=nodes)))
    assert len(after) == len(before) - 1
    assert root_of(system, problem).shape == (system.env.state_width,)
    assert nodes.shape[1] == ACTION + system.env.action_width


def test_a_refused_solution_is_a_false_goal_that_is_cut_off() -> None:
    system, seen = system_of([WHOLE]), 0
    for problem in drawn(system):
        tokens, prompt = whole_search(system, problem)
        attempt = attempt_of(tokens, prompt)
        finding = refused(diagnose(system, problem, attempt))
        assert finding.diagnosis == Diagnosis.FALSE_GOAL
        cut = refine_cut(system, attempt, finding)
        kept = decode(system.dialect, system.env, tokens[:cut]).trace
        assert len(kept.events) == finding.event - 1  # the leaf is not generated
        assert finding.trace.events[finding.event + 1, KIND] == END
        seen += 1
    assert seen == NUM


def test_what_is_no_tree_is_refused_by_name() -> None:
    for name in ("layered", "sokoban"):
        with pytest.raises(UserError, match=f"^attempts needs searches that are trees.*env.name={name}"):
            check_trees(system_of([f"experiment={name}"]), "attempts")
    with pytest.raises(UserError, match=r"stream.plan=true has a plan behind it"):
        check_trees(system_of([WHOLE, "stream.plan=true"]), "attempts")
    check_trees(system_of([]), "attempts")
