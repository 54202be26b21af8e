"""CPU seconds until streams of a preset are written, read and judged by kernels of an empty cache, and how fast these
kernels are then: `python tests/bench/compile_time.py EXPERIMENT... [--beside CHECKOUT] [--runs 2]`.

Each figure is a process of its own; those of another checkout take turns with ours. CPU time, since machines are busy.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
DEFAULT = "default"
MEASURE = """
import json, sys, time
begin = time.process_time()
import numpy as np
from sos import build_source, build_system
from sos.compose import compose
from sos.stream.codec import decode
from sos.stream.verify import verify

system = build_system(compose(json.loads(sys.argv[1])))
source = build_source(compose(json.loads(sys.argv[1])), system)

def rate(work, count):
    times = []
    for _ in range(7):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return count / min(times)

def streams(first, last):
    chunk = source.chunk(first, last)
    return [np.asarray(tokens) for tokens in np.split(chunk.tokens, chunk.offsets[1:-1])]

verify(system.env, decode(system.dialect, system.env, streams(0, 8)[0]).trace)
compiled = time.process_time() - begin
if sys.argv[2] == "cold":
    print(json.dumps([compiled]))
    sys.exit()
some = streams(1000, 1400)
traces = [decode(system.dialect, system.env, tokens).trace for tokens in some]
written = rate(lambda: source.chunk(1000, 1400), 400)
read = rate(lambda: [decode(system.dialect, system.env, tokens) for tokens in some], len(some))
judged = rate(lambda: [verify(system.env, trace) for trace in traces], len(some))
print(json.dumps([compiled, written, read, judged]))
"""


def measure(checkout: Path, experiment: str, cache: str, what: str) -> list[float]:
    """Return the CPU seconds, and unless `what` is cold the streams a second that are written, read and judged."""
    overrides = [] if experiment == DEFAULT else [f"experiment={experiment}"]
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, json.dumps(overrides), what],
        env=os.environ | {"PYTHONPATH": str(checkout), "SOS_CACHE_DIR": cache},
        cwd=checkout,
        check=True,
        stdout=subprocess.PIPE,
    )
    return json.loads(done.stdout)


def main() -> None:
    """Print a line for each run of each checkout."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("experiments", nargs="+", help=f"names of presets, or {DEFAULT}")
    parser.add_argument("--beside", type=Path, action="append", default=[], help="another checkout")
    parser.add_argument("--runs", type=int, default=2)
    arguments = parser.parse_args()
    for experiment in arguments.experiments:
        for _ in range(arguments.runs):
            for checkout in [*arguments.beside, ROOT]:
                with tempfile.TemporaryDirectory() as cache:
                    (cold,) = measure(checkout, experiment, cache, "cold")
                    warm, written, read, judged = measure(checkout, experiment, cache, "warm")
                print(
                    f"{experiment}, {checkout.name}: {cold:.1f} s cold, {warm:.1f} s warm; "
                    f"{written:.0f} streams/s written, {read:.0f} read, {judged:.0f} judged",
                    flush=True,
                )


if __name__ == "__main__":
    main()
