"""How the symbolic kernels are compiled, and where what was compiled is kept.

`kernel`: the arrays of a kernel belong to the caller, so it keeps no count of references (`_nrt`): counting costs an
atomic operation whenever an array, or a row of one, is handed on, several times the work itself, and most of the time
to compile. Hence a kernel can neither allocate nor return an array. `allocating` is for the few that do; they call
kernels.

`inner`, `inlined`: what only kernels call is compiled into each of them and has no entry from Python (a third of the
time to compile); Python runs its source.

An index is never negative in any of them. Numba allows for negative ones at every access, which takes about a tenth
of the time to compile and of the encoder, and a sixth of a search: `_KernelLowering` leaves that out, while it lowers
functions of this package, and of no others.

Compiled kernels are kept in `$SOS_CACHE_DIR` or `~/.cache/sos`, in a folder for each version of the kernels: numba's
own disk cache does not notice an edit in *another* file that a kernel inlines. Where nothing can be written there, a
folder is used that is removed when the process ends. Nothing of this touches what others compile with numba in the
same process.

Two switches, both environment variables: `SOS_KERNELS=plain` compiles with numba's public options alone and keeps
nothing, so that every process compiles anew (minutes); `NUMBA_DISABLE_JIT=1` runs everything in plain Python.
"""

from __future__ import annotations

import atexit
import hashlib
import inspect
import os
import pickle
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import numba
from numba import njit, types
from numba.core.caching import NullCache
from numba.core.compiler import Compiler, CompileResult
from numba.core.compiler_machinery import register_pass
from numba.core.serialize import dumps
from numba.core.typed_passes import NativeLowering
from numba.extending import register_jitable
from numba.np import arrayobj

from sos import ROOT, kernel_hash
from sos.errors import UserError

SWITCH = os.environ.get("SOS_KERNELS", "")
if SWITCH not in ("", "plain"):
    raise UserError(f"the environment variable SOS_KERNELS must be plain or unset, got {SWITCH!r}")
PLAIN = SWITCH == "plain"
# What is in memory is what the files said when the package was imported, whenever a kernel is compiled.
VERSION = kernel_hash()


# Indices without wraparound

MANGLED = "_ZN3sos"  # what the names of compiled functions of this package start with


def _without_wraparound(fix: Any) -> Any:
    """Return numba's function `fix` that makes an index count from the start of an array, without that for this
    package."""

    def fixed(context: Any, builder: Any, kind: Any, index: Any, size: Any) -> Any:
        if not builder.function.name.startswith(MANGLED):
            return fix(context, builder, kind, index, size)
        return context.cast(builder, index, kind, types.intp if kind.signed else types.uintp)

    return fixed


@register_pass(mutates_CFG=True, analysis_only=False)
class _KernelLowering(NativeLowering):
    """Numba's pass to LLVM, with its function for indices exchanged while it runs, under the lock of numba's compiler.

    That function is no part of numba's interface: without it kernels are slower, no less right.
    """

    _name = "sos_kernel_lowering"

    def run_pass(self, state: Any) -> Any:
        fix = getattr(arrayobj, "fix_integer_index", None)
        if fix is None:
            return super().run_pass(state)
        arrayobj.fix_integer_index = _without_wraparound(fix)
        try:
            return super().run_pass(state)
        finally:
            arrayobj.fix_integer_index = fix


class _KernelCompiler(Compiler):
    def define_pipelines(self) -> Any:
        pipelines = super().define_pipelines()
        for pipeline in pipelines:
            pipeline.passes = [(_KernelLowering if p is NativeLowering else p, text) for p, text in pipeline.passes]
            pipeline.finalize()
        return pipelines


# The folder of compiled kernels


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

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the CompileResult of a signature, or None."""
        target_context.refresh()
        if not self._enabled:
            return None
        key = self._key(sig, target_context.codegen())
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

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep the CompileResult `data` of a signature."""
        folder = cache_folders()[1]
        if folder is None or not self._enabled or data.library.has_dynamic_globals:
            return
        key = self._key(sig, data.codegen)
        packed = dumps((key, data._reduce()))
        try:
            with _written_whole(folder / self._file_name(key)) as file:
                file.write(hashlib.sha256(packed).digest())
                file.write(packed)
        except OSError as error:
            _say(f"cannot write compiled kernels into {folder}: {error.strerror or error}")


DIGEST_BYTES = hashlib.sha256().digest_size


def _unpacked(content: bytes) -> tuple[Any, Any]:
    packed = content[DIGEST_BYTES:]
    if hashlib.sha256(packed).digest() != content[:DIGEST_BYTES]:
        raise ValueError("it does not hold what was written")
    return pickle.loads(packed)


@contextmanager
def _written_whole(path: Path) -> Iterator[Any]:
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".partial-", delete=False) as file:
        try:
            yield file
            file.flush()
            os.replace(file.name, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(file.name)
            raise


# Decorators

NOGIL: Any = {"nogil": True}
COMPILED: Any = NOGIL if PLAIN else NOGIL | {"pipeline_class": _KernelCompiler}
OPTIONS: Any = COMPILED if PLAIN else COMPILED | {"_nrt": False, "no_cfunc_wrapper": True}
INNER: Any = OPTIONS if PLAIN else OPTIONS | {"no_cpython_wrapper": True}


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Return a decorator like numba's `njit(**options)`, whose results are kept in the folder of this version of the
    kernels."""

    def decorate(function: Callable[..., Any]) -> Any:
        dispatcher = njit(**options)(function)
        if not PLAIN and dispatcher is not function:
            dispatcher._cache = KernelCache(function)
        return dispatcher

    return decorate


def inner_with(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Return a decorator for what only kernels call, with more of numba's options."""
    return register_jitable(**INNER, **options)


kernel = compiled(**OPTIONS)
allocating = compiled(**COMPILED)
inner = inner_with()
# For what takes a tuple of many arrays and is called often: a call that is not inlined would pass a hundred words.
inlined = inner_with(forceinline=True)
