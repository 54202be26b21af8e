"""The published JSON records (Gandhi et al. 2024) and our traces, in both directions.

A record has the fields `nums, target, solution, search_path, rating, search_type, optimal_path, heuristic`.
`search_path` is a text of the `sos` dialect. `solution` lists the operations of the first solution in generation
order and `optimal_path` writes it out. In a record that we write the states of `optimal_path` are right; the
published writer drops every number equal to an operand, so that its states are wrong where a number occurs twice.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from sos.datasets.checks import short
from sos.envs.countdown.rules import MAX_NUMBERS
from sos.errors import UserError
from sos.published.names import join_name, split_name
from sos.published.ratings import search_rating
from sos.published.solutions import check_solution, first_solution, optimal_path
from sos.published.wording import MAX_TARGET, language, token_ids, trace_text
from sos.stream.codec import DecodeStatus
from sos.stream.dialect.vocab import BOS, EOS
from sos.stream.text import words
from sos.stream.verify import Error, verify_tokens
from sos.trace import Trace

FIELDS = ("nums", "target", "solution", "search_path", "rating", "search_type", "optimal_path", "heuristic")


class Imported(NamedTuple):
    """A record read and verified."""

    trace: Trace
    strategy: str  # `dfs_sum`, `beam_mult_3`, or where it is none of the published ones the record's TYPE/HEURISTIC


def to_record(trace: Trace, strategy: str) -> dict[str, Any]:
    """Return the published record of a search's trace. `strategy` is a name such as `dfs_sum` or `beam_mult_3`.

    Raises ValueError where the problem has no solution, or none within `SOLUTION_NODES` nodes, or the dialect cannot
    write the trace.
    """
    target, count, *numbers = trace.problem.tolist()
    numbers = numbers[:count]
    text = trace_text(trace)
    solution = first_solution(numbers, target)
    search_type, heuristic = split_name(strategy)
    return {
        "nums": numbers,
        "target": target,
        "solution": solution,
        "search_path": text,
        "rating": search_rating(text, count),
        "search_type": search_type,
        "optimal_path": optimal_path(numbers, target, solution),
        "heuristic": heuristic,
    }


def from_record(record: Any) -> Imported:
    """Return the trace of a published record after exact verification.

    Raises ValueError that says what is wrong: a field that is missing or of another type, a text that the dialect
    does not read to its end or that answers another problem, any step that the verifier objects to, a rating above 0
    without a solution, or a `solution` that is none. A field that is not among `FIELDS` would be lost and is refused;
    `rating`, `solution` and `optimal_path` are not kept, since `to_record` makes them anew.
    """
    numbers, target, text = _checked_fields(record)
    env, dialect = language(len(numbers))
    tokens = np.array([BOS, *token_ids(len(numbers), text), EOS], np.int64)
    problem = np.array([target, len(numbers), *numbers], np.int32)
    verdict, trace, align = verify_tokens(dialect, env, problem, tokens)
    if verdict.status != DecodeStatus.OK:
        rest = words(dialect, tokens[len(align) :][:12].tolist())
        raise UserError(f"search_path cannot be read from {rest!r} on (token {len(align)} of {len(tokens)})")
    if not np.array_equal(trace.problem, problem):
        stated = trace.problem.tolist()
        raise UserError(f"search_path states target {stated[0]} and numbers {stated[2:]}, not {target} and {numbers}")
    if verdict.errors.any():
        wrong = int(np.flatnonzero(verdict.errors)[0])
        name = Error(int(verdict.errors[wrong])).name.lower()
        step = words(dialect, tokens[align == wrong].tolist())
        raise UserError(f"search_path has a mistake ({name}): {step!r}")
    if record["rating"] > 0 and not verdict.solved:
        raise UserError(f"rating is {record['rating']}, and search_path does not solve the problem")
    check_solution(numbers, target, record["solution"])
    return Imported(trace, join_name(record["search_type"], record["heuristic"]))


def _checked_fields(record: Any) -> tuple[list[int], int, str]:
    """Return (numbers, target, search_path). Raises ValueError that names the field and the value."""
    if not isinstance(record, dict):
        raise UserError(f"a record is an object with the fields {', '.join(FIELDS)}, got {short(record)}")
    for name in FIELDS:
        if name not in record:
            raise UserError(f"the field {name} is missing")
    unknown = record.keys() - set(FIELDS)
    if unknown:
        raise UserError(f"the field {short(min(unknown))} is unknown and would be lost; known are {', '.join(FIELDS)}")
    for name in ("search_path", "search_type", "heuristic"):
        if not isinstance(record[name], str):
            raise UserError(f"{name} must be a text, got {short(record[name])}")
    numbers, target, rating = record["nums"], record["target"], record["rating"]
    if not (isinstance(numbers, list) and 2 <= len(numbers) <= MAX_NUMBERS and all(map(_is_number, numbers))):
        raise UserError(f"nums must be 2 to {MAX_NUMBERS} whole numbers below 2**31, got {short(numbers)}")
    if not (_is_number(target) and 1 <= target <= MAX_TARGET):
        raise UserError(f"target must be a whole number from 1 to {MAX_TARGET}, got {short(target)}")
    if isinstance(rating, bool) or not isinstance(rating, (int, float)) or not 0 <= rating <= 1:
        raise UserError(f"rating must be a number from 0 to 1, got {short(rating)}")
    return numbers, target, record["search_path"]


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31
