"""Jitted entry points to the kernels, and small makers of problems, traces and damaged streams."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sos.envs import protocol as environment
from sos.envs.countdown.rules import Countdown
from sos.kernels import allocating
from sos.search.beam import Beam
from sos.search.best_first import BestFirst
from sos.search.depth_first import DepthFirst
from sos.search.heap import pop_heap, push_heap
from sos.search.protocol import search
from sos.search.registry import SEARCHES
from sos.search.rows import Searcher
from sos.search.run import search_one
from sos.search.widening import Widening
from sos.stream.codec import DecodeStatus, decode, encode
from sos.stream.dialect.compile import Dialect
from sos.stream.dialect.vocab import BOS, EOS, FIRST_NUMBER
from sos.stream.verify import Error, Verdict
from sos.stream.viewing import view_trace
from sos.stream.views import View
from sos.trace import KIND, NODE, Event, Outcome, Trace

DIALECTS = sorted(Path(str(path)).stem for path in Countdown().dialects.iterdir())
MAX_NODES = 20_000


@allocating
def search_kernel(strategy, env, problem, work, trace):
    """A search in buffers of the test's own, which may be too small."""
    return search(strategy, env, problem, work, trace)


@allocating
def expand_kernel(env, kind, problem, scratch, state, actions, children, values):
    """Write every successor of `state` with its heuristic value; return how many."""
    environment.prepare(env, kind, problem, scratch)
    moves = np.zeros(len(values), np.int64)
    num = environment.successors(env, kind, problem, scratch, state, moves, values)
    for k in range(num):
        environment.make_child(env, problem, state, moves[k], actions[k], children[k])
    return num


@allocating
def _solvable(env, problems, solvable, work):
    for k in range(len(problems)):
        solvable[k] = environment.solvable(env, problems[k], work)


def solvable_kernel(env, problems, solvable):
    """Write into `solvable` bool (K,) which problems int32 (K, P) have a solution."""
    _solvable(env, problems, solvable, env.proof_work())


@allocating
def judge_kernel(env, problem, state, action, child):
    return environment.judge(env, problem, state, action, child)


@allocating
def hash_kernel(env, key, problem):
    return environment.hash_key(env, key, problem)


@allocating
def heap_kernel(work, values, by_node):
    size = 0
    for node in range(len(values)):
        size = push_heap(work, size, values[node], node, by_node)
    popped = np.zeros(len(values), np.int64)
    for k in range(len(values)):
        popped[k] = pop_heap(work, size, by_node)
        size -= 1
    return popped


_SEARCHERS: dict[tuple[type, int, int], Searcher] = {}


def run_search(strategy: Any, env: Any, problem: Any, max_nodes: int = MAX_NODES) -> Trace:
    """Search `problem` and return its trace; the work space is reused from call to call, as in production."""
    key = (type(env), env.num_numbers, max_nodes)
    if key not in _SEARCHERS:
        _SEARCHERS[key] = Searcher(env._replace(max_target=1000), strategy, max_nodes)
    searcher = _SEARCHERS[key]
    searcher.env, searcher.strategy = env, strategy
    trace = search_one(searcher, problem)
    assert trace is not None, f"the trace has more than {max_nodes} nodes"
    return trace


def random_problem(rng: np.random.Generator, env: Countdown) -> list[int]:
    """Draw a problem row within the ranges of `env`, solvable or not; often with repeated numbers."""
    numbers = rng.integers(env.min_number, env.max_number + 1, env.num_numbers)
    if rng.random() < 0.3:
        numbers[rng.integers(env.num_numbers)] = numbers[0]
    return env.problem_row(int(rng.integers(env.min_target, env.max_target + 1)), numbers.tolist())


def all_searches() -> list[tuple[str, Any]]:
    """Return named strategies: every entry of SEARCHES that goes with Countdown, and depth-first with all kinds of options."""
    named: list[tuple[str, Any]] = [
        (name, search.kind(max_nodes=200))
        for name, search in SEARCHES.items()
        if all(environment.has(kernel, Countdown) for kernels in search.schema().needs().values() for kernel in kernels)
    ]
    assert len(named) >= 4
    named += [
        ("dfs-exhaustive", DepthFirst(heuristic=0, use_threshold=False, max_nodes=60)),
        ("dfs-mult-unseen-silent", DepthFirst(heuristic=2, skip_seen=True, announce_leaves=False)),
        ("dfs-budget", DepthFirst(heuristic=1, use_threshold=False, max_nodes=7)),
        ("dfs-size-look-ahead", DepthFirst(3, False, True, False, 60, look_ahead=1)),
        ("dfs-operator", DepthFirst(4, False, True, False, 60)),
        ("dfs-size-in-range", DepthFirst(3, False, True, False, 60, skip_out_of_range=True)),
        ("beam-1-mult", Beam(width=1, heuristic=2)),
        ("beam-3-inner-shuffled", Beam(width=3, visit_leaves=False, shuffle=True)),
        ("beam-budget", Beam(width=2, max_nodes=3)),
        ("widening-size", Widening(3, False, 90, skip_out_of_range=True, bound=100)),
        ("widening-operator", Widening(4, False, 90, bound=100)),
        ("widening-look-ahead", Widening(1, look_ahead=1, max_nodes=90, bound=100)),
        ("best-first-deep", BestFirst(depth_weight=-3000, max_nodes=40)),
        ("best-first-all", BestFirst(heuristic=2, depth_weight=600, skip_seen=False, max_nodes=15)),
    ]
    return named


def all_envs() -> list[tuple[str, Any]]:
    """Return named Countdowns of small problems."""
    return [
        ("countdown", Countdown()),
        ("countdown-2", Countdown(num_numbers=2)),
        ("countdown-3-small", Countdown(num_numbers=3, max_number=20, max_target=50, max_value=100)),
        ("countdown-4-descending", Countdown(num_numbers=4, max_number=30, max_value=200, descending=True)),
        ("countdown-5", Countdown(num_numbers=5, max_number=12)),
    ]


def readable(trace: Trace, dialect: Dialect) -> str:
    """Return one line per event: its kind, node, parent and what the dialect writes for it."""
    tokens, align, _ = encode(dialect, trace)
    lines = []
    for e, (kind, node, _, _, _) in enumerate(trace.events.tolist()):
        parent = f"<- {trace.nodes[node][0]}" if kind == Event.GENERATE else ""
        name = Event(kind).name.lower()
        where = "" if kind == Event.END else str(node)
        lines.append(f"{e:3} {name:9} {where:>3} {parent:5} {dialect.text(tokens[align == e])}".rstrip())
    assert trace.outcome is not None
    return "\n".join(lines) + f"\n{trace.outcome.name.lower()}\n"


def reads_back(dialect: Dialect, back: Trace, trace: Trace) -> bool:
    """Say whether `back` is all of a search's `trace` that `dialect` writes.

    Where no form states the numbers of a node that was generated and never visited, their order is not written.
    """
    if "{numbers}" in dialect.templates["generate"]:
        return back.equals(trace)
    visited = set(trace.events[trace.events[:, KIND] == Event.EXPAND, NODE].tolist())
    for node, (a, b) in enumerate(zip(back.states.tolist(), trace.states.tolist(), strict=True)):
        if (a != b) if node in visited else (sorted(a[1 : 1 + a[0]]) != sorted(b[1 : 1 + b[0]])):
            return False
    return back._replace(states=trace.states).equals(trace)


def tokenize(tokenizer: Any, text: str) -> np.ndarray:
    """Return int64 (T,) ids of `<bos>` text `<eos>`."""
    return np.array([BOS, *tokenizer.encode(text, add_special_tokens=False).ids, EOS], np.int64)


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    with path.open() as lines:
        for line in lines:
            yield json.loads(line)


def damages(vocab_size: int) -> list[Callable[[np.random.Generator, np.ndarray], np.ndarray]]:
    """Return functions that damage int64 (T,) tokens, each in its way."""

    def substitute(rng: np.random.Generator, tokens: np.ndarray) -> np.ndarray:
        tokens = tokens.copy()
        tokens[rng.integers(len(tokens))] = rng.integers(vocab_size)
        return tokens

    def nudge(rng: np.random.Generator, tokens: np.ndarray) -> np.ndarray:
        tokens = tokens.copy()
        tokens[rng.integers(len(tokens))] ^= 1  # to a neighbour, without overflow
        return tokens

    def swap(rng: np.random.Generator, tokens: np.ndarray) -> np.ndarray:
        tokens = tokens.copy()
        i, j = rng.integers(len(tokens), size=2)
        tokens[[i, j]] = tokens[[j, i]]
        return tokens

    def copy_token(rng: np.random.Generator, tokens: np.ndarray) -> np.ndarray:
        i, j = rng.integers(len(tokens), size=2)
        tokens = tokens.copy()
        tokens[i] = tokens[j]
        return tokens

    def duplicate(rng: np.random.Generator, tokens: np.ndarray) -> np.ndarray:
        i, j = np.sort(rng.integers(len(tokens), size=2))
        return np.concatenate([tokens[:j], tokens[i:j], tokens[j:]])

    def delete(rng: np.random.Generator, tokens: np.ndarray) -> np.ndarray:
        i = rng.integers(len(tokens))
        return np.concatenate([tokens[:i], tokens[i + rng.integers(1, 12) :]])

    def truncate(rng: np.random.Generator, tokens: np.ndarray) -> np.ndarray:
        return tokens[: rng.integers(len(tokens))]

    def move(rng: np.random.Generator, tokens: np.ndarray) -> np.ndarray:
        i, j = np.sort(rng.integers(len(tokens), size=2))
        rest = np.concatenate([tokens[:i], tokens[j:]])
        k = rng.integers(len(rest) + 1)
        return np.concatenate([rest[:k], tokens[i:j], rest[k:]])

    def invade(rng: np.random.Generator, tokens: np.ndarray) -> np.ndarray:
        tokens = tokens.copy()
        tokens[rng.integers(len(tokens))] = rng.choice([-1, -(2**63), 2**63 - 1, 2**31, vocab_size, 65536 + 5])
        return tokens

    def lie(rng: np.random.Generator, tokens: np.ndarray) -> np.ndarray:
        # One number becomes another one throughout the rest: wrong but consistent.
        start = rng.integers(len(tokens))
        old, new = tokens[rng.integers(len(tokens))], FIRST_NUMBER + rng.integers(10)
        return np.concatenate([tokens[:start], np.where(tokens[start:] == old, new, tokens[start:])])

    def append(rng: np.random.Generator, tokens: np.ndarray) -> np.ndarray:
        return np.concatenate([tokens[: len(tokens) - rng.integers(2)], rng.choice(tokens, rng.integers(1, 12))])

    return [substitute, nudge, swap, copy_token, duplicate, delete, truncate, move, invade, lie, append]


def damage(rng: np.random.Generator, tokens: np.ndarray, vocab_size: int) -> np.ndarray:
    """Damage tokens once or a few times, or replace them by noise."""
    draw = rng.random()
    if draw < 0.02:
        return rng.integers(-(2**62), 2**62, rng.integers(0, 40))
    if draw < 0.05:
        return np.concatenate([tokens[: rng.integers(12)], rng.integers(0, vocab_size, rng.integers(0, 60))])
    ways = damages(vocab_size)
    for _ in range(min(int(rng.geometric(0.7)), 5)):
        if len(tokens) > 1:
            tokens = ways[rng.integers(len(ways))](rng, tokens)
    return tokens


def damaged_verdicts(
    rng: np.random.Generator,
    dialect: Dialect,
    streams: Sequence[tuple[Any, np.ndarray]],
    num: int,
    judged: Callable[[Trace], Verdict],
) -> Counter[str]:
    """Damage `num` of the streams, pairs of a problem and its tokens, and judge them; return what came of them."""
    counts = Counter[str]()
    for _ in range(num):
        row, tokens = streams[rng.integers(len(streams))]
        found = decode(dialect, dialect.env, damage(rng, tokens.astype(np.int64), len(dialect.vocab)))
        if found.status == DecodeStatus.NO_PROMPT:
            counts["unread"] += 1
            continue
        verdict = judged(found.trace)
        counts["read"] += 1
        counts["solved"] += verdict.solved
        counts["planned"] += verdict.planned
        counts["another"] += not np.array_equal(found.trace.problem, row)
        counts.update(Error(code).name for code in set(verdict.errors.tolist()) - {0})
    assert counts["unread"] + counts["read"] == num
    return counts


def small_streams(dialect: Dialect, env: Countdown, rng: np.random.Generator, num: int) -> list[tuple[Any, Any]]:
    """Return (problem int32 (P,), tokens int64 (T,)) of short searches, three of four solved, with plans where the dialect
    has them."""
    view = View(plan="plan" in dialect.templates)
    streams: list[tuple[Any, Any]] = []
    strategies = [strategy for _, strategy in all_searches()]
    while len(streams) < num:
        problem = np.array(random_problem(rng, env), np.int32)
        trace = run_search(strategies[rng.integers(len(strategies))], env, problem)
        solved = trace.outcome == Outcome.SOLVED
        if len(trace.events) <= 60 and solved == (len(streams) % 4 > 0):
            streams.append((problem, encode(dialect, view_trace(view, env, trace))[0].astype(np.int64)))
    return streams


def judged_text(dialect: Dialect, tokens: np.ndarray) -> str:
    """Return the text of the tokens between a leading `<bos>` and the first token that is none of the text's."""
    if len(tokens) == 0 or tokens[0] != BOS:
        return ""
    body = tokens[1:]
    stops = np.flatnonzero((body < 3) | (body >= len(dialect.vocab)))
    return dialect.text(body[: stops[0]] if len(stops) else body)
