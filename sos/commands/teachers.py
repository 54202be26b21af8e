"""`sos teachers`: which share of solvable problems a search solves within a context, per strategy and dialect."""

from __future__ import annotations

from dataclasses import dataclass

from sos.commands.words import option
from sos.errors import UserError

INT32_MAX = 2**31 - 1


@dataclass
class Options:
    """The problems are the published task's (numbers 1..99, targets 10..100, solvable); a stream counts when its
    search is solved and all of it fits the context. `sos strategies` is the like for the published twelve."""

    numbers: list[int] = option([3, 4, 5, 6], "numbers per problem, 2 to 6: a table for each")
    problems: int = option(1000, "how many problems", low=1)
    max_value: int = option(INT32_MAX, "the largest result, from 100 up", low=100)
    descending: bool = option(False, "list numbers in descending order")


def run(options: Options) -> None:
    """Print a table for each count of numbers. Raises UserError for a count that Countdown does not have."""
    if not options.numbers or not all(2 <= n <= 6 for n in options.numbers):
        raise UserError(f"numbers must be from 2 to 6, got {options.numbers}")
    if options.max_value > INT32_MAX:
        raise UserError(f"max_value must be at most {INT32_MAX}, got {options.max_value}")
    from sos.data.teachers import STREAMS, cover, table, teachers
    from sos.envs.countdown.rules import Countdown

    for num in options.numbers:
        env = Countdown(num, max_value=options.max_value, descending=options.descending)
        rows = cover(env, options.problems, teachers(), STREAMS)
        print(table(f"{num} numbers, {options.problems} solvable problems, %", rows), flush=True)
