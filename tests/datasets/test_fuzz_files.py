"""A part of `tests/bench/fuzz_files.py`: damaged files are refused in one line, or read."""

from __future__ import annotations

import sys
from pathlib import Path

from places import ROOT

sys.path.insert(0, str(ROOT / "tests" / "bench"))

from fuzz_files import Fuzzer

NUM_FILES = 140


def test_damaged_files_are_refused_in_one_line_or_read(tmp_path: Path) -> None:
    fuzzer = Fuzzer(tmp_path, seed=7)
    counts, wrong = fuzzer.run(NUM_FILES)
    assert not wrong, wrong[0]
    assert sum(counts.values()) == NUM_FILES
    for kind in fuzzer.kinds:
        assert counts[f"{kind}: refused"] > 2, counts
    assert sum(counts[f"{kind}: read"] for kind in fuzzer.kinds) > 10
