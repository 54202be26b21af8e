"""Streams: encoding, decoding, their text, and the published wording."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import cache
from itertools import product

import numpy as np
import pytest
from drivers import (
    DIALECTS,
    all_envs,
    all_searches,
    damage,
    judged_text,
    random_problem,
    read_jsonl,
    reads_back,
    run_search,
    small_streams,
    tokenize,
)
from naive import search as naive
from naive import text as naive_text
from naive import verify as naive_verify
from places import GOLDEN
from sizes import plain, some
from tokenizers import Tokenizer

from sos.envs.countdown.rules import Countdown
from sos.search.beam import Beam
from sos.search.depth_first import DepthFirst
from sos.stream.codec import Decoded, DecodeStatus, decode, encode, encode_prompt
from sos.stream.dialect.compile import compile_dialect
from sos.stream.dialect.source import load_source
from sos.stream.dialect.vocab import BOS, EOS, PAD, Vocabulary
from sos.stream.verify import Error, verify, verify_tokens
from sos.trace import KIND, NODE, Event, Outcome, Trace

WHOLE_MAX = (9, 99, 2000)


@cache
def traces_of(env: Countdown, strategy: DepthFirst) -> list[Trace]:
    """A few traces of every length."""
    rng = np.random.default_rng(7)
    return [run_search(strategy, env, random_problem(rng, env)) for _ in range(plain(6, 1))]


def every_trace() -> Iterator[tuple[Countdown, Trace]]:
    for (_, env), (_, strategy) in some(product(all_envs(), all_searches()), 12):
        for trace in traces_of(env, strategy):
            yield env, trace


@pytest.mark.parametrize("whole_max", WHOLE_MAX)
@pytest.mark.parametrize("name", DIALECTS)
def test_round_trip(name: str, whole_max: int, dialect_of) -> None:
    for env, trace in every_trace():
        dialect = dialect_of(name, env, whole_max)
        tokens, align, prompt = encode(dialect, trace)
        assert tokens.dtype == np.uint16
        assert tokens.max() < len(dialect.vocab)
        assert tokens[0] == BOS
        assert tokens[-1] == EOS
        assert tokens[:prompt].tolist() == encode_prompt(dialect, trace.problem)
        back = decode(dialect, env, tokens)
        assert (back.status, back.position) == (DecodeStatus.OK, len(tokens))
        assert reads_back(dialect, back.trace, trace)
        assert np.array_equal(back.align, align)
        verdict, _, _ = verify_tokens(dialect, env, trace.problem, tokens)
        assert not verdict.errors.any()
        assert verdict.solved == (trace.outcome == 0) == any(trace.events[:, KIND] == Event.GOAL)


@pytest.mark.parametrize("name", DIALECTS)
def test_align_follows_the_events(name: str, dialect_of) -> None:
    for env, trace in every_trace():
        tokens, align, prompt = encode(dialect_of(name, env, 9), trace)
        assert len(align) == len(tokens)
        assert (align[:prompt] == 0).all()
        assert (align[prompt:] > 0).all()
        assert set(align.tolist()) == set(range(len(trace.events)))
        assert (np.diff(align) >= 0).all()


@pytest.mark.parametrize("whole_max", WHOLE_MAX)
@pytest.mark.parametrize("name", DIALECTS)
def test_text_and_tokenizer_json_agree(name: str, whole_max: int, dialect_of) -> None:
    env = Countdown()
    dialect = dialect_of(name, env, whole_max)
    tokenizer = Tokenizer.from_str(dialect.vocab.tokenizer().to_str())
    assert tokenizer.get_vocab() == dialect.vocab.ids
    for strategy in (DepthFirst(), DepthFirst(0, False, max_nodes=3)):
        for trace in traces_of(env, strategy):
            tokens, _, _ = encode(dialect, trace)
            assert tokenize(tokenizer, dialect.text(tokens)).tolist() == tokens.tolist()
    if not dialect.vocab.spaced:
        assert tokenizer.decode(tokens.tolist()) == dialect.text(tokens)
    assert Vocabulary.from_json(dialect.vocab.to_json()) == dialect.vocab


def sos_text(env: Countdown, strategy: DepthFirst, target: int, numbers: list[int], dialect_of) -> str:
    dialect = dialect_of("sos", env, 9)
    return dialect.text(encode(dialect, run_search(strategy, env, env.problem_row(target, numbers)))[0])


@pytest.mark.parametrize("heuristic", ["sum", "mult"])
def test_sos_text_is_the_published_wording(heuristic: str, dialect_of) -> None:
    rng = np.random.default_rng(0)
    for num_numbers in (2, 3, 4):
        env = Countdown(num_numbers=num_numbers)
        strategy = DepthFirst(env.heuristics.index(heuristic))
        for _ in range(plain(15, 2)):
            target, _, *numbers = random_problem(rng, env)
            text = sos_text(env, strategy, target, numbers, dialect_of)
            assert text == naive.published_text(numbers, target, heuristic)
            for width in (1, 3, 5):
                text = sos_text(env, Beam(width, strategy.heuristic), target, numbers, dialect_of)
                assert text == naive.published_beam_text(numbers, target, heuristic, width)


def assert_published(path, dialect_of) -> Counter[str]:
    """Compare every published text of a file with ours; return how many there are of each search."""
    counts: Counter[str] = Counter()
    for row in read_jsonl(path):
        numbers, target = row.get("numbers", row.get("nums")), row["target"]
        env = Countdown(num_numbers=len(numbers))
        for name, trace in (row.get("texts") or row["traces"]).items():
            text = trace if isinstance(trace, str) else trace["text"]
            search, heuristic, *width = name.split("-")
            kind = env.heuristics.index(heuristic)
            if search == "dfs":
                ours = sos_text(env, DepthFirst(kind, max_nodes=10**6), target, numbers, dialect_of)
                assert naive.published_text(numbers, target, heuristic) == text
            else:
                ours = sos_text(env, Beam(int(width[0]), kind, max_nodes=10**6), target, numbers, dialect_of)
                assert naive.published_beam_text(numbers, target, heuristic, int(width[0])) == text
            assert ours == text
            counts[search] += 1
    return counts


def test_sos_text_equals_a_sample_of_published_traces(dialect_of) -> None:
    assert assert_published(GOLDEN / "published_dfs.jsonl", dialect_of) == {"dfs": 12}
    assert assert_published(GOLDEN / "published_bfs.jsonl", dialect_of) == {"bfs": 10}


@pytest.mark.compiled
def test_sos_text_equals_every_published_trace(reference, dialect_of) -> None:
    assert assert_published(reference / "traces.jsonl", dialect_of) == {"dfs": 286, "bfs": 520}


def test_a_dialect_refuses_what_it_cannot_express(dialect_of) -> None:
    env = Countdown(num_numbers=3)
    trace = run_search(DepthFirst(), env, [19, 3, 4, 6, 9])
    assert trace.events[8, KIND] == Event.BACKTRACK
    assert trace.events[2, KIND] == Event.EXPAND
    source = load_source("compact", Countdown())[1]
    forms = {form: text for form, text in source["forms"].items() if form not in ("jump", "end_empty")}
    bare = compile_dialect({**source, "forms": forms}, env, 9)
    compact, published = (dialect_of(name, env, 9) for name in ("compact", "sos"))

    # A return to a node that is no ancestor of the current one.
    events = trace.events.copy()
    events[8, NODE] = 4
    jumping = trace._replace(events=events)
    with pytest.raises(ValueError, match=r"dialect compact cannot write event 8 .* no ancestor"):
        encode(bare, jumping)
    for dialect in (compact, published):
        assert decode(dialect, env, encode(dialect, jumping)[0]).status == DecodeStatus.OK

    # An expansion of a node that was not generated last.
    events = trace.events.copy()
    events[2, NODE] = 4
    with pytest.raises(ValueError, match=r"dialect compact cannot write event 2 .* generated last"):
        encode(bare, trace._replace(events=events))
    for dialect in (compact, published):
        encode(dialect, trace._replace(events=events))

    # An empty frontier.
    empty = run_search(Beam(1, visit_leaves=False), env, [82, 3, 79, 5, 8])
    assert empty.outcome == Outcome.EMPTY
    with pytest.raises(ValueError, match=r"dialect compact cannot write .* no form 'end_empty'"):
        encode(compile_dialect({**source, "forms": {**forms, "jump": source["forms"]["jump"]}}, env, 9), empty)


def test_a_return_to_a_node_that_does_not_exist_is_written_as_one_to_the_root(dialect_of) -> None:
    env, dialect = Countdown(3), dialect_of("compact", Countdown(3), 99)
    tokenizer = dialect.vocab.tokenizer()
    ids = tokenizer.encode("2 , 3 , 4 > 20 : 2 + 3 = 5 , [ 4 , 5 ] < 7 [ 2 , 3 , 4 ] none").ids
    trace = decode(dialect, env, [BOS, *ids, EOS]).trace
    assert [tuple(row[[KIND, NODE]]) for row in trace.events[-2:]] == [(Event.BACKTRACK, -1), (Event.END, -1)]
    assert "< 0 [ 2 , 3 , 4 ]" in dialect.text(encode(dialect, trace)[0])


def test_a_long_trace_grows_the_buffer(dialect_of) -> None:
    env = Countdown(num_numbers=4, max_number=12)
    trace = run_search(DepthFirst(0, False), env, [1000, 4, 1, 2, 3, 4])
    dialect = dialect_of("sos", env, 9)
    tokens, _, _ = encode(dialect, trace)
    assert len(tokens) > 20_000
    assert decode(dialect, env, tokens).trace.equals(trace)


@pytest.mark.parametrize("whole_max", [-1, 8, 30_001])
def test_vocabulary_limits(whole_max: int) -> None:
    with pytest.raises(ValueError, match=f"stream.whole_max must be from 9 .* got {whole_max}"):
        Vocabulary(("+",), whole_max, spaced=True)


def test_vocabulary_layout() -> None:
    vocab = Vocabulary(("+", "="), 12, spaced=True)
    assert vocab.tokens[:5] == ("<pad>", "<bos>", "<eos>", "0", "1")
    assert (vocab.ids["<pad>"], vocab.ids["<bos>"], vocab.ids["<eos>"]) == (PAD, BOS, EOS)
    assert len(vocab) == 3 + 13 + 2
    assert [vocab.tokens[i] for i in vocab.number_ids(12)] == ["12"]
    assert [vocab.tokens[i] for i in vocab.number_ids(130)] == ["1", "3", "0"]
    assert [vocab.is_number(i) for i in (2, 3, 15, 16)] == [False, True, True, False]
    assert len(Vocabulary(("+",), 30_000, spaced=True)) < 2**16


@pytest.mark.parametrize("name", DIALECTS)
@pytest.mark.parametrize("number", [0, 9, 10, 99, 100, 2000, 2001, 10**9, 2**31 - 1])
def test_numbers_of_every_size_survive(name: str, number: int, dialect_of) -> None:
    env = Countdown(num_numbers=2)
    problem = np.array([min(number, 5000), 2, number, 0], np.int32)
    trace = run_search(DepthFirst(0, False), env, problem)
    for whole_max in WHOLE_MAX:
        dialect = dialect_of(name, env, whole_max)
        assert decode(dialect, env, encode(dialect, trace)[0]).trace.equals(trace)


def assert_sensible(decoded: Decoded, env: Countdown, tokens: np.ndarray) -> None:
    """What every result of `decode` fulfils, whatever was read."""
    trace, status, position, align = decoded
    assert 0 <= position <= len(tokens)
    assert len(align) == position
    assert isinstance(status, DecodeStatus)
    known = align[align >= 0]
    assert (np.diff(known) >= 0).all()
    assert (np.diff((align < 0).astype(int)) >= 0).all()  # unread tokens only at the end
    assert set(known.tolist()) == set(range(len(trace.events)))
    if status == DecodeStatus.OK:
        assert trace.events[-1, KIND] == Event.END
        assert tokens[position - 1] == EOS
    assert not (trace.events[:-1, KIND] == Event.END).any()
    assert trace.problem.shape == (env.problem_width,)
    assert ((trace.events[:, NODE] >= -1) & (trace.events[:, NODE] < len(trace.nodes))).all()
    assert ((trace.nodes[:, 0] >= -1) & (trace.nodes[:, 0] < np.arange(len(trace.nodes)))).all()
    assert ((trace.states[:, 0] >= 1) & (trace.states[:, 0] < env.state_width)).all() or not len(trace.states)
    assert (trace.states >= 0).all()


@pytest.mark.parametrize("name", DIALECTS)
@pytest.mark.parametrize("whole_max", [9, 99])
def test_decode_is_total_and_verify_is_never_fooled(name: str, whole_max: int, dialect_of) -> None:
    env = Countdown(num_numbers=3, max_number=20, max_target=40)
    dialect = dialect_of(name, env, whole_max)
    rng = np.random.default_rng(whole_max)
    streams = small_streams(dialect, env, rng, plain(40, 8))
    judge = naive_text.JUDGES[name]
    num_solved = 0
    for _ in range(plain(800, 30)):
        problem, tokens = streams[rng.integers(len(streams))]
        damaged = damage(rng, tokens, len(dialect.vocab))
        decoded = decode(dialect, env, damaged)
        assert_sensible(decoded, env, damaged)
        verdict, trace, align = verify_tokens(dialect, env, problem, damaged)
        assert trace.equals(decoded.trace)
        assert np.array_equal(align, decoded.align)
        solved, codes = naive_verify.verify(env, trace) if len(trace.events) else (False, [])
        same_problem = np.array_equal(trace.problem, problem)
        assert verdict.errors.tolist() == codes
        assert verdict.solved == (solved and same_problem)
        if verdict.solved:
            num_solved += 1
            assert judge(judged_text(dialect, damaged), problem[2:].tolist(), int(problem[0]))
    assert num_solved > plain(20, 0)


@pytest.mark.parametrize("name", DIALECTS)
def test_every_prefix_decodes_to_a_prefix(name: str, dialect_of) -> None:
    env = Countdown(num_numbers=3)
    dialect = dialect_of(name, env, 9)
    trace = run_search(DepthFirst(), env, [82, 3, 79, 5, 8])
    tokens, align, prompt = encode(dialect, trace)
    for length in range(0, len(tokens), plain(1, 7)):
        decoded = decode(dialect, env, tokens[:length])
        assert decoded.status == (DecodeStatus.TRUNCATED if length >= prompt else DecodeStatus.NO_PROMPT)
        count = len(decoded.trace.events)
        assert count <= align[length] + 1
        assert np.array_equal(decoded.trace.events[:, KIND], trace.events[:count, KIND])
        assert not verify(env, decoded.trace).errors[: count - 1].any()


def test_what_follows_the_end_is_ignored(dialect_of) -> None:
    env = Countdown(num_numbers=3)
    dialect = dialect_of("compact", env, 9)
    trace = run_search(DepthFirst(), env, [82, 3, 79, 5, 8])
    tokens, _, _ = encode(dialect, trace)
    for tail in ([PAD] * 5, [-5, 2**40], tokens):
        decoded = decode(dialect, env, [*tokens, *tail])
        assert decoded.trace.equals(trace)
        assert (decoded.status, decoded.position) == (DecodeStatus.OK, len(tokens))


def test_arrays_without_a_prompt(dialect_of) -> None:
    env = Countdown(num_numbers=3)
    for name in DIALECTS:
        dialect = dialect_of(name, env, 9)
        other = encode_prompt(dialect_of(name, Countdown(num_numbers=4), 9), np.array([10, 4, 1, 2, 3, 4], np.int32))
        pads = np.zeros((2, 3), np.uint64)
        for tokens in ([], [PAD] * 9, [BOS], [EOS], [BOS, EOS], [-(2**63)], pads, other[:-1], other):
            decoded = decode(dialect, env, tokens)
            assert decoded.status == DecodeStatus.NO_PROMPT
            assert len(decoded.trace.events) == 0
            assert decoded.trace.outcome is None
            verdict, _, _ = verify_tokens(dialect, env, np.array([10, 3, 1, 2, 3], np.int32), tokens)
            assert not verdict.solved


def ending(**forms: str):
    source = load_source("compact", Countdown())[1]
    return {**source, "forms": {**source["forms"], **forms}}


def test_ends_with_one_wording_are_told_apart_or_refused() -> None:
    """Solved and exhausted differ by the goal before them; a budget that reads like either would be lost."""
    env = Countdown(num_numbers=3)
    problem = [82, 3, 79, 5, 8]
    for forms in ({}, {"end_exhausted": ""}, {"end_solved": "none"}):
        dialect = compile_dialect(ending(**forms), env, 9)
        for strategy in (DepthFirst(), DepthFirst(max_nodes=2), DepthFirst(max_nodes=9)):
            trace = run_search(strategy, env, problem)
            assert decode(dialect, env, encode(dialect, trace)[0]).trace.equals(trace)
    for forms in ({"end_budget": ""}, {"end_budget": "none"}, {"end_budget": "", "end_exhausted": ""}):
        with pytest.raises(ValueError, match="is ambiguous: form 'end_"):
            compile_dialect(ending(**forms), env, 9)


def test_an_expansion_cannot_be_named_by_a_depth() -> None:
    """A depth names an ancestor, and a node that is expanded for the first time is none."""
    forms = load_source("compact", Countdown())[1]["forms"] | {"expand": "> {depth} [ {numbers} ]"}
    with pytest.raises(ValueError, match=r"form 'expand' cannot hold the field \{depth\}"):
        compile_dialect(load_source("compact", Countdown())[1] | {"forms": forms}, Countdown(), 9)


def test_errors_are_all_encodable_as_int8() -> None:
    assert max(Error) < 127
