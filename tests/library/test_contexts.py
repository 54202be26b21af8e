"""What the library does with streams that begin with a context."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_run import TASK

import sos
from sos.stream.codec import encode_prompt
from sos.stream.slot import behind_context

WORDS = [*TASK, "data.context=160", "slot=hint", "slot.dropout=0"]


def test_a_context_belongs_to_the_prompt_of_an_answer(tmp_path: Path) -> None:
    dataset = sos.stream_dataset(*WORDS, visits=8)
    answers, hinted = [], 0
    for item in dataset:
        ids = item["input_ids"].numpy()
        answer = sos.verify(ids, *WORDS)
        assert answer.num_prompt == int((item["labels"] == -100).sum())
        # The same stream without its problem, whose statement is put behind the context.
        start = behind_context(dataset.system.dialect.slot, ids)
        stated = len(encode_prompt(dataset.system.dialect, answer.problem)) - 1
        bare = [*ids[:start], *ids[start + stated :]]
        again = sos.verify(bare, *WORDS, problem=answer.problem)
        assert again.tokens.tolist() == ids.tolist()
        assert (again.num_prompt, again.solved) == (answer.num_prompt, answer.solved)
        answers.append(answer)
        hinted += start > 1
    assert hinted >= 4
    assert sos.save_page(tmp_path / "page.html", answers).stat().st_size > 1000


def test_traces_of_others_have_no_contexts(tmp_path: Path) -> None:
    with pytest.raises(sos.UserError, match=r"slot\.kinds needs searches that are made here"):
        sos.stream_dataset(*WORDS, traces=tmp_path / "traces.jsonl", split="all")
