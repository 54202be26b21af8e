"""Files of levels: every form that people keep them in is read, and a bad line is named."""

from __future__ import annotations

import random
import re
from pathlib import Path

import numpy as np
import pytest
from sizes import plain

from sos.compose import compose
from sos.data.listed import read_problems
from sos.data.splits import make_splits, sample_problems
from sos.envs.sokoban.rules import Sokoban
from sos.envs.sokoban.xsb import read_levels, write_levels
from sos.envs.words import words_of
from sos.errors import UserError
from sos.judge.problems import split_problems
from sos.system import build_system

ENV = Sokoban(6, 6, 1, 1, 1)
LEVEL = ["######", "#  @.#", "# #$ #", "#    #", "#    #", "######"]
OTHER = ["######", "#@  .#", "# #  #", "#  $ #", "#    #", "######"]


def drawn(num: int) -> tuple[np.ndarray, list[list[str]]]:
    """Return rows of problems, and the levels as people draw them."""
    problems = sample_problems(ENV, make_splits(ENV, 0.2, 0.0), "train", num, seed=5)
    words = words_of(ENV)
    return problems, [words.drawn(*ENV.parts(row)[:2], row) for row in problems]  # type: ignore[attr-defined]


def told(rng: random.Random, levels: list[list[str]]) -> str:
    """Write levels in a way that is drawn: one line or several, with comments, other marks of free cells, margins, blanks
    at the end, and line ends of two kinds."""
    lines: list[str] = []
    for number, level in enumerate(levels):
        free, margin = rng.choice(" -_"), rng.choice(["", "  ", "-"])
        rows = [margin + row.replace(" ", free) + rng.choice(["", " ", "   "]) for row in level]
        if rng.random() < 0.3:
            lines.append("|".join(row.replace(" ", free) for row in level))
        else:
            lines += [*rng.choice([[""], ["  ", ""], [f"; level {number} # | ?"], ["", ";", ""]]), *rows]
    lines += rng.choice([[], [""], ["; end"]])
    return rng.choice(["\n", "\r\n"]).join(lines)


def test_levels_are_read_in_every_form(tmp_path: Path) -> None:
    rng, (problems, levels), tried = random.Random(3), drawn(plain(12, 2)), 0
    for suffix in ("xsb", "sok", "txt", "XSB"):
        for _ in range(plain(10, 2)):
            path = tmp_path / f"{tried}.{suffix}"
            path.write_bytes(told(rng, levels).encode())
            assert np.array_equal(read_problems(str(path), ENV, "data.problems"), problems)
            tried += 1
    path = tmp_path / "written.xsb"
    path.write_text(write_levels(levels))
    assert np.array_equal(read_problems(str(path), ENV, "eval.problems"), problems)
    assert path.read_text().startswith("; 1\n######\n")
    assert tried == 4 * plain(10, 2)


def test_a_level_begins_on_its_first_row() -> None:
    text = "\n".join(["; mine", "", *LEVEL, "", "|".join(OTHER), *OTHER, ";", *LEVEL])
    found = list(read_levels(text, "there"))
    assert [line for line, _ in found] == [3, 10, 11, 18]
    assert [level for _, level in found] == ["|".join(level) for level in (LEVEL, OTHER, OTHER, LEVEL)]
    assert list(read_levels("\n; nothing\n\n", "there")) == []
    assert list(read_levels(write_levels([]), "there")) == []


@pytest.mark.parametrize(
    ("lines", "line", "said"),
    [
        ([*LEVEL, "", "Title: mine"], 8, "'T' in column 1 is none of #.$*@+-_ and blanks"),
        ([*LEVEL[:2], "# #$x#", *LEVEL[3:]], 3, "'x' in column 5 is none of"),
        ([*LEVEL[:2], "# #$\t#", *LEVEL[3:]], 3, "'\\t' in column 5 is none of"),
        (["; one", *LEVEL, *OTHER], 2, "is a level of 6x12 cells, and not of 6x6"),
        ([*LEVEL, "", *OTHER[:-1]], 8, "is a level of 6x5 cells, and not of 6x6"),
        ([*LEVEL, "", "######", "#   .#", *LEVEL[2:]], 8, "has no workers, and not one"),
        ([*LEVEL, "", "|".join(OTHER).replace("$", "?")], 8, "'?' in column 25 is none of"),
        (["######", "#  @.#", "# #  #", "#    #", "#   $#", "######"], 1, "it has no solution"),
    ],
)
def test_bad_lines_are_named(tmp_path: Path, lines: list[str], line: int, said: str) -> None:
    path = tmp_path / "a.xsb"
    path.write_text("\n".join(lines))
    with pytest.raises(UserError) as caught:
        read_problems(str(path), ENV, "data.problems")
    assert re.match(rf"(data\.problems=)?{re.escape(str(path))}:{line}: ", str(caught.value))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_run_is_given_levels_of_a_file(tmp_path: Path) -> None:
    _, levels = drawn(plain(30, 12))
    path = tmp_path / "levels.sok"
    path.write_text(write_levels(levels))
    shape = ["env.width=6", "env.height=6", "env.boxes=1", "env.min_walls=1", "env.max_walls=1"]
    words = ["experiment=sokoban", *shape, f"eval.problems={path}", "eval.splits=[listed]"]
    system = build_system(compose(words))
    assert len(system.listed) == len(levels)
    assert len(split_problems(system, "listed", 5, seed=1)) == 5
