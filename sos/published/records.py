"""The published JSON records (Gandhi et al. 2024) and our traces, in both directions.

A record has the fields `nums, target, solution, search_path, rating, search_type, optimal_path, heuristic`.
`search_path` is a text of the `sos` dialect. `solution` lists the operations of the first solution in generation
order and `optimal_path` writes it out. In a record that we write the states of `optimal_path` are right; the
published writer drops every number equal to an operand, so that its states are wrong where a number occurs twice.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from sos.envs.countdown.rules import HEURISTICS, MAX_NUMBERS, Countdown
from sos.errors import UserError
from sos.search import Beam, DepthFirst
from sos.search.run import run_search
from sos.stream.codec import DecodeStatus, decode, encode
from sos.stream.dialect.compile import Dialect, load_dialect
from sos.stream.dialect.vocab import BOS, EOS, FIRST_NUMBER
from sos.stream.text import words
from sos.stream.verify import Error, verify_tokens
from sos.stream.views import ORACLE
from sos.trace import ACTION, PARENT, Outcome, Trace

FIELDS = ("nums", "target", "solution", "search_path", "rating", "search_type", "optimal_path", "heuristic")
MAX_TARGET = 1_000_000
# Children of the full tree, without regard to order or exactness: the published normalizer of ratings.
MAX_EXPLORED = {2: 4, 3: 48, 4: 1152, 5: 46080}
SOLUTION_NODES = 200_000
_NUMBER = "(0|[1-9][0-9]*)"  # as the search text has it: no leading zero, no digits of other scripts
_OPERATION = re.compile(f"{_NUMBER}([-+*/]){_NUMBER}={_NUMBER}")
_DEPTH_FIRST = re.compile(r"dfs_(sum|mult)")
_BEAM = re.compile(r"beam_(sum|mult)_([1-9][0-9]*)")
_BEAM_TYPE = re.compile(r"bfs_([1-9][0-9]*)")


def published_strategies() -> dict[str, Any]:
    """Return the published twelve by name, to their end and with the beams' shuffling off."""
    heuristics = {name: HEURISTICS.index(name) for name in ("sum", "mult")}
    unbounded = 2**31 - 1
    found: dict[str, Any] = {
        f"dfs_{name}": DepthFirst(heuristic, max_nodes=unbounded) for name, heuristic in heuristics.items()
    }
    for name, heuristic in heuristics.items():
        found |= {f"beam_{name}_{width}": Beam(width, heuristic, max_nodes=unbounded) for width in range(1, 6)}
    return found


def published_weight(name: str) -> int:
    """Return the weight of one of the twelve in the published mixture: half depth-first, half beam."""
    return 5 if name.startswith("dfs") else 1


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
    env, dialect = _language(len(numbers))
    tokens = np.array([BOS, *_ids(len(numbers), text), EOS], np.int64)
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
        raise UserError(f"a record is an object with the fields {', '.join(FIELDS)}, got {_short(record)}")
    for name in FIELDS:
        if name not in record:
            raise UserError(f"the field {name} is missing")
    unknown = record.keys() - set(FIELDS)
    if unknown:
        raise UserError(f"the field {_short(min(unknown))} is unknown and would be lost; known are {', '.join(FIELDS)}")
    for name in ("search_path", "search_type", "heuristic"):
        if not isinstance(record[name], str):
            raise UserError(f"{name} must be a text, got {_short(record[name])}")
    numbers, target, rating = record["nums"], record["target"], record["rating"]
    if not (isinstance(numbers, list) and 2 <= len(numbers) <= MAX_NUMBERS and all(map(_is_number, numbers))):
        raise UserError(f"nums must be 2 to {MAX_NUMBERS} whole numbers below 2**31, got {_short(numbers)}")
    if not (_is_number(target) and 1 <= target <= MAX_TARGET):
        raise UserError(f"target must be a whole number from 1 to {MAX_TARGET}, got {_short(target)}")
    if isinstance(rating, bool) or not isinstance(rating, (int, float)) or not 0 <= rating <= 1:
        raise UserError(f"rating must be a number from 0 to 1, got {_short(rating)}")
    return numbers, target, record["search_path"]


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


@cache
def _language(num_numbers: int) -> tuple[Countdown, Dialect]:
    """Return the widest rules for `num_numbers` numbers and the published wording with digits."""
    env = Countdown(num_numbers, max_target=MAX_TARGET)
    return env, load_dialect("sos", env, 9)


@cache
def _words(num_numbers: int) -> tuple[re.Pattern[str], dict[str, int]]:
    """Return the pattern of one token, the longest symbol first, and the token ids. Ten times as fast as the
    tokenizer."""
    vocab = _language(num_numbers)[1].vocab
    symbols = "|".join(re.escape(symbol) for symbol in sorted(vocab.symbols, key=len, reverse=True))
    return re.compile(f"{symbols}|[0-9]"), vocab.ids


def _ids(num_numbers: int, text: str) -> list[int]:
    """Return the token ids of a text. Raises ValueError that quotes the first place without a token."""
    pattern, ids = _words(num_numbers)
    found = pattern.findall(text)
    if sum(map(len, found)) < len(text):
        place = 0
        while match := pattern.match(text, place):
            place = match.end()
        line = text.count("\n", 0, place) + 1
        raise UserError(
            f"line {line} of search_path holds {text[place : place + 8]!r}, which is not in the published wording"
        )
    return [ids[word] for word in found]


def trace_text(trace: Trace) -> str:
    """Return the text of a trace in the published wording. Raises ValueError where it cannot be written."""
    _, dialect = _language(int(trace.problem[1]))
    words = dialect.vocab.tokens
    return "".join([words[token] for token in encode(dialect, trace)[0].tolist() if token >= FIRST_NUMBER])


def published_text(dialect: Dialect, env: Any, tokens: Any) -> str:
    """Return any tokens of a dialect as a text in the published wording, mistakes kept.

    Tokens of another dialect are decoded and written anew: what cannot be read is then left out, as is everything
    behind it.
    """
    if dialect.name == "sos":
        return dialect.text(tokens)
    trace = decode(dialect, env, tokens).trace
    return trace_text(trace) if len(trace.events) else ""


def search_rating(text: str, num_numbers: int) -> float:
    """Return the published rating of a generated text: 0 without a goal, else less the more operations it explores."""
    return explored_rating(text, num_numbers) if "Goal Reached" in text and num_numbers in MAX_EXPLORED else 0.0


def explored_rating(text: str, num_numbers: int) -> float:
    """Return 1 less the share of the full tree's operations that a text explores, the root counted as one; 0 at
    least."""
    return max(0.0, 1.0 - (text.count("Exploring Operation") + 1) / MAX_EXPLORED[num_numbers])


def split_name(strategy: str) -> tuple[str, str]:
    """Return (search_type, heuristic) of a strategy's name in the published terms: of `dfs_sum`, `beam_mult_3` or
    `TYPE/HEURISTIC`.

    Any other name is a search type without a heuristic.
    """
    if match := _DEPTH_FIRST.fullmatch(strategy):
        return "dfs", f"{match[1]}_heuristic"
    if match := _BEAM.fullmatch(strategy):
        return f"bfs_{match[2]}", f"{match[1]}_heuristic"
    search_type, slash, heuristic = strategy.rpartition("/")
    return (search_type, heuristic) if slash else (strategy, "none")


def join_name(search_type: str, heuristic: str) -> str:
    """Return the strategy's name for the published fields; `split_name` gives them back, whatever they hold."""
    short = heuristic.removesuffix("_heuristic")
    beam = _BEAM_TYPE.fullmatch(search_type)
    name = f"dfs_{short}" if search_type == "dfs" else f"beam_{short}_{beam[1]}" if beam else search_type
    for candidate in (name, search_type):
        if split_name(candidate) == (search_type, heuristic):
            return candidate
    if "/" in heuristic:
        raise UserError(f"heuristic must not hold '/', got {_short(heuristic)}")
    return f"{search_type}/{heuristic}"


def first_solution(numbers: Sequence[int], target: int) -> list[str]:
    """Return the operations of the first solution in generation order. Raises ValueError where there is none."""
    problem = np.array([target, len(numbers), *numbers], np.int32)
    env = Countdown(len(numbers), max_target=target)
    trace = run_search(ORACLE, env, problem, min(SOLUTION_NODES, env.tree_nodes))
    if trace.outcome != Outcome.SOLVED:
        raise UserError(f"problem {list(numbers)} to {target} has no solution")
    operations: list[str] = []
    node = len(trace.nodes) - 1  # the goal is generated last
    while node > 0:
        a, symbol, b, result = trace.nodes[node, ACTION : ACTION + 4].tolist()
        operations.insert(0, f"{a}{env.symbols[symbol]}{b}={result}")
        node = int(trace.nodes[node, PARENT])
    return operations


def check_solution(numbers: Sequence[int], target: int, solution: Any) -> None:
    """Replay a list of operations exactly, each number used once. Raises ValueError that names the operation."""
    if not isinstance(solution, list) or not all(isinstance(operation, str) for operation in solution):
        raise UserError(f"solution must be a list of texts, got {_short(solution)}")
    state = list(numbers)
    for operation in solution:
        state = apply_operation(state, operation)
    if state != [target]:
        raise UserError(f"solution ends with {state}, not with the target {target}")


def apply_operation(state: Sequence[int], operation: str) -> list[int]:
    """Return the numbers after an operation such as `8-3=5`: those left in their order, then the result.

    Raises ValueError where it cannot be read, uses a number that is not there, breaks the rules or states a wrong
    result.
    """
    match = _OPERATION.fullmatch(operation)
    if match is None:
        raise UserError(f"solution holds {_short(operation)}, which is no operation")
    a, b, result = int(match[1]), int(match[3]), int(match[4])
    left = list(state)
    for number in (a, b):
        if number not in left:
            raise UserError(f"solution uses {number} in {operation}, of {list(state)}")
        left.remove(number)
    true = {
        "+": a + b,
        "*": a * b,
        "-": a - b if a >= b else None,
        "/": a // b if b and a >= b and a % b == 0 else None,
    }[match[2]]
    if true != result:
        raise UserError(f"solution states {operation}, which is wrong")
    return [*left, result]


def optimal_path(numbers: Sequence[int], target: int, solution: Sequence[str]) -> str:
    """Return the published text of a solution path."""
    state, lines = list(numbers), [f"Current State: {target}:{list(numbers)}, Operations: []"]
    for step, operation in enumerate(solution):
        state = apply_operation(state, operation)
        lines.append(f"Exploring Operation: {operation}, Resulting Numbers: {state}")
        if len(state) == 1:
            lines.append(f"{state[0]},{target} equal: Goal Reached")
        else:
            lines.append(f"Generated Node #{step + 2}: {state} from Operation: {operation}")
            lines.append(f"Current State: {target}:{state}, Operations: {list(solution[: step + 1])}")
    return "".join(f"{line}\n" for line in lines)
