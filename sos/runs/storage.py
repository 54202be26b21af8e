"""Reading torch's files without trusting them: plain values and tensors, and nothing else, ever.

`torch.save` writes a zip of uncompressed entries: a pickle, and the bytes of each storage, named by the pickle with
their type and size. Here the pickle gets no function to call but our own, every size is compared with the bytes that
are there, and nothing is allocated that the file does not hold.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

MOST_ENTRIES = 100_000
MOST_DEPTH = 40  # levels of containers within each other
MOST_VALUES = 2_000_000
DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


class Refused(Exception):
    """What is wrong with a file."""


class _Storage(NamedTuple):
    name: str
    dtype: torch.dtype
    size: int  # elements


class _View:
    """A tensor that the pickle describes; `__slots__` leaves the pickle nothing to set."""

    __slots__ = ("offset", "shape", "storage", "strides")

    def __init__(self, storage: Any, offset: Any, shape: Any, strides: Any, *rest: Any) -> None:
        sizes = (offset, *shape, *strides) if isinstance(shape, tuple) and isinstance(strides, tuple) else (None,)
        if not isinstance(storage, _Storage) or any(type(n) is not int or not 0 <= n < 2**62 for n in sizes):
            raise Refused("a tensor without a storage or of impossible sizes")
        if len(shape) != len(strides) or len(shape) > 8:
            raise Refused("a tensor with other sizes than strides")
        count = last = 1
        for size, stride in zip(shape, strides, strict=True):
            count, last = count * size, last + (size - 1) * stride
        if count and (offset + last > storage.size or count > storage.size):
            raise Refused(f"a tensor of {count} numbers in a storage of {storage.size}")
        self.storage, self.offset, self.shape, self.strides = storage, offset, shape, strides

    def __setstate__(self, state: Any) -> None:
        raise Refused("a tensor with a state of its own")


class _Unpickler(pickle.Unpickler):
    """Builds plain values, ordered dicts and descriptions of tensors."""

    def __init__(self, content: bytes, sizes: dict[str, int]) -> None:
        super().__init__(io.BytesIO(content))
        self.sizes = sizes

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) in (("torch._utils", "_rebuild_tensor_v2"), ("torch._utils", "_rebuild_tensor")):
            return _View
        if module == "torch" and name in DTYPES:
            return DTYPES[name]
        raise Refused(f"it holds more than tensors and plain values ({module}.{name})")

    def persistent_load(self, reference: Any) -> _Storage:
        if not isinstance(reference, tuple) or len(reference) != 5 or reference[0] != "storage":
            raise Refused("a storage that is none")
        _, dtype, name, _, size = reference
        if not isinstance(dtype, torch.dtype) or not isinstance(name, str) or type(size) is not int:
            raise Refused("a storage that is none")
        if self.sizes.get(f"data/{name}") != size * dtype.itemsize:
            raise Refused(f"storage {name[:20]} has not the size that it should have")
        return _Storage(name, dtype, size)


def read_file(path: Path) -> Any:
    """Return the content of a file of `torch.save`, its tensors on the CPU.

    Raises Refused, OSError, or what damage makes of zipfile and pickle (see `DAMAGE`).
    """
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        _check_sizes(entries, path.stat().st_size)
        prefix = entries[0].filename.partition("/")[0] + "/" if entries else ""
        sizes = {entry.filename.removeprefix(prefix): entry.file_size for entry in entries}
        if len(sizes) < len(entries):
            raise Refused("two entries of one name")
        if "data.pkl" not in sizes:
            raise Refused("data.pkl is missing")
        if "byteorder" in sizes and archive.read(f"{prefix}byteorder") != sys.byteorder.encode():
            raise Refused("it was written on a machine of another byte order")
        content = archive.read(f"{prefix}data.pkl")
        _check_memo(content)
        described = _Unpickler(content, sizes).load()
        return _Builder(archive, prefix).build(described, 0)


def _check_memo(content: bytes) -> None:
    """Refuse a pickle that numbers a value beyond what it holds: room for all smaller numbers would be allocated."""
    for opcode, argument, _ in pickletools.genops(content):
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and isinstance(argument, int) and argument > len(content):
            raise Refused(f"a value numbered {argument} in {len(content)} bytes")


def _check_sizes(entries: list[zipfile.ZipInfo], size: int) -> None:
    """Refuse what would unpack to more than the file has."""
    if len(entries) > MOST_ENTRIES:
        raise Refused(f"{len(entries)} entries")
    if any(entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size for entry in entries):
        raise Refused("compressed entries, which torch does not write")
    total = sum(entry.file_size for entry in entries)
    if total > size:
        raise Refused(f"its entries have {total} bytes, the file {size}")


class _Builder:
    """Puts the tensors into the place of their descriptions; what is named twice is built once."""

    def __init__(self, archive: zipfile.ZipFile, prefix: str) -> None:
        self.archive, self.prefix = archive, prefix
        self.storages: dict[str, Tensor] = {}
        self.built: dict[int, tuple[Any, Any]] = {}  # by identity, with the original, so that it stays alive
        self.values = 0

    def build(self, value: Any, depth: int) -> Any:
        self.values += 1
        if depth > MOST_DEPTH or self.values > MOST_VALUES:
            raise Refused("nested too deeply" if depth > MOST_DEPTH else f"more than {MOST_VALUES} values")
        if value is None or type(value) in (bool, int, float, str):
            return value
        if id(value) in self.built:
            return self.built[id(value)][1]
        if isinstance(value, _View):
            result: Any = self._tensor(value)
        elif isinstance(value, dict):
            if any(type(key) not in (str, int) for key in value):
                raise Refused("a key that is neither text nor a number")
            result = {key: self.build(item, depth + 1) for key, item in value.items()}
        elif type(value) in (list, tuple):
            result = type(value)(self.build(item, depth + 1) for item in value)
        else:
            raise Refused(f"it holds more than tensors and plain values ({type(value).__name__})")
        self.built[id(value)] = value, result
        return result

    def _tensor(self, view: _View) -> Tensor:
        name, dtype, size = view.storage
        if name not in self.storages:
            # The archive compares the checksum; the clone has the alignment that torch gives its own.
            content = bytearray(self.archive.read(f"{self.prefix}data/{name}"))
            self.storages[name] = (
                torch.frombuffer(content, dtype=dtype).clone() if size else torch.empty(0, dtype=dtype)
            )
        storage = self.storages[name]
        if storage.dtype != dtype:
            raise Refused(f"storage {name[:20]} is of two types")
        return storage.as_strided(view.shape, view.strides, view.offset).contiguous()  # nothing overlaps in itself
