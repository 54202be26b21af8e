"""Level files as people keep them (`.xsb`, `.sok`, `.txt`), read with an error that names the line, and written.

A level is its rows, one line each, and ends with an empty line, with a line that begins with `;` (a comment, such as a
name), or with the file; or it is one line, its rows apart by `|`. A line of anything but the marks of
`sos.envs.sokoban.words` is refused, because a row that was mistyped could hide behind it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from sos.errors import UserError

FREE = " -_"
MARKS = f"#.$*@+{FREE}"
COMMENT, BETWEEN = ";", "|"


def read_levels(text: str, where: str) -> Iterator[tuple[int, list[int] | str]]:
    """Yield the line that each level begins on, and its rows with `|` between them. Raises UserError: `where`, the
    line, and what is wrong there."""
    rows: list[str] = []
    first = 0
    for number, line in enumerate([*text.splitlines(), ""], 1):
        row = line.rstrip()
        if BETWEEN in row or not row or row.startswith(COMMENT):
            if rows:
                yield first, BETWEEN.join(_without_margin(rows))
            rows = []
        if not row or row.startswith(COMMENT):
            continue
        for place, mark in enumerate(row, 1):
            if mark not in MARKS and mark != BETWEEN:
                raise UserError(
                    f"{where}:{number}: {mark!r} in column {place} is none of {MARKS.replace(' ', '')} and blanks, of "
                    "which the rows of a level are made; a comment begins with ;"
                )
        if BETWEEN in row:
            yield number, row.strip()
            continue
        if not rows:
            first = number
        rows.append(row)


def _without_margin(rows: list[str]) -> list[str]:
    """Return rows without what is free on the left of all of them."""
    margin = min(len(row) - len(row.lstrip(FREE)) for row in rows)
    return [row[margin:] for row in rows]


def write_levels(levels: Iterable[Sequence[str]]) -> str:
    """Return levels, each a list of its rows, as text that `read_levels` reads: their numbers in comments, and an empty
    line behind each."""
    lines: list[str] = []
    for number, rows in enumerate(levels, 1):
        lines += [f"{COMMENT} {number}", *rows, ""]
    return "\n".join(lines)
