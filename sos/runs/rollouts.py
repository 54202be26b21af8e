"""What an evaluation keeps of its rollouts, rollouts_<split>.npz, checked before anything is allocated.

For R rollouts with T tokens in all, `sos.judge.evaluation` writes

problems          int32 (R, P)     rows of the environment, see `sos.envs`
solved            bool (R,)
planned           bool (R,)        of runs with stream.plan
generated_tokens  int32 (R,)       without the prompt
flops             float64 (R,)
tokens_to_goal    int32 (R,)       generated tokens up to the goal, -1 where it is never reached
num_errors, nodes int32 (R,)
tokens            uint16 (T,)      rollout r is tokens[offsets[r]:offsets[r + 1]], its prompt included
offsets           int64 (R + 1,)

The file may come from anywhere: sizes, types, shapes and numbers are checked, so that no later indexing leaves an
array. A file that does not hold what it should is a UserError `damaged PATH: reason`.
"""

from __future__ import annotations

import math
import struct
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sos.datasets.headers import npy_header
from sos.errors import UserError
from sos.files import damaged
from sos.schema.ranges import check_range

if TYPE_CHECKING:
    from sos.system import System

REQUIRED = ("problems", "num_errors", "solved", "generated_tokens")
STREAMS = ("tokens", "offsets")  # an older version kept none
Column = tuple[type, int, float, float]
INT32, UINT16, INT64 = (np.iinfo(kind) for kind in (np.int32, np.uint16, np.int64))
MOST_BYTES = 1 << 31  # of all arrays of a file
MOST_TIMES = 1100  # what the compression of a zip file can gain at most
# Name -> (type, axes, least, most); integers of every width are taken that hold such numbers, and NaN for the bounds
# takes all numbers.
OPTIONAL = ("planned",)  # of runs whose streams have a plan
ARRAYS: dict[str, Column] = {
    "problems": (np.int32, 2, INT32.min, INT32.max),
    "solved": (np.bool_, 1, 0, 1),
    "planned": (np.bool_, 1, 0, 1),
    "generated_tokens": (np.int32, 1, 0, INT32.max),
    "flops": (np.float64, 1, 0, np.finfo(np.float64).max),
    "tokens_to_goal": (np.int32, 1, -1, INT32.max),
    "num_errors": (np.int32, 1, 0, INT32.max),
    "nodes": (np.int32, 1, 0, INT32.max),
    "tokens": (np.uint16, 1, 0, UINT16.max),
    "offsets": (np.int64, 1, 0, INT64.max),
}
KINDS: dict[type, str] = {np.bool_: "b", np.float64: "fiu", np.float32: "f"}
# What the readers of zip files and of numpy's headers raise for bytes that are none.
_BROKEN = (struct.error, zipfile.BadZipFile, zlib.error)
FAULTS = (OSError, ValueError, EOFError, TypeError, LookupError, OverflowError, MemoryError, RuntimeError, *_BROKEN)


class Format(NamedTuple):
    """The arrays that a kind of file holds; others in it are passed over. All but the flat ones have a row a rollout,
    and offsets one more."""

    arrays: dict[str, Column]
    required: tuple[str, ...]
    flat: dict[str, str]  # an array of all rollouts, one after the other -> the array of its offsets


EVALUATED = Format(ARRAYS, REQUIRED, {"tokens": "offsets"})


class Rollouts(NamedTuple):
    """The arrays of one file by name, in the types of the module's text; `tokens` and `offsets` may be missing."""

    problems: np.ndarray
    columns: dict[str, np.ndarray]

    @property
    def streams(self) -> list[np.ndarray]:
        """The tokens of each rollout, uint16 (T,) each."""
        return np.split(self.columns["tokens"], self.columns["offsets"][1:-1])


def read_rollouts(path: Path, system: System | None = None) -> Rollouts:
    """Return what a file holds; with the run's `system`, only what its environment and vocabulary have room for.

    Raises UserError that names the file.
    """
    columns = read_arrays(path, EVALUATED, system)
    return Rollouts(columns["problems"], columns)


def read_arrays(path: Path, form: Format, system: System | None = None) -> dict[str, np.ndarray]:
    """Return the arrays that a file of this format holds, checked as `read_rollouts` says, in their types."""
    try:
        arrays = _read_arrays(path, form)
    except UserError:
        raise
    except FAULTS as error:
        raise damaged(path, str(error)[:200] or type(error).__name__) from error
    try:
        _check_values(arrays, form)
        if system is not None:
            system.env.check_problems(arrays["problems"])
            if "tokens" in arrays:
                check_range("tokens", arrays["tokens"], 0, len(system.dialect.vocab) - 1)
    except ValueError as error:
        raise damaged(path, error) from error
    return {name: array.astype(form.arrays[name][0], copy=False) for name, array in arrays.items()}


def read_streams(folder: Path, split: str, system: System) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return problems int32 (R, P) of a run's split and the streams, uint16 (T,), that its model wrote for them.

    Raises UserError that names the file where there is none, it is damaged, or it keeps no tokens.
    """
    path = folder / f"rollouts_{split}.npz"
    if not path.is_file():
        raise UserError(f"no rollouts of split {split}: {path} does not exist")
    found = read_rollouts(path, system)
    if "tokens" not in found.columns:
        raise UserError(f"{path} keeps no tokens (an older version wrote it); write it anew: sos evaluate {folder}")
    return found.problems, found.streams


def _read_arrays(path: Path, form: Format) -> dict[str, np.ndarray]:
    """Return the arrays as they are stored, their sizes, types and shapes checked first."""
    with zipfile.ZipFile(path) as archive:
        members = _members(archive, path.stat().st_size, form)
        headers = {name: _header(archive, name, member, form) for name, member in members.items()}
        _check_shapes({name: shape for name, (shape, _, _) in headers.items()}, form)
        arrays = {}
        for name, (shape, dtype, start) in headers.items():
            content = archive.read(members[name])  # checks the checksum, too
            if len(content) != members[name].file_size:
                raise ValueError(f"{name} holds {len(content)} bytes, not {members[name].file_size}")
            arrays[name] = np.frombuffer(content, dtype, offset=start).reshape(shape)
    return arrays


def _members(archive: zipfile.ZipFile, size: int, form: Format) -> dict[str, zipfile.ZipInfo]:
    """Return the members that hold the arrays, their declared sizes possible in a file of `size` bytes."""
    found: dict[str, zipfile.ZipInfo] = {}
    for member in archive.infolist():
        name = member.filename.removesuffix(".npy")
        if name not in form.arrays or not member.filename.endswith(".npy"):
            continue
        if name in found:
            raise ValueError(f"{name} is in it twice")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or member.flag_bits & 1:
            raise ValueError(f"{name} is encrypted, or compressed in an unknown way")
        gain = MOST_TIMES if member.compress_type == zipfile.ZIP_DEFLATED else 1
        if member.file_size > gain * member.compress_size:
            raise ValueError(f"{name} cannot have {member.file_size} bytes in {member.compress_size}")
        found[name] = member
    missing = [name for name in form.required if name not in found]
    if missing:
        raise ValueError(f"it holds no {missing[0]}")
    for pair in form.flat.items():
        if len(found.keys() & set(pair)) == 1:
            raise ValueError(f"it holds only one of {pair[0]} and {pair[1]}")
    if sum(member.compress_size for member in found.values()) > size:
        raise ValueError(f"its arrays are larger than the file of {size} bytes")
    if sum(member.file_size for member in found.values()) > MOST_BYTES:
        raise ValueError(f"its arrays have more than {MOST_BYTES} bytes")
    return found


def _header(
    archive: zipfile.ZipFile, name: str, member: zipfile.ZipInfo, form: Format
) -> tuple[tuple[int, ...], np.dtype, int]:
    """Return shape, type and start in bytes of an array whose size is what its header says."""
    kind, axes, _, _ = form.arrays[name]
    with archive.open(member) as file:
        try:
            shape, fortran, dtype = npy_header(file)
        except (ValueError, TypeError) as error:
            raise ValueError(f"{name}: {error}") from error
        start = file.tell()
    if dtype.kind not in KINDS.get(kind, "iu"):
        raise ValueError(f"{name} holds {str(dtype)[:60]}, not {np.dtype(kind).name}")
    if len(shape) != axes or min(shape) < 0 or fortran:
        raise ValueError(f"{name} has the shape {str(shape)[:60]}, not {axes} axes in C order")
    if math.prod(shape) * dtype.itemsize != member.file_size - start:
        raise ValueError(f"{name} has {member.file_size - start} bytes for the shape {str(shape)[:60]} of {dtype}")
    return shape, dtype, start


def _check_shapes(shapes: dict[str, tuple[int, ...]], form: Format) -> None:
    num, width = shapes["problems"]
    if not num or not width:
        raise ValueError(f"problems has the shape {num, width}: it holds nothing")
    for name, shape in shapes.items():
        rows = num + (name in form.flat.values())
        if name not in form.flat and shape[0] != rows:
            raise ValueError(f"{name} has {shape[0]} rows, not {rows} as {num} problems need")


def _check_values(arrays: dict[str, np.ndarray], form: Format) -> None:
    for name, array in arrays.items():
        _, _, least, most = form.arrays[name]
        if not math.isnan(least):
            check_range(name, array, least, most)
    for name, of in form.flat.items():
        if name not in arrays:
            continue
        offsets, num = arrays[of], len(arrays[name])
        if offsets[0] != 0 or (offsets[1:] < offsets[:-1]).any():
            raise ValueError(f"{of} do not ascend from 0")
        if offsets[-1] != num:
            raise ValueError(f"{of} end at {offsets[-1]}, and there are {num} {name}")
