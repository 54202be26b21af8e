"""`sos convert FILES...`: published JSON records to our traces and back."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass

from sos.commands.output import check_out
from sos.commands.words import option, places
from sos.errors import UserError

MOST_SHOWN = 10


@dataclass
class Options:
    """Published JSON records (an array or JSON lines) to lines of our traces, or with to=published back. Every trace is
    verified, step by step; without out they are only checked."""

    files: list[str] = places("FILES", "what is read")
    to: str = option("sos", "what it becomes", choices=("sos", "published"))
    out: str | None = option(None, "the file that the valid traces go to")
    skip_invalid: bool = option(False, "leave invalid traces out instead of refusing all")
    lines: bool = option(False, "with to=published: JSON lines, not the published JSON array")


def run(options: Options) -> None:
    """Convert. Raises UserError where a file or a value is invalid, unless those are to be skipped; then nothing is
    written."""
    check_out(options.out, inputs=options.files)
    from sos.files import write_lines
    from sos.published.convert import Converter, exported, imported

    converter = Converter(imported if options.to == "sos" else exported)
    lines = converter.lines(options.files)

    def checked() -> Iterator[str]:
        yield from lines
        num, failures = converter.num_read, converter.failures
        for failure in failures[:MOST_SHOWN]:
            print(f"invalid: {failure}", file=sys.stderr)
        if len(failures) > MOST_SHOWN:
            print(f"invalid: {len(failures) - MOST_SHOWN} more", file=sys.stderr)
        if not num:
            raise UserError(f"{options.files[0]}: nothing in it")
        if failures and (not options.skip_invalid or len(failures) == num):
            hint = "" if options.skip_invalid else " (skip_invalid=true leaves them out)"
            raise UserError(
                f"{len(failures)} of {num} are invalid, the first is {failures[0]}; nothing was written{hint}"
            )

    if options.out:
        write_lines(options.out, checked(), array=options.to == "published" and not options.lines)
    else:
        for _ in checked():
            pass
    print(converter.report())
    if options.out:
        print(f"wrote {options.out}")
