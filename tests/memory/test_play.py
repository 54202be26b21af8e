"""Streams of tasks and what arms do with them: with a reader that does exactly what lessons say, and no more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from naive import lessons as naive
from sizes import plain

from sos.compose import compose
from sos.context.forms import read_context, write_context
from sos.context.items import Item, lesson_item, no_actions
from sos.context.lessons import Lesson, root_branches, solving_class
from sos.data.splits import in_val
from sos.datasets.source import lesson_source
from sos.envs.lessons import features_of
from sos.errors import UserError
from sos.memory.arms import ARMS, FIRST, Arm, check_arms, needed_kinds, retrieve, shown
from sos.memory.play import Answer, Played, Player, play
from sos.memory.records import Record, load
from sos.memory.report import as_plain, difference, figure, rows_of, table
from sos.memory.tasks import Tasks, tasks_of
from sos.model.gpt import GPT
from sos.model.rollout import Rollout, rollout
from sos.search.rows import Drawn, Searcher
from sos.search.told import Told
from sos.stream.codec import encode_prompt
from sos.stream.dialect.vocab import BOS
from sos.stream.verify import verify
from sos.system import System, build_system, gpt_config
from sos.trace import Trace

WORDS = ["experiment=smoke", "slot=lesson", "data.val_fraction=0.5"]  # for as many unseen tasks
NUM = plain(48, 12)
BLOCK = 8


@cache
def made() -> System:
    return build_system(compose(WORDS))


@cache
def stream(kind: str = "regular", seed: int = 1, num: int = NUM) -> Tasks:
    return tasks_of(made(), kind, num, seed)


@dataclass
class Obedient(Player):
    """Searches as it is told, and expands a few nodes only."""

    most_nodes: int = 4

    def answer(self, problems: Sequence[np.ndarray], contexts: Sequence[np.ndarray]) -> list[Answer]:
        system, source = self.system, lesson_source(self.system, 1, "train")
        votes = []
        for problem, context in zip(problems, contexts, strict=True):
            found = read_context(system.dialect, np.array([BOS, *context, 0], np.int64))
            assert found.sound
            votes.append(source.votes(found.items, np.asarray(problem)))
        strategy = Told(system.strategy._replace(max_nodes=self.most_nodes), np.array(votes))
        num = len(problems)
        drawn = Drawn(0, np.array(problems), np.arange(num), np.arange(num, dtype=np.int32))
        rows, searched, _ = Searcher(system.env, strategy, 2000).search(drawn)
        assert searched == num
        answers = []
        for k in range(num):
            spans = [slice(a, b) for a, b in zip(rows.offsets[k], rows.offsets[k + 1], strict=True)]
            arrays = (
                array[span].copy() for array, span in zip((rows.events, rows.nodes, rows.states), spans, strict=True)
            )
            trace = Trace(rows.problems[k].copy(), *arrays)
            answers.append(Answer(verify(system.env, trace), trace, len(trace.events)))
        return answers


def obedient() -> Obedient:
    model: Any = None
    return Obedient(model, made(), 4)


def played(name: str, kind: str = "regular", **more: Any) -> Played:
    return play(obedient(), stream(kind).tasks, ARMS[name], seed=1, block=BLOCK, **more)


@pytest.mark.parametrize("seed", [1, 2])
def test_tasks_keep_to_their_rule_and_are_unseen_and_different(seed: int) -> None:
    system, found = made(), stream(seed=seed)
    env: Any = system.env
    rule = found.regularity
    assert rule is not None
    assert rule.within != rule.without
    keys = set()
    searches = lesson_source(system, 1, "train").searches(np.array([task.problem for task in found.tasks]))
    for number, task in enumerate(found.tasks):
        has = bool(features_of(env, task.problem)[rule.feature])
        assert has == (number % 2 == 0)
        assert task.solver == (rule.within if has else rule.without)
        assert solving_class(root_branches(env, searches[number])) == task.solver
        assert in_val(env, system.splits, task.problem)
        keys.add(env.problem_key(task.problem))
    assert len(keys) == len(found.tasks) == NUM
    again = tasks_of(system, "regular", NUM, seed)
    assert again.regularity == rule
    assert all(np.array_equal(a.problem, b.problem) for a, b in zip(again.tasks, found.tasks, strict=True))


def test_streams_differ_by_their_seed_and_the_control_has_no_rule() -> None:
    assert any(stream(seed=1).regularity != stream(seed=seed).regularity for seed in range(2, 5))
    control = stream("iid")
    assert control.regularity is None
    assert len({task.solver for task in control.tasks}) > 1


def test_one_class_is_of_no_use_in_any_task_of_its_stream() -> None:
    env: Any = made().env
    found = {seed: stream("useless", seed=seed, num=12) for seed in range(1, 6)}
    for one in found.values():
        problems = np.array([task.problem for task in one.tasks])
        searches = lesson_source(made(), 1, "train").searches(problems)
        for number, task in enumerate(one.tasks):
            branches = root_branches(env, searches[number])
            assert any(branch.of == one.useless and branch.closed and not branch.goal for branch in branches)
            assert solving_class(branches) == task.solver != one.useless
            assert in_val(env, made().splits, task.problem)
        assert len({env.problem_key(problem) for problem in problems}) == len(one.tasks) == 12
    assert len({one.useless for one in found.values()}) > 1


def test_of_unrelated_tasks_with_the_same_features_each_class_solves_as_many() -> None:
    env: Any = made().env
    found = stream("unrelated", num=24)
    assert found.regularity is None
    classes = sorted({task.solver for task in found.tasks})
    assert len(classes) > 1
    counts: dict[bytes, list[int]] = {}
    for task in found.tasks:
        has = features_of(env, task.problem).tobytes()
        counts.setdefault(has, [0] * len(classes))[classes.index(task.solver)] += 1
    whole = 24 // len(classes)
    assert sum(min(own) for own in counts.values()) >= whole
    assert sum(max(own) for own in counts.values()) <= whole + 1
    assert len({env.problem_key(task.problem) for task in found.tasks}) == 24


def test_more_tasks_than_there_are_are_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sos.memory.tasks.MOST_BLOCKS", 1)
    with pytest.raises(
        UserError, match=r"num=4000: 512 draws from split val brought \d+ different problems, and no rule for"
    ):
        tasks_of(made(), "regular", 4000, 1)
    with pytest.raises(UserError, match=r"num=4000: 512 draws from split val brought \d+ different tasks"):
        tasks_of(made(), "iid", 4000, 1)
    with pytest.raises(UserError, match=r"num=4000: 512 draws .* fewer than two classes that are tried in vain"):
        tasks_of(made(), "useless", 4000, 1)
    with pytest.raises(UserError, match=r"num=4000: 512 draws .* fewer tasks whose features tell nothing"):
        tasks_of(made(), "unrelated", 4000, 1)


def test_a_reader_profits_where_there_is_a_rule_and_only_from_what_is_said() -> None:
    none, both = played("none"), played("both")
    assert both.solved[:BLOCK].tolist() == none.solved[:BLOCK].tolist()  # there is nothing to remember yet
    assert 0 < none.solved.sum() < NUM
    assert both.solved.sum() > none.solved.sum()
    filler = played("filler")
    assert filler.solved.tolist() == none.solved.tolist()
    assert filler.context_tokens.sum() > 0
    assert none.context_tokens.sum() == 0
    assert not none.records
    assert both.applied[BLOCK:].mean() > 0.8


def test_arms_keep_what_they_are_named_after(tmp_path: Path) -> None:
    for name in FIRST:
        found = played(name, file=tmp_path / f"{name}.jsonl")
        arm = ARMS[name]
        statuses = {record.succeeded for record in found.records}
        assert statuses <= ({True} if arm.success else set()) | ({False} if arm.failure else set())
        assert statuses or name == "none"
        kinds = {item.name for record in found.records for item in record.items}
        assert kinds <= needed_kinds([name])
        turned = (found.judged != found.solved).any()
        assert not turned if arm.flips == 0 else turned or NUM < 20
        back = load(tmp_path / f"{name}.jsonl", made().dialect)
        assert [record.task_id for record in back] == [record.task_id for record in found.records]
        lessons = [item.lesson for record in found.records if not record.succeeded for item in record.items]
        assert arm.solver == any(lesson is not None and lesson.prefer for lesson in lessons) or arm.failure != "lesson"
        ids = [int(record.task_id.split("-")[1]) for record in back]
        assert ids == sorted(set(ids))


def test_a_memory_that_a_stream_begins_with_is_read_from_the_first_task_on() -> None:
    first = played("both")
    again = played("both", records=first.records)
    assert (again.context_tokens[:BLOCK] > 0).all()
    assert len(again.records) == 2 * len(first.records)


def test_every_verdict_is_turned_round_where_all_are_asked_for() -> None:
    found = play(obedient(), stream().tasks, Arm("lesson", "lesson", flips=1.0), seed=1, block=BLOCK)
    assert (found.judged != found.solved).all()


def records(rng: np.random.Generator, num: int) -> list[Record]:
    env: Any = made().env
    found = []
    for k in range(num):
        lessons = [
            Lesson(int(rng.integers(12)), bool(rng.integers(2)), int(rng.integers(4)))
            for _ in range(rng.integers(0, 3))
        ]
        features = rng.integers(0, 2, 12).astype(np.int8)
        items = tuple(lesson_item(env, lesson) for lesson in lessons) or (
            Item("transcript", no_actions(env), filler=2),
        )
        found.append(Record(str(k), "", bool(rng.integers(2)), features, items))
    return found


def test_the_nearest_records_are_those_of_a_search_through_all() -> None:
    rng, env = np.random.default_rng(4), made().env
    compared = 0
    for _ in range(60):
        memory = records(rng, int(rng.integers(0, 12)))
        features = rng.integers(0, 2, 12).astype(np.int8)
        names = {name for name, has in zip(env.lesson_features, features, strict=True) if has}
        told = []
        for record in memory:
            own = {name for name, has in zip(env.lesson_features, record.features, strict=True) if has}
            lessons = [item.lesson for item in record.items if item.lesson is not None]
            told.append((own, any(env.lesson_features[lesson.condition] in names for lesson in lessons)))
        for k in (1, 2, 4):
            found = retrieve(Arm("lesson", "lesson", k=k), memory, features, np.uint64(3))
            assert [int(record.task_id) for record in found] == naive.nearest(told, names, 12, k)
            compared += len(found)
        each = retrieve(Arm("lesson", "lesson", each=True), memory, features, np.uint64(3))
        assert len({record.succeeded for record in each}) == len(each) == len({record.succeeded for record in memory})
    assert compared > 200


def test_what_is_shown_is_bounded_and_controls_are_as_long() -> None:
    dialect, rng = made().dialect, np.random.default_rng(5)
    changed = 0
    for _ in range(40):
        memory = [record for record in records(rng, 5) if record.items[0].lesson is not None]
        if not memory:
            continue
        for most, room in ((1, 100), (3, 100), (9, 12)):
            tokens = {
                shows: shown(dialect, Arm("lesson", "lesson", shows=shows), memory, most, room, np.uint64(1))
                for shows in ("nearest", "shuffled", "blank")
            }
            assert len({len(found) for found in tokens.values()}) == 1
            assert len(tokens["nearest"]) <= room
            back = read_context(dialect, np.concatenate([[BOS], tokens["nearest"]]))
            wanted = [item for record in memory for item in record.items][: len(back.items)]
            assert 0 < len(back.items) <= most
            assert all(one.equals(other) for one, other in zip(back.items, wanted, strict=True))
            other = read_context(dialect, np.concatenate([[BOS], tokens["shuffled"]]))
            for one, two in zip(back.items, other.items, strict=True):
                assert one.lesson is not None
                assert two.lesson is not None
                assert one.lesson[:2] == two.lesson[:2]
                assert one.lesson.of != two.lesson.of
                changed += 1
            assert not any(
                item.lesson for item in read_context(dialect, np.concatenate([[BOS], tokens["blank"]])).items
            )
    assert changed > 50


def test_unknown_arms_are_refused_by_their_name() -> None:
    for names, message in (
        (["both", "most"], "arms: 'most' is none of none, success"),
        ([], "each once"),
        (["raw", "raw"], "each once"),
    ):
        with pytest.raises(UserError, match=message):
            check_arms(names)


def test_differences_are_paired_over_tasks_and_bases() -> None:
    rng = np.random.default_rng(6)

    def one(rate: float) -> Played:
        solved = rng.random(30) < rate
        return Played(solved, solved, np.full(30, 10), np.full(30, 4), solved, [])

    found = {
        name: [[one(rate), one(rate)] for _ in range(3)]
        for name, rate in (("none", 0.4), ("both", 0.8), ("filler", 0.4))
    }
    rows = rows_of(found)
    by_hand = np.mean(
        [float(b.solved[k]) - float(a.solved[k]) for x, y in zip(found["none"], found["both"], strict=True)
         for a, b in zip(x, y, strict=True) for k in range(30)]
    )  # fmt: skip
    gained = difference(rows[1], rows[0])
    assert gained.value == pytest.approx(by_hand)
    assert gained.tasks.low < gained.value < gained.tasks.high
    assert gained.bases is not None
    assert rows[1].tokens_per_solved == pytest.approx(1800 / sum(p.solved.sum() for s in found["both"] for p in s))
    text = table(rows).splitlines()
    assert len(text) == 5
    assert len({line.count("|") for line in text}) == 1
    plain_rows = as_plain(rows)
    assert set(plain_rows[1]["minus"]) == {"none", "filler"}
    assert np.array(plain_rows[1]["outcomes"]).shape == (3, 60)
    assert figure(rows, 30).axes


@dataclass
class Trying(Obedient):
    """Attempts that differ: number `s` tries class `s` first, whatever it is told, and so its outcome is known."""

    def attempts(
        self, problems: Sequence[np.ndarray], contexts: Sequence[np.ndarray], seed: int, first: int, num: int
    ) -> list[list[Answer]]:
        found = []
        for sample in range(num):
            lesson = [lesson_item(self.system.env, Lesson(11, True, sample))]  # a condition that every problem has
            tokens = [write_context(self.system.dialect, lesson)] * len(problems)
            found.append(self.answer(problems, tokens))
        return [[answers[k] for answers in found] for k in range(len(problems))]


def test_of_several_attempts_the_first_right_one_counts_and_their_contrast_says_what_failed_and_what_did_not() -> None:
    env: Any = made().env
    model: Any = None
    tasks = stream().tasks
    trying = Trying(model, made(), 4)
    every = trying.attempts([task.problem for task in tasks], [np.zeros(0, np.int64)] * NUM, 1, 0, 3)
    right = np.array([[answer.verdict.solved for answer in answers] for answers in every])
    best, apart, together = (
        play(trying, tasks, ARMS[name], seed=1, block=BLOCK) for name in ("best_of_3", "apart_3", "contrast_3")
    )
    assert best.solved.tolist() == right.any(1).tolist()
    assert best.tokens.tolist() == [sum(answer.tokens for answer in answers) for answers in every]
    assert (right.any(1) & ~right.all(1)).sum() > NUM // 8
    assert not best.records
    lessons = {record.task_id: [item.lesson for item in record.items] for record in together.records}
    own: dict[str, list[Lesson | None]] = {}
    for record in apart.records:
        own.setdefault(record.task_id, []).extend(item.lesson for item in record.items)
    contrasted = 0
    for k, answers in enumerate(every):
        branches = [root_branches(env, answer.trace) for answer in answers]
        solving = [solving_class(found) for found, own_right in zip(branches, right[k], strict=True) if own_right]
        said = lessons.get(f"1-{k}", [])
        assert len(set(said)) == len(said)
        prefers = [lesson.of for lesson in said if lesson is not None and lesson.prefer]
        avoids = {lesson.of for lesson in said if lesson is not None and not lesson.prefer}
        assert prefers == list(dict.fromkeys(solving))
        assert not avoids & set(solving[:1])
        assert avoids <= {lesson.of for lesson in own.get(f"1-{k}", []) if lesson and not lesson.prefer} | {
            branch.of for found in branches for branch in found if branch.closed
        }
        contrasted += bool(avoids and prefers)
    assert contrasted > 0
    text = table(rows_of({"best_of_3": [[best]], "contrast_3": [[together]]}))
    assert "minus the best of as many" in text
    assert "minus the best" not in table(rows_of({"none": [[best]]}))


def test_drawn_attempts_are_functions_of_their_task_and_number(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[list[int]] = []

    def recorded(*args: Any, **more: Any) -> list[Rollout]:
        found = rollout(*args, **more)
        written.extend(answer.tokens.tolist() for answer in found)
        return found

    monkeypatch.setattr("sos.memory.play.rollout", recorded)
    config, system = compose(WORDS), made()
    torch.manual_seed(0)
    player = Player(GPT(gpt_config(config, len(system.dialect.vocab))), system, 4, max_tokens=20)
    problems = [task.problem for task in stream().tasks[:3]]
    contexts = [np.zeros(0, np.int64)] * 3

    assert [len(answers) for answers in player.attempts(problems, contexts, 7, 4, 3)] == [3, 3, 3]
    together = written.copy()
    assert len({str(tokens) for tokens in together[:3]}) == 3
    player.attempts(problems[1:2], contexts[:1], 7, 5, 3)  # the same task, asked for alone: it is known
    assert len(written) == 9
    player.known.clear()
    player.attempts(problems[1:2], contexts[:1], 7, 5, 3)
    assert written[9:] == together[3:6]
    player.attempts(problems[1:2], contexts[:1], 8, 5, 3)
    assert written[12:] != together[3:6]
    player.attempts(problems, contexts, 7, 4, 1)
    assert len(written) == 15 + 3
    player.answer(problems, contexts)
    assert len(written) == 15 + 3


def test_a_model_answers_greedily_and_each_prompt_once() -> None:
    config, system = compose(WORDS), made()
    torch.manual_seed(0)
    player = Player(GPT(gpt_config(config, len(system.dialect.vocab))), system, 4, max_tokens=20)
    problems = [task.problem for task in stream().tasks[:3]]
    contexts = [np.zeros(0, np.int64)] * 3
    first = player.answer(problems, contexts)
    assert [answer.tokens for answer in first] == [
        answer.tokens for answer in player.answer(problems[::-1], contexts)[::-1]
    ]
    assert len(player.known) == 3
    assert all(np.array_equal(answer.trace.problem, problem) for answer, problem in zip(first, problems, strict=True))
    assert all(0 < answer.tokens <= 20 for answer in first)
    lesson = shown(system.dialect, ARMS["both"], played("both").records[:1], 4, 100, np.uint64(0))
    player.answer(problems, [lesson] * 3)
    assert len(player.known) == 6
    assert len(encode_prompt(system.dialect, problems[0], lesson)) < system.context
