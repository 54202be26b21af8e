"""Problems from a file, in place of those that an environment draws, or as a split of their own.

A list is a distribution like any other. Problem i of a stream is a line that is drawn by (seed, split, i) from those
lines whose symmetry class belongs to the split, so that a line may come again, a class is wholly in train or in val as
it is elsewhere, and what a run reads does not depend on how far it has come. A recipe holds the checksum of the file
(`data.problems_sha256`) and not its path: a file that was moved is the same list, and another content is refused, by a
run that is resumed as well.

A file is read whole, and every problem in it is checked before work starts; an error names the file and the line.

- `.npy`: whole numbers, (N, P) or any shape whose first axis counts the problems.
- `.csv`: a header, and a column called as in `COLUMNS`, or else the first one; one called as in `SOLUTIONS` is checked.
- a format of the environment's own, by its suffix, such as `.cnf` for formulas; Sokoban's levels, by any other.
- anything else: a problem in each line, as it is typed for `problem=`; empty lines and those that begin with # hold
  none.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sos.data.splits import Splits, in_val
from sos.envs.words import Words, words_of
from sos.errors import UserError, visible
from sos.files import read_text
from sos.kernels import kernel
from sos.schema.data import checksum

COLUMNS = ("puzzle", "puzzles", "problem", "problems", "question", "quizzes")
SOLUTIONS = ("solution", "solutions", "answer")
MOST_BYTES = 1 << 30


class Listed(NamedTuple):
    """A problem of a file."""

    where: str  # it stands, behind the path
    given: str | list[int]
    solution: str | None = None


def read_problems(path: str, env: Any, name: str, sha256: str | None = None) -> np.ndarray:
    """Return the problems of a file in their order, int32 (N, P).

    Raises UserError, with the key `name` and the path, for a file that cannot be read, that has another checksum than
    `sha256`, or holds a line that is no problem of `env`.
    """
    found = checksum(path, name)
    if sha256 is not None and found != sha256:
        raise UserError(f"{name}={path} is another file than it was: its checksum is {found}, not {sha256}")
    return _read(path, found, env, name)


@lru_cache(maxsize=4)
def _read(path: str, _content: str, env: Any, name: str) -> np.ndarray:
    words, rows, places, solutions = words_of(env), [], [], []
    for entry in _entries(path, words):
        place = f"{name}={path}{entry.where}"
        try:
            rows.append(words.listed_problem(entry.given))
        except UserError as error:
            raise UserError(f"{place}: {visible(str(error))}") from error
        places.append(place)
        solutions.append(entry.solution)
    if not rows:
        raise UserError(f"{name}={path} holds no problem")
    problems = np.array(rows, np.int32)
    wrong = words.wrong_listed(problems, solutions)
    if wrong is not None:
        raise UserError(f"{places[wrong[0]]}: {visible(wrong[1])}")
    return problems


def _entries(path: str, words: Words) -> Iterator[Listed]:
    suffix = Path(path).suffix.lower()
    if suffix == ".npy":
        yield from _arrays(path)
        return
    text = read_text(path, MOST_BYTES)
    if suffix == ".csv":
        yield from _table(path, text)
        return
    own = words.listed_file(suffix, text, path)
    if own is not None:
        for number, given in own:
            yield Listed(f":{number}", given)
        return
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() and not line.lstrip().startswith("#"):
            yield Listed(f":{number}", line.strip())


def _arrays(path: str) -> Iterator[Listed]:
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path} is no array that can be read: {error}") from error
    if not isinstance(array, np.ndarray) or array.ndim < 2 or array.dtype.kind not in "iu":
        raise UserError(f"{path} must hold whole numbers, a row or more for each problem")
    for number, row in enumerate(array.reshape(len(array), -1)):
        yield Listed(f"[{number}]", row.tolist())


def _table(path: str, text: str) -> Iterator[Listed]:
    lines = csv.reader(io.StringIO(text, newline=""))
    header = [cell.strip().lower() for cell in next(lines, [])]
    if not header:
        raise UserError(f"{path} has no header")
    column = next((header.index(called) for called in COLUMNS if called in header), 0)
    solved = next((header.index(called) for called in SOLUTIONS if called in header), None)
    try:
        for row in lines:
            if not row:
                continue
            if len(row) != len(header):
                raise UserError(f"{path}:{lines.line_num}: {len(row)} cells, and the header has {len(header)}")
            yield Listed(f":{lines.line_num}", row[column].strip(), None if solved is None else row[solved].strip())
    except csv.Error as error:
        raise UserError(f"{path}:{lines.line_num}: {error}") from error


def distinct(env: Any, problems: np.ndarray) -> np.ndarray:
    """Return the problems (N, P) without those that count as one before them."""
    first = {env.problem_key(row): k for k, row in reversed(list(enumerate(problems)))}
    return problems[sorted(first.values())]


@kernel
def _find_both(env, splits, found):
    """Say which of `train` and `val` have a problem of the list, in bool (2,)."""
    for k in range(len(splits.listed)):
        found[1 if in_val(env, splits, splits.listed[k]) else 0] = True
        if found[0] and found[1]:
            return


@kernel
def _count_in_val(env, splits, problems):
    num = 0
    for k in range(len(problems)):
        num += in_val(env, splits, problems[k])
    return num


def num_in_val(env: Any, splits: Splits, problems: np.ndarray) -> int:
    """Return how many of the problems (N, P) belong to `val`: neither they nor their twins are trained on."""
    return int(_count_in_val(env, splits, problems))


def check_splits(env: Any, splits: Splits, name: str, share: str) -> None:
    """Raise UserError where none of the list's problems is in `train`, or none in `val`; `name` and `share` are the
    words for the list and for the share of `val`."""
    found = np.zeros(2, np.bool_)
    _find_both(env, splits, found)
    for split, there in zip(("train", "val"), found, strict=True):
        if not there:
            raise UserError(f"{name}: none of its {len(splits.listed)} problems is in {split}, with {share}")
