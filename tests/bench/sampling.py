"""Benchmark of solvability and of sampling solvable problems on one core, beside a plain search in C.

Run `python tests/bench/sampling.py`. Numbers are uniform in 1..99, targets in 10..100. Rates are per second of CPU time of this
process, the median of several runs that take turns, compilation excluded. The C search needs gcc; its answers must be equal.
"""

from __future__ import annotations

import argparse
import ctypes
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from drivers import solvable_kernel

from sos.data.splits import make_splits, sample_problems
from sos.envs.countdown.rules import Countdown

C_SEARCH = r"""
static int solve(const long *numbers, int count, long target) {
    if (count == 1) return numbers[0] == target;
    long next[6];
    for (int i = 0; i < count; i++)
        for (int j = i + 1; j < count; j++) {
            long x = numbers[i], y = numbers[j];
            if (x < y) { x = numbers[j]; y = numbers[i]; }
            int k = 0;
            for (int m = 0; m < count; m++) if (m != i && m != j) next[k++] = numbers[m];
            next[k] = x + y;
            if (solve(next, count - 1, target)) return 1;
            next[k] = x - y;
            if (solve(next, count - 1, target)) return 1;
            if (x * y <= 2147483647L) {
                next[k] = x * y;
                if (solve(next, count - 1, target)) return 1;
            }
            if (y > 1 && x % y == 0) {
                next[k] = x / y;
                if (solve(next, count - 1, target)) return 1;
            }
        }
    return 0;
}
void solve_all(const int *problems, int num, int width, unsigned char *found) {
    for (int p = 0; p < num; p++) {
        long numbers[6];
        for (int k = 0; k < width - 2; k++) numbers[k] = problems[p * width + 2 + k];
        found[p] = solve(numbers, width - 2, problems[p * width]);
    }
}
"""


def compile_c() -> ctypes.CDLL | None:
    """Return the compiled C search, or None where there is no gcc."""
    if shutil.which("gcc") is None:
        return None
    folder = Path(tempfile.mkdtemp())
    (folder / "search.c").write_text(C_SEARCH)
    command = ["gcc", "-O3", "-march=native", "-shared", "-fPIC", "search.c", "-o", "search.so"]
    subprocess.run(command, cwd=folder, check=True)
    return ctypes.CDLL(str(folder / "search.so"))


def random_problems(num_numbers: int, num: int) -> np.ndarray:
    """Return int32 (num, P) problems of uniform numbers and targets, solvable or not."""
    rng = np.random.default_rng(num_numbers)
    problems = np.full((num, num_numbers + 2), num_numbers, np.int32)
    problems[:, 0] = rng.integers(10, 101, num)
    problems[:, 2:] = rng.integers(1, 100, (num, num_numbers))
    return problems


def medians(repeats: int, *functions: Callable[[], object]) -> list[float]:
    """Return the median CPU seconds of each function; they take turns."""
    times: list[list[float]] = [[] for _ in functions]
    for _ in range(repeats):
        for function, seconds in zip(functions, times, strict=True):
            start = time.process_time()
            function()
            seconds.append(time.process_time() - start)
    return [statistics.median(seconds) for seconds in times]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=9)
    repeats = parser.parse_args().repeats
    library = compile_c()
    for num_numbers, num in ((4, 40_000), (5, 2_000), (6, 20)):
        env, problems = Countdown(num_numbers), random_problems(num_numbers, num)
        found, by_c = np.zeros(num, np.bool_), np.zeros(num, np.bool_)
        solvable_kernel(env, problems, found)
        functions: list[Callable[[], object]] = [lambda e=env, p=problems, f=found: solvable_kernel(e, p, f)]
        if library is not None:
            pointers = problems.ctypes.data_as(ctypes.c_void_p), by_c.ctypes.data_as(ctypes.c_void_p)
            functions.append(
                lambda p=pointers, n=num, w=num_numbers + 2: library.solve_all(p[0], n, w, p[1])  # type: ignore[union-attr]
            )
        seconds = medians(repeats, *functions)
        note = f"{found.mean():.1%} solvable"
        if library is not None:
            assert np.array_equal(found, by_c), "the C search disagrees"
            note += f"; plain C {num / seconds[1]:12,.0f}, ratio {seconds[1] / seconds[0]:.1f}"
        print(f"solvability, {num_numbers} numbers {num / seconds[0]:14,.0f} sets/s   {note}", flush=True)
    env = Countdown()
    splits = make_splits(env, 0.1, 0.1)
    for split in ("train", "val", "val_target"):
        num = 20_000 if split != "val" else 5_000
        sample_problems(env, splits, split, 10)
        (seconds,) = medians(repeats, lambda s=split, n=num: sample_problems(env, splits, s, n))  # type: ignore[misc]
        print(f"solvable problems of {split:12} {num / seconds:12,.0f} problems/s", flush=True)


if __name__ == "__main__":
    main()
