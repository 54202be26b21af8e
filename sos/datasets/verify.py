"""Verifying a data set: checksums, the problem of every visit, and an exact replay of every trace or stream."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from tqdm import tqdm

from sos.context.forms import read_context
from sos.data.traces import TraceSource
from sos.datasets.make import STEP, Job
from sos.datasets.read import Shards, trace_chunk
from sos.datasets.source import build_trace_source
from sos.datasets.store import begin, check_sums, shard_folder
from sos.errors import UserError
from sos.stream.codec import DecodeStatus
from sos.stream.verify import Error, verify, verify_tokens
from sos.system import build_env, build_system
from sos.trace import Outcome

Columns = dict[str, np.ndarray]
Check = Callable[[Columns, np.ndarray, str], None]  # of the columns, the problem of each row, and where that is


def verify_set(job: Job) -> int:
    """Read every shard again: checksums, the problem of every visit, and an exact replay of each; return how many.

    The problems are drawn anew, so that a trace or stream of another visit or split is found. Raises UserError that
    names the shard and the visit of the first mistake.
    """
    begin(job.folder, job.plan)
    shards = Shards(job.folder, job.kind)
    source = build_trace_source(job.config, job.split)
    check = _check_traces(job) if job.kind == "traces" else _check_streams(job)
    num = 0
    for index in tqdm(range(len(shards)), unit=" shards", desc=f"verify {job.folder}"):
        path, record = shard_folder(job.folder, index), shards.manifest["shards"][index]
        check_sums(path, record)
        columns = shards.columns(index)
        drawn = np.concatenate(list(_problems(source, record["start"], record["stop"])))
        check(columns, drawn[columns["visits"] - record["start"]], str(path))
        num += len(columns["visits"])
    return num


def _problems(source: TraceSource, start: int, stop: int) -> Iterator[np.ndarray]:
    for at in range(start, stop, STEP):
        yield source.problems(at, min(at + STEP, stop))


def _check_traces(job: Job) -> Check:
    env = build_env(job.config)

    def check(columns: Columns, problems: np.ndarray, where: str) -> None:
        for visit, problem, trace in zip(columns["visits"], problems, trace_chunk(columns, 0).traces(), strict=True):
            _check_problem(trace.problem, problem, f"{where}: the trace of visit {visit}")
            verdict = verify(env, trace)
            wrong = np.flatnonzero(verdict.errors)
            if len(wrong):
                name = Error(int(verdict.errors[wrong[0]])).name.lower()
                raise UserError(f"{where}: the trace of visit {visit} is wrong at event {wrong[0]} ({name})")
            if (verdict.solved and not verdict.refuted) != (trace.outcome == Outcome.SOLVED):
                raise UserError(f"{where}: the trace of visit {visit} ends otherwise than it says")

    return check


def _check_streams(job: Job) -> Check:
    system = build_system(job.config)

    def check(columns: Columns, problems: np.ndarray, where: str) -> None:
        offsets = columns["offsets"]
        for k, visit in enumerate(columns["visits"]):
            tokens = np.asarray(columns["tokens"][offsets[k] : offsets[k + 1]], np.int64)
            verdict, trace, align = verify_tokens(system.dialect, system.env, problems[k], tokens)
            whole = verdict.status == DecodeStatus.OK and len(align) == len(tokens)
            if not whole or verdict.errors.any():
                raise UserError(f"{where}: the stream of visit {visit} does not replay")
            if system.dialect.slot is not None and not read_context(system.dialect, tokens).sound:
                raise UserError(f"{where}: the context of visit {visit} cannot be read")
            _check_problem(trace.problem, problems[k], f"{where}: the stream of visit {visit}")
            if (verdict.solved and not verdict.refuted) != (trace.outcome == Outcome.SOLVED):
                raise UserError(f"{where}: the stream of visit {visit} ends otherwise than it says")

    return check


def _check_problem(found: np.ndarray, drawn: np.ndarray, where: str) -> None:
    if not np.array_equal(found, drawn):
        raise UserError(f"{where} is of problem {found.tolist()}, the visit is of {drawn.tolist()}")
