"""Everything that is written reads back: views x searches x dialects x tasks x number codings, and mutated dialects."""

from __future__ import annotations

import numpy as np
import pytest
from dialect_fuzz import ENV, try_many
from round_trips import VIEWS, all_combinations, check
from sizes import plain

from sos.envs.countdown.rules import Countdown
from sos.errors import UserError
from sos.stream.dialect.compile import compile_dialect
from sos.stream.dialect.source import load_source
from sos.stream.dialect.vocab import Vocabulary
from sos.trace import KIND, Event

NUM = plain(400, 40)
NUM_MUTATED = plain(100, 20)


def test_what_is_written_reads_back_to_its_trace_and_is_judged_as_its_teacher() -> None:
    combinations = list(all_combinations())
    chosen = np.random.default_rng(0).permutation(len(combinations))[:NUM]
    tried = returns = 0
    views = set()
    for k in chosen:
        case = combinations[k]
        view = check(case, int(k) % 5, 5)
        views.add(case.view)
        returns += case.view == "no_backtrack" and int((view.events[:, KIND] == Event.BACKTRACK).sum())
        tried += 1
    assert tried == NUM
    assert views == set(VIEWS)
    assert returns > plain(20, 0)  # a reader would not find them


def test_a_mutated_dialect_is_refused_in_one_line_or_reads_back() -> None:
    found = try_many(NUM_MUTATED, seed=5)
    assert sum(found.values()) == NUM_MUTATED
    assert found["refused"] > NUM_MUTATED / 5
    assert found["round trip"] > NUM_MUTATED / 8


@pytest.mark.parametrize(
    ("key", "value", "whole_max", "message"),
    [
        ("path_separator", "", 9, "lists numbers without a separator"),
        ("path_separator", "7", 9, "the separator starts with the number 7"),
        ("separator", "0 ,", 9, "the separator starts with the number 0"),
        ("separator", 5, 9, "separator must be a text, got 5"),
        ("name", [], 9, "name must be a text"),
        ("forms", None, 9, "needs a mapping with the key 'forms'"),
        (3, "x", 9, "unknown key 3"),
    ],
)
def test_a_separator_or_key_that_cannot_be_read_is_refused(key, value, whole_max, message) -> None:
    _, source = load_source("compact", Countdown())
    with pytest.raises(UserError, match=message):
        compile_dialect({**source, key: value}, ENV, whole_max)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "[]",
        "{}",
        "null",
        '{"symbols": 5, "whole_max": 9, "spaced": true}',
        '{"symbols": ["a", "a"], "whole_max": 9, "spaced": true}',
        '{"symbols": ["12"], "whole_max": 9, "spaced": true}',
        '{"symbols": ["a"], "whole_max": "9", "spaced": true}',
        '{"symbols": ["a"], "whole_max": 1e9, "spaced": true}',
        '{"symbols": ["a"], "whole_max": 9, "spaced": 1}',
        " " * 2_000_000,
    ],
)
def test_a_damaged_vocabulary_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(UserError, match=r"^vocabulary: [^\n]*$"):
        Vocabulary.from_json(text)
