"""Making a data set: shards by worker processes, continued after any kill, merged from parts, verified."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from sos import kernel_hash
from sos.config import Config
from sos.data.chunks import Chunk, LeftOut
from sos.data.traces import TraceChunk
from sos.datasets.source import build_source, build_trace_source, recipe
from sos.datasets.store import (
    Plan,
    begin,
    finish,
    narrowed,
    recipe_hash,
    shard_folder,
    shard_record,
    write_shard,
)
from sos.errors import UserError
from sos.files import TEMPORARY, claim
from sos.stream.viewing import compile_view
from sos.stream.views import FULL, VIEWS
from sos.system import build_env, build_strategy, build_system, built_in_view
from sos.trace import VALUE, Event, Outcome

STEP = 512  # visits made at a time: what bounds the memory, whatever the size of a shard
ORPHAN_CHECK = 0.5  # seconds


@dataclass(frozen=True)
class Job:
    """One call of the generator: the part of the shards that it makes, and how."""

    config: Config
    kind: str
    split: str
    folder: Path
    plan: Plan
    part: int
    parts: int

    def shards(self) -> list[int]:
        """Return the shards of this part."""
        return list(range(self.part, self.plan.num_shards, self.parts))


def make_job(
    config: Config, *, kind: str, split: str, folder: Path, visits: int, shard_size: int, part: int = 0, parts: int = 1
) -> Job:
    """Describe a generation. Raises ValueError for a configuration that cannot work."""
    if config.data.shards is not None:
        raise UserError(f"data.shards={config.data.shards} is for training; generation writes to generate.out")
    if kind == "tokens" and config.stream.erase:
        raise UserError("stream.erase=true: a data set holds whole streams, and training on one cannot erase")
    env = build_env(config)
    labels: dict[str, Any] = {
        "strategies": list(build_strategy(config.search, env)[1]),
        "kinds": [e.name.lower() for e in Event],
        "outcomes": [o.name.lower() for o in Outcome],
    }
    dialect = None
    if kind == "tokens":
        dialect = build_system(config).dialect
        labels["vocabulary"] = list(dialect.vocab.tokens)
    else:
        symbols = [field.symbols for fields in env.fields.values() for field in fields if field.symbols]
        if symbols:
            labels["operators"] = list(symbols[0])
    plan = Plan(recipe(config, kind, split, dialect), visits, shard_size, kernel_hash(), labels)
    return Job(config, kind, split, folder, plan, part, parts)


# Making shards


def _make_source(job: Job) -> Callable[[int, int], Chunk] | Callable[[int, int], TraceChunk]:
    if job.kind == "traces":
        return build_trace_source(job.config, job.split).chunk
    return build_source(job.config, build_system(job.config), job.split).chunk


def _shift(parts: list[np.ndarray]) -> np.ndarray:
    """Join offset arrays, each from 0, into one."""
    joined, base = [parts[0]], parts[0][-1]
    for part in parts[1:]:
        joined.append(part[1:] + base)
        base = base + part[-1]
    return np.concatenate(joined)


def make_shard(job: Job, source: Callable[[int, int], Any], index: int) -> dict[str, Any]:
    """Make and write one shard; return its record."""
    start, stop = job.plan.span(index)
    chunks = [source(at, min(at + STEP, stop)) for at in range(start, stop, STEP)]
    columns = {
        name: _shift([c.offsets for c in chunks])
        if name == "offsets"
        else np.concatenate([getattr(c, name) for c in chunks])
        for name in chunks[0]._fields
        if name not in ("num_dropped", "left_out", "continued")
    }
    counts = {"visits": stop - start, "dropped": sum(c.num_dropped for c in chunks)}
    if job.kind == "traces":
        ends = columns["events"][columns["offsets"][1:, 0] - 1, VALUE]
        counts |= {"traces": len(ends), "solved": int((ends == Outcome.SOLVED).sum()), "events": len(columns["events"])}
        columns |= {name: narrowed(columns[name]) for name in ("problems", "events", "nodes", "states")}
    else:
        counts |= {"streams": len(columns["prompts"]), "tokens": len(columns["tokens"])}
        left_out = LeftOut(*(sum(numbers) for numbers in zip(*(c.left_out for c in chunks), strict=True)))
        counts |= {f"left_out_{name}": number for name, number in left_out._asdict().items() if number}
        if not counts["streams"]:
            why = left_out.why(f"data.context={job.config.data.context}")
            raise UserError(f"no stream of visits {start} to {stop} is left: {why}")
    record = {"start": start, "stop": stop, "recipe_hash": recipe_hash(job.plan.recipe), "counts": counts}
    return write_shard(job.folder, index, columns, record)


_worker: dict[str, Any] = {}
_CAN_FORK = "fork" in multiprocessing.get_all_start_methods()


def end_with(parent: int) -> None:
    """End this process when its parent is gone: a killed run leaves nobody behind."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(ORPHAN_CHECK)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _start_worker(job: Job, parent: int) -> None:
    end_with(parent)
    _worker.update(job=job, source=_make_source(job))


def _work(index: int) -> dict[str, Any]:
    return make_shard(_worker["job"], _worker["source"], index)


@contextmanager
def _deaf() -> Iterator[None]:
    """Let processes that are started meanwhile hear no Ctrl-C, which a terminal sends to all: this one ends them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _in_processes(job: Job, missing: list[int], workers: int) -> Iterator[dict[str, Any]]:
    pool = ProcessPoolExecutor(
        workers,
        multiprocessing.get_context("fork" if _CAN_FORK else "spawn"),
        initializer=_start_worker,
        initargs=(job, os.getpid()),
    )
    others = set(multiprocessing.active_children())
    waiting = iter(missing)
    pending: set[Future[dict[str, Any]]] = set()
    try:
        while True:
            while len(pending) < 2 * workers and (index := next(waiting, None)) is not None:
                with _deaf():
                    pending.add(pool.submit(_work, index))
            if not pending:
                return
            done, pending = wait(pending, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()
    except BrokenProcessPool as error:
        raise ChildProcessError(
            f"a worker process was killed (too little memory?); the finished shards in {job.folder} are kept, "
            "the same command makes the rest"
        ) from error
    except BaseException as error:
        if not isinstance(error, Exception):  # a signal: what the workers are at is not waited for
            for child in set(multiprocessing.active_children()) - others:
                child.kill()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _compile(stage: Callable[[], Any], parent: int) -> None:
    end_with(parent)
    stage()


@contextmanager
def compiled_beside(config: Config, kind: str = "traces") -> Iterator[Callable[[], None]]:
    """Compile the sampler and the search, and for the `kind` "tokens" the view, most of a cold start, in processes that
    leave them in the kernel cache. This process meanwhile compiles what its dialect needs.

    Yields a function that waits for them. With one core, or where processes cannot be forked, nothing is compiled
    beside.
    """
    if len(os.sched_getaffinity(0)) < 2 or not _CAN_FORK:
        yield lambda: None
        return
    source = build_trace_source(config)
    context = multiprocessing.get_context("fork")
    stages: list[Callable[[], Any]] = [lambda: source.search(source.room_for(0)), lambda: source.sample(0, 0)]
    if kind == "tokens" and config.stream.view in VIEWS and (config.stream.plan or config.stream.view != VIEWS[FULL]):
        stages.append(lambda: compile_view(source.env, built_in_view(config)))
    processes = [context.Process(target=_compile, args=(stage, os.getpid())) for stage in stages]

    def ready() -> None:
        for process in processes:
            process.join()

    try:
        with _deaf():
            for process in processes:
                process.start()
        yield ready
    finally:
        for process in processes:
            process.kill()
        ready()


def generate(job: Job, workers: int = 1, ready: Callable[[], None] = lambda: None) -> int:
    """Make the missing shards of this part; return how many traces or streams were made. `ready` is called before the
    first.

    With one part the manifest is completed, too. Raises ValueError for a folder of another configuration and for
    damaged shards, OSError where the disk is full or cannot be written, ChildProcessError where a worker was killed;
    finished shards are kept.
    """
    job = replace(job, plan=begin(job.folder, job.plan))
    with claim(job.folder, f"generation of part {job.part} of {job.parts}", f".part-{job.part}-of-{job.parts}.lock"):
        own = job.shards()
        _remove_partial(job)
        missing = [index for index in own if shard_record(job.folder, job.plan, index) is None]
        try:
            made = _make(job, own, missing, min(workers, len(missing)), ready)
        finally:
            _remove_partial(job)
        if job.parts == 1:
            finish(job.folder, job.plan, check=False)
    return made


def _remove_partial(job: Job) -> None:
    """Remove what processes that are gone left half-written of this part."""
    for index in job.shards():
        for partial in job.folder.glob(f"{TEMPORARY}{shard_folder(job.folder, index).name}-*"):
            shutil.rmtree(partial, ignore_errors=True)


def _make(job: Job, own: list[int], missing: list[int], workers: int, ready: Callable[[], None]) -> int:
    if not missing:
        return 0
    sizes = {index: stop - start for index in own for start, stop in [job.plan.span(index)]}
    source = _make_source(job)
    ready()
    source(0, 1)  # compiles or loads the kernels, once, before there are workers
    made = 0
    unit = "traces" if job.kind == "traces" else "streams"
    done = sum(sizes.values()) - sum(sizes[index] for index in missing)
    records = _in_processes(job, missing, workers) if workers > 1 else (make_shard(job, source, i) for i in missing)
    with tqdm(total=sum(sizes.values()), initial=done, unit=f" {unit}", desc=str(job.folder), unit_scale=True) as bar:
        for record in records:
            made += record["counts"][unit]
            bar.update(sizes[record["index"]])
    return made


def merge(job: Job) -> dict[str, Any]:
    """Check that the parts of all machines are there, with their checksums, and complete the manifest."""
    return finish(job.folder, begin(job.folder, job.plan), check=True)
