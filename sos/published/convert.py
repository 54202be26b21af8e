"""Published JSON records to our traces and back, file by file: what is valid is converted and counted, the rest
listed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from tqdm import tqdm

from sos.datasets.files import parse_trace, trace_line
from sos.envs.countdown.rules import Countdown
from sos.errors import UserError
from sos.files import read_json_lines
from sos.published.records import from_record, to_record
from sos.stream.verify import Error, verify
from sos.trace import Outcome, Trace

MOST_SHOWN = 10


def imported(value: Any) -> tuple[Trace, str, str]:
    """Return (trace, strategy, our line) of a published record; see `sos.published.records.from_record`."""
    trace, strategy = from_record(value)
    return trace, strategy, trace_line(trace, strategy)


def exported(value: Any) -> tuple[Trace, str, str]:
    """Return (trace, strategy, published record) of one of our lines, which must pass the verifier."""
    trace, strategy = parse_trace(value)
    errors = verify(Countdown(int(trace.problem[1])), trace).errors
    if errors.any():
        event = int(errors.nonzero()[0][0])
        raise UserError(f"events[{event}] is a mistake ({Error(int(errors[event])).name.lower()})")
    return trace, strategy, json.dumps(to_record(trace, strategy))


class Converter:
    """Converts values file by file and counts; the invalid ones are left out and listed."""

    def __init__(self, convert: Callable[[Any], tuple[Trace, str, str]]) -> None:
        self.convert = convert
        self.num_read = self.num_solved = 0
        self.strategies: Counter[str] = Counter()
        self.failures: list[str] = []

    def lines(self, paths: Sequence[str]) -> Iterator[str]:
        """Yield the converted JSON of every valid value. Raises ValueError for a file in which nothing more can be
        read."""
        for path in paths:
            for line, value in tqdm(read_json_lines(path), desc=path, unit="traces", leave=False):
                self.num_read += 1
                if isinstance(value, ValueError):
                    self.failures.append(str(value))
                    continue
                try:
                    trace, strategy, text = self.convert(value)
                except ValueError as error:
                    self.failures.append(f"{path}:{line}: {error}")
                    continue
                self.strategies[strategy] += 1
                self.num_solved += trace.outcome == Outcome.SOLVED
                yield text

    def report(self) -> str:
        """Return what was read and found valid, by strategy."""
        valid = self.num_read - len(self.failures)
        counts = ", ".join(f"{name} {num}" for name, num in sorted(self.strategies.items()))
        return f"read {self.num_read}, valid {valid} ({self.num_solved} solved), invalid {len(self.failures)}; {counts}"
