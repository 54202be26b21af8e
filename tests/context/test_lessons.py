"""Lessons: written and read back exactly, mined by rule, true of what they were mined from; and the searches that are told by them."""

from __future__ import annotations

import itertools
from functools import cache
from typing import Any

import numpy as np
import pytest
from naive import lessons as naive
from sizes import plain

from sos.compose import compose
from sos.context.forms import read_context, write_context
from sos.context.items import Item, lesson_item, no_actions
from sos.context.lessons import (
    NO_CLASS,
    Branch,
    Lesson,
    applies,
    condition_of,
    costliest_class,
    mine,
    root_branches,
    solving_class,
    votes_of,
)
from sos.context.vocab import with_slot
from sos.datasets.source import build_trace_source
from sos.envs.lessons import action_class, features_of
from sos.errors import UserError
from sos.search.rows import Drawn, Searcher
from sos.search.told import Told
from sos.stream.dialect.compile import Dialect, load_dialect
from sos.stream.dialect.vocab import BOS
from sos.system import System, build_system
from sos.trace import ACTION, PARENT, SOLVED, VALUE, Trace

TASKS = {"countdown": ["experiment=smoke"], "sat": ["experiment=sat"]}
CASES = ["countdown", pytest.param("sat", marks=pytest.mark.slow)]  # which compiles for a minute
NUM = plain(200, 24)


@cache
def case(task: str) -> tuple[System, list[Trace]]:
    config = compose([*TASKS[task], "data.context=4096"])
    return build_system(config), list(build_trace_source(config).chunk(0, NUM).traces())


def class_of(env: Any, problem: np.ndarray) -> Any:
    return lambda action: int(action_class(env, problem, np.zeros(env.state_width, np.int32), np.asarray(action)))


def every_lesson(env: Any) -> list[Lesson]:
    sizes = range(len(env.lesson_features)), (False, True), range(len(env.lesson_classes))
    return [Lesson(*parts) for parts in itertools.product(*sizes)]


@pytest.mark.parametrize("task", ["countdown", "sat"])
def test_every_lesson_reads_back_in_every_dialect_and_no_two_are_written_alike(task: str) -> None:
    env: Any = case_env(task)
    written = 0
    for dialect in dialects_of_env(task, env):
        streams = set()
        for lesson in every_lesson(env):
            items = [lesson_item(env, lesson), Item("lesson", no_actions(env), filler=3), lesson_item(env, lesson)]
            tokens = write_context(dialect, items)
            assert [dialect.vocab.tokens[t] for t in tokens[2:5]] == [
                f"<if:{env.lesson_features[lesson.condition]}>",
                "<prefer>" if lesson.prefer else "<avoid>",
                f"<class:{env.lesson_classes[lesson.of]}>",
            ]
            back = read_context(dialect, np.concatenate([[BOS], tokens]))
            assert back.sound
            assert len(back.items) == 3
            assert all(one.equals(other) for one, other in zip(back.items, items, strict=True))
            streams.add(tokens.tobytes())
            written += 1
        assert len(streams) == len(every_lesson(env))
    assert written >= 16


def case_env(task: str) -> Any:
    return build_system(compose([*TASKS[task], "data.context=4096"])).env


def dialects_of_env(task: str, env: Any) -> list[Dialect]:
    found = []
    for path in sorted(env.dialects.iterdir(), key=str):
        try:
            found.append(with_slot(load_dialect(path.name.removesuffix(".yaml"), env, 120), ["lesson", "transcript"]))
        except UserError as error:
            if "stream.whole_max" not in str(error):
                raise
    assert found
    return found


def test_what_is_no_lesson_is_found_at_its_place() -> None:
    env: Any = case_env("countdown")
    dialect = dialects_of_env("countdown", env)[0]
    ids = dialect.vocab.ids
    right = ["<lesson>", "<if:target_odd>", "<prefer>", "<class:*>"]

    def read(words: list[str]) -> Any:
        return read_context(
            dialect, np.array([BOS, ids["<context>"], *(ids[word] for word in words), ids["</context>"]])
        )

    assert read(right).sound
    for position, word in ((1, "<prefer>"), (2, "<class:*>"), (3, "<if:target_odd>"), (3, "<filler>"), (1, "<filler>")):
        found = read([*right[:position], word, *right[position + 1 :]])
        assert not found.sound
        assert found.position == 2 + position
        assert found.items == []
    assert not read(right[:3]).sound
    assert read([*right, "<avoid>"]).position == 6
    assert not read(["<lesson>"]).sound
    known = [token for word, token in ids.items() if word.startswith("<")]
    rng, sound = np.random.default_rng(3), 0
    for _ in range(plain(3000, 300)):
        tokens = np.concatenate(
            [[BOS, ids["<context>"], ids["<lesson>"]], rng.choice(known[3:], 3), [ids["</context>"]]]
        )
        found = read_context(dialect, tokens)
        if found.sound:
            assert np.array_equal(write_context(dialect, found.items), tokens[1 : found.position])
            sound += 1
    assert sound >= 1


def test_an_environment_without_lessons_is_refused_by_its_name() -> None:
    with pytest.raises(
        UserError, match=r"slot.kinds=\[lesson,demonstration,transcript\]: PathStar has no features"
    ) as error:
        build_system(compose(["experiment=path_star", "slot=lesson"]))
    assert "\n" not in str(error.value)


def test_features_are_what_their_words_say() -> None:
    system, traces = case("countdown")
    env: Any = system.env
    middle, seen = (env.min_target + env.max_target) / 2, set()
    for trace in traces:
        target, _, *numbers = trace.problem.tolist()
        wanted = naive.features(numbers, target, middle)
        has = {name for name, one in zip(env.lesson_features, features_of(env, trace.problem), strict=True) if one}
        assert has == wanted
        assert env.lesson_features[condition_of(env, trace.problem)] in wanted
        assert applies(env, Lesson(condition_of(env, trace.problem), True, 0), trace.problem)
        seen |= has
    assert len(seen) >= (11 if NUM > 100 else 8)


@pytest.mark.parametrize("task", CASES)
def test_a_mined_lesson_is_true_of_its_experience(task: str) -> None:
    """Also where a judge calls a success a failure, or a failure a success, and where a search was cut short."""
    system, traces = case(task)
    env: Any = system.env
    mined = {(succeeded, prefer): 0 for succeeded in (True, False) for prefer in (True, False)}
    for trace in traces:
        to_class = class_of(env, trace.problem)
        has = {name for name, one in zip(env.lesson_features, features_of(env, trace.problem), strict=True) if one}
        cuts = [len(trace.events), 2 + len(trace.events) // 2]
        for cut in cuts:
            part = trace._replace(events=trace.events[:cut])
            generated = 1 + int((part.events[:, 0] == naive.GENERATE).sum())
            part = part._replace(nodes=trace.nodes[:generated])
            found = root_branches(env, part)
            wanted = naive.branches(part, to_class)
            assert [one._asdict() for one in found] == [
                {"of": one["class"], "nodes": one["nodes"], "goal": one["goal"], "closed": one["closed"]}
                for one in wanted
            ]
            solver = solving_class(root_branches(env, trace))
            for succeeded in (True, False):
                lessons = mine(env, part, succeeded, solver)
                assert len(lessons) <= 2
                for lesson in lessons:
                    assert naive.is_true(env, lesson, part, to_class, has, succeeded, solver)
                    mined[succeeded, lesson.prefer] += 1
    assert mined[True, False] == 0
    assert min(mined[True, True], mined[False, True], mined[False, False]) > 5


def test_the_costliest_branch_is_the_first_of_the_largest_closed_ones() -> None:
    branches = [
        Branch(0, 3, False, True),
        Branch(1, 7, False, True),
        Branch(2, 7, False, True),
        Branch(3, 9, True, False),
    ]
    assert costliest_class(branches) == 1
    assert costliest_class(branches, besides=1) == 2
    assert costliest_class(branches[3:]) == NO_CLASS
    assert solving_class(branches) == 3
    assert solving_class(branches[:2]) == NO_CLASS


def test_what_a_model_may_claim_is_no_branch_where_it_does_not_hold() -> None:
    """A claim of a parent that is not there, of a number that is not there, and of a child of nothing."""
    system, traces = case("countdown")
    trace = next(trace for trace in traces if len(trace.nodes) > 4)
    nodes = trace.nodes.copy()
    first = int(np.flatnonzero(nodes[:, PARENT] == 0)[0])
    nodes[first, ACTION] = 10**6
    assert len(root_branches(system.env, trace._replace(nodes=nodes))) == len(root_branches(system.env, trace)) - 1
    nodes[1:, PARENT] = np.arange(2, len(nodes) + 1)
    assert root_branches(system.env, trace._replace(nodes=nodes)) == []
    nodes[1:, PARENT] = -1
    assert root_branches(system.env, trace._replace(nodes=nodes)) == []


def test_votes_are_those_of_the_lessons_that_apply() -> None:
    system, traces = case("countdown")
    env: Any = system.env
    rng, counted = np.random.default_rng(1), 0
    for trace in traces[:50]:
        lessons = [every_lesson(env)[k] for k in rng.integers(0, 96, 5)]
        wanted = [0, 0, 0, 0]
        for lesson in lessons:
            if features_of(env, trace.problem)[lesson.condition]:
                wanted[lesson.of] += 1 if lesson.prefer else -1
                counted += 1
        assert votes_of(env, lessons, trace.problem).tolist() == wanted
    assert counted > 20


@pytest.mark.parametrize("task", CASES)
def test_a_search_that_is_told_takes_the_branches_of_the_root_by_votes_and_leaves_none_out(task: str) -> None:
    system, traces = case(task)
    env: Any = system.env
    problems = np.array([trace.problem for trace in traces])
    num, rng = len(problems), np.random.default_rng(2)
    votes = rng.integers(-2, 3, (num, len(env.lesson_classes))).astype(np.int64)
    votes[: num // 4] = 0
    searcher = Searcher(env, Told(system.strategy, votes), 4000)
    rows, found, _ = searcher.search(Drawn(0, problems, np.arange(num), np.arange(num, dtype=np.int32)))
    assert found == num
    changed = 0
    for k, trace in enumerate(traces):
        spans = [slice(a, b) for a, b in zip(rows.offsets[k], rows.offsets[k + 1], strict=True)]
        events, nodes, states = (
            array[span].copy() for array, span in zip((rows.events, rows.nodes, rows.states), spans, strict=True)
        )
        told = Trace(rows.problems[k].copy(), events, nodes, states)
        if not votes[k].any():
            assert told.equals(trace)
            continue
        changed += not told.equals(trace)
        assert (told.events[-1, VALUE] == SOLVED) == (trace.events[-1, VALUE] == SOLVED)
        to_class = class_of(env, trace.problem)
        ranks = [int(votes[k][to_class(row[ACTION:])]) for row in nodes[1:] if row[PARENT] == 0]
        assert ranks == sorted(ranks, reverse=True)
        before = [row[ACTION:].tolist() for row in trace.nodes[1:] if row[PARENT] == 0]
        after = [row[ACTION:].tolist() for row in nodes[1:] if row[PARENT] == 0]
        for number in set(ranks):
            own = [action for action, rank in zip(after, ranks, strict=True) if rank == number and action in before]
            assert own == [action for action in before if action in own]
        if told.events[-1, VALUE] != SOLVED:
            assert sorted(before) == sorted(after)
    assert changed > num // 8
