"""Mutated dialects: each is refused in one line, or every trace that it can write reads back."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
from drivers import DIALECTS, random_problem, run_search

from sos.envs.countdown.rules import Countdown
from sos.errors import UserError
from sos.search import Beam, BestFirst, DepthFirst, Widening
from sos.stream.codec import DecodeStatus, decode, encode
from sos.stream.dialect.compile import compile_dialect
from sos.stream.dialect.program import FORMS
from sos.stream.dialect.source import load_source
from sos.stream.verify import verify
from sos.stream.viewing import view_trace
from sos.stream.views import View
from sos.trace import NODE, Trace

ENV = Countdown(num_numbers=4, max_number=12, max_value=150)
STRATEGIES = (
    DepthFirst(max_nodes=30),
    DepthFirst(heuristic=1, use_threshold=False, skip_seen=True, announce_leaves=False, max_nodes=40),
    Beam(width=3, max_nodes=20),
    BestFirst(max_nodes=12),
    Widening(heuristic=3, announce_leaves=False, skip_out_of_range=True, bound=50, max_nodes=40),
)
WHOLE_MAX = (9, 20, 99, 400)
SEPARATORS = ("", ",", ", ", "auto", "|", "7", "12", "+", " and ", "]", "0,", "=")
WORDS = (
    "",
    " ",
    "[",
    "]",
    "<",
    ">",
    "x",
    "!",
    "?",
    ":",
    "=",
    "1",
    "5 ",
    "none",
    "...",
    "\n",
    "+",
    "<eos>",
    "{a}",
    "{op}",
    "{b}",
    "{result}",
)
FIELDS = ("{numbers}", "{path}", "{depth}", "{value}", "{operations}", "{separator}", "{target}", "{nothing}")
OTHERS: tuple[Any, ...] = (None, 5, True, [], {}, ["a"], {"a": "b"}, 1.5)


def traces() -> list[Trace]:
    """Return two traces of each strategy, with repeated numbers among them."""
    rng = np.random.default_rng(3)
    return [run_search(strategy, ENV, random_problem(rng, ENV)) for strategy in STRATEGIES for _ in range(2)]


def _edit_form(rng: np.random.Generator, source: dict[str, Any]) -> None:
    form = str(rng.choice(list(source["forms"])))
    text = source["forms"][form]
    at = int(rng.integers(len(text) + 1)) if isinstance(text, str) else 0
    change = rng.integers(5)
    if not isinstance(text, str) or change == 0:
        source["forms"][form] = str(rng.choice([*source["forms"].values()]))
    elif change == 1:
        source["forms"][form] = text[:at] + str(rng.choice([*WORDS, *FIELDS])) + text[at:]
    elif change == 2:
        source["forms"][form] = text[:at] + text[at + int(rng.integers(1, 4)) :]
    elif change == 3:
        words = text.split(" ")
        rng.shuffle(words)
        source["forms"][form] = " ".join(words)
    else:
        old = str(rng.choice(FIELDS))
        source["forms"][form] = text.replace(old, str(rng.choice([*WORDS, *FIELDS])))


def _edit_separator(rng: np.random.Generator, source: dict[str, Any]) -> None:
    key = str(rng.choice(["separator", "path_separator", "operation_separator"]))
    source[key] = str(rng.choice(SEPARATORS))


def _edit_keys(rng: np.random.Generator, source: dict[str, Any]) -> None:
    change = rng.integers(4)
    if change == 0:
        source["spacing"] = str(rng.choice(["free", "literal", "wide"]))
    elif change == 1:
        source["forms"].pop(str(rng.choice(list(source["forms"]))), None)
    elif change == 2:
        source["forms"][str(rng.choice([*FORMS, "other"]))] = str(rng.choice([*source["forms"].values()]))
    else:
        source["operation"] = str(
            rng.choice(["{a}{op}{b}={result}", "{result}={a}{op}{b}", "{a}{b}{op}{result}", "'{a}'"])
        )


def _edit_type(rng: np.random.Generator, source: dict[str, Any]) -> None:
    value = OTHERS[rng.integers(len(OTHERS))]
    if rng.random() < 0.5:
        source[str(rng.choice(list(source)))] = value
    elif isinstance(source["forms"], dict):
        source["forms"][rng.choice(list(source["forms"]))] = value


def mutated(rng: np.random.Generator) -> tuple[dict[str, Any], int, bool]:
    """Return a shipped dialect's fields after one to three random edits, a `whole_max`, and whether streams have a plan."""
    _, shipped = load_source(str(rng.choice(DIALECTS)), Countdown())
    source = copy.deepcopy(shipped)
    edits: list[Callable[[np.random.Generator, dict[str, Any]], None]] = [_edit_form, _edit_separator, _edit_keys]
    for _ in range(rng.integers(1, 4)):
        edits[rng.choice(3, p=(0.5, 0.35, 0.15))](rng, source)
    if rng.random() < 0.05:
        _edit_type(rng, source)
    return source, int(rng.choice(WHOLE_MAX)), bool(rng.random() < 0.5)


def _canonical(trace: Trace) -> list[tuple[int, list[int]]]:
    """Return the numbers of each node, without their order: not every dialect states it."""
    return [(int(row[0]), sorted(row[1 : 1 + row[0]].tolist())) for row in trace.states]


def _tried(make: Callable[[], Any]) -> tuple[Any, str]:
    """Return (result, ""), or (None, the message for the user)."""
    try:
        return make(), ""
    except UserError as error:
        return None, str(error)


def outcome(source: dict[str, Any], whole_max: int, plan: bool, pool: list[Trace]) -> str:
    """Try one dialect: "refused", "cannot write" (some trace) or "round trip". Any other exception or difference is a mistake."""
    dialect, refusal = _tried(lambda: compile_dialect(source, ENV, whole_max, plan))
    if dialect is None:
        assert "\n" not in refusal
        return "refused"
    written = 0
    for trace in (view_trace(View(plan=plan), ENV, trace) for trace in pool):
        stream, refusal = _tried(lambda trace=trace: encode(dialect, trace))
        if stream is None:
            assert "cannot write" in refusal
            assert "\n" not in refusal
            continue
        tokens, align, _ = stream
        back = decode(dialect, ENV, tokens)
        assert (back.status, back.position) == (DecodeStatus.OK, len(tokens)), (source, whole_max)
        assert np.array_equal(back.align, align), (source, whole_max)
        assert _canonical(back.trace) == _canonical(trace), (source, whole_max)
        assert back.trace._replace(states=trace.states).equals(trace), (source, whole_max)
        assert not verify(ENV, back.trace).errors.any(), (source, whole_max)
        written += 1
    return "round trip" if written == len(pool) else "cannot write"


def try_many(num: int, seed: int) -> Counter[str]:
    """Try `num` mutated dialects; return how often each outcome came."""
    rng = np.random.default_rng(seed)
    pool = traces()
    assert max(len(trace.events) for trace in pool) > 40
    assert max(int(trace.events[:, NODE].max()) for trace in pool) > 20
    return Counter(outcome(*mutated(rng), pool) for _ in range(num))
