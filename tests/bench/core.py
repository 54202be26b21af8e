"""Benchmark of the symbolic core on one core: search, encoding, decoding and verification, beside plain Python.

Run `python tests/bench/core.py`. Each figure is the median of several runs, compilation excluded.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from drivers import random_problem, run_search, solvable_kernel
from naive import search as naive

from sos.data.splits import make_splits
from sos.data.streams import StreamSource
from sos.envs.countdown.rules import HEURISTICS, Countdown
from sos.kernels import allocating
from sos.search.beam import Beam
from sos.search.depth_first import DepthFirst
from sos.search.mixture import mix
from sos.search.protocol import search
from sos.search.work import new_work
from sos.stream.codec import encode
from sos.stream.dialect.compile import load_dialect
from sos.stream.read.decode import decode_kernel
from sos.stream.verify import verify_kernel
from sos.stream.views import View
from sos.stream.write.encode import TokenRows, encode_traces
from sos.stream.write.space import new_writing
from sos.stream.write.spans import SLACK
from sos.trace import ACTION, Trace, TraceRows, new_buffer


@allocating
def search_all(strategy, env, problems, work, trace):
    """Search every problem; return the number of generated nodes."""
    nodes = 0
    for k in range(len(problems)):
        search(strategy, env, problems[k], work, trace)
        nodes += trace.counts[1]
    return nodes


@allocating
def encode_all(program, rows, tokens, kinds, writing):
    """Encode every trace of `rows`, each into the same buffer; return the number of tokens."""
    sink = TokenRows(tokens, kinds, np.zeros(2, np.int64), np.zeros(1, np.int32), np.zeros(1, np.int64))
    context = len(tokens) - program.max_event_tokens - SLACK
    total = 0
    for k in range(len(rows.problems)):
        encode_traces(program, context, rows, k, k + 1, writing, sink, 0)
        total += sink.stops[1]
    return total


@allocating
def read_all(program, env, tokens, starts, buffer, align, errors, with_verify):
    """Decode, and perhaps verify, every stream; return (number of events, number solved)."""
    problem = np.zeros(env.num_numbers + 2, np.int32)
    total = 0
    solved = 0
    for k in range(len(starts) - 1):
        decode_kernel(program, env, tokens[starts[k] : starts[k + 1]], problem, buffer, align)
        num_events, num_nodes, num_states = buffer.counts
        total += num_events
        if with_verify:
            goal = verify_kernel(
                env, problem, buffer.events[:num_events], buffer.nodes[:num_nodes], buffer.states[:num_states], errors
            )[0]
            solved += goal >= 0
    return total, solved


def seconds(function: Callable[[], object], repeats: int) -> float:
    """Return the median time of a call after one that warms up."""
    function()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def solvable_problems(env: Countdown, num: int, seed: int) -> np.ndarray:
    """Return int32 (num, P) solvable problems of the published ranges."""
    rng = np.random.default_rng(seed)
    problems = np.array([random_problem(rng, env) for _ in range(4 * num)], np.int32)
    solvable = np.zeros(len(problems), np.bool_)
    solvable_kernel(env, problems, solvable)
    return np.ascontiguousarray(problems[solvable][:num])


def concatenated(traces: list[Trace]) -> TraceRows:
    """Return traces behind each other."""
    sizes = np.array([[len(t.events), len(t.nodes), len(t.states)] for t in traces])
    starts = np.concatenate([np.zeros((1, 3), np.int64), np.cumsum(sizes, axis=0)])
    arrays = (np.concatenate([getattr(t, name) for t in traces]) for name in ("events", "nodes", "states"))
    num = len(traces)
    return TraceRows(
        np.stack([t.problem for t in traces]), *arrays, starts, np.zeros(num, np.int64), np.zeros(num, np.int32)
    )


def row(what: str, figure: float, unit: str, note: str = "") -> None:
    print(f"{what:44} {figure:14,.0f} {unit:10} {note}", flush=True)


def mixture_source(env: Countdown) -> StreamSource:
    """Return the training streams of the published mixture in the `sos` dialect, whole numbers as digits."""
    kinds = (HEURISTICS.index("sum"), HEURISTICS.index("mult"))
    strategies = [DepthFirst(kind, max_nodes=20_000) for kind in kinds]
    strategies += [Beam(width, kind, True, True, 20_000) for kind in kinds for width in range(1, 6)]
    mixture = mix(strategies, [5.0] * 2 + [1.0] * 10)
    dialect, splits = load_dialect("sos", env, 9), make_splits(env, 0.1, 0.1)
    return StreamSource(env, mixture, View(), dialect, splits, 100_000, 0, max_nodes=20_000)


def mixture_row(env: Countdown, repeats: int) -> None:
    """Time the whole way of the published mixture: problem, search, `sos` tokens, for consecutive visits of a source."""
    source = mixture_source(env)
    num = 100
    visits = iter(range(0, 10**9, num))
    sizes = []

    def make() -> None:
        start = next(visits)
        for k in range(start, start + 10 * num, num):
            sizes.append(len(source.fill(k, k + num).tokens))

    duration = seconds(make, repeats)
    tokens = sum(sizes) / len(sizes) / num
    row("the published mixture, problem to sos tokens", 10 * num / duration, "traces/s", f"{tokens:,.0f} tokens/trace")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--traces", type=int, default=3000)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    env, strategy = Countdown(), DepthFirst()
    problems = solvable_problems(env, options.traces, seed=0)
    num = len(problems)
    work = new_work(env, 20_000)
    buffer = new_buffer(80_000, 20_000, ACTION + env.action_width, env.state_width)

    duration = seconds(lambda: search_all(strategy, env, problems, work, buffer), options.repeats)
    few = problems[:100].tolist()
    naive_duration = seconds(lambda: [naive.depth_first(p[2:], p[0]) for p in few], 3)
    nodes = search_all(strategy, env, problems, work, buffer)
    kernel_rate, naive_rate = num / duration, len(few) / naive_duration
    row("depth-first, 4 numbers, sum, threshold", kernel_rate, "traces/s", f"{nodes / duration:,.0f} nodes/s")
    row("the same, naive Python", naive_rate, "traces/s", f"ratio {kernel_rate / naive_rate:,.0f}")

    mixture_row(env, options.repeats)
    traces = [run_search(strategy, env, problem, 20_000) for problem in problems]
    rows = concatenated(traces)
    for name, whole_max in (("compact", 9), ("compact", 999), ("sos", 9), ("sos", 999)):
        dialect = load_dialect(name, env, whole_max)
        tokens, kinds = np.zeros(2_000_000, np.uint16), np.zeros(2_000_000, np.int8)
        align = np.zeros(2_000_000, np.int32)
        writing = new_writing(dialect.program, len(buffer.events), len(buffer.nodes), len(buffer.nodes))
        written = (dialect.program, rows, tokens, kinds, writing)
        total = encode_all(*written)
        duration = seconds(lambda: encode_all(*written), options.repeats)  # noqa: B023
        mean = f"{total / num:,.0f} tokens/trace"
        row(f"encode {name}, whole numbers to {whole_max}", total / duration, "tokens/s", mean)

        streams, lengths = [], [0]
        for trace in traces:
            streams.append(encode(dialect, trace)[0].astype(np.int64))
            lengths.append(lengths[-1] + len(streams[-1]))
        stream, ends = np.concatenate(streams), np.array(lengths)
        errors = np.zeros(len(buffer.events), np.int8)
        read = (dialect.program, env, stream, ends, buffer, align, errors)
        assert read_all(*read, True) == (len(rows.events), sum(t.outcome == 0 for t in traces))
        for what, with_verify in (("decode", False), ("decode and verify", True)):
            duration = seconds(lambda: read_all(*read, with_verify), options.repeats)  # noqa: B023
            row(f"{what} {name}, {whole_max}", num / duration, "traces/s", f"{total / duration:,.0f} tokens/s")

        if name == "sos":
            tokenizer = dialect.vocab.tokenizer()
            few_lists = [(p[2:], p[0]) for p in few[:20]]
            texts = [naive.published_text(numbers, target, "sum") for numbers, target in few_lists]
            count = sum(len(tokenizer.encode(text).ids) for text in texts)
            search_time = seconds(lambda: [naive.depth_first(n, t) for n, t in few_lists], 3)  # noqa: B023
            write_time = seconds(lambda: [naive.published_text(n, t, "sum") for n, t in few_lists], 3)  # noqa: B023
            token_time = seconds(lambda: [tokenizer.encode(text).ids for text in texts], 3)  # noqa: B023
            write_only = max(write_time - search_time, 0.0) + token_time
            row("  text and tokenizers library", count / write_only, "tokens/s", "naive text less its search, then ids")


if __name__ == "__main__":
    main()
