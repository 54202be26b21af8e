"""Searches of which parts are left out: what is written, what is read of it, and how it is judged."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drivers import damage, tokenize
from hand_made_mazes import row_of
from maze_streams import dialect_of, judged, problems_of, read
from naive import dropping as naive
from naive import maze as naive_maze
from sizes import INTERPRETED, plain

from sos.compose import compose
from sos.config import StreamConfig
from sos.data.coverage import view_ceiling
from sos.data.splits import sample_problems
from sos.datasets.source import build_source, recipe
from sos.envs.maze.rules import Maze
from sos.envs.path_star.rules import PathStar
from sos.errors import UserError
from sos.search import AStar
from sos.search.run import run_search
from sos.stream.added import AddedView
from sos.stream.codec import DecodeStatus, decode, encode
from sos.stream.dialect.compile import Dialect, compile_dialect
from sos.stream.dialect.source import load_source
from sos.stream.dropping import dropping_view
from sos.stream.read.places import places
from sos.stream.verify import Error
from sos.stream.viewing import view_trace
from sos.stream.views import apply_view, new_view_work, oracle_of
from sos.system import build_system
from sos.trace import KIND, OK, PARENT, Event, Flag, Trace, TraceBuffer, new_buffer, to_trace

# tests/test_plain.py runs this file as plain Python; compiled it takes half a minute.
pytestmark = [] if INTERPRETED else [pytest.mark.slow]
ENVS = [Maze(6, 6, coordinates=True), Maze(7, 6)]
STRATEGIES = [AStar(1), AStar(1, ties=3, shuffle=True), AStar(0)]
SKETCHES = ("no_close", "no_cost", "drop")
EQUAL = [0.2, 0.2, 0.2, 0.2, 0.2]


def view_of(name: str, dialect: Dialect, **keys: Any) -> AddedView:
    return dropping_view(StreamConfig(view=name, plan=True, **keys), dialect)


def shown_as(
    view: AddedView, env: Maze, row: np.ndarray, key: int = 0, strategy: Any = STRATEGIES[0], *, compiled: bool = False
) -> Trace:
    """Return the view of a search: of the kernel's source in plain Python, which takes less time than to compile it."""
    trace = run_search(strategy, env, row, 2000)
    if compiled:
        return view_trace(view, env, trace, key=key, max_nodes=500)
    counts = np.array([len(trace.events), len(trace.nodes), len(trace.states)])
    source = TraceBuffer(trace.events, trace.nodes, trace.states, counts)
    out = new_buffer(1000, 500, trace.nodes.shape[1], trace.states.shape[1])
    interpreted = getattr(apply_view, "py_func", apply_view)
    assert interpreted(view, np.uint64(key), env, row, oracle_of(env), source, out, new_view_work(env, 500)) == OK
    return to_trace(row, out)


def parts(dialect: Dialect, trace: Trace) -> tuple[str, str, str]:
    """Return prompt, search and plan of a stream, as text."""
    tokens, _, num_prompt = encode(dialect, trace)
    search, plan, rest = dialect.text(tokens[num_prompt:]).partition("plan")
    return dialect.text(tokens[:num_prompt]), search.strip(), plan + rest


# What is written


def test_what_is_left_is_what_the_published_code_leaves() -> None:
    env, tried, fewer = ENVS[0], 0, 0
    dialect, published = dialect_of("dropped", env), dialect_of("published", env)
    keep = view_of("dropping", dialect, dropping=[1.0, 0.0, 0.0, 0.0, 0.0])
    for row in problems_of(env, plain(30, 3)):
        tokens, _, num_prompt = encode(published, shown_as(keep, env, row))
        search, word, plan = published.text(tokens[num_prompt:]).partition("plan")
        for name, expected in (("no_close", naive.no_close(search)), ("no_cost", naive.no_cost(search))):
            assert parts(dialect, shown_as(view_of(name, dialect), env, row)) == (
                published.text(tokens[:num_prompt]),
                expected,
                word + plan,
            )
        share = (tried % 11) / 10
        left = naive.creates(parts(dialect, shown_as(view_of("drop", dialect, drop=share), env, row, key=tried))[1])
        every = naive.creates(search)
        number = len(every) - 1 - int((len(every) - 1) * share)
        assert len(left) == (number + 1 if number else 0)
        following = iter(every)
        assert all(any(clause == other for other in following) for clause in left)  # in their order
        fewer += len(left) < len(every)
        tried += 1
    assert tried == plain(30, 3)
    assert fewer > plain(20, 0)


def test_reference_traces_lose_what_is_left_out(reference: Path) -> None:
    tried = 0
    for line in (reference / "maze" / "astar.jsonl").read_text().splitlines()[: plain(30, 2)]:
        record = json.loads(line)
        env = Maze(record["width"], record["height"], coordinates=True)
        dialect = dialect_of("dropped", env)
        cells = [tuple(cell) for cell in (record["start"], record["goal"], *record["walls"])]
        row = row_of(env, naive_maze.Maze(env.width, env.height, cells[0], cells[1], frozenset(cells[2:])))
        for name, expected in (("no_close", naive.no_close), ("no_cost", naive.no_cost)):
            trace = shown_as(view_of(name, dialect), env, row)
            assert parts(dialect, trace) == (record["prompt"], expected(record["trace"]), record["plan"])
            assert not judged(env, trace).errors.any()
            tried += 1
    assert tried == plain(60, 4)


def test_the_schedule_is_a_function_of_the_key_with_these_chances() -> None:
    env = ENVS[0]
    dialect, row = dialect_of("dropped", env), problems_of(env, 1)[0]
    view, num = view_of("dropping", dialect, dropping=[0.4, 0.3, 0.15, 0.1, 0.05]), plain(600, 60)
    counts, shares = Counter[str](), []
    creates = int((run_search(STRATEGIES[0], env, row, 2000).events[:, KIND] == Event.GENERATE).sum())
    for key in range(num):
        trace = shown_as(view, env, row, key * 7919)
        told, flags = int((trace.events[:, KIND] == Event.GENERATE).sum()), int(trace.events[0, 4])
        if told in (0, creates):
            kinds = {0: "keep" if told else "plan_only", int(Flag.UNTOLD): "no_close"}
            counts[kinds.get(flags, "no_cost")] += 1
        else:
            counts["drop"] += 1
            shares.append(1 - told / creates)
        if key < 20:
            assert shown_as(view, env, row, key * 7919).equals(trace)
    assert max(shares) <= 0.4
    assert min(shares) >= 0.1 - 1 / creates
    expected = {"keep": 0.4, "no_close": 0.3, "no_cost": 0.15, "drop": 0.1, "plan_only": 0.05}
    for name, chance in expected.items():
        assert abs(counts[name] / num - chance) < 4 * (chance * (1 - chance) / num) ** 0.5, counts


# What is read


@pytest.mark.parametrize("env", ENVS)
def test_streams_read_back_and_every_node_follows_from_one_before(env: Maze) -> None:
    dialect, tried, mistakes, kinds = dialect_of("dropped", env), 0, Counter[str](), set()
    for row in problems_of(env, plain(12, 1)):
        for strategy in STRATEGIES:
            for name in (*SKETCHES, "dropping"):
                shown = shown_as(view_of(name, dialect, dropping=EQUAL), env, row, tried, strategy)
                tokens, align, _ = encode(dialect, shown)
                found = decode(dialect, env, tokens)
                assert found.status == DecodeStatus.OK
                assert found.trace.equals(shown), dialect.text(tokens)
                assert np.array_equal(found.align, align)
                assert tokenize(dialect.vocab.tokenizer(), dialect.text(tokens)).tolist() == tokens.tolist()
                assert len(places(dialect, env, tokens)) == len(tokens)
                verdict = judged(env, shown)
                assert verdict.planned
                assert verdict.solved == (int(shown.events[0, 4]) == 0 and Event.GOAL in shown.events[:, KIND])
                kinds |= {int(flags) for flags in shown.events[:, 4]}
                for code in verdict.errors.tolist():
                    mistakes[f"{name} {Error(code).name}"] += code > 0
                tried += 1
    assert tried == 12 * plain(12, 1)
    assert kinds >= {0, Flag.UNTOLD, Flag.UNTOLD | Flag.BARE, Flag.BARE}
    assert {name for name, num in mistakes.items() if num} <= {
        f"{v} {e}" for v in ("drop", "dropping") for e in ("OPERAND", "ARITHMETIC")
    }
    assert mistakes["drop OPERAND"] > plain(10, -1)


def test_parents_and_costs_are_those_of_the_oracle() -> None:
    env, tried, wrong = ENVS[0], 0, 0
    dialect = dialect_of("dropped", env)
    for row in problems_of(env, plain(20, 2)):
        for name in SKETCHES:
            trace = shown_as(view_of(name, dialect, drop=0.4), env, row, tried, STRATEGIES[tried % 3])
            _, search, _ = parts(dialect, trace)
            expected, errors = naive.read(read(env, row), search), judged(env, trace).errors
            num = len(expected)
            assert trace.nodes[:num, PARENT].tolist() == [told.parent for told in expected]
            assert trace.states[:num].tolist() == [[*told.cell, told.cost, told.estimate] for told in expected]
            made = trace.events[:, KIND] == Event.GENERATE
            assert (errors[made] > 0).tolist() == [told.wrong for told in expected[1:]]
            wrong += sum(told.wrong for told in expected)
            tried += 1
    assert tried == 3 * plain(20, 2)
    assert wrong > plain(20, -1)


def test_a_node_that_follows_from_none_is_seen() -> None:
    """Every cell, cost and estimate of a sketch is checked: each single change of a number is a mistake, or reads as true."""
    env, tried, seen = ENVS[0], 0, 0
    dialect = dialect_of("dropped", env)
    tokenizer = dialect.vocab.tokenizer()
    for row in problems_of(env, plain(6, 1)):
        maze = read(env, row)
        for name in ("no_close", "no_cost"):
            prompt, search, plan = parts(dialect, shown_as(view_of(name, dialect), env, row))
            words = search.split()
            per = 5 if name == "no_close" else 3
            for at in range(per, len(words)):
                if words[at] == "create":
                    continue
                other = list(words)
                other[at] = re.sub("[0-9]+", lambda number: str((int(number[0]) + 1) % 6), words[at])
                tokens = tokenize(tokenizer, f"{prompt} {' '.join(other)} {plan}")
                found = decode(dialect, env, tokens)
                expected = naive.read(maze, " ".join(other))
                errors = judged(env, found.trace).errors
                made = found.trace.events[:, KIND] == Event.GENERATE
                assert found.status == DecodeStatus.OK
                assert (errors[made] > 0).tolist() == [told.wrong for told in expected[1:]]
                seen += errors.any()
                tried += 1
    assert tried > plain(300, 40)
    assert seen > tried / 2


@pytest.mark.parametrize("env", ENVS)
def test_damaged_streams_are_judged_as_the_oracle_judges_them(env: Maze) -> None:
    rng, dialect, counts = np.random.default_rng(5), dialect_of("dropped", env), Counter[str]()
    views = [view_of(name, dialect, dropping=EQUAL) for name in (*SKETCHES, "dropping")]
    streams = [
        encode(dialect, shown_as(views[k % 4], env, row, k))[0].astype(np.int64)
        for k, row in enumerate(problems_of(env, plain(80, 4)))
    ]
    num = plain(1500, 30)
    for _ in range(num):
        wrong = damage(rng, streams[rng.integers(len(streams))], len(dialect.vocab))
        found = decode(dialect, env, wrong)
        if found.status == DecodeStatus.NO_PROMPT:
            counts["unread"] += 1
            continue
        verdict = judged(env, found.trace)
        counts["planned"] += verdict.planned
        counts["solved"] += verdict.solved
        counts.update(Error(code).name for code in set(verdict.errors.tolist()) - {0})
    expected = ("unread", "planned", "solved", "OPERAND", "ILLEGAL", "ARITHMETIC", "STATE", "JUMP", "ORDER", "QUOTE")
    assert all(counts[name] > plain(0, -1) for name in expected), counts


# In a run


@pytest.mark.slow
@pytest.mark.parametrize("env", ENVS)
def test_compiled_views_are_those_of_the_source(env: Maze) -> None:
    dialect, tried = dialect_of("dropped", env), 0
    for row in problems_of(env, plain(40, 1)):
        for name in (*SKETCHES, "dropping"):
            view = view_of(name, dialect, dropping=EQUAL)
            shown = shown_as(view, env, row, tried, STRATEGIES[tried % 3])
            assert shown_as(view, env, row, tried, STRATEGIES[tried % 3], compiled=True).equals(shown)
            tried += 1
    assert tried == 4 * plain(40, 1)


@pytest.mark.slow
@pytest.mark.parametrize("view", [*SKETCHES, "dropping"])
def test_a_run_is_trained_on_them_and_its_ceiling_is_that_of_the_plan(view: str) -> None:
    config = compose(["experiment=maze", "stream.dialect=dropped", f"stream.view={view}"])
    system = build_system(config)
    chunk = build_source(config, system).chunk(0, plain(20, 2))
    assert len(chunk.prompts) >= plain(15, 1)
    for start, stop in zip(chunk.offsets, chunk.offsets[1:], strict=False):
        assert judged(system.env, decode(system.dialect, system.env, chunk.tokens[start:stop]).trace).planned
    assert view_ceiling(system, sample_problems(system.env, system.splits, "val", plain(20, 1))).all()


def test_records_of_other_views_stay_what_they_were() -> None:
    config = compose(["experiment=maze"])
    stream = recipe(config, "tokens", "train", build_system(config).dialect)["stream"]
    assert set(stream) == {"view", "plan", "dialect", "numbers", "whole_max", "dialect_hash"}


# What is refused


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (
            ["stream.view=no_close"],
            "stream.view=no_close needs a dialect with the form 'begin_sketch'; compact has none",
        ),
        (["stream.view=no_cost"], "stream.view=no_cost needs a dialect with the form 'begin_bare'; compact has none"),
        (
            ["stream.view=drop", "stream.plan=false", "stream.dialect=dropped"],
            "stream.view=drop needs stream.plan=true: without its plan a stream has no answer",
        ),
        (["stream.drop=1.5"], "stream.drop must be at most 1, got 1.5"),
        (["stream.drop=0.2"], "stream.drop=0.2 has no use with stream.view=full"),
        (
            ["stream.view=dropping", "stream.dropping=[0.5,0.6]"],
            "stream.dropping must be five chances that sum to 1, got [0.5,0.6]",
        ),
    ],
)
def test_views_that_cannot_be_are_one_line(overrides: list[str], said: str) -> None:
    with pytest.raises(UserError, match=re.escape(said)) as caught:
        build_system(compose(["experiment=maze", *overrides]))
    assert "\n" not in str(caught.value)


def changed(env: Any, forms: dict[str, str | None], name: str = "dropped") -> Dialect:
    source = load_source(name, env).source
    kept = {form: text for form, text in (source["forms"] | forms).items() if text is not None}
    return compile_dialect(source | {"forms": kept}, env, 99, True)


@pytest.mark.parametrize(
    ("env", "name", "forms", "said"),
    [
        (
            PathStar(),
            "compact",
            {"begin_sketch": "~"},
            "is for actions with facts that follow from the rest, and PathStar has none",
        ),
        (Maze(), "dropped", {"begin_search": None}, "form 'begin_sketch' needs the form 'begin_search'"),
        (Maze(), "dropped", {"begin_bare": None}, "form 'bare' needs the form 'begin_bare'"),
        (Maze(), "dropped", {"bare": None}, "form 'begin_bare' needs the form 'bare'"),
        (Maze(), "dropped", {"bare": ". {cost}"}, "form 'bare' needs {cell}"),
        (
            Maze(),
            "dropped",
            {"bare": "{cell}"},
            "form 'generate' can begin as 'bare' and 'generate' behind each other do",
        ),
        (
            Maze(),
            "dropped",
            {"begin_sketch": "~"},
            "form 'begin_sketch' can begin as 'begin_bare' and 'bare' behind each",
        ),
        (
            Maze(),
            "dropped",
            {"begin_search": "~ {cell} {cost} {estimate} 7 0"},
            "form 'begin_search' can begin as 'begin_sketch' and 'generate' behind each",
        ),
        (
            Maze(),
            "dropped",
            {"begin_sketch": "+ {cell} {cost} {estimate}"},
            "can be the beginning of form 'begin_sketch'",
        ),
    ],
)
def test_forms_that_cannot_be_are_refused(env: Any, name: str, forms: dict[str, str | None], said: str) -> None:
    with pytest.raises(UserError, match=re.escape(said)):
        changed(env, forms, name)


def test_a_dialect_without_the_forms_cannot_write_a_sketch() -> None:
    env = ENVS[1]
    trace = shown_as(view_of("no_cost", dialect_of("dropped", env)), env, problems_of(env, 1)[0])
    with pytest.raises(UserError, match=r"event 0 of the trace: it has no form 'begin_sketch'"):
        encode(dialect_of("compact", env), trace)
