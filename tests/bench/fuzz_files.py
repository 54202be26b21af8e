"""Fuzz the files that data sets and published records are read from, and count how they are refused or read.

Run `python tests/bench/fuzz_files.py --files 1200 --seed 1`. Every file is damaged in its bytes, in its JSON or in its numbers, its
checksums made to fit, and read to its end: packed for training, replayed, written in a dialect. It must be refused in one line, or
be read. An exception of another kind is shown; a crash ends the process, and a file that takes longer than a minute a signal.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from drivers import all_searches, random_problem, run_search
from shard_sets import job, reading, resign

from sos.data.packing import pack
from sos.datasets.checks import COLUMNS
from sos.datasets.files import parse_trace, trace_line
from sos.datasets.make import generate
from sos.datasets.read import Shards, read_traces
from sos.envs.countdown.rules import Countdown
from sos.errors import UserError
from sos.files import read_json_lines
from sos.published.records import from_record, to_record
from sos.stream.codec import decode, encode
from sos.stream.dialect.compile import load_dialect
from sos.stream.verify import verify
from sos.system import build_env

VISITS, SIZE = 20, 10
LIMIT = 60  # seconds for one file
ODD: list[Any] = [
    None, True, -1, 0, 1, 2**31, -(2**63), 2**64, 10**30, 0.5, 1e308, "", "x", "../..", "${oc.env:HOME}", "\ud800", "٣", [], [[]],
    {}, {"a": 1}, [1] * 50,
]  # fmt: skip


# Damage


def in_bytes(content: bytes, rng: random.Random) -> bytes:
    """Return bytes with a few flipped, cut, put in or said twice."""
    damaged = bytearray(content)
    for _ in range(rng.randint(1, 3)):
        place = rng.randrange(len(damaged) + 1)
        end = min(len(damaged), place + rng.randint(1, 40))
        how = rng.randrange(5)
        if how == 0 and place < len(damaged):
            damaged[place] ^= 1 << rng.randrange(8)
        elif how == 1:
            del damaged[place:end]
        elif how == 2:
            damaged[place:place] = rng.choice(
                [b"\xef\xbb\xbf", b"\xff", b"[" * 2000, b"NaN", b"0", b"\x00", b'"', b"-"]
            )
        elif how == 3:
            damaged[place:place] = damaged[place:end]
        elif rng.random() < 0.3:
            del damaged[place:]
    return bytes(damaged)


def in_json(value: Any, rng: random.Random) -> Any:
    """Return a value in which one place holds something else, or is missing."""
    value = json.loads(json.dumps(value))
    place, parent, key = value, None, None
    while isinstance(place, dict | list) and len(place) and (parent is None or rng.random() < 0.85):
        parent, key = place, rng.choice(list(place)) if isinstance(place, dict) else rng.randrange(len(place))
        place = parent[key]
    if parent is None:
        return rng.choice(ODD)
    if rng.random() < 0.2:
        del parent[key]
    elif type(place) is int and rng.random() < 0.5:
        parent[key] = place + rng.choice([-1, 1, 100, -(10**6), 2**31])
    else:
        parent[key] = rng.choice(ODD)
    return value


def in_numbers(path: Path, rng: random.Random) -> None:
    """Change one column: some of its numbers, its length, its type or its shape."""
    array = np.load(path)
    how = rng.randrange(6)
    if how < 3 and array.size:
        wide = array.astype(np.int64)
        for _ in range(rng.randint(1, 3)):
            place = rng.randrange(array.size)
            wide.flat[place] = rng.choice([-1, 0, 1, 6, 100, 10**6, -(2**31), 2**31 - 1, int(wide.flat[place]) + 1])
        with np.errstate(all="ignore"):
            array = wide.astype(array.dtype if how else rng.choice([np.int8, np.int16, np.int32]))
    elif how == 3:
        array = array[: rng.randrange(len(array) + 1)]
    elif how == 4:
        array = array.astype(rng.choice([np.float64, np.int64, np.uint8, ">i4", np.complex64, "U5"]))
    else:
        array = rng.choice([array[::-1], array.T, array[None], np.asfortranarray(array)])
    np.save(path, array)


# Reading to the end


def read_set(folder: Path, kind: str) -> None:
    """Read a data set as training, verification and export do."""
    if kind == "tokens":
        chunk = reading(folder, VISITS).chunk(0, VISITS)
        rows = pack(chunk, 256, np.uint64(1), False)
        assert 0 <= int(rows.tokens.min()) <= int(rows.tokens.max()) < 139
        env = Countdown(num_numbers=3, max_number=12, max_target=100, max_value=120)
        dialect = load_dialect("compact", env, 120)
        for start, stop in zip(chunk.offsets, chunk.offsets[1:], strict=False):
            verify(env, decode(dialect, env, chunk.tokens[start:stop]).trace)
        return
    env = build_env(job(folder, "traces", visits=VISITS, shard_size=SIZE).config)
    for _, traces in read_traces(folder):
        for trace in traces.traces():
            verify(env, trace)
            for name in ("compact", "sos"):
                encode(load_dialect(name, env, 9), trace)


def read_lines(path: Path) -> None:
    """Read our lines; where a line is refused, so is the file."""
    for _, value in read_json_lines(path):
        if isinstance(value, UserError):
            raise value
        trace, strategy = parse_trace(value)
        verify(Countdown(int(trace.problem[1])), trace)
        to_record(trace, strategy)


def read_records(path: Path) -> None:
    """Read published records, there and back."""
    num = 0
    for _, value in read_json_lines(path):
        if isinstance(value, UserError):
            raise value
        trace, strategy = from_record(value)
        again = to_record(*parse_trace(json.loads(trace_line(trace, strategy))))
        kept = ("nums", "target", "search_path", "search_type", "heuristic")
        assert {key: again[key] for key in kept} == {key: value[key] for key in kept}
        num += 1
    if not num:
        raise UserError("nothing in it")


# The fuzzer


class Fuzzer:
    """Whole files of every kind in a folder, and a damaged copy of one at a time."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.rng = folder, random.Random(seed)
        for kind in ("tokens", "traces"):
            generate(job(folder / kind, kind, visits=VISITS, shard_size=SIZE))
        problems = np.random.default_rng(seed)
        self.traces: list[tuple[Any, str]] = []
        env = Countdown(num_numbers=3, max_number=30)
        for name, strategy in list(all_searches())[:4]:
            while True:
                trace = run_search(strategy, env, random_problem(problems, env))
                try:
                    to_record(trace, name)
                except UserError:
                    continue
                break
            self.traces.append((trace, name))
        self.kinds: dict[str, Callable[[Path], None]] = {
            "manifest of tokens": lambda place: self.manifest(place, "tokens"),
            "manifest of traces": lambda place: self.manifest(place, "traces"),
            "record of a shard": self.record,
            "column of tokens": lambda place: self.column(place, "tokens"),
            "column of traces": lambda place: self.column(place, "traces"),
            "lines of traces": self.lines,
            "published records": self.records,
        }

    def damaged_json(self, path: Path) -> None:
        if self.rng.random() < 0.4:
            path.write_bytes(in_bytes(path.read_bytes(), self.rng))
        else:
            path.write_text(json.dumps(in_json(json.loads(path.read_text()), self.rng)))

    def copied(self, place: Path, kind: str) -> Path:
        return Path(shutil.copytree(self.folder / kind, place / "set"))

    def manifest(self, place: Path, kind: str) -> None:
        folder = self.copied(place, kind)
        self.damaged_json(folder / "manifest.json")
        read_set(folder, kind)

    def record(self, place: Path) -> None:
        kind = self.rng.choice(["tokens", "traces"])
        folder = self.copied(place, kind)
        self.damaged_json(folder / "shard-00001" / "shard.json")
        (folder / "manifest.json").unlink()
        plan = job(folder, kind, visits=VISITS, shard_size=SIZE)
        (folder / "manifest.json").write_text(json.dumps(plan.plan.to_dict()))
        generate(plan)
        Shards(folder, kind).columns(1)

    def column(self, place: Path, kind: str) -> None:
        folder = self.copied(place, kind)
        path = folder / "shard-00001" / f"{self.rng.choice(COLUMNS[kind])}.npy"
        if self.rng.random() < 0.3:
            path.write_bytes(in_bytes(path.read_bytes(), self.rng))
        else:
            in_numbers(path, self.rng)
        resign(folder)
        read_set(folder, kind)

    def _file(self, place: Path, values: list[Any], read: Callable[[Path], None]) -> None:
        k = self.rng.randrange(len(values))
        if self.rng.random() < 0.6:
            values[k] = in_json(values[k], self.rng)
        array = self.rng.random() < 0.5
        text = json.dumps(values) if array else "".join(json.dumps(value) + "\n" for value in values)
        content = text.encode()
        path = place / "file.json"
        path.write_bytes(content if self.rng.random() < 0.6 else in_bytes(content, self.rng))
        read(path)

    def lines(self, place: Path) -> None:
        self._file(place, [json.loads(trace_line(*entry)) for entry in self.traces], read_lines)

    def records(self, place: Path) -> None:
        self._file(place, [to_record(*entry) for entry in self.traces], read_records)

    def run(self, num_files: int) -> tuple[Counter[str], list[str]]:
        """Return how many files of each kind were refused and read, and what went wrong."""
        counts: Counter[str] = Counter()
        wrong: list[str] = []
        names = list(self.kinds)
        for number in range(num_files):
            name = names[number % len(names)]
            place = self.folder / "damaged"
            place.mkdir()
            signal.alarm(LIMIT)
            try:
                self.kinds[name](place)
                counts[f"{name}: read"] += 1
            except UserError as error:
                if "\n" in str(error) or len(str(error)) > 1000:
                    wrong.append(f"file {number}, {name}: not one line: {str(error)[:2000]}")
                counts[f"{name}: refused"] += 1
            except Exception:
                wrong.append(f"file {number}, {name}: {traceback.format_exc()}")
            finally:
                signal.alarm(0)
                shutil.rmtree(place)
        return counts, wrong


def main() -> None:
    """Fuzz, and print the counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=1200)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        counts, wrong = Fuzzer(Path(folder), options.seed).run(options.files)
    for name, count in sorted(counts.items()):
        print(f"{name} {count}")
    print(f"{options.files} files, {len(wrong)} went wrong")
    print("\n".join(wrong[:10]))
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
