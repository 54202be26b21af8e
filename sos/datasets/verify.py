"""Verifying a data set: checksums, and an exact replay of every trace or stream."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from tqdm import tqdm

from sos.config import Config
from sos.datasets.make import Job
from sos.datasets.read import Shards, trace_chunk
from sos.datasets.store import begin, check_sums, shard_folder
from sos.errors import UserError
from sos.stream.verify import Error, verify, verify_tokens
from sos.stream.views import VIEWS
from sos.system import build_env, build_system
from sos.trace import KIND, Event, Outcome


def verify_set(job: Job) -> int:
    """Read every shard again: checksums, and an exact replay of every trace or stream; return how many.

    Raises ValueError that names the shard and the visit of the first mistake.
    """
    begin(job.folder, job.plan)
    shards = Shards(job.folder, job.kind)
    check: Callable[[Config, dict[str, np.ndarray], int, str], int] = (
        _verify_traces if job.kind == "traces" else _verify_streams
    )
    num = 0
    for index in tqdm(range(len(shards)), unit=" shards", desc=f"verify {job.folder}"):
        path, record = shard_folder(job.folder, index), shards.manifest["shards"][index]
        check_sums(path, record)
        num += check(job.config, shards.columns(index), record["counts"]["dropped"], str(path))
    return num


def _verify_traces(config: Config, columns: dict[str, np.ndarray], dropped: int, where: str) -> int:
    env = build_env(config)
    num = 0
    for visit, trace in zip(columns["visits"], trace_chunk(columns, dropped).traces(), strict=True):
        verdict = verify(env, trace)
        wrong = np.flatnonzero(verdict.errors)
        if len(wrong):
            name = Error(int(verdict.errors[wrong[0]])).name.lower()
            raise UserError(f"{where}: the trace of visit {visit} is wrong at event {wrong[0]} ({name})")
        if trace.outcome is None or verdict.solved != (trace.outcome == Outcome.SOLVED):
            raise UserError(f"{where}: the trace of visit {visit} ends otherwise than it says")
        num += 1
    return num


def _verify_streams(config: Config, columns: dict[str, np.ndarray], dropped: int, where: str) -> int:
    from sos.stream.codec import DecodeStatus, decode

    system = build_system(config)
    allowed = {int(Error.NONE)}
    if system.view.kind == VIEWS.index("no_backtrack"):
        allowed.add(int(Error.UNANNOUNCED))
    offsets = columns["offsets"]
    for k, visit in enumerate(columns["visits"]):
        tokens = np.asarray(columns["tokens"][offsets[k] : offsets[k + 1]], np.int64)
        problem = decode(system.dialect, system.env, tokens).trace.problem
        verdict, trace, _ = verify_tokens(system.dialect, system.env, problem, tokens)
        if verdict.status != DecodeStatus.OK or not set(verdict.errors.tolist()) <= allowed:
            raise UserError(f"{where}: the stream of visit {visit} does not replay")
        if verdict.solved != (trace.outcome == Outcome.SOLVED) or len(trace.events) == 0:
            raise UserError(f"{where}: the stream of visit {visit} ends otherwise than it says")
        assert trace.events[-1, KIND] == Event.END
    return len(columns["visits"])
