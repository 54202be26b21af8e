"""Lessons before training streams: pure functions of the visit, true or not as drawn, and obeyed by the search behind them."""

from __future__ import annotations

from collections import Counter
from functools import cache
from itertools import pairwise
from typing import Any, cast

import numpy as np
import pytest
from naive import lessons as naive
from sizes import plain

from sos.compose import compose
from sos.config import Config, config_from_dict, config_hash, to_dict
from sos.context.draws import Asked, AskedOfOthers, SlotPlan, asked_of_others, draw_key
from sos.context.forms import read_context
from sos.context.lessons import condition_of, root_branches, solving_class, votes_of
from sos.data.lessons import Known, LessonSource
from sos.data.splits import sample_problems
from sos.data.streams import StreamSource
from sos.datasets.source import build_source, build_trace_source, lesson_source
from sos.envs.lessons import action_class, features_of
from sos.errors import UserError
from sos.schema.slot import CONTROLS, SlotConfig
from sos.stream.codec import decode, encode_prompt
from sos.stream.dialect.vocab import BOS
from sos.stream.verify import verify_tokens
from sos.system import System, build_system
from sos.trace import ACTION, PARENT, SOLVED, VALUE

WORDS = ["experiment=smoke", "slot=lesson", "slot.dropout=0.3", "data.context=1000"]
NUM = plain(200, 20)


@cache
def made(*more: str) -> tuple[Config, System, StreamSource]:
    config = compose([*WORDS, *more])
    system = build_system(config)
    source = build_source(config, system)
    assert isinstance(source, StreamSource)
    return config, system, source


def streams(source: Any, start: int, stop: int) -> dict[int, list[int]]:
    chunk = source.chunk(start, stop)
    return {int(v): chunk.tokens[a:b].tolist() for v, (a, b) in zip(chunk.visits, pairwise(chunk.offsets), strict=True)}


def test_shares_are_as_asked_for_and_depend_on_seed_name_and_number_alone() -> None:
    plan = SlotPlan((), 0.4, 0.2, 0.1, 0.3, 0.25, ("lesson", "demonstration", "transcript"), 3)
    num = plain(10_000, 2_000)

    def drawn(seed: int, name: str, numbers: Any) -> list[AskedOfOthers | None]:
        key = draw_key(seed, name)
        return [asked_of_others(plan, key, number) for number in numbers]

    asked = drawn(5, "train", range(num))
    some = [what for what in asked if what is not None]
    assert len(some) / num == pytest.approx(0.6, abs=0.03)
    kinds = Counter(what.kind for what in some)
    shares = {"lesson": 0.5, "demonstration": 0.25, "transcript": 0.25}
    assert {kind: kinds[kind] / len(some) for kind in shares} == pytest.approx(shares, abs=0.04)
    assert sum(what.followed for what in some) / len(some) == pytest.approx(0.25, abs=0.04)
    lessons = [what for what in some if what.kind == "lesson"]
    assert {len(what.whose) for what in lessons} == {1, 2, 3}
    assert {len(what.whose) for what in some if what.kind != "lesson"} == {1}
    of = Counter(whose for what in lessons for whose in what.whose)
    wanted = {"own": 0.4, "foreign": 0.2, "wrong": 0.1, "filler": 0.3}
    assert {whose: of[whose] / sum(of.values()) for whose in wanted} == pytest.approx(wanted, abs=0.04)
    assert drawn(5, "train", range(99, -1, -1))[::-1] == asked[:100]
    assert drawn(6, "train", range(100)) != asked[:100] != drawn(5, "val", range(100))


def test_a_stream_is_the_same_whatever_was_asked_for_with_it() -> None:
    _, _, source = made()
    whole = streams(source, 0, NUM)
    parts: dict[int, list[int]] = {}
    for start in (2 * NUM // 4, 0, 3 * NUM // 4, NUM // 4):
        parts |= streams(source, start, start + NUM // 4)
    again = build_source(made()[0], made()[1])
    assert len(whole) == NUM
    assert parts == whole == streams(again, 0, NUM)


def test_without_a_context_or_behind_one_that_is_not_followed_a_stream_is_that_of_a_base_without_the_slot() -> None:
    _, system, _ = made()
    config = compose(["experiment=smoke", "data.context=1000"])
    bare = streams(build_source(config, build_system(config)), 0, NUM)
    plain_streams = streams(made("slot.follow=0.0")[2], 0, NUM)
    with_contexts = 0
    for visit, tokens in plain_streams.items():
        found = read_context(system.dialect, np.array(tokens))
        assert found.sound
        assert [tokens[0], *tokens[found.position :]] == bare[visit]
        with_contexts += bool(found.items)
    assert with_contexts > NUM // 2
    dropped = compose([*WORDS, "slot.dropout=1.0"])
    assert streams(build_source(dropped, build_system(dropped)), 0, NUM) == bare


def test_each_lesson_is_true_or_not_as_it_was_drawn() -> None:
    config, system, source = made()
    env: Any = system.env
    assert system.slot is not None
    key, seen = draw_key(config.seed, "train"), Counter[str]()
    traces = list(build_trace_source(config).chunk(0, NUM).traces())
    for visit, tokens in streams(source, 0, NUM).items():
        asked = asked_of_others(system.slot, key, visit)
        items = read_context(system.dialect, np.array(tokens)).items
        branches = root_branches(env, traces[visit])
        solving = solving_class(branches)
        if asked is None or solving < 0:
            assert not items
            continue
        assert all(item.name == asked.kind for item in items)
        if asked.kind != "lesson":
            seen[asked.kind] += len(items)
            continue
        for item, whose in zip(items, asked.whose, strict=True):
            seen[whose] += 1
            if whose == "filler":
                assert (item.filler, item.lesson) == (3, None)
                continue
            lesson = item.lesson
            assert lesson is not None
            if whose == "foreign":
                continue
            assert features_of(env, traces[visit].problem)[lesson.condition]
            right = lesson.prefer == (lesson.of == solving)
            assert right == (whose == "own")
            if whose == "own" and not lesson.prefer:
                assert any(branch.closed and branch.of == lesson.of for branch in branches)
    assert set(seen) == {"own", "wrong", "foreign", "filler", "demonstration", "transcript"}
    assert NUM < 100 or min(seen.values()) > 5


def test_the_search_behind_lessons_tries_first_what_they_say() -> None:
    _, system, source = made()
    env: Any = system.env
    bare = streams(made("slot.dropout=1.0")[2], 0, NUM)
    reordered = 0
    for visit, tokens in streams(source, 0, NUM).items():
        found = read_context(system.dialect, np.array(tokens))
        lessons = [item.lesson for item in found.items if item.lesson is not None]
        if not lessons:
            continue
        trace = decode(system.dialect, env, np.array(tokens)).trace
        verdict = verify_tokens(system.dialect, env, trace.problem, np.array(tokens))[0]
        assert verdict.solved == (trace.events[-1, VALUE] == SOLVED)
        assert not verdict.errors.any()
        votes = votes_of(env, lessons, trace.problem)
        root = trace.states[0]
        ranks = [
            int(votes[action_class(env, trace.problem, root, row[ACTION:])])
            for row in trace.nodes[1:]
            if row[PARENT] == 0
        ]
        assert ranks == sorted(ranks, reverse=True)
        reordered += [tokens[0], *tokens[found.position :]] != bare[visit]
    assert reordered > (10 if NUM > 100 else 0)


def test_demonstrations_are_of_other_problems_that_share_the_condition_and_the_class() -> None:
    config, system, _ = made()
    env: Any = system.env
    source = lesson_source(system, config.seed, "train")
    tried = 0
    for number, trace in enumerate(list(build_trace_source(config).chunk(0, 30).traces())):
        branches = root_branches(env, trace)
        known = Known(trace.problem, features_of(env, trace.problem), branches, solving_class(branches))
        for kind, whose in (("demonstration", "own"), ("transcript", "wrong"), ("demonstration", "foreign")):
            for item in source.items(known, AskedOfOthers(kind, (whose,), True, np.uint64(number))):
                assert item.trace is not None
                assert not np.array_equal(item.trace.problem, trace.problem)
                solving = solving_class(root_branches(env, item.trace))
                if whose != "foreign":
                    assert condition_of(env, item.trace.problem) == condition_of(env, trace.problem)
                    assert (solving == known.solving) == (whose == "own")
                assert source.votes([item], trace.problem).sum() in (0, 1)
                tried += 1
    assert tried > (40 if NUM > 100 else 10)


def test_an_evaluation_puts_one_lesson_before_each_problem_and_controls_of_its_length() -> None:
    config, system, _ = made()
    problems = np.array([trace.problem for trace in build_trace_source(config).chunk(0, 20).traces()])
    source = LessonSource(
        system.env, system.strategy, system.dialect, system.splits, max_nodes=system.max_nodes, seed=0, stream="val"
    )
    own = source.of_problems(problems, Asked("lesson"))
    for whose in CONTROLS:
        other = source.of_problems(problems, Asked("lesson", whose))
        assert [len(a) for a in own] == [len(b) for b in other]
        assert sum(np.array_equal(a, b) for a, b in zip(own, other, strict=True)) < 12
    solved = 0
    for problem, tokens in zip(problems, own, strict=True):
        items = read_context(system.dialect, np.array(encode_prompt(system.dialect, problem, tokens))).items
        if items:
            assert items[0].lesson is not None
            assert items[0].lesson.prefer
            solved += 1
    assert solved > 10


RETRIEVED = ("slot=retrieved", "slot.dropout=0.3")


def left_by(env: Any, known: Known) -> list[str]:
    """What a search of another problem leaves, from the definitions: of its success, and of its costliest failure."""
    condition = env.lesson_features[int(np.flatnonzero(known.features)[0])]
    vain = [branch for branch in known.branches if branch.closed and branch.of != known.solving]
    most = max((branch.nodes for branch in vain), default=0)
    worst = next((branch.of for branch in vain if branch.nodes == most), None)
    said = [f"if {condition} prefer {env.lesson_classes[known.solving]}"]
    return said + ([] if worst is None else [f"if {condition} avoid {env.lesson_classes[worst]}"])


def held_for(env: Any, known: list[Known], problem: np.ndarray, num: int) -> list[str]:
    """The lessons that a memory of other problems holds for one: of the nearest by trying all."""
    names = [{env.lesson_features[k] for k in np.flatnonzero(one.features)} for one in known]
    wanted = {env.lesson_features[k] for k in np.flatnonzero(features_of(env, problem))}
    others = [k for k, one in enumerate(known) if one.problem.tolist() != problem.tolist()]
    told = [(names[k], env.lesson_features[condition_of(env, known[k].problem)] in wanted) for k in others]
    order = naive.nearest(told, wanted, len(env.lesson_features), num)
    return [lesson for k in order for lesson in left_by(env, known[others[k]])][:num]


def test_retrieved_lessons_are_those_of_the_nearest_other_problems() -> None:
    """Before training streams, the problem itself being among the others; and before unseen ones, without a search."""
    config, system, source = made(*RETRIEVED)
    env: Any = system.env
    assert isinstance(source.contexts, LessonSource)
    known = source.contexts.others.known
    key, counts = draw_key(config.seed, "train"), Counter[int]()
    traces = list(build_trace_source(config).chunk(0, NUM).traces())
    for visit, tokens in streams(source, 0, NUM).items():
        items = read_context(system.dialect, np.array(tokens)).items
        said = [item.lesson.described(env) for item in items if item.lesson is not None]
        asked = asked_of_others(cast(SlotPlan, system.slot), key, visit)
        wanted = [] if asked is None else held_for(env, known, traces[visit].problem, len(asked.whose))
        assert said == wanted
        counts[len(said)] += 1
    assert set(counts) == {0, 1, 2}
    own = next(one for one in known if held_for(env, known, one.problem, 2) != left_by(env, one))
    found = source.contexts.of_problems(own.problem[None], Asked("lesson", "retrieved"))[0]
    items = read_context(system.dialect, np.concatenate([[BOS], found])).items
    assert [item.lesson.described(env) for item in items if item.lesson] == held_for(env, known, own.problem, 2)


def test_unseen_problems_are_not_searched_for_what_a_memory_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    _, system, source = made(*RETRIEVED)
    unseen = sample_problems(system.env, system.splits, "val", 20, seed=1)
    assert isinstance(source.contexts, LessonSource)
    known = source.contexts.others.known
    assert not {one.problem.tobytes() for one in known} & {problem.tobytes() for problem in unseen}
    monkeypatch.setattr(LessonSource, "searches", lambda self, problems: pytest.fail("searched"))
    found = source.contexts.of_problems(unseen, Asked("lesson", "retrieved"))
    for problem, tokens in zip(unseen, found, strict=True):
        items = read_context(system.dialect, np.concatenate([[BOS], tokens])).items
        said = [item.lesson.described(system.env) for item in items if item.lesson is not None]
        assert said == held_for(system.env, known, problem, 2)


REFUSED = {
    "slot.kinds=[hint,lesson]": r"slot.kinds=\[hint,lesson\]: hints go without lesson, demonstration, transcript",
    "slot.doses=[first]": r"slot.doses=\[first\] has no use without slot.kinds=\[hint\]",
    "slot.kinds=[transcript] slot.lessons=2": "slot.lessons=2 has no use without lesson in slot.kinds",
    "slot=retrieved slot.misleading=0.1": "slot.misleading=0.1 has no use with slot.lessons_from=others",
    "slot.lessons_from=others": r"slot.lessons_from=others needs slot.kinds=\[lesson\], got \[lesson,demonstration,",
    "slot.lessons_from=wins": "slot.lessons_from",
    "slot.lessons=0": "slot.lessons must be at least 1, got 0",
    "eval.context=[none,plan]": r"eval.context=\[plan\]: the slot of this base has no hint; slot.kinds=\[lesson,",
    "slot=hint eval.context=[wrong_lesson]": r"eval.context=\[wrong_lesson\]: the slot of this base has no lesson",
    "search=beam": r"slot.kinds=\[lesson,demonstration,transcript\] tells a search which branch .* got beam",
    "search.heuristic=mult search.threshold=target": "goes without search.threshold=target, which drops branches",
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_cannot_be_is_refused_in_one_line(words: str) -> None:
    with pytest.raises(UserError, match=REFUSED[words]) as error:
        compose(["experiment=smoke", "slot=lesson", *words.split()])
    assert "\n" not in str(error.value)


def test_records_of_before_there_were_lessons_keep_their_hash() -> None:
    hinted, bare = compose(["experiment=smoke", "slot=hint"]), compose(["experiment=smoke"])
    for config in (hinted, bare):
        before = to_dict(config)
        del before["slot"]["lessons"]
        assert config_hash(before) == config_hash(config) == config_hash(config_from_dict(before))
    assert SlotConfig().lessons == 4
