"""Damaged results: the files of a finished run with bytes, entries, arrays and headers that no run writes."""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from drivers import run_search
from synthetic_runs import write_run

from sos.analysis.compare import compare
from sos.analysis.doctor import examine
from sos.analysis.tables import markdown
from sos.commands.alignment import align_run
from sos.commands.repeat import changed_surroundings, read_record
from sos.config import Config, DataConfig, StreamConfig, config_hash, to_dict
from sos.data.splits import evaluation_problems
from sos.envs.countdown.config import CountdownConfig
from sos.errors import UserError
from sos.runs.finished import Run, load_runs
from sos.stream.codec import encode
from sos.system import build_system
from sos.view.page import trace_data
from sos.view.sources import from_models

CONFIG = Config(
    env=CountdownConfig(num_numbers=3, max_number=20, max_target=60),
    stream=StreamConfig(numbers="digits"),
    data=DataConfig(context=1024, val_fraction=0.3),
)
NUM_PROBLEMS = 6
SWEEP = {"name": "s", "question": "Which?", "primary": "solve/val", "baseline": "a", "arms": ["a", "b"]}
ROLLOUTS, METRICS, PROVENANCE = "rollouts_val.npz", "metrics.json", "provenance.json"
ODD: tuple[Any, ...] = (
    None, True, -1, 0, 10**9, 2**70, 10**400, -(10**12), 1.5, -0.25, 1e308, float("nan"), float("inf"), "", "x",
    "x\ny", "1",    "${oc.env:HOME}", "${nothing", [], {}, [1], [[]], [{}], {"a": {"b": 1}}, "a" * 1000,
)  # fmt: skip
ODD_NUMBERS = (-1, 0, 1, 3, 255, 65535, 2**31 - 1, -(2**31), 10**9, 2**62, -(2**62))


def write_readable_run(folder: Path, arm: str = "a", solved: int = 3) -> Path:
    """Write a run of a sweep with the tokens of its rollouts, which the view and the alignment read, too."""
    system = build_system(CONFIG)
    problems = evaluation_problems(system.env, system.splits, "val", NUM_PROBLEMS)
    streams = [encode(system.dialect, run_search(system.strategy, system.env, problem))[0] for problem in problems]
    write_run(
        folder,
        {"stream.view": arm},
        solved=solved,
        config=to_dict(CONFIG),
        config_hash=config_hash(CONFIG),
        evaluated=problems,
        sweep=SWEEP | {"arm": arm},
    )
    made_of = {"name": arm, "versions": {"torch": "2"}, "data_hashes": {"train": "0"}, "git": {"commit": "0"}}
    record = json.loads((folder / PROVENANCE).read_text())
    (folder / PROVENANCE).write_text(json.dumps(record | made_of))
    path = folder / ROLLOUTS
    with np.load(path) as stored:
        arrays = dict(stored)
    arrays |= {"flops": np.ones(len(problems)), "tokens": np.concatenate(streams).astype(np.uint16)}
    arrays["offsets"] = np.cumsum([0, *map(len, streams)], dtype=np.int64)
    np.savez_compressed(path, **arrays)
    return folder


# Readers


def read_view(folder: Path) -> None:
    for index in range(2):
        for dialect, env, trace in from_models({"rollout": str(folder), "index": str(index)}, []):
            trace_data(dialect, env, trace)


def read_alignment(folder: Path) -> None:
    (run,) = load_runs([folder])
    align_run(run, "val", 2)


def read_comparison(folder: Path) -> None:
    runs = load_runs([folder.parent])
    markdown(compare(runs, allow_different_problems=True))


def read_doctor(folder: Path) -> None:
    examine(compare(load_runs([folder.parent]), allow_different_problems=True))


def read_repeat(folder: Path) -> None:
    _, provenance, _ = read_record(folder)
    changed_surroundings(provenance)


READERS: dict[str, Callable[[Path], None]] = {
    "view": read_view,
    "alignment": read_alignment,
    "compare": read_comparison,
    "doctor": read_doctor,
    "repeat": read_repeat,
}


# Damages


def damage_bytes(rng: random.Random, whole: bytes) -> tuple[str, bytes]:
    """Return (what was done, bytes) with some bytes flipped, cut, doubled or blanked."""
    action = rng.choice(("flip", "flip", "flip", "cut", "double", "blank"))
    start = rng.randrange(len(whole))
    stop = min(len(whole), start + rng.choice((1, 4, 64, 1024)))
    if action == "cut":
        return f"cut at {start}", whole[:start]
    if action == "double":
        return f"double {start}:{stop}", whole[:stop] + whole[start:]
    if action == "blank":
        return f"blank {start}:{stop}", whole[:start] + bytes(stop - start) + whole[stop:]
    changed = bytearray(whole)
    changed[start] ^= 1 << rng.randrange(8)
    return f"flip {start}", bytes(changed)


def places(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every entry of nested dicts and lists."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        yield (*path, key)
        yield from places(value, (*path, key))


def damage_entry(rng: random.Random, whole: bytes, inside: str | None = None) -> tuple[str, bytes]:
    """Return (what was done, JSON) with one entry removed, renamed or replaced by something odd."""
    content = json.loads(whole)
    chosen = rng.choice([path for path in places(content) if inside is None or path[0] == inside])
    node: Any = content
    for key in chosen[:-1]:
        node = node[key]
    where, last = "/".join(map(str, chosen)), chosen[-1]
    action = rng.choice(("remove", "rename", "odd", "odd", "odd", "odd"))
    if action == "remove":
        del node[last]
    elif action == "rename" and isinstance(node, dict):
        node[f"{last}x"] = node.pop(last)
    else:
        node[last] = rng.choice(ODD)
        action = f"{str(node[last])[:20]!r} for"
    return f"{action} {where}", json.dumps(content).encode()


def damage_array(rng: random.Random, arrays: dict[str, np.ndarray]) -> tuple[str, dict[str, np.ndarray]]:
    """Return (what was done, arrays) with one of another type or shape, with odd numbers, or missing."""
    if rng.random() < 0.3:  # what kernels loop to
        count = rng.choice((10**9, 2**31 - 1, 10**6))
        problems = arrays["problems"].copy()
        problems[:, 1] = count
        return f"count {count}", arrays | {"problems": problems}
    # What kernels index by comes most often.
    name = rng.choice([*arrays, *["problems"] * 6, *["offsets", "tokens"] * 2])
    array, changed = arrays[name], dict(arrays)
    action = rng.choice(("number", "number", "number", "column", "type", "shape", "remove", "swap"))
    if action == "remove":
        del changed[name]
    elif action in ("number", "column"):
        value = rng.choice(ODD_NUMBERS)
        wide = array.astype(np.int64) if array.dtype.kind in "iub" else array.copy()
        if action == "number":
            wide.reshape(-1)[rng.randrange(wide.size)] = value
        else:
            wide[..., rng.randrange(wide.shape[-1])] = value
        with np.errstate(over="ignore"):
            changed[name] = wide.astype(array.dtype) if rng.random() < 0.7 else wide
    elif action == "type":
        kind = rng.choice(("f8", "f4", "i1", "i8", ">i4", "u8", "c16", "U8", "O", "?", "M8[s]", "V4"))
        changed[name] = array.astype(np.int64).astype(kind) if kind != "V4" else np.zeros(array.shape, kind)
        action = f"type {kind} of"
    elif action == "shape":
        shapes = (
            array[None], array[..., None], array[:-1], array[:0], array.reshape(-1)[0], array.repeat(2, 0),
            array.reshape(-1), np.asfortranarray(array), array.reshape(len(array), -1)[:, :0],
            np.stack([array, array]),
        )  # fmt: skip
        changed[name] = rng.choice(shapes)
        action = f"shape {changed[name].shape} of"
    else:
        other = rng.choice(list(arrays))
        changed[name], action = arrays[other], f"{other} for"
    return f"{action} {name}", changed


def damage_header(rng: random.Random, whole: bytes) -> tuple[str, bytes]:
    """Give one array of the file another header, the checksum right, or let its member declare another size."""
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(whole)) as archive, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as copied:
        chosen = rng.choice(archive.namelist())
        descr = rng.choice(("<i4", "|b1", "|O", "<f8", "<i4"))
        shape = rng.choice(((10**12,), (10**12, 5), (-1,), (2**63, 2), (0,), (), (10**400,), (3,), (6, 10**9)))
        text = f"{{'descr': {descr!r}, 'fortran_order': {rng.random() < 0.2}, 'shape': {shape}, }}"
        text = rng.choice((text, text, text, text[:-9], "(" * 5000, "{}", "__import__('os')"))
        for name in archive.namelist():
            content = archive.read(name)
            if name == chosen:
                header = text.encode() + b"\n"
                start = 10 + int.from_bytes(content[8:10], "little")
                content = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + content[start:]
            copied.writestr(name, content)
    found = bytearray(target.getvalue())
    if rng.random() < 0.3:  # the size that the directory of the file declares
        place = found.rindex(b"PK\x01\x02") + 24
        found[place : place + 4] = rng.choice((0, 1, 2**31, 2**32 - 2)).to_bytes(4, "little")
        text = "declared size, " + text
    return f"header of {chosen}: {text[:70]}", bytes(found)


def damage(rng: random.Random, number: int, whole: dict[str, bytes], folder: Path) -> str:
    """Write the files of a run with one of them damaged; return what was done."""
    for name, content in whole.items():
        (folder / name).write_bytes(content)
    kind = ("array", "header", "npz bytes", "metrics", "array", "config", "provenance", "json bytes")[number % 8]
    name = ROLLOUTS if number % 8 in (0, 1, 2, 4) else PROVENANCE if kind == "provenance" else METRICS
    if kind == "array":
        with np.load(io.BytesIO(whole[name])) as stored:
            what, arrays = damage_array(rng, dict(stored))
        np.savez(folder / name, **arrays)  # type: ignore[arg-type]
        return f"array: {what}"
    if kind == "json bytes":
        name = rng.choice((METRICS, PROVENANCE))
    if kind == "header":
        what, content = damage_header(rng, whole[name])
    elif "bytes" in kind:
        what, content = damage_bytes(rng, whole[name])
    else:
        what, content = damage_entry(rng, whole[name], "config" if kind == "config" else None)
    (folder / name).write_bytes(content)
    return f"{kind}: {name} {what}"


# The loop


def check_right(folder: Path) -> None:
    """Assert that what was read is what the files say to readers that know nothing of runs."""
    (run,) = load_runs([folder])
    content = json.loads((folder / METRICS).read_bytes().decode("utf-8-sig"))
    assert {name: dict(metric._asdict()) for name, metric in run.metrics.items() if name in content["metrics"]} == {
        name: {
            "low": None,
            "high": None,
            **{key: entry[key] for key in entry if key in ("value", "low", "high", "num")},
        }
        for name, entry in content["metrics"].items()
    }
    assert run.config == content["config"]
    check_columns(run, folder / ROLLOUTS)


def check_columns(run: Run, path: Path) -> None:
    with np.load(path) as arrays:
        order = np.lexsort(arrays["problems"].astype(np.int32).T)
        np.testing.assert_array_equal(run.solved["val"], arrays["solved"][order])
        np.testing.assert_array_equal(run.generated["val"], arrays["generated_tokens"][order])


def try_one(folder: Path, what: str) -> bool:
    """Return whether every reader of a damaged run gave a result or one line that names it; True if none refused."""
    refused = 0
    for name, read in READERS.items():
        try:
            read(folder)
        except UserError as error:
            told = str(error)
            assert "\n" not in told, f"{what}: {name}: {told}"
            assert str(folder) in told or name != "repeat", f"{what}: {name}: {told}"
            refused += 1
        except Exception as error:
            raise AssertionError(f"{what}: {name}: {type(error).__name__}: {error}") from error
    if not refused:
        check_right(folder)
    return not refused


def fuzz(root: Path, seed: int, num: int, batch: int = 100) -> dict[str, int]:
    """Return how many of `num` damaged runs were refused and how many read right. Raises AssertionError for all else.

    Each batch is read in a child process, so that a crash is seen: it names the damage that the child died of.
    """
    write_readable_run(root / "a", "a", 3)
    folder = write_readable_run(root / "b", "b", 4)
    for read in READERS.values():  # compiled once, before the children are made
        read(folder)
    whole = {name: (folder / name).read_bytes() for name in (ROLLOUTS, METRICS, PROVENANCE)}
    counts = {"refused": 0, "right": 0}
    for start in range(0, num, batch):
        log = root / "log"
        child = os.fork()
        if not child:
            _child(log, folder, whole, seed, range(start, min(num, start + batch)))
        _, status = os.waitpid(child, 0)
        lines = log.read_text().splitlines()
        bad = "\n".join(line for line in lines if not line.startswith(("refused ", "right ")))
        assert status == 0, f"seed {seed}, from {start}: status {status}:\n{bad}"
        for line in lines:
            counts[line.partition(" ")[0]] += 1
    shutil.rmtree(folder)
    return counts


def _child(log: Path, folder: Path, whole: dict[str, bytes], seed: int, numbers: range) -> None:
    """Try the damaged runs of a batch, write a line for each, and leave."""
    done: list[str] = []
    try:
        for number in numbers:
            what = damage(random.Random(f"{seed} {number}"), number, whole, folder)
            log.write_text("\n".join([*done, f"crashed {number}: {what}"]))
            try:
                done.append(f"{'right' if try_one(folder, what) else 'refused'} {number}: {' '.join(what.split())}")
            except BaseException as error:
                done.append(f"failed {number}: {' '.join(str(error).split())[:500]}")
        log.write_text("\n".join(done))
    finally:
        os._exit(len(done) < len(numbers) or any(line.startswith("failed ") for line in done))
