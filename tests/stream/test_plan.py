"""The plan: the answer behind the search, in every view and dialect, judged apart from the search."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from damaged_streams import damaged
from naive import verify as naive_verify
from sizes import plain

from sos.compose import compose
from sos.config import Config
from sos.data.splits import make_splits, sample_problems
from sos.data.streams import StreamSource
from sos.data.swapped import partners
from sos.datasets.source import build_source
from sos.envs.countdown.rules import Countdown
from sos.envs.path_star.rules import PathStar
from sos.errors import UserError
from sos.search.depth_first import DepthFirst
from sos.search.run import run_search
from sos.stream.codec import decode, encode
from sos.stream.dialect.compile import compile_dialect, load_dialect
from sos.stream.verify import Error, verify, verify_tokens
from sos.stream.viewing import view_trace
from sos.stream.views import PLAN_ONLY, VIEWS, View
from sos.system import build_system
from sos.trace import ACTION, KIND, NODE, PARENT, Event, Trace

COUNTDOWN = Countdown(num_numbers=4, max_number=20, max_target=60, max_value=120)
PATH_STAR = PathStar(num_arms=3, arm_nodes=4, num_labels=15)
DIALECTS = [*((COUNTDOWN, name) for name in ("checked", "checked_dense", "compact", "dense", "sos"))]
DIALECTS += [*((PATH_STAR, name) for name in ("checked", "compact", "published"))]
SEARCH = DepthFirst()
OF_TRACES = [kind for kind, name in enumerate(VIEWS) if name != "swapped"]


def problem_of(env: Any, rng: np.random.Generator) -> np.ndarray:
    """Return a solvable problem."""
    return sample_problems(env, make_splits(env, 0.1, 0.0), "train", 1, seed=int(rng.integers(2**31)))[0]


def searched(env: Any, rng: np.random.Generator) -> Trace:
    while True:
        trace = run_search(SEARCH, env, problem_of(env, rng), 2000)
        if trace.outcome == 0:
            return trace


def plan_of(trace: Trace) -> list[list[int]]:
    """Return the actions of the plan's events."""
    nodes = trace.events[trace.events[:, KIND] == Event.PLAN, NODE]
    return trace.nodes[nodes, ACTION:].tolist()


def answer_of(trace: Trace) -> list[list[int]]:
    """Return the actions from the root to the goal that the search found."""
    node = int(trace.events[trace.events[:, KIND] == Event.GOAL][0, NODE])
    actions = []
    while node > 0:
        actions.append(trace.nodes[node, ACTION:].tolist())
        node = int(trace.nodes[node, PARENT])
    return actions[::-1]


@pytest.mark.parametrize(("env", "name"), DIALECTS, ids=lambda x: x if isinstance(x, str) else type(x).__name__)
def test_every_view_is_written_and_read_back_with_its_plan(env: Any, name: str) -> None:
    rng, tried = np.random.default_rng(1), 0
    for whole_max in (9 if env is COUNTDOWN else 15, 130):
        dialect = load_dialect(name, env, whole_max, True)
        for _ in range(plain(30, 2)):
            trace = searched(env, rng)
            for kind in OF_TRACES:
                shown = view_trace(View(kind, 0.5, True), env, trace, 7)
                assert plan_of(shown) == answer_of(trace)
                tokens, align, _ = encode(dialect, shown)
                found = decode(dialect, env, tokens)
                assert found.trace.equals(shown), (VIEWS[kind], dialect.text(tokens))
                assert np.array_equal(found.align, align)
                verdict = verify(env, shown)
                assert set(verdict.errors.tolist()) <= {Error.NONE, Error.UNANNOUNCED}
                assert (verdict.solved, verdict.planned) == (kind != PLAN_ONLY, True)
                assert shown.events[verdict.plan_event + 1, KIND] == Event.END
                tried += 1
    assert tried == 2 * plain(30, 2) * len(OF_TRACES)


def test_without_the_plan_a_view_is_what_it_was() -> None:
    rng = np.random.default_rng(2)
    trace = searched(COUNTDOWN, rng)
    for kind in OF_TRACES:
        if kind == PLAN_ONLY:
            continue
        without, with_plan = (view_trace(View(kind, 0.5, plan), COUNTDOWN, trace, 7) for plan in (False, True))
        kept = with_plan.events[with_plan.events[:, KIND] != Event.PLAN]
        assert np.array_equal(kept, without.events)
        assert np.array_equal(with_plan.nodes[: len(without.nodes)], without.nodes)
        assert len(plan_of(without)) == 0


def test_an_unsolved_search_has_no_plan_but_a_path_that_stands_in_for_it_has() -> None:
    rng, tried = np.random.default_rng(3), 0
    strategy = DepthFirst(max_nodes=1)
    while tried < 5:
        trace = run_search(strategy, COUNTDOWN, problem_of(COUNTDOWN, rng), 2000)
        if trace.outcome == 0:
            continue
        assert view_trace(View(0, 1.0, True), COUNTDOWN, trace).equals(trace)
        for kind in (VIEWS.index("solution_path"), PLAN_ONLY):
            verdict = verify(COUNTDOWN, view_trace(View(kind, 1.0, True), COUNTDOWN, trace))
            assert verdict.planned
            assert not verdict.errors.any()
        tried += 1


def test_agreement_with_the_oracle_on_damaged_plans() -> None:
    rng, codes, planned, tried = np.random.default_rng(4), set(), 0, 0
    for _ in range(plain(150, 5)):
        kind = int(rng.choice(OF_TRACES))
        trace = view_trace(View(kind, 0.5, True), COUNTDOWN, searched(COUNTDOWN, rng), int(rng.integers(2**32)))
        for _ in range(15):
            wrong = damaged(rng, trace)
            verdict = verify(COUNTDOWN, wrong)
            assert naive_verify.verify(COUNTDOWN, wrong) == (verdict.solved, verdict.errors.tolist())
            assert naive_verify.plan_is_valid(COUNTDOWN, wrong) == verdict.planned
            of_plan = wrong.events[:, KIND] == Event.PLAN
            codes |= set(verdict.errors[of_plan].tolist())
            planned += verdict.planned
            tried += 1
    assert tried == 15 * plain(150, 5)
    assert 0 < planned < tried
    wanted = {Error.NONE, Error.ORDER, Error.JUMP, Error.OPERAND, Error.ILLEGAL, Error.ARITHMETIC, Error.STATE}
    assert codes >= wanted or tried < 100


def stream(text: str, name: str = "compact", plan: bool = True) -> Any:
    """Verify a text about the numbers 2, 3, 4 and the target 20."""
    env = Countdown(num_numbers=3, max_number=20, max_target=60, max_value=120)
    dialect = load_dialect(name, env, 120, plan)
    ids = dialect.vocab.tokenizer().encode(text).ids
    problem = np.array(env.problem_row(20, [2, 3, 4]), np.int32)
    return verify_tokens(dialect, env, problem, np.array([1, *ids, 2]))[0]


SEARCHED = "2 3 4 > 20 : 2 * 3 = 6 [ 4 6 ] 4 * 6 = 24 x < 0 [ 2 3 4 ] 2 + 3 = 5 [ 4 5 ] 4 * 5 = 20 !"


def test_the_plan_is_judged_apart_from_the_search() -> None:
    right = "plan 2 + 3 = 5 plan 4 * 5 = 20"
    found = {
        SEARCHED: (True, False),
        f"{SEARCHED} {right}": (True, True),
        f"2 3 4 > 20 : {right}": (False, True),
        f"2 3 4 > 20 : 9 * 9 = 81 [ 81 ] {right}": (False, True),  # a search of another problem
        f"{SEARCHED} plan 2 + 3 = 5": (True, False),  # stops on the way
        f"{SEARCHED} plan 2 * 3 = 6 plan 4 * 6 = 24": (True, False),  # leads elsewhere
        f"{SEARCHED} plan 2 + 3 = 5 plan 4 * 5 = 21": (True, False),
        f"{SEARCHED} plan 4 * 5 = 20": (True, False),  # 5 has to be made first
        f"{SEARCHED} {right} plan 20 + 0 = 20": (True, False),  # goes on
        f"2 3 4 > 20 : {right} 2 + 3 = 5 {right}": (False, True),  # the first one counts
        f"2 3 4 > 20 : plan 2 + 3 = 5 2 + 3 = 5 {right}": (False, False),
    }
    for text, answers in found.items():
        verdict = stream(text)
        assert (verdict.solved, verdict.planned) == answers, text


def test_an_end_is_right_after_a_plan_and_a_search_is_not() -> None:
    assert not stream("2 3 4 > 20 : plan 2 + 3 = 5 plan 4 * 5 = 20").errors.any()
    assert stream("2 3 4 > 20 : plan 2 + 3 = 5 2 * 4 = 8").errors.tolist() == [0, 0, Error.ORDER, 0]
    assert stream("2 3 4 > 20 : plan 2 + 3 = 5 2 * 4 = 8 plan 2 + 3 = 5").errors[3] == Error.ORDER


def test_a_dialect_without_the_form_is_refused_and_one_compiled_without_it_is_what_it_was() -> None:
    forms = dict(load_dialect("compact", COUNTDOWN, 120).templates)
    assert "plan" not in forms
    assert "plan" not in load_dialect("compact", COUNTDOWN, 120).vocab.tokens
    assert "plan" in load_dialect("compact", COUNTDOWN, 120, True).vocab.tokens
    with pytest.raises(UserError, match="needs the form 'plan'"):
        compile_dialect({"forms": forms, "spacing": "free"}, COUNTDOWN, 120, True)
    with pytest.raises(UserError, match=r"form 'plan' needs \{b\}: 'plan \{a\} \{op\} = \{result\}'"):
        compile_dialect(
            {"forms": forms | {"plan": "plan {a} {op} = {result}"}, "spacing": "free"}, COUNTDOWN, 120, True
        )
    same = forms | {"plan": forms["generate"]}
    with pytest.raises(UserError, match="ambiguous"):
        compile_dialect({"forms": same, "spacing": "free"}, COUNTDOWN, 120, True)
    trace = view_trace(View(0, 1.0, True), COUNTDOWN, searched(COUNTDOWN, np.random.default_rng(5)))
    with pytest.raises(UserError, match="compiled without its form 'plan'"):
        encode(load_dialect("compact", COUNTDOWN, 120), trace)


def test_views_that_are_nothing_without_a_plan_ask_for_it() -> None:
    for view in ("plan_only", "swapped"):
        with pytest.raises(UserError, match=f"stream.view={view} needs stream.plan=true"):
            compose([f"stream.view={view}"])
        assert compose([f"stream.view={view}", "stream.plan=true"]).stream.plan


def config_of(experiment: str, view: str, *more: str) -> Config:
    return compose([f"experiment={experiment}", f"stream.view={view}", "stream.plan=true", *more])


def source_of(config: Config) -> StreamSource:
    source = build_source(config, build_system(config))
    assert isinstance(source, StreamSource)
    return source


def streams_of(chunk: Any) -> list[list[int]]:
    return [chunk.tokens[a:b].tolist() for a, b in zip(chunk.offsets, chunk.offsets[1:], strict=False)]


def parts_of(chunk: Any) -> list[tuple[list[int], list[int], list[int]]]:
    """Return the prompt, the search, and the plan with the end of each stream."""
    parts = []
    for k, stream in enumerate(streams_of(chunk)):
        kinds = chunk.kinds[chunk.offsets[k] : chunk.offsets[k + 1]].tolist()
        prompt = int(chunk.prompts[k])
        plan = next(t for t, kind in enumerate(kinds) if kind in (Event.PLAN, Event.END))
        parts.append((stream[:prompt], stream[prompt:plan], stream[plan:]))
    return parts


@pytest.mark.parametrize("experiment", ["smoke", "path_star_plan"])  # small stars could be solved by chance
def test_swapped_is_full_with_the_searches_of_other_problems(experiment: str) -> None:
    full, swapped = (source_of(config_of(experiment, view, "data.context=512")) for view in ("full", "swapped"))
    visits = plain(600, 256)
    ours, theirs = full.chunk(0, visits), swapped.chunk(0, visits)
    assert np.array_equal(ours.visits, theirs.visits)
    lengths, tried = [], 0
    for group in range(visits // 256):
        a, b = (parts_of(chunk)[256 * group : 256 * (group + 1)] for chunk in (ours, theirs))
        # The same searches, prompts and plans; no search with its own problem, and its length about the same.
        assert sorted(search for _, search, _ in a) == sorted(search for _, search, _ in b)
        for (prompt, search, plan), (prompt_2, search_2, plan_2) in zip(a, b, strict=True):
            assert (prompt, plan) == (prompt_2, plan_2)
            lengths.append((len(search), len(search_2)))
            tried += 1
    assert tried == 256 * (visits // 256)
    near = np.abs(np.diff(lengths, axis=1)) <= 0.1 * np.mean(lengths)
    assert near.mean() > 0.9
    for stream, visit in zip(streams_of(theirs), theirs.visits, strict=True):
        problem = full._traces.problems(int(visit), int(visit) + 1)[0]
        verdict = verify_tokens(swapped.dialect, swapped.env, problem, np.array(stream))[0]
        assert verdict.planned
        assert not verdict.solved


def test_a_swapped_stream_does_not_depend_on_what_was_asked_for_with_it() -> None:
    source = source_of(config_of("smoke", "swapped"))
    whole = source.chunk(0, 512)
    for start, stop in ((0, 1), (17, 300), (255, 257), (300, 512)):
        part = source.chunk(start, stop)
        keep = (start <= whole.visits) & (whole.visits < stop)
        assert np.array_equal(part.visits, whole.visits[keep])
        assert streams_of(part) == [stream for stream, kept in zip(streams_of(whole), keep, strict=True) if kept]
        assert part.num_dropped == stop - start - len(part.visits) == part.left_out.visits


def test_partners_have_other_problems() -> None:
    rng, tried = np.random.default_rng(6), 0
    for _ in range(300):
        num = int(rng.integers(0, 30))
        problems = rng.integers(0, rng.integers(1, 12), num).tolist()
        lengths, ties = rng.integers(0, 20, num).tolist(), rng.integers(0, 2**40, num).tolist()
        found = partners(lengths, problems, ties)
        received = [other for other in found if other >= 0]
        assert len(set(received)) == len(received)
        assert {k for k, other in enumerate(found) if other >= 0} == set(received)
        assert all(problems[k] != problems[other] for k, other in enumerate(found) if other >= 0)
        most = max((problems.count(p) for p in problems), default=0)
        if most <= num // 3:
            assert len(received) == num  # nobody is left alone where the problems are mixed
        tried += 1
    assert tried == 300
    assert partners([5, 1, 9, 2], ["a", "b", "c", "d"], [0, 0, 0, 0]) == [2, 3, 0, 1]  # neighbours by length
    assert partners([1, 1], ["a", "a"], [0, 1]) == [-1, -1]
