"""How long `sos generate` takes with an empty kernel cache, for each environment.

Run `python tests/bench/cold_start.py [EXPERIMENT ...] [--beside CHECKOUT]`; `default` is the run without an experiment, and
1,000 streams of tokens are made. The sampler, the search and the view compile in processes of their own beside the
dialect's kernels. By the clock it is the time on this machine as busy as it is; the CPU seconds say what to expect of an
idle one: all of them together on one core, at least those of the busiest process on many.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
EXPERIMENTS = ("default", "path_star", "layered", "sudoku", "maze", "sat", "sokoban")
TICKS = os.sysconf("SC_CLK_TCK")


def processes(session: int) -> dict[int, float]:
    """Return the CPU seconds of each process of a session."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            continue
        if int(fields[3]) == session:
            found[int(folder.name)] = (int(fields[11]) + int(fields[12])) / TICKS
    return found


def cold(checkout: Path, experiment: str) -> str:
    """Return a line of figures of one generation."""
    overrides = [] if experiment == "default" else [f"experiment={experiment}"]
    with tempfile.TemporaryDirectory() as cache, tempfile.TemporaryDirectory() as out:
        words = [f"generate.out={out}/set", "generate.visits=1000", "generate.kind=tokens", *overrides]
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "sos", "generate", *words],
            env=os.environ | {"PYTHONPATH": str(checkout), "SOS_CACHE_DIR": cache},
            cwd=checkout,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        busy: dict[int, float] = {}
        while process.poll() is None:
            busy |= processes(process.pid)
            time.sleep(0.3)
        seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if process.returncode:
        sys.exit(f"{experiment}: status {process.returncode}")
    total = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return f"{seconds:.1f} s by the clock, {total:.1f} s of CPU time, the busiest process {max(busy.values()):.1f} s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("experiments", nargs="*", default=list(EXPERIMENTS), metavar="EXPERIMENT")
    parser.add_argument("--beside", type=Path, help="another checkout, which takes turns with this one")
    arguments = parser.parse_args()
    for experiment in arguments.experiments:
        for checkout in [ROOT, *([arguments.beside] if arguments.beside else [])]:
            print(f"{experiment}, {checkout.name}: {cold(checkout.resolve(), experiment)}", flush=True)


if __name__ == "__main__":
    main()
