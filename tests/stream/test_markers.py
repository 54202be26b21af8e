"""Markers: what they say is so, they are read as if they were not there, and streams without them are what they were."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from drivers import damage
from naive import markers as naive
from places import ROOT
from shard_sets import job
from sizes import plain

from sos.compose import compose
from sos.config import config_from_dict, config_hash, to_dict
from sos.context.forms import read_context
from sos.datasets.make import generate
from sos.datasets.source import build_source, recipe
from sos.datasets.verify import verify_set
from sos.errors import UserError
from sos.judge.markers import marker_metrics, share
from sos.judge.metrics import ratio_metric
from sos.model.rollout import Rollout
from sos.schema.stream import MARKERS
from sos.search.run import run_search
from sos.stream.codec import Decoded, DecodeStatus, decode, encode, encode_prompt
from sos.stream.markers import Markers, count_markers, find_marks, put_marks
from sos.stream.read.places import MARKER, places
from sos.stream.text import annotate
from sos.stream.verify import verify_tokens
from sos.system import System, build_system
from sos.trace import ACTION, KIND, NODE, Event, Trace

ALL = "stream.markers=[maybe,wait,check,dead]"
NO_RETURNS = "stream.markers=[wait,maybe,check]"
# A small run of every environment that has values; the others have only what needs none.
TASKS = {
    "countdown": ["experiment=smoke", "data.context=200", ALL, "stream.marker_heuristic=sum"],
    "countdown, factors": ["experiment=smoke", "data.context=700", "stream=sos", ALL, "stream.marker_heuristic=mult"],
    "no backtracks": ["experiment=smoke", "data.context=200", "stream.view=no_backtrack", ALL],
    "solution path": ["experiment=smoke", "data.context=200", "stream.view=solution_path", NO_RETURNS],
    "best first": ["experiment=smoke", "data.context=1500", "search=best_first", "stream=sos", ALL],
    "path_star": ["experiment=path_star", "stream.markers=[check,dead]"],
    "maze": ["experiment=maze", ALL],
    "layered": ["experiment=layered", ALL],
    "sokoban": ["experiment=sokoban", "data.context=600", ALL],
    "sudoku": ["experiment=sudoku", "data.context=1000", "stream.markers=[dead,check]"],
    "sat": ["experiment=sat", "data.context=1000", "stream.markers=[dead,check]"],
}
# The others take long to compile and are slow; `tests/test_plain.py` runs all of them as plain Python.
FAST = ("countdown", "countdown, factors", "no backtracks", "solution path", "path_star")
CASES = [task if task in FAST else pytest.param(task, marks=pytest.mark.slow) for task in TASKS]
NUM = plain(40, 6)


class Case(NamedTuple):
    system: System
    words: list[str]
    streams: list[np.ndarray]  # with markers
    visits: list[int]


@cache
def case(task: str, *more: str) -> Case:
    words = [*TASKS[task], *more]
    system, streams, visits = written(words)
    return Case(system, words, streams, visits)


def written(words: list[str], start: int = 0, stop: int = NUM) -> tuple[System, list[np.ndarray], list[int]]:
    config = compose(words)
    system = build_system(config)
    chunk = build_source(config, system).chunk(start, stop)
    streams = [chunk.tokens[a:b].astype(np.int64) for a, b in pairwise(chunk.offsets)]
    assert len(streams) > (stop - start) / 3
    return system, streams, chunk.visits.tolist()


def markers_of(system: System) -> Markers:
    assert system.dialect.markers is not None
    return system.dialect.markers


def names(bits: int) -> set[str]:
    return {name for k, name in enumerate(MARKERS) if bits & (1 << k)}


def insert(markers: Markers, tokens: np.ndarray, rng: np.random.Generator, num: int) -> np.ndarray:
    ids = markers.first + rng.integers(0, len(markers.names), num)
    return np.insert(tokens, np.sort(rng.integers(0, len(tokens) + 1, num)), ids)


def traces(task: str) -> Iterator[Trace]:
    system, _, streams, _ = case(task)
    for tokens in streams:
        yield decode(system.dialect, system.env, tokens).trace


def damaged_traces(task: str, rng: np.random.Generator) -> Iterator[Trace]:
    """Claims, most of which are wrong somewhere, and some of another problem."""
    system, _, streams, _ = case(task)
    for tokens in streams:
        yield decode(system.dialect, system.env, damage(rng, tokens, len(system.dialect.vocab))).trace


@pytest.mark.parametrize("task", ["countdown", "countdown, factors", pytest.param("maze", marks=pytest.mark.slow)])
def test_what_is_seen_is_what_the_slow_way_sees_of_searches_and_of_claims(task: str) -> None:
    system = case(task).system
    rng = np.random.default_rng(3)
    seen: dict[str, int] = dict.fromkeys(MARKERS, 0)
    for trace in [*traces(task), *(trace for _ in range(4) for trace in damaged_traces(task, rng))]:
        if not len(trace.events):
            continue
        try:
            system.env.check_problems(trace.problem[None])
        except ValueError:
            continue
        problem: Any = trace.problem.tolist()
        if task == "maze":
            rules: naive.Rules = naive.Cells(system.env, problem, coordinates=False)
        else:
            heuristic = "mult" if task == "countdown, factors" else "sum"
            rules = naive.Numbers(system.env, problem, heuristic)
        found = [names(int(bits)) for bits in find_marks(markers_of(system), trace)]
        expected = naive.marks(trace, rules, Fraction(1))
        assert found[1:] == expected[1:], (problem, trace.events.tolist())
        for name in MARKERS:
            seen[name] += sum(name in marks for marks in found)
    assert min(seen[name] for name in MARKERS if task != "maze" or name != "dead") >= plain(10, 2), seen


@pytest.mark.parametrize("task", CASES)
def test_what_is_left_of_a_stream_without_its_markers_is_the_stream_without_any(task: str) -> None:
    system, words, streams, visits = case(task)
    bare, without, bare_visits = written([*words, "stream.markers=[]", *_no_heuristic(words)])
    markers = markers_of(system)
    assert system.dialect.vocab.tokens[: markers.first] == bare.dialect.vocab.tokens
    assert [f"<{name}>" for name in markers.names] == list(system.dialect.vocab.tokens[markers.first :])
    plain_streams = dict(zip(bare_visits, without, strict=True))
    assert set(visits) <= set(bare_visits)  # one that markers make too long is left out
    num = 0
    for visit, tokens in zip(visits, streams, strict=True):
        kept = tokens[~markers.are(tokens)]
        num += len(tokens) - len(kept)
        assert kept.tolist() == plain_streams[visit].tolist()
        found, of_bare = decode(system.dialect, system.env, tokens), decode(bare.dialect, bare.env, kept)
        assert found.trace.equals(of_bare.trace)
        assert (found.status, found.position) == (DecodeStatus.OK, len(tokens))
        check_spread(markers, tokens, found, of_bare)
        problem = found.trace.problem
        verdict, expected = (
            verify_tokens(d, system.env, problem, t)[0] for d, t in ((system.dialect, tokens), (bare.dialect, kept))
        )
        assert verdict.errors.tolist() == expected.errors.tolist()
        assert verdict.solved == expected.solved
        # Written alone it is the same, and all that it says is so.
        again, align, prompt = encode(system.dialect, found.trace)
        if task != "no backtracks":  # of which a reader knows the returns, and says so with a flag
            assert again.tolist() == tokens.tolist()
            assert align.tolist() == found.align.tolist()
            assert tokens[:prompt].tolist() == encode_prompt(system.dialect, problem)
        seen = count_markers(markers, found.trace, found.align, tokens)
        assert seen.written.tolist() == seen.right.tolist() == seen.due.tolist()
        assert len(tokens) - len(kept) == seen.written.sum()
    assert num > 0


def check_spread(markers: Markers, tokens: np.ndarray, found: Decoded, without: Decoded) -> None:
    """`found`, read of tokens with markers, is `without`, read of those that are left: for each token, one at a time."""
    assert found.status == without.status
    assert found.trace.equals(without.trace)
    assert len(found.align) == found.position
    kept = 0
    for position, token in enumerate(tokens.tolist()):
        if position >= found.position:
            break
        event = without.align[kept] if kept < without.position else -1
        assert found.align[position] == event  # of a marker: that of the token behind it
        kept += not markers.first <= token < markers.first + len(markers.names)
    assert kept == without.position
    if found.position < len(tokens) and found.status == DecodeStatus.MALFORMED:
        assert not markers.are(tokens[found.position])


def test_any_tokens_are_read_as_if_no_markers_were_among_them() -> None:
    system, words, streams, _ = case("countdown")
    bare = build_system(compose([*words, "stream.markers=[]", *_no_heuristic(words)]))
    markers, rng = markers_of(system), np.random.default_rng(1)
    statuses = set()
    for _ in range(plain(1000, 150)):
        tokens = streams[rng.integers(len(streams))]
        tokens = tokens[~markers.are(tokens)]
        how = rng.integers(4)
        if how == 1:
            tokens = damage(rng, tokens, markers.first)
        elif how == 2:
            tokens = tokens[: rng.integers(len(tokens) + 1)]
        elif how == 3:
            tokens = rng.integers(-3, markers.first + 9, rng.integers(0, 20))
        tokens = tokens[~markers.are(tokens)]  # damage makes some
        marked = insert(markers, tokens, rng, int(rng.integers(0, 9)))
        found, without = decode(system.dialect, system.env, marked), decode(bare.dialect, bare.env, tokens)
        check_spread(markers, marked, found, without)
        statuses.add(found.status)
        seen = count_markers(markers, found.trace, found.align, marked)
        assert (seen.right <= np.minimum(seen.written, seen.due)).all()
        assert seen.written.sum() == (markers.are(marked[: found.position]) & (found.align != 0)).sum()
        if len(without.trace.events):
            annotate(system.dialect, system.env, without.trace.problem, marked)
    assert statuses >= {DecodeStatus.OK, DecodeStatus.TRUNCATED, DecodeStatus.MALFORMED, DecodeStatus.NO_PROMPT}


@pytest.mark.parametrize("how", ["shuffled", "late"])
def test_moved_markers_are_as_many_at_bounds_of_events_of_the_same_stream(how: str) -> None:
    system, words, streams, visits = case("countdown")
    _, moved, moved_visits = written([*words, f"stream.marker_places={how}"])
    markers = markers_of(system)
    assert moved_visits == visits
    differ = elsewhere = 0
    for observed, other in zip(streams, moved, strict=True):
        a, b = ~markers.are(observed), ~markers.are(other)
        assert observed[a].tolist() == other[b].tolist()
        found = decode(system.dialect, system.env, observed)
        align = found.align[a]
        bounds = {0, *(np.flatnonzero(np.diff(align)) + 1).tolist()} - {0}
        at, to = (where(markers, tokens) for tokens in (observed, other))
        assert {place for place, _ in to} <= bounds
        assert len(set(to)) == len(to)
        if how == "shuffled":
            assert sorted(kind for _, kind in at) == sorted(kind for _, kind in to)
        else:
            ordered = sorted(bounds)
            later = {(ordered[min(ordered.index(place) + 1, len(ordered) - 1)], kind) for place, kind in at}
            assert set(to) == later
        differ += observed.tolist() != other.tolist()
        elsewhere += len(set(to) - set(at))
    assert differ > len(streams) / 2
    assert elsewhere > len(streams)
    # A pure function of the visit, whatever it is asked for with; and another one for another seed.
    _, part, part_visits = written([*words, f"stream.marker_places={how}"], 2, 6)
    assert [s.tolist() for s in part] == [moved[visits.index(visit)].tolist() for visit in part_visits]


def where(markers: Markers, tokens: np.ndarray) -> list[tuple[int, int]]:
    """Return the place of each marker, counted without markers, and its kind."""
    found, place = [], 0
    for token in tokens.tolist():
        if markers.first <= token < markers.first + len(markers.names):
            found.append((place, token - markers.first))
        else:
            place += 1
    return found


def test_random_places_are_uniform_and_late_ones_never_behind_the_last() -> None:
    markers = Markers(("check", "dead"), 50)
    starts = np.array([0, 4, 7, 7, 9, 12])  # two events of no tokens among six
    marks = np.array([0, 4, 0, 8, 0, 8, 0], np.uint8)
    assert put_marks(markers, marks, starts).positions.tolist() == [4, 7, 12]
    assert put_marks(markers, marks, starts).ids.tolist() == [50, 51, 51]
    late = put_marks(markers, marks, starts, "late")
    assert list(zip(late.positions.tolist(), late.ids.tolist(), strict=True)) == [(7, 50), (9, 51), (12, 51)]
    counts = dict.fromkeys([(place, kind) for place in (4, 7, 9, 12) for kind in (50, 51)], 0)
    for key in range(2000):
        put = put_marks(markers, marks, starts, "shuffled", np.uint64(key))
        assert sorted(put.ids.tolist()) == [50, 51, 51]
        for place, kind in zip(put.positions.tolist(), put.ids.tolist(), strict=True):
            counts[place, kind] += 1
    for (_, kind), num in counts.items():
        assert abs(num - (500 if kind == 50 else 1000)) < 120


def test_counts_of_a_stream_that_says_too_much_too_little_and_within_an_event() -> None:
    system, _, streams, _ = case("countdown")
    markers = markers_of(system)
    check = markers.first + markers.names.index("check")
    tokens = next(t for t in streams if (t == check).any())
    found = decode(system.dialect, system.env, tokens)
    whole = count_markers(markers, found.trace, found.align, tokens)
    at = int(np.flatnonzero(tokens == check)[0])
    kind = markers.names.index("check")

    def counts(changed: np.ndarray) -> list[int]:
        read = decode(system.dialect, system.env, changed)
        assert read.trace.equals(found.trace)
        return [int(part[kind]) for part in count_markers(markers, read.trace, read.align, changed)]

    assert counts(tokens) == [1, 1, 1] == [int(part[kind]) for part in whole]
    assert counts(np.delete(tokens, at)) == [0, 0, 1]
    assert counts(np.insert(tokens, at, check)) == [2, 1, 1]  # said twice
    assert counts(np.insert(np.delete(tokens, at), at + 1, check)) == [1, 0, 1]  # within the goal's words
    assert counts(np.insert(tokens, 1, check)) == [1, 1, 1]  # within the problem, which is no part of an answer
    assert counts(np.append(tokens, [check, check])) == [1, 1, 1]  # behind the end nothing is read
    fields = [place.field for place in places(system.dialect, system.env, tokens)]
    assert [field == MARKER for field in fields] == markers.are(tokens).tolist()
    assert "<check>" in annotate(system.dialect, system.env, found.trace.problem, tokens)


def test_metrics_of_answers_are_ratios_of_all_their_markers_and_missing_without_any() -> None:
    system, words, streams, _ = case("countdown")
    markers, rng = markers_of(system), np.random.default_rng(5)
    answers, seen = [], []
    for tokens in streams:
        prompt = len(encode_prompt(system.dialect, decode(system.dialect, system.env, tokens).trace.problem))
        body = insert(markers, tokens[prompt:], rng, 3)
        changed = np.concatenate([tokens[:prompt], body])
        answers.append(Rollout(changed.astype(np.int32), prompt, True, np.zeros(len(body), np.float32)))
        read = decode(system.dialect, system.env, changed)
        seen.append(count_markers(markers, read.trace, read.align, changed))
    metrics = marker_metrics(system, answers)
    for k, name in enumerate(markers.names):
        written_, right, due = (sum(int(part[k]) for part in parts) for parts in zip(*seen, strict=True))
        assert metrics[f"marker/{name}_density"].value == pytest.approx(written_ / len(answers))
        assert metrics[f"marker/{name}_precision"].value == pytest.approx(right / written_)
        assert metrics[f"marker/{name}_recall"].value == pytest.approx(right / due)
        assert 0 < right < written_
    total = sum(int(part.written.sum()) for part in seen)
    length = sum(len(answer.tokens) - answer.num_prompt for answer in answers)
    assert metrics["marker/density"].value == pytest.approx(total / len(answers))
    assert metrics["marker/share"].value == pytest.approx(total / length)
    bare = build_system(compose([*words, "stream.markers=[]", *_no_heuristic(words)]))
    assert marker_metrics(bare, answers) == {}


def test_intervals_of_shares_end_where_shares_do() -> None:
    most = share(np.array([3, 1, 1, 2]), np.array([3, 1, 2, 2]))
    assert (most.value, most.high) == (0.875, 1.0)
    assert most.low == ratio_metric(np.array([3, 1, 1, 2]), np.array([3, 1, 2, 2])).low
    assert share(np.array([0, 0, 1]), np.array([4, 4, 4])).low == 0.0
    assert share(np.array([0, 0]), np.array([0, 0])).value is None


def test_a_problem_that_cannot_be_posed_has_no_values_and_raises_nothing() -> None:
    system, _, streams, _ = case("countdown")
    trace = decode(system.dialect, system.env, streams[0]).trace
    other = trace.problem.copy()
    other[-1] = 10**6
    marks = find_marks(markers_of(system), trace._replace(problem=other))
    assert {name for bits in marks for name in names(int(bits))} <= {"check", "dead"}


def test_claims_of_nodes_that_do_not_exist_raise_nothing() -> None:
    system, _, streams, _ = case("countdown")
    trace = decode(system.dialect, system.env, streams[0]).trace
    rng = np.random.default_rng(0)
    for _ in range(plain(200, 20)):
        events, nodes = trace.events.copy(), trace.nodes.copy()
        for _ in range(3):
            events[rng.integers(1, len(events)), NODE] = rng.integers(-1, len(nodes))
            events[rng.integers(1, len(events)), KIND] = rng.integers(len(Event) - 2)
            nodes[rng.integers(1, len(nodes)), rng.integers(ACTION, nodes.shape[1])] = rng.integers(-5, 200)
        find_marks(markers_of(system), trace._replace(events=events, nodes=nodes))


@pytest.mark.compiled  # once is enough
def test_a_configuration_without_markers_is_the_one_of_before() -> None:
    config = compose(["experiment=smoke"])
    values = to_dict(config)
    stored = {key: value for key, value in values["stream"].items() if not key.startswith("marker")}
    assert config_hash(values | {"stream": stored}) == config_hash(config)
    assert config_from_dict(values | {"stream": stored}) == config
    dialect = build_system(config).dialect
    assert not [key for key in recipe(config, "tokens", "train", dialect)["stream"] if key.startswith("marker")]
    marked = compose(["experiment=smoke", ALL])
    assert config_hash(marked) != config_hash(config)
    assert recipe(marked, "tokens", "train", build_system(marked).dialect)["stream"]["markers"] == list(
        marked.stream.markers
    )


@pytest.mark.compiled  # once is enough
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["stream.markers=[maybe,perhaps]"], "stream.markers: 'perhaps' is none of wait, maybe, check, dead"),
        (["stream.markers=[dead,dead]"], r"stream.markers must name each marker once, got \[dead,dead\]"),
        (["stream.marker_places=late"], r"stream.marker_places=late needs stream.markers, which is \[\]"),
        (["stream.marker_tie=2"], r"stream.marker_tie=2.0 needs stream.markers, which is \[\]"),
        ([ALL, "stream.marker_tie=-1"], "stream.marker_tie must be at least 0, got -1.0"),
        (
            [ALL, "stream.marker_places=early"],
            "stream.marker_places must be one of observed, shuffled, late, got 'early'",
        ),
        ([ALL, "stream.marker_heuristic=operator"], "stream.marker_heuristic=operator values no states of Countdown"),
        ([ALL, "stream.marker_heuristic=taste"], "stream.marker_heuristic=taste: Countdown orders nodes by none, sum"),
        (
            ["stream.markers=[dead]", "stream.marker_heuristic=sum"],
            "stream.marker_heuristic=sum has no use without wait",
        ),
        (["stream.markers=[wait]", "stream.marker_tie=2"], "stream.marker_tie=2 has no use without maybe"),
        ([ALL, "stream.plan=true", "stream.view=swapped"], "stream.view=swapped goes without stream.markers"),
        (
            [ALL, "stream.plan=true", "stream.view=plan_only"],
            r"stream.markers=.* names wait, which stream.view=plan_only never has",
        ),
        (
            [ALL, "stream.view=solution_path"],
            r"stream.markers=.* names dead, which stream.view=solution_path never has",
        ),
        (
            ["experiment=path_star", ALL],
            "stream.markers: wait and maybe compare values of a heuristic, and PathStar has none; check and dead need none",
        ),
        (["experiment=sat", "stream.markers=[maybe]"], "and Sat has none"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(words: list[str], message: str) -> None:
    start = [] if words[0].startswith("experiment") else ["experiment=smoke"]
    with pytest.raises(UserError, match=f"^.*{message}[^\n]*$"):
        build_system(compose([*start, *words]))


def _no_heuristic(words: list[str]) -> list[str]:
    return ["stream.marker_heuristic=null"] if any("marker_heuristic" in word for word in words) else []


@pytest.mark.compiled  # once is enough
def test_the_stream_of_the_page_is_what_the_code_writes() -> None:
    page = (ROOT / "docs" / "markers.md").read_text(encoding="utf-8")
    shown = page.split("```")[3].strip()
    system = build_system(compose([ALL, "stream.marker_heuristic=mult"]))
    problem = np.array(system.env.problem_row(56, [9, 7, 1]), np.int32)
    trace = run_search(system.strategy, system.env, problem, 2000)
    assert system.dialect.text(encode(system.dialect, trace)[0]) == shown


@pytest.mark.compiled  # once is enough
def test_shards_hold_the_markers_and_their_recipe_says_where_they_stand(tmp_path: Path) -> None:
    words = [*TASKS["countdown"], "stream.marker_places=shuffled", "data.match=problems", "data.train_problems=4"]
    config = compose(words)
    folder = tmp_path / "set"
    plan = job(folder, values=to_dict(config), visits=16, shard_size=8)
    generate(plan)
    assert verify_set(plan) == 16
    with_shards = compose([*words, f"data.shards={folder}"])
    chunks = [build_source(c, build_system(c)).chunk(0, 16) for c in (config, with_shards)]
    assert chunks[0].tokens.tolist() == chunks[1].tokens.tolist()
    assert chunks[0].kinds.tolist() == chunks[1].kinds.tolist()
    assert chunks[0].prompts.tolist() == chunks[1].prompts.tolist()
    other = compose([*words, "stream.marker_places=late", f"data.shards={folder}"])
    with pytest.raises(UserError, match=r"stream\.marker_places"):
        build_source(other, build_system(other))


def test_a_context_is_read_with_markers_behind_it_and_within_its_search() -> None:
    words = [*TASKS["countdown"], "data.context=600", "slot=hint", "slot.doses=[trace,plan]", "slot.dropout=0.2"]
    system, streams, _ = written([*words, "slot.misleading=0"])
    assert system.dialect.slot is not None
    contexts = 0
    for tokens in streams:
        read = read_context(system.dialect, tokens)
        assert read.sound
        contexts += len(read.items)
        found = decode(system.dialect, system.env, tokens)
        assert (found.status, found.position) == (DecodeStatus.OK, len(tokens))
        behind = count_markers(markers_of(system), found.trace, found.align, tokens)
        assert behind.due.sum() > 0
        without = np.concatenate([tokens[:1], tokens[read.position :] if read.items else tokens[1:]])
        alone = decode(system.dialect, system.env, without)
        assert alone.trace.equals(found.trace)
        exact = count_markers(markers_of(system), alone.trace, alone.align, without)
        assert exact.written.tolist() == exact.right.tolist() == exact.due.tolist()
        assert [part.tolist() for part in behind] == [part.tolist() for part in exact]
    assert contexts > 0
