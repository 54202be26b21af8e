"""The text of a stream for people: every token is shown, mistakes and the goal are marked, whatever was written."""

from __future__ import annotations

import numpy as np
import pytest
from damaged_streams import COMPACT, ENV, PROBLEM, swapped
from drivers import tokenize

from sos.stream.dialect.compile import Dialect
from sos.stream.dialect.vocab import BOS, EOS, PAD
from sos.stream.text import LONGEST_TAIL, annotate, words


@pytest.fixture
def dialect(dialect_of) -> Dialect:
    return dialect_of("compact", ENV, 9)


def tokens_of(dialect: Dialect, *changes: tuple[str, str]) -> np.ndarray:
    return tokenize(dialect.vocab.tokenizer(), swapped(COMPACT, *changes))


def lines_of(text: str) -> list[str]:
    return text.split("```")[1].splitlines()[1:]


def test_a_right_stream_has_a_goal_and_no_arrow(dialect: Dialect) -> None:
    text = annotate(dialect, ENV, PROBLEM, tokens_of(dialect))
    assert "Verdict: **solved with" in text
    assert "ends as solved; no mistake." in text
    lines = lines_of(text)
    assert [line[0] for line in lines] == [*" " * 7, "*", " "]
    assert lines[7].endswith("goal")
    assert "Problem: `4 , 6 , 9 > 19 :`" in text


def test_the_first_mistake_has_the_arrow_and_every_mistake_its_name(dialect: Dialect) -> None:
    text = annotate(dialect, ENV, PROBLEM, tokens_of(dialect, ("9*10=90, x", "9*10=19, !")))
    assert "**not solved**" in text
    assert "mistakes, the first at event 3 (arithmetic)" in text
    lines = lines_of(text)
    assert [e for e, line in enumerate(lines) if line.startswith("→")] == [3]
    assert [line.partition("← ")[2] for line in lines[3:6]] == ["arithmetic", "false_goal", "order"]


def test_what_was_cut_off_is_shown(dialect: Dialect) -> None:
    tokens = tokens_of(dialect)
    for length in range(len(tokens) - 1, len(tokens) // 2, -1):
        text = annotate(dialect, ENV, PROBLEM, tokens[:length])
        assert "never ends; no mistake." in text
        shown = " ".join(line[6:].replace("goal", "").strip() for line in lines_of(text))
        assert shown.split() == words(dialect, tokens[:length]).split()


@pytest.mark.parametrize("num_more", [0, 5, 40])
def test_what_cannot_be_read_is_shown_up_to_a_length(num_more: int, dialect: Dialect) -> None:
    tokens = tokens_of(dialect).tolist()[:-1]
    text = annotate(dialect, ENV, PROBLEM, [*tokens, 10**9, *[-3] * num_more])
    assert "becomes unreadable; 1 mistake, the first at event" in text
    last = lines_of(text)[-1]
    assert "[unreadable from here:] <1000000000>" in last
    assert last.endswith("← malformed")
    assert last.count("<-3>") == min(num_more, LONGEST_TAIL - 1)
    assert ("more tokens)" in last) == (num_more >= LONGEST_TAIL)
    assert f"(and {num_more + 1 - LONGEST_TAIL} more tokens)" in last or num_more < LONGEST_TAIL


def test_words_names_what_is_no_token(dialect: Dialect) -> None:
    seven = dialect.vocab.ids["7"]
    assert words(dialect, [BOS, seven, seven, -1, len(dialect.vocab), EOS, PAD]).split() == [
        *("<bos>", "77", "<-1>", f"<{len(dialect.vocab)}>", "<eos>", "<pad>")
    ]
