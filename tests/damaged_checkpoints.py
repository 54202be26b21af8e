"""Damaged checkpoints: bytes, entries and tensors that are not what a run wrote."""

from __future__ import annotations

import copy
import io
import random
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from sos.config import Config
from sos.errors import UserError
from sos.runs.folder import RunFolder
from sos.train.plan import Plan, checked_checkpoint
from sos.train.pretrain import Parts
from sos.train.state import training_state

ODD: list[Callable[[], Any]] = [
    lambda: None, lambda: True, lambda: -1, lambda: 2**70, lambda: 1e400, lambda: float("nan"), lambda: "", lambda: "x" * 1000,
    lambda: [], lambda: {}, lambda: [[[[[]]]]], lambda: torch.zeros(3), lambda: torch.full((2, 2), float("nan")),
    lambda: (), lambda: 0, lambda: {"a": {"b": 1}}, lambda: "${oc.env:HOME}", lambda: 10**9,
]  # fmt: skip


class Door:
    """Everything that a checkpoint passes before a run goes on with it."""

    def __init__(self, config: Config, folder: Path) -> None:
        self.plan = Plan.of(config)
        self.parts = Parts.of(self.plan, RunFolder(folder), "fuzz")

    def state(self, path: Path) -> dict[str, Any]:
        """Return what the training would go on with. Raises UserError in one line for anything damaged."""
        loaded = checked_checkpoint(path, self.plan.config, self.plan.system)
        return training_state(loaded, self.parts.trainer, self.parts.lit, self.plan.cursors)


def places(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every entry of nested dicts and lists."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        yield (*path, key)
        yield from places(value, (*path, key))


def damage_entry(rng: random.Random, content: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return (what was done, content) with one entry removed, replaced by something odd, or of another name."""
    changed = copy.deepcopy(content)
    chosen = rng.choice(list(places(changed)))
    node: Any = changed
    for key in chosen[:-1]:
        node = node[key]
    where, last = "/".join(map(str, chosen)), chosen[-1]
    action = rng.choice(("remove", "odd", "odd", "rename"))
    if action == "remove":
        del node[last]
    elif action == "rename" and isinstance(node, dict):
        node[f"{last}x"] = node.pop(last)
    else:
        node[last] = rng.choice(ODD)()
    return f"{action} {where}", changed


def damage_tensor(rng: random.Random, content: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return (what was done, content) with a tensor of another type or shape, or with a number that is not finite."""
    changed = copy.deepcopy(content)
    chosen = rng.choice([path for path in places(changed) if isinstance(_at(changed, path), torch.Tensor)])
    tensor = _at(changed, chosen)
    kind, tensor = rng.choice((
        ("dtype", tensor.double()), ("dtype", tensor.half()), ("dtype", tensor.to(torch.int64)), ("shape", tensor[None]),
        ("shape", torch.cat([tensor.reshape(-1), torch.zeros(1)])), ("shape", torch.zeros(0)),
        ("number", torch.full_like(tensor, float("nan"))), ("number", torch.full_like(tensor, float("inf"))),
    ))  # fmt: skip
    _at(changed, chosen[:-1])[chosen[-1]] = tensor
    return f"{kind} {'/'.join(map(str, chosen))}", changed


def _at(node: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        node = node[key]
    return node


def damage_bytes(rng: random.Random, whole: bytes) -> tuple[str, bytes]:
    """Return (what was done, bytes) with some bytes flipped, cut, doubled or blanked."""
    action = rng.choice(("flip", "flip", "cut", "double", "blank", "pickle"))
    start = rng.randrange(len(whole))
    stop = min(len(whole), start + rng.choice((1, 4, 64, 4096)))
    if action == "cut":
        return f"cut at {start}", whole[:start]
    if action == "double":
        return f"double {start}:{stop}", whole[:stop] + whole[start:]
    if action == "blank":
        return f"blank {start}:{stop}", whole[:start] + bytes(stop - start) + whole[stop:]
    if action == "pickle":
        return _damage_pickle(rng, whole)
    changed = bytearray(whole)
    changed[start] ^= 1 << rng.randrange(8)
    return f"flip {start}", bytes(changed)


def _damage_pickle(rng: random.Random, whole: bytes) -> tuple[str, bytes]:
    """Change a byte of the pickle and give it the right checksum, so that only its reader can notice."""
    target = io.BytesIO()
    position = 0
    with zipfile.ZipFile(io.BytesIO(whole)) as archive, zipfile.ZipFile(target, "w") as copied:
        for name in archive.namelist():
            content = bytearray(archive.read(name))
            if name.endswith("data.pkl"):
                position = rng.randrange(len(content))
                content[position] = rng.randrange(256)
            copied.writestr(name, bytes(content))
    return f"pickle {position}", target.getvalue()


def same_training(a: dict[str, Any], b: dict[str, Any]) -> bool:
    """Tell whether two training states go on alike: all but clocks and what is only logged."""
    for state in (a, b):
        assert state.keys() == a.keys()
    data = [{key: value for key, value in s["StreamDataModule"].items() if key != "data_seconds"} for s in (a, b)]
    return (
        data[0] == data[1]
        and a["global_step"] == b["global_step"]
        and all(_equal(a[key], b[key]) for key in ("state_dict", "optimizer_states"))
    )


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_equal(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(_equal(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b)


def fuzz(door: Door, checkpoint: Path, scratch: Path, seed: int, num: int) -> dict[str, int]:
    """Return how many of `num` damaged copies of `checkpoint` were refused and how many loaded right.

    Raises AssertionError for a message of several lines and for a wrong result; any other error is one of the reader.
    """
    rng = random.Random(seed)
    whole = checkpoint.read_bytes()
    content = torch.load(checkpoint, weights_only=True)
    right = door.state(checkpoint)
    counts = {"refused": 0, "right": 0}
    for number in range(num):
        if number % 3 == 0:
            what, damaged = damage_bytes(rng, whole)
            scratch.write_bytes(damaged)
        else:
            what, changed = (damage_entry if number % 3 == 1 else damage_tensor)(rng, content)
            torch.save(changed, scratch)
        try:
            found = door.state(scratch)
        except UserError as error:
            told = str(error)
            counts["refused"] += 1
        except Exception as error:
            raise AssertionError(f"seed {seed}, file {number}, {what}: {type(error).__name__}: {error}") from error
        else:
            told = str(scratch)
            assert same_training(found, right), f"seed {seed}, file {number}, {what}: loads, but not right"
            counts["right"] += 1
        assert "\n" not in told, (what, told)
        assert str(scratch) in told, (what, told)
    return counts
