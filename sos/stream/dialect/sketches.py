"""What a dialect needs for sketches, searches without their visits (see `sos.stream.sketch`), and when it is ambiguous.

What a search begins with says whether it is one: `begin_search` a whole search, `begin_sketch` one whose visits are
left out, `begin_bare` one whose facts are left out, too. They are tried in this order, and `generate` before `bare`: so
one may be the beginning of another, if what must follow it tells them apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sos.envs.protocol import has
from sos.errors import UserError
from sos.stream.dialect.program import (
    BARE,
    BEGIN_BARE,
    BEGIN_SEARCH,
    BEGIN_SKETCH,
    FORMS,
    GENERATE,
    OPERATION,
    ROOT,
    Program,
)

HEADINGS = (BEGIN_SEARCH, BEGIN_SKETCH, BEGIN_BARE)


def check_forms(templates: Mapping[str, str], env: Any, where: str) -> None:
    """Raise UserError for forms of sketches that an environment has no use for, or that lack each other."""
    used = [form for form in ("begin_sketch", "bare", "begin_bare") if form in templates]
    if not used:
        return
    if not has("complete", type(env)):
        raise UserError(
            f"{where}: form {used[0]!r} is for actions with facts that follow from the rest, and {type(env).__name__} "
            "has none"
        )
    needs = {"begin_sketch": "begin_search", "bare": "begin_bare", "begin_bare": "begin_sketch"}
    for form in used:
        needed = "bare" if form == "begin_bare" and "bare" not in templates else needs[form]
        if needed not in templates:
            raise UserError(f"{where}: form {form!r} needs the form {needed!r}, which is missing")


def told_apart(a: int, b: int) -> bool:
    """Say whether one of two forms may be the beginning of the other, because of what has to follow."""
    return {a, b} <= {*HEADINGS} or (a, b) == (BARE, GENERATE)


def to_compare(program: Program) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Yield pairs of sequences of forms, neither of which may be the beginning of the other."""
    if not program.sketches:
        return
    begins = [(BEGIN_SEARCH,), (BEGIN_SKETCH, GENERATE), (BEGIN_BARE, BARE)]
    there = [forms for forms in begins if all(program.present[form] for form in forms)]
    for k, (heading, *_) in enumerate(there):
        for later in there[k + 1 :]:
            yield (heading,), later
    if program.present[BARE]:
        never = (ROOT, OPERATION, *HEADINGS)
        for form in range(len(FORMS)):
            if program.present[form] and form not in never:
                yield (GENERATE,), (BARE, form)
