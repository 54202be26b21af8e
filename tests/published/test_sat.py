"""The published words of 3-SAT searches, byte for byte, and read back."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from formulas import WHOLE_MAX, problems_of, search_of
from naive import sat as naive
from sizes import plain

from sos.envs.sat.rules import Sat
from sos.errors import UserError
from sos.published.sat import from_published, read_formula, to_published
from sos.search.run import run_search
from sos.stream.codec import encode
from sos.stream.dialect.compile import load_dialect
from sos.stream.verify import verify_tokens


def judged(text: str) -> tuple[Any, str]:
    """Read published words, and verify what they say."""
    compact = from_published(text)
    first: dict[frozenset[int], list[int]] = {}
    for clause in read_formula(text.partition(" <|endofprompt|> ")[0]):
        first.setdefault(frozenset(clause), clause)
    env = Sat(3, 8, len(first) / 8 + 0.01, 30, -1.0)
    dialect = load_dialect("compact", env, 80)
    ids = dialect.vocab.tokenizer().encode(f"<bos> {compact} <eos>", add_special_tokens=False).ids
    return verify_tokens(dialect, env, np.array(env.row(list(first.values())), np.int32), ids)[0], compact


def test_published_texts_are_read_and_written_byte_for_byte(reference: Path) -> None:
    counts = Counter[bool]()
    for line in (reference / "sat" / "dpll.jsonl").read_text().splitlines()[: plain(None, 3)]:
        record = json.loads(line)
        verdict, compact = judged(record["text"])
        assert verdict.solved
        assert verdict.refuted == (not record["label"])
        assert not verdict.errors.any()
        assert to_published(compact, record["clauses"]) == record["text"]
        counts[record["label"]] += 1
    assert sum(counts.values()) >= plain(47, 3)
    assert min(counts.values()) > plain(10, 0)


def test_our_searches_are_told_as_the_published_code_would() -> None:
    env, counts = Sat(5, 8, 4.3, 12), Counter[bool]()
    dialect = load_dialect("compact", env, WHOLE_MAX)
    for row in problems_of(env, plain(100, 5)):
        compact = dialect.text(encode(dialect, run_search(search_of("unit"), env, row, 5000))[0])
        clauses = env.clauses(row)
        text, answer = naive.published(clauses)
        told = to_published(compact)
        assert told == f"{naive.published_formula(clauses)} <|endofprompt|> {text}"
        assert from_published(told) == compact
        counts[answer] += 1
    assert min(counts.values()) > plain(20, 0)


SMALL = [[1, 2, 3], [-1, 2, 3], [1, -2, 3], [-1, -2, 3], [1, 2, -3], [-1, 2, -3], [1, -2, -3], [-1, -2, -3]]
TEXT = f"{naive.published_formula(SMALL)} <|endofprompt|> {naive.published(SMALL)[0]}"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("<|endofprompt|>", "", "there is no <|endofprompt|>"),
        ("Question: ( 2 ∨ 3 )", "Question: ( 2 ∨ 4 )", "is not what is left of the formula"),
        ("Answer: False", "Answer: True", "is not the answer there, which is False"),
        ("Found 3 Let 3 = True", "Found 3 Let 3 = False", "Found 3 = False is not what was found"),
        ("Found 3 Let", "Found 3", "Let is missing"),
        ("Try 2", "Guess 2", "is no clause"),
        ("Try 2 = True", "Try two = True", "'two' is no number"),
        ("( 1 ∨ 2 ∨ 3 )", "( 1 ∨ ∨ 3 )", "is no clause"),
        (
            "[CALL] Question: ( 2 ∨ 3 )",
            "[CALL] Question: ( 2 ∨ 3 ) Try 3 = True [CALL] Question: ( 2 ∨ 3 )",
            "is not what",
        ),
    ],
)
def test_what_is_not_true_is_refused(old: str, new: str, message: str) -> None:
    assert judged(TEXT)[0].refuted
    assert old in TEXT
    with pytest.raises(UserError) as caught:
        from_published(TEXT.replace(old, new, 1))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("[SEP] Answer: False [RETURN]", "is not the answer there"),
        ("Try 1 = True", "Try stands behind the end"),
        ("[CALL] Question: ( 1 )", "[CALL] stands where nothing is called"),
    ],
)
def test_nothing_stands_behind_the_last_answer(more: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        from_published(f"{TEXT} {more}")
    assert message in str(caught.value)


def test_a_move_that_leaves_clauses_needs_a_call() -> None:
    formula = naive.published_formula(SMALL)
    with pytest.raises(UserError, match="'Try' stands where a call is to come"):
        from_published(f"{formula} <|endofprompt|> [CALL] Question: {formula} Try 1 = True Try 1 = False")


def test_an_unfinished_text_is_no_refutation() -> None:
    """The published score reads the last True or False, which an unfinished text has, too."""
    cuts = [match.start() for match in re.finditer(r" \[CALL\]| \[SEP\]", TEXT)][2:]
    tried = 0
    for cut in cuts:
        verdict, compact = judged(TEXT[:cut])
        assert not verdict.solved
        assert compact.endswith("...")
        tried += 1
    assert tried > 10


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("+1 -2 +3 ? +1", "'?' is no literal"),
        ("+1 -2 +3", "must begin with the formula and ="),
        ("+1 2 +3 = ? +1", "'2' is no literal"),
        ("+1 -2 +3 = ? +2 !", "! is not true there"),
        ("+1 -2 +3 = ? +2 x", "x is not true there"),
        ("+1 -2 +3 = ! ", "! is not true there"),
        ("+1 -2 +3 = ? 2", "'2' is no literal"),
        ("+1 -2 +3 = < x", "'x' is no number"),
        ("+1 -2 +3 = none ? +1", "? stands behind the end"),
    ],
)
def test_streams_that_are_no_true_searches_are_refused(text: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        to_published(text)
    assert message in str(caught.value)
