"""The folder of compiled kernels."""

from __future__ import annotations

import atexit
import hashlib
import inspect
import os
import pickle
import secrets
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import numba
from numba import types
from numba.core.caching import NullCache
from numba.core.compiler import CompileResult
from numba.core.serialize import dumps

from sos import ROOT, kernel_hash
from sos.kernels.claims import claim, release, tell_cold

# What is in memory is what the files said when the package was imported, whenever a kernel is compiled.
VERSION = kernel_hash()


@cache
def _say(line: str) -> None:
    """Say a line, once in a process."""
    print(f"sos: {line}", file=sys.stderr, flush=True)


def _usable(folder: Path) -> str:
    """Return why nothing can be written into `folder`, which is made where it is missing; empty if something can."""
    if not folder.is_absolute():
        return "there is no home folder"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _temporary() -> Path | None:
    """Make a folder that is removed when this process ends."""
    try:
        folder, owner = Path(tempfile.mkdtemp(prefix="sos-kernels-")), os.getpid()
    except OSError:
        return None

    def remove() -> None:
        if os.getpid() == owner:
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(remove)
    return folder


@cache
def cache_folders() -> tuple[tuple[Path, ...], Path | None]:
    """Return the folders that compiled kernels are looked for in, and the one that they are written to, if there is
    any."""
    parent = os.environ.get("SOS_CACHE_DIR")
    named = Path(parent).absolute() if parent else Path(os.path.expanduser("~"), ".cache", "sos")
    folder = named / f"kernels-{VERSION}"
    reason = _usable(folder)
    if not reason:
        return (folder,), folder
    temporary = _temporary()
    kept = "are kept until this process ends" if temporary else "are not kept"
    _say(f"cannot write compiled kernels into {folder}: {reason}; they {kept} (SOS_CACHE_DIR names another folder)")
    return tuple(place for place in (folder, temporary) if place and place.is_absolute()), temporary


@cache
def _package_digest(path: str) -> str:
    """Return a digest over the Python files of the package that the file `path` of another package belongs to."""
    folder = Path(path).parent
    while (folder.parent / "__init__.py").is_file():
        folder = folder.parent
    files = sorted(folder.rglob("*.py")) if (folder / "__init__.py").is_file() else [Path(path)]
    digest = hashlib.sha256()
    for file in files:
        try:
            digest.update(file.read_bytes())
        except OSError:
            digest.update(b"gone")
    return digest.hexdigest()


def _foreign_digests(signature: Any) -> tuple[str, ...]:
    """Return the digests of the packages that the types of a signature come from: what a kernel of this package
    inlines for them lies there."""
    kinds: set[type] = set()
    stack = list(signature)
    while stack:
        found = stack.pop()
        if isinstance(found, types.BaseTuple):
            stack += list(found)  # type: ignore[call-overload]
        if (kind := getattr(found, "instance_class", None)) is not None:
            kinds.add(kind)
    paths = {path for kind in kinds if (path := getattr(sys.modules.get(kind.__module__), "__file__", None))}
    return tuple(sorted(_package_digest(path) for path in paths if not Path(path).is_relative_to(ROOT)))


class KernelCache(NullCache):
    """What `function` was compiled to, on disk: a file for each signature and kind of processor, with a digest in
    front.

    It has the methods that numba's dispatchers call. Files are written whole. One that does not hold what was written
    is said, and made anew.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        path = inspect.getfile(function)
        inside = Path(path).is_relative_to(ROOT)
        # The folder stands for the sources of this package; a kernel of another package is told by its files.
        self._source = "" if inside else _package_digest(path)
        self._enabled = True

    @property
    def cache_path(self) -> str | None:
        folder = cache_folders()[1]
        return None if folder is None else str(folder)

    def enable(self) -> None:
        self._enabled = True

    def disable(self) -> None:
        self._enabled = False

    def _key(self, signature: Any, codegen: Any) -> tuple[Any, ...]:
        code, cells = self._function.__code__, self._function.__closure__
        closed = hashlib.sha256(dumps(tuple(cell.cell_contents for cell in cells))).hexdigest() if cells else ""
        versions = numba.__version__, sys.version_info[:2], self._source, *_foreign_digests(signature)
        return signature, codegen.magic_tuple(), hashlib.sha256(code.co_code).hexdigest(), closed, versions

    def _file_name(self, key: tuple[Any, ...]) -> str:
        function = self._function
        digest = hashlib.sha256(repr((function.__module__, key)).encode()).hexdigest()[:24]
        name = function.__qualname__.replace("<", "").replace(">", "")
        return f"{name[-80:]}-{function.__code__.co_firstlineno}-{digest}.kernel"

    def _read(self, key: tuple[Any, ...], target_context: Any) -> Any:
        """Return the CompileResult of a key, or None where no folder holds it."""
        for folder in cache_folders()[0]:
            path = folder / self._file_name(key)
            try:
                content = path.read_bytes()
            except OSError:
                continue
            try:
                found, payload = _unpacked(content)
                if found == key:
                    return CompileResult._rebuild(target_context, *payload)
            except Exception as error:
                # Nothing can be known of what a damaged file makes numba raise.
                _say(f"the compiled kernel {path} is damaged ({type(error).__name__}: {error}); it is compiled anew")
        return None

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the CompileResult of a signature, or None: then this process is the one that compiles it."""
        target_context.refresh()
        if not self._enabled:
            return None
        key = self._key(sig, target_context.codegen())
        found = self._read(key, target_context)
        folder = cache_folders()[1]
        if found is not None or folder is None:
            return found
        tell_cold()
        claim(folder / self._file_name(key))
        return self._read(key, target_context)  # another process may have written it meanwhile

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep the CompileResult `data` of a signature."""
        folder = cache_folders()[1]
        if folder is None or not self._enabled or data.library.has_dynamic_globals:
            return
        key = self._key(sig, data.codegen)
        packed = dumps((key, data._reduce()))
        path = folder / self._file_name(key)
        try:
            with _written_whole(path) as file:
                file.write(hashlib.sha256(packed).digest())
                file.write(packed)
        except OSError as error:
            _say(f"cannot write compiled kernels into {folder}: {error.strerror or error}")
        finally:
            release(path)


DIGEST_BYTES = hashlib.sha256().digest_size


def _unpacked(content: bytes) -> tuple[Any, Any]:
    packed = content[DIGEST_BYTES:]
    if hashlib.sha256(packed).digest() != content[:DIGEST_BYTES]:
        raise ValueError("it does not hold what was written")
    return pickle.loads(packed)


@contextmanager
def _written_whole(path: Path) -> Iterator[Any]:
    """Yield a file that is there as a whole or not at all. Its mode is the umask's: colleagues may share the folder."""
    partial = path.with_name(f".partial-{secrets.token_hex(8)}")
    try:
        with partial.open("xb") as file:
            yield file
        os.replace(partial, path)
    except BaseException:
        with suppress(OSError):
            partial.unlink()
        raise
