"""The erasing of finished calls: pieces as published, as a pattern replaces them, and put together again."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from formulas import WHOLE_MAX, problems_of, search_of
from hypothesis import given
from hypothesis import strategies as st
from naive import erasing as naive
from sizes import plain

from sos.commands.cli import call
from sos.data.splits import make_splits, sample_problems
from sos.envs.sat.rules import Sat
from sos.errors import UserError
from sos.published.erasing import WORDINGS, Context, Piece, erased_rows, peak, pieces, reduced, whole_of
from sos.published.sat import CALL, PROMPT_END, RETURN, SEP, to_published
from sos.search.run import run_search
from sos.stream.codec import encode
from sos.stream.dialect.compile import load_dialect


def test_pieces_are_the_published_ones(reference: Path) -> None:
    tried, fewer = 0, 0
    for line in (reference / "sat" / "dpll.jsonl").read_text().splitlines():
        record = json.loads(line)
        found = pieces(record["text"])
        assert [[len(piece.words), piece.num_old - 1] for piece in found] == record["pieces"]
        assert whole_of(found) == record["text"]
        assert len(record["text"].split()) == record["words"]
        assert peak(record["text"]) == max(length for length, _ in record["pieces"])
        fewer += peak(record["text"]) < record["words"]
        tried += 1
    assert tried >= 47
    assert fewer > 30


def nested(depth: int) -> st.SearchStrategy[str]:
    """Texts with calls in calls, in thoughts and in answers."""
    word = st.sampled_from(["a", "b", "c"])
    if depth == 0:
        return st.lists(word, max_size=3).map(" ".join)
    inner = nested(depth - 1)
    called = st.tuples(inner, inner).map(lambda parts: f"{CALL} {parts[0]} {SEP} {parts[1]} {RETURN}")
    return st.lists(st.one_of(word, called), max_size=4).map(" ".join)


@given(nested(2), st.lists(st.sampled_from(["a", "b"]), max_size=3).map(" ".join))
def test_pieces_are_those_of_the_pattern(text: str, prompt: str) -> None:
    said = f"{prompt} {PROMPT_END} {text}".split()
    found, expected = pieces(" ".join(said)), naive.contexts(f"{prompt} {PROMPT_END}", text)
    assert [(" ".join(p.words[: p.num_old]), " ".join(p.words[p.num_old :])) for p in found] == [
        (left, " ".join(new.split())) for left, new in expected
    ]
    assert len(found) == text.count(RETURN) + 1
    assert whole_of(found) == " ".join(said)
    assert CALL not in found[-1].words  # all of them are finished
    context = Context(said[: found[0].num_old])
    for word in said[found[0].num_old :]:
        context.push(word)
    assert (context.words, context.peak) == (found[-1].words, max(len(piece.words) for piece in found))


@given(st.lists(st.sampled_from(["a", CALL, SEP, RETURN]), max_size=12))
def test_any_words_are_reduced_as_by_the_pattern_or_refused(words: list[str]) -> None:
    text = " ".join([PROMPT_END, *words])
    try:
        expected = naive.contexts(PROMPT_END, " ".join(words))
    except AssertionError:
        with pytest.raises(UserError, match="there is no"):
            pieces(text)
        return
    assert [" ".join(piece.words) for piece in pieces(text)] == [" ".join(pair).strip() for pair in expected]
    assert whole_of(pieces(text)) == text


def test_what_is_none_is_refused() -> None:
    for words, message in (([RETURN], r"no \[SEP\]"), ([SEP, RETURN], r"no \[CALL\]"), ([CALL, RETURN], r"no \[SEP\]")):
        with pytest.raises(UserError, match=message):
            reduced(words)
    with pytest.raises(UserError, match=r"there is no <\|endofprompt\|> in 'a b'"):
        pieces("a b")
    assert reduced([CALL, "a", SEP, CALL, "b", RETURN]) == [CALL, "b"]  # an answer that is a call, as published
    first = Piece([PROMPT_END, CALL, SEP, "a", RETURN], 1)
    assert whole_of([first, Piece([PROMPT_END, "a", "b"], 2)]) == f"{PROMPT_END} {CALL} {SEP} a {RETURN} b"
    with pytest.raises(UserError, match="piece 1 does not begin with what piece 0 leaves"):
        whole_of([first, Piece([PROMPT_END, "b"], 2)])
    with pytest.raises(UserError, match=r"piece 0 does not end with \[RETURN\]"):
        whole_of([Piece([PROMPT_END, "a"], 1), first])


def test_searches_need_less_context_and_end_with_their_answer() -> None:
    env, tried, answers = Sat(5, 8, 4.3, 12), 0, set()
    dialect = load_dialect("compact", env, WHOLE_MAX)
    for row in problems_of(env, plain(60, 4)):
        text = to_published(dialect.text(encode(dialect, run_search(search_of("unit"), env, row, 5000))[0]))
        found = pieces(text)
        last = " ".join(found[-1].words).partition(PROMPT_END)[2].strip()
        assert last in ("Answer: True", "Answer: False")
        assert len(found) == text.count(CALL) + 1
        assert peak(text) <= len(text.split())
        answers.add(last)
        tried += 1
    assert tried == plain(60, 4)
    assert len(answers) == 2 or not plain(True, False)


def test_shares_are_those_of_the_texts() -> None:
    env, num = Sat(5, 8, 4.3, 12), plain(30, 3)
    rows = erased_rows(env, num, {"dfs unit": search_of("unit")})
    dialect = load_dialect("compact", env, WHOLE_MAX)
    texts = [
        to_published(dialect.text(encode(dialect, run_search(search_of("unit"), env, row, 5000))[0]))
        for row in sample_problems(env, make_splits(env, 0.1, 0.0), "train", num)
    ]
    for row, lengths in zip(rows, ([len(t.split()) for t in texts], [peak(t) for t in texts]), strict=True):
        assert row.solved == 1.0
        assert row.median_tokens == np.median(lengths)
        assert row.fits[0] == np.mean(np.array(lengths) <= 512)
    assert [row.stream for row in rows] == list(WORDINGS)
    assert rows[1].median_tokens < rows[0].median_tokens
    with pytest.raises(UserError, match="erased=true is for env=sat"):
        erased_rows(_Other(), num, {})


class _Other:
    def describe(self) -> str:
        return "other problems"


@pytest.mark.slow
def test_the_table_of_teachers_has_both(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["env=sat", "env.min_variables=3", "env.max_variables=3", f"problems={plain(10, 2)}", "dialects=[compact]"]
    assert call("teachers", [*words, "erased=true"]) == 0
    said = capsys.readouterr().out
    assert all(said.count(f"| {wording} | dfs unit |") == 1 for wording in WORDINGS)


def test_other_environments_have_nothing_to_erase(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("teachers", ["env=path_star", "problems=2", "erased=true"]) == 2
    assert capsys.readouterr().err.startswith(
        "error: erased=true is for env=sat, whose calls are erased, and not for 4"
    )
