"""Benchmark of `sos generate`: start, workers, memory, equal bytes, and kills at random moments.

Run `python tests/bench/generation.py [--visits 500000] [--kills 10] [overrides]`, overrides as `env=countdown_paper
search=paper_mixture`. Each line is one measurement; `cold` has an empty kernel cache of its own. Times are wall-clock times of
whole processes.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))


def command(out: Path, *overrides: str) -> list[str]:
    return [sys.executable, "-m", "sos", "generate", f"generate.out={out}", *overrides]


def resident(session: int) -> int:
    """Return the memory (bytes, shared pages counted once for each process) of all processes of a session."""
    total = 0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if int((folder / "stat").read_text().rpartition(")")[2].split()[3]) == session:
                total += int((folder / "statm").read_text().split()[1]) * resource.getpagesize()
        except (FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            continue
    return total


class Run(NamedTuple):
    """What a generation took."""

    seconds: float
    rate: float  # visits/s of its last progress line
    cpu: float  # seconds of all its processes
    peak: int  # bytes of all its processes together, seen every 50 ms


def timed(out: Path, *overrides: str, cache: Path | None = None) -> Run:
    """Run a generation and measure it."""
    environment = os.environ | ({"SOS_CACHE_DIR": str(cache)} if cache else {})
    before, start, peak = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter(), 0
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            command(out, *overrides),
            cwd=ROOT,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,
        )
        while True:
            try:
                process.wait(0.05)
                break
            except subprocess.TimeoutExpired:
                peak = max(peak, resident(process.pid))
        seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
        errors.seek(0)
        text = errors.read()
    assert process.returncode == 0, text[-2000:]
    rates = re.findall(r"([\d.]+)(k?) \w+/s", text)
    rate = float(rates[-1][0]) * (1000 if rates[-1][1] else 1) if rates else 0.0
    return Run(seconds, rate, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, peak)


def checksum(folder: Path) -> str:
    """Return a checksum over the names and bytes of all files of a data set."""
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        digest.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--visits", type=int, default=500_000)
    parser.add_argument("--kills", type=int, default=10)
    options, overrides = parser.parse_known_args()
    temporary = Path(tempfile.mkdtemp(prefix="sos-generation-"))
    try:
        for kind in ("traces", "tokens"):
            few = ("generate.visits=1000", f"generate.kind={kind}")
            cold = timed(temporary / f"cold-{kind}", *few, cache=temporary / f"cache-{kind}")
            warm = min(
                timed(temporary / f"warm-{kind}-{k}", *few, cache=temporary / f"cache-{kind}").seconds for k in range(3)
            )
            print(
                f"1,000 {kind}: cold start {cold.seconds:.1f} s ({cold.cpu:.1f} s of CPU time), warm {warm:.2f} s",
                flush=True,
            )
        size = (f"generate.visits={options.visits}", *overrides)
        seconds: dict[int, list[float]] = {}
        rates: dict[int, list[float]] = {}
        for workers in (1, 2, 1, 2):
            folder = temporary / f"workers-{workers}"
            shutil.rmtree(folder, ignore_errors=True)
            run = timed(folder, *size, f"generate.workers={workers}")
            seconds.setdefault(workers, []).append(run.seconds)
            rates.setdefault(workers, []).append(run.rate)
            print(
                f"{options.visits:,} visits, {workers} workers: {run.seconds:.1f} s, {run.rate:,.0f}/s in the loop, "
                f"peak memory of all processes {run.peak / 2**20:.0f} MiB",
                flush=True,
            )
        print(
            f"two processes are {min(seconds[1]) / min(seconds[2]):.2f} times one, start included, and "
            f"{max(rates[2]) / max(rates[1]):.2f} times in the loop"
        )
        for part in (2, 0, 3, 1):
            timed(temporary / "parts", *size, "generate.parts=4", f"generate.part={part}")
        timed(temporary / "parts", *size, "generate.parts=4", "generate.merge=true")
        sums = {name: checksum(temporary / name) for name in ("workers-1", "workers-2", "parts")}
        print(f"checksums {sums}: {'equal' if len(set(sums.values())) == 1 else 'DIFFERENT'}", flush=True)

        rng, killed = random.Random(1), 0
        limit = min(seconds[2])
        for k in range(options.kills):
            process = subprocess.Popen(
                command(temporary / "killed", *size, "generate.workers=2"),
                cwd=ROOT,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            time.sleep(rng.uniform(1.0, 1.0 + limit / options.kills))
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                killed += 1
            process.wait()
            shards = len(list((temporary / "killed").glob("shard-*")))
            print(f"kill {k + 1}: {shards} shards are there", flush=True)
        timed(temporary / "killed", *size, "generate.workers=2", "generate.verify=true")
        same = checksum(temporary / "killed") == sums["workers-1"]
        print(f"after {killed} kills, finished and verified: {'the same bytes' if same else 'DIFFERENT BYTES'}")
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


if __name__ == "__main__":
    main()
