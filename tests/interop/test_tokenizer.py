"""The exported tokenizer gives the ids of a stream with `<bos>` in front, our own text back, and no id to what is no token."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer

from sos.compose import compose
from sos.data.splits import sample_problems
from sos.errors import UserError
from sos.interop.tokenizer import exported_tokenizer, joins_digits
from sos.search.run import run_search
from sos.stream.codec import encode
from sos.stream.dialect.compile import Dialect, load_dialect
from sos.stream.dialect.vocab import BOS, Vocabulary
from sos.system import build_system

TASKS = (
    "env=countdown",
    *(f"experiment={name}" for name in ("layered", "maze", "path_star", "sat", "sokoban", "sudoku")),
)


def dialects(env: Any) -> list[Dialect]:
    """The dialects of an environment, with numbers as digits and as tokens, as far as both go together."""
    names = sorted(Path(str(path)).stem for path in env.dialects.iterdir() if str(path).endswith(".yaml"))
    found = []
    for name in names:
        for whole_max in (9, 120):
            try:
                found.append(load_dialect(name, env, whole_max))
            except UserError:  # a dialect that cannot be written in digits
                continue
    return found


@pytest.mark.parametrize("task", TASKS)
def test_ids_become_our_text_and_our_text_ids(task: str) -> None:
    system = build_system(compose([task, "data.context=4096"]))
    problems = sample_problems(system.env, system.splits, "train", 4, seed=3)
    traces = [run_search(system.strategy, system.env, problem, system.max_nodes) for problem in problems]
    compared = joined = 0
    for dialect in dialects(system.env):
        tokenizer = Tokenizer.from_str(exported_tokenizer(dialect.vocab, joins_digits(dialect)).to_str())
        assert tokenizer.get_vocab() == dialect.vocab.ids
        joined += joins_digits(dialect)
        for trace in traces:
            tokens = encode(dialect, trace)[0].tolist()
            text = dialect.text(tokens)
            assert tokenizer.decode(tokens) == text
            assert tokenizer.encode(text).ids == tokens[:-1]
            assert tokenizer.encode(text, add_special_tokens=False).ids == tokens[1:-1]
            compared += 1
    assert compared >= 4
    assert task != "env=countdown" or joined


@pytest.mark.parametrize("whole_max", [9, 20, 120, 30_000])
def test_numbers_are_joined_and_symbols_with_digits_are_not(whole_max: int) -> None:
    vocabulary = Vocabulary(("x1", "1x", "+", "to 5 "), whole_max, True)
    tokenizer = exported_tokenizer(vocabulary, True)
    words = ["x1", "1", "5", "3", "1x", "9", "+", "7", "x1", "to 5 ", "5", "0"]
    ids = [vocabulary.ids[word] for word in words]
    assert tokenizer.decode(ids) == "x1 153 1x 9 + 7 x1 to 5  50"
    assert exported_tokenizer(vocabulary, False).decode(ids) == " ".join(words)
    largest = [vocabulary.ids[str(whole_max)]] * 3
    assert tokenizer.decode(largest) == str(whole_max) * 3
    assert tokenizer.decode([BOS, *ids[1:3]], skip_special_tokens=False) == "<bos> 15"


@pytest.mark.parametrize("text", ["5 foo", "foo", "5 ? 3", "十", "21 + 3", "5 + 100", "05"])
def test_a_word_that_is_no_token_is_an_error(text: str) -> None:
    tokenizer = exported_tokenizer(Vocabulary(("+", "-", "="), 20, True), False)
    assert tokenizer.encode("5 + 3").ids == [BOS, 8, 24, 6]
    with pytest.raises(Exception, match="UNK"):  # tokenizers raises nothing more special
        tokenizer.encode(text)
    assert np.array_equal(tokenizer.encode("5 + 3").ids, [BOS, 8, 24, 6])
