"""Contexts of every environment in each of its dialects: written as the templates say, read back, and told from the problem."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pytest
from drivers import damage
from naive.contexts import words_of_actions
from sizes import plain

from sos.compose import compose
from sos.context.forms import read_context, write_context
from sos.context.items import NAMES, WHOLE_STREAMS, Item, hint, no_actions, said, said_columns
from sos.context.vocab import with_slot
from sos.data.contexts import ContextSource
from sos.data.traces import TraceChunk
from sos.datasets.source import build_source, build_trace_source, context_source
from sos.errors import UserError
from sos.schema.slot import DOSES
from sos.stream.codec import DecodeStatus, decode, encode, encode_prompt
from sos.stream.dialect.compile import Dialect, compile_dialect, load_dialect
from sos.stream.dialect.vocab import BOS, EOS
from sos.stream.read.places import places
from sos.stream.verify import verify_tokens
from sos.system import System, build_system
from sos.trace import PARENT, Trace

# A small run of every environment, in its default dialect.
TASKS = {
    "countdown": ["experiment=smoke"],
    "countdown, digits": ["experiment=smoke", "stream=checked_dense", "data.context=200"],
    "path_star": ["experiment=path_star"],
    "layered": ["experiment=layered"],
    "maze": ["experiment=maze"],
    "sokoban": ["experiment=sokoban"],
    "sudoku": ["experiment=sudoku"],
    "sat": ["experiment=sat"],
}
# The others take long to compile and are slow; `tests/test_plain.py` runs all of them as plain Python.
FAST = ("countdown", "countdown, digits", "path_star")
CASES = [task if task in FAST else pytest.param(task, marks=pytest.mark.slow) for task in TASKS]
NUM = plain(40, 4)


class Case(NamedTuple):
    system: System
    source: ContextSource
    traces: list[Trace]
    plans: dict[int, np.ndarray]  # by the number of the trace


@cache
def case(task: str) -> Case:
    """Searches of a task, and their plans."""
    config = compose([*TASKS[task], "slot=hint", "data.context=4096"])
    system = build_system(config)
    source = context_source(system, config.seed, "train")
    assert source is not None
    traces = build_trace_source(config)
    rows, num, _ = traces.fill(0, NUM)
    plans = {int(visit): plan for visit, plan in source.plans(rows, num).items()}
    chunk: TraceChunk = traces.chunk(0, NUM)
    assert chunk.visits.tolist() == list(range(NUM))
    return Case(system, source, list(chunk.traces()), plans)


def items_of(task: str) -> Iterator[Item]:
    """Hints of every dose for every problem that has one, and the other kinds of items."""
    system, _, traces, plans = case(task)
    for number, plan in plans.items():
        for dose in DOSES:
            yield hint(system.env, dose, plan, traces[number])
        yield Item("hint:plan", no_actions(system.env), filler=1 + number % 5)


def dialects_of(task: str) -> list[Dialect]:
    """Every dialect that is shipped for the task's environment and can be compiled for it, with a slot."""
    system = case(task).system
    found = []
    for path in sorted(system.env.dialects.iterdir(), key=str):
        try:
            found.append(with_slot(load_dialect(path.name.removesuffix(".yaml"), system.env, 120), ["hint"]))
        except UserError as error:
            if "stream.whole_max" not in str(error):
                raise
    return found


@pytest.mark.parametrize("task", CASES)
def test_the_plan_is_a_path_from_the_root_to_a_goal(task: str) -> None:
    """Judged by a stream that says nothing else: its forms are those of the search, and its verdict is the reader's."""
    system, _, traces, plans = case(task)
    shown = 0
    for number, trace in enumerate(traces):
        verdict = verify_tokens(system.dialect, system.env, trace.problem, encode(system.dialect, trace)[0])[0]
        assert number not in plans or verdict.solved or verdict.goal_event < 0
        if verdict.solved and not verdict.refuted:
            path, node = [], int(trace.events[verdict.goal_event, 1])
            while node > 0:
                path.append(node)
                node = int(trace.nodes[node, PARENT])
            assert np.array_equal(plans[number], trace.nodes[path[::-1], 2:])
            shown += 1
    assert shown > NUM // 5


@pytest.mark.parametrize("task", CASES)
def test_what_is_written_is_what_the_templates_say_and_reads_back(task: str) -> None:
    system = case(task).system
    written = 0
    for dialect in [system.dialect, *dialects_of(task)]:
        for item in items_of(task):
            try:
                tokens = write_context(dialect, [item])
            except UserError as error:  # a trace with a jump that the dialect has no words for
                if item.trace is None or "cannot write event" not in str(error):
                    raise
                continue
            texts = [dialect.vocab.tokens[token] for token in tokens]
            head = ["<context>", f"<{item.name}>"]
            if item.filler:
                assert texts == [*head, *["<filler>"] * item.filler, "</context>"]
            elif item.trace is None:
                assert texts == [*head, *words_of_actions(dialect, item), "</context>"]
            else:
                assert texts[2:-1] == [dialect.vocab.tokens[t] for t in encode(dialect, item.trace)[0][1:-1]]
            back = read_context(dialect, np.concatenate([[BOS], tokens]))
            assert back.sound
            assert back.position == len(tokens) + 1
            assert len(back.items) == 1
            read = back.items[0]
            if item.trace is None:
                assert read.equals(item)
            else:
                assert read.trace is not None
                assert np.array_equal(read.trace.nodes[:, PARENT], item.trace.nodes[:, PARENT])
                assert np.array_equal(write_context(dialect, [read]), tokens)
            written += 1
    assert written > 100 or NUM < 40


@pytest.mark.parametrize("task", CASES)
def test_the_problem_behind_a_context_reads_as_without_one(task: str) -> None:
    system, _, traces, _ = case(task)
    dialect, env = system.dialect, system.env
    items = list(items_of(task))
    tried = 0
    for number, trace in enumerate(traces):
        tokens, align, prompt = encode(dialect, trace)
        context = write_context(dialect, [items[(7 * number + k) % len(items)] for k in range(1 + number % 3)])
        with_context = np.concatenate([tokens[:1].astype(np.int64), context, tokens[1:]])
        bare, found = decode(dialect, env, tokens), decode(dialect, env, with_context)
        assert found.trace.equals(bare.trace)
        assert found.status == bare.status == DecodeStatus.OK
        assert found.position == len(with_context)
        assert found.align.tolist() == [0] * len(context) + align.tolist()
        one, two = (
            verify_tokens(dialect, env, trace.problem, tokens),
            verify_tokens(dialect, env, trace.problem, with_context),
        )
        assert one[0].solved == two[0].solved
        assert np.array_equal(one[0].errors, two[0].errors)
        assert encode_prompt(dialect, trace.problem, context) == with_context[: prompt + len(context)].tolist()
        back = read_context(dialect, with_context)
        assert back.sound
        assert back.position == 1 + len(context)
        assert len(back.items) == 1 + number % 3
        said_of = places(dialect, env, with_context)
        assert [place.field for place in said_of[1 : 1 + len(context)]] == ["context"] * len(context)
        assert said_of[1 + len(context) :] == places(dialect, env, tokens)[1:]
        tried += 1
    assert tried == NUM


@pytest.mark.parametrize("task", CASES)
def test_the_slot_adds_tokens_behind_those_of_the_dialect_and_changes_no_stream(task: str) -> None:
    words = [*TASKS[task], "data.context=4096"]
    off, on = build_system(compose(words)), case(task).system
    assert off.dialect.slot is None
    assert off.slot is None
    size = len(off.dialect.vocab)
    assert on.dialect.vocab.tokens[:size] == off.dialect.vocab.tokens
    assert on.dialect.vocab.tokens[size:] == (
        "<context>", "</context>", "<then>", "<filler>", *(f"<{name}>" for name in NAMES["hint"])
    )  # fmt: skip
    assert "<context>" not in off.dialect.vocab.ids
    always_bare = compose([*words, "slot=hint", "slot.dropout=1.0"])
    one = build_source(compose(words), off).chunk(0, NUM)
    two = build_source(always_bare, build_system(always_bare)).chunk(0, NUM)
    assert np.array_equal(one.tokens, two.tokens)
    assert np.array_equal(one.prompts, two.prompts)


@pytest.mark.parametrize("task", CASES)
def test_any_integers_are_read_and_what_is_sound_is_as_it_would_be_written(task: str) -> None:
    dialect = case(task).system.dialect
    rng = np.random.default_rng(5)
    items, size = list(items_of(task)), len(dialect.vocab)
    sound = unsound = 0
    for number in range(plain(600, 20)):
        item = items[int(rng.integers(len(items)))]
        tokens = np.concatenate([[BOS], write_context(dialect, [item]), [EOS]])
        if number % 3:
            tokens = damage(rng, tokens, size)
        elif number % 2:
            tokens[2:-2] = rng.integers(-1, size + 1, len(tokens) - 4)
        found = read_context(dialect, tokens)
        assert 0 <= found.position <= len(tokens)
        sound, unsound = sound + found.sound, unsound + (not found.sound)
        if found.sound and found.items and all(item.trace is None for item in found.items):
            assert np.array_equal(write_context(dialect, found.items), tokens[1 : found.position])
        decode(dialect, dialect.env, tokens)
    assert sound > 5
    assert unsound > 5
    rubbish = rng.integers(-(2**62), 2**62, 50)
    assert read_context(dialect, rubbish).position == 1
    assert not read_context(dialect, np.concatenate([[BOS, dialect.slot.begin], rubbish])).sound  # type: ignore[union-attr]


def test_a_context_that_never_ends_hides_the_problem() -> None:
    system, _, traces, _ = case("countdown")
    dialect = system.dialect
    tokens = encode(dialect, traces[0])[0].astype(np.int64)
    open_ended = np.concatenate([tokens[:1], [dialect.slot.begin], tokens[1:]])  # type: ignore[union-attr]
    found = decode(dialect, system.env, open_ended)
    assert (found.status, found.position) == (DecodeStatus.NO_PROMPT, len(open_ended))
    assert found.align.tolist() == [-1] * len(open_ended)
    assert not read_context(dialect, open_ended).sound


def test_demonstrations_and_transcripts_have_the_form_of_a_whole_stream() -> None:
    system, _, traces, plans = case("countdown")
    plain_dialect = build_system(compose(TASKS["countdown"])).dialect
    dialect = with_slot(plain_dialect, ["hint", "demonstration", "transcript"])
    items = [
        Item("demonstration", no_actions(system.env), traces[0]),
        Item("transcript", no_actions(system.env), traces[1]),
    ]
    number = next(iter(plans))
    items.append(hint(system.env, "plan", plans[number], traces[number]))
    back = read_context(dialect, np.concatenate([[BOS], write_context(dialect, items)]))
    assert back.sound
    assert [item.name for item in back.items] == ["demonstration", "transcript", "hint:plan"]
    assert set(WHOLE_STREAMS) > {"demonstration", "transcript"}
    with pytest.raises(UserError, match="no item demonstration; known are hint:classes"):
        write_context(system.dialect, items)


def test_doses_say_what_they_are_named_after() -> None:
    env: Any = case("countdown").system.env
    columns = {field[0].column: name for name, field in env.fields.items() if field[0].row == "action"}
    names = {dose: [columns[c] for c in said_columns(env, f"hint:{dose}")] for dose in DOSES if dose != "trace"}
    operands = sorted(["a", "op", "b"], key=[columns[c] for c in sorted(columns)].index)
    assert {dose: sorted(found) for dose, found in names.items()} == {
        "classes": ["op"],
        "first": sorted(operands),
        "actions": sorted(operands),
        "plan": sorted([*operands, "result"]),
    }
    star: Any = case("path_star").system.env  # no classes, and nothing follows from an action
    assert [said_columns(star, f"hint:{dose}") for dose in DOSES[:4]] == [[0]] * 4
    plan = np.array([[5], [3], [5]], np.int32)
    assert said(star, "hint:classes", plan).tolist() == [[3], [5]]
    assert said(star, "hint:first", plan).tolist() == [[5]]


def test_a_dialect_that_has_the_words_of_the_slot_is_refused() -> None:
    env: Any = case("path_star").system.env
    forms = {"root": "{edges} / {start} {target} =", "generate": "{to}", "dead_end": "x", "goal": "!"}
    forms |= {"backtrack": "<context> {depth} {node}", "end_solved": "", "end_exhausted": "none", "end_budget": "..."}
    source = {"name": "taken", "spacing": "free", "forms": forms, "record_separator": "|"}
    dialect = compile_dialect(source, env, 120)
    with pytest.raises(UserError, match="dialect taken has the word <context>"):
        with_slot(dialect, ["hint"])
    with pytest.raises(UserError, match="slot=hint gives it one"):
        write_context(dialect, [])


def test_an_item_that_says_nothing_is_refused() -> None:
    system = case("countdown").system
    with pytest.raises(UserError, match="hint:plan of a context says nothing"):
        write_context(system.dialect, [Item("hint:plan", no_actions(system.env))])
