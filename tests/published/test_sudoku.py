"""The published words of Sudoku: theirs are ours token for token, and what they drew is judged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sizes import plain
from sudoku_grids import problems_of, row_of, search_of

from sos.envs.sudoku.rules import Sudoku
from sos.errors import UserError
from sos.published.sudoku import from_published, to_published
from sos.search.run import run_search
from sos.stream.codec import DecodeStatus, encode
from sos.stream.dialect.compile import Dialect, load_dialect
from sos.stream.verify import Error, verify_tokens
from sos.trace import KIND, Event

ENV = Sudoku(9, 0, 0)


@pytest.fixture(scope="module")
def dialect() -> Dialect:
    return load_dialect("compact", ENV, 109)


def told(dialect: Dialect, row: np.ndarray) -> str:
    tokens, _, _ = encode(dialect, run_search(search_of("hidden", 20_000), ENV, row, 30_000))
    return dialect.text(tokens)


def records(reference: Path) -> list[dict[str, Any]]:
    lines = (reference / "sudoku" / "dfs.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines][: plain(None, 1)]


def test_our_search_in_published_words_is_theirs(reference: Path, dialect: Dialect) -> None:
    tried, guesses = 0, 0
    for record in records(reference):
        ours = told(dialect, row_of(record["puzzle"]))
        assert to_published(ours) == record["first"]["path"]
        assert from_published(record["first"]["path"]) == ours
        guesses += record["first"]["guesses"]
        tried += 1
    assert tried >= plain(20, 1)
    assert guesses > plain(20, -1)


def test_what_they_drew_is_judged_right_step_by_step(reference: Path, dialect: Dialect) -> None:
    tried, dead, tokenizer = 0, 0, dialect.vocab.tokenizer()
    for record in records(reference):
        for drawn in ("drawn_1", "drawn_2"):
            path = record[drawn]["path"]
            ids = tokenizer.encode(f"<bos> {from_published(path)} <eos>", add_special_tokens=False).ids
            verdict, trace, _ = verify_tokens(dialect, ENV, row_of(record["puzzle"]), ids)
            assert verdict.status == DecodeStatus.OK
            assert verdict.solved
            assert set(verdict.errors.tolist()) == {Error.NONE}
            assert to_published(from_published(path)) == path
            dead += int(np.count_nonzero(trace.events[:, KIND] == Event.DEAD_END))
            tried += 1
    assert tried >= plain(40, 2)
    assert dead > plain(50, -1)


def test_every_search_comes_back(dialect: Dialect) -> None:
    tried = 0
    for row in problems_of(Sudoku(9, 0, 30), plain(30, 1)):
        text = told(dialect, row)
        assert from_published(to_published(text)) == text
        tried += 1
    assert tried == plain(30, 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("111 222", "a search needs 100 behind its clues, got '111 222'"),
        ("111 100 99", "'99' is no cell with its value"),
        ("101 100 111", "'101' is no cell with its value"),
        ("111 100 1x2", "'1x2' is no cell with its value"),
        ("111 100 101", "'' stands where a number should"),
        ("111 100 101 1", "'' is no cell with its value"),
        ("111 100 102 1", "'' is no cell with its value"),
    ],
)
def test_words_that_cannot_be_read_are_named(text: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        from_published(text)
    assert message in str(caught.value)


@pytest.mark.parametrize("text", ["", "1 2 =", " ".join("0" * 81), " ".join("0" * 80) + " 10 = !"])
def test_what_is_no_stream_of_a_search_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="a stream must begin with 81 digits and ="):
        to_published(text)


def test_a_number_that_is_missing_is_named() -> None:
    with pytest.raises(UserError, match="'' stands where a number should"):
        to_published(" ".join("0" * 81) + " = <")
