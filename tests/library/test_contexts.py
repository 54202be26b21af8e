"""What the library does where streams may begin with a context."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_run import TASK

import sos

WORDS = [*TASK, "data.context=160", "slot=hint", "slot.dropout=0"]


def test_traces_of_others_have_no_contexts(tmp_path: Path) -> None:
    with pytest.raises(sos.UserError, match=r"slot\.kinds needs searches that are made here"):
        sos.stream_dataset(*WORDS, traces=tmp_path / "traces.jsonl", split="all")
