"""Which process compiles a kernel, where several need the same one."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # not of every system
    fcntl = None  # type: ignore[assignment]

_CLAIMED: dict[Path, int] = {}  # locks that this process holds, by the kernel's file
_WHEN_COLD: list[Callable[[], None]] = []


@contextmanager
def when_cold(callback: Callable[[], None]) -> Iterator[None]:
    """Have `callback` called where this process first finds a kernel that is not compiled yet, once or never, within
    the context."""
    _WHEN_COLD[:] = [callback]
    try:
        yield
    finally:
        _WHEN_COLD.clear()


def tell_cold() -> None:
    """Call what waits for the first kernel that is to be compiled."""
    while _WHEN_COLD:
        _WHEN_COLD.pop()()


def _lock_of(path: Path) -> Path:
    return path.with_name(f".{path.stem}.lock")


def claim(path: Path, patience: float = 300.0) -> None:
    """Wait until no other process compiles the kernel that will lie at `path`, for `patience` seconds at most, and tell
    other processes that this one does.

    A process that ends, however it does, claims nothing any more. Where files cannot be locked two may compile the same
    kernel; the file is written whole all the same.
    """
    if fcntl is None or path in _CLAIMED:
        return
    try:
        lock = os.open(_lock_of(path), os.O_RDWR | os.O_CREAT, 0o666)
    except OSError:
        return
    until = time.monotonic() + patience
    while True:
        try:
            # A lock of the process, not of the open file: a child that is forked meanwhile does not hold it.
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() < until:
                time.sleep(0.02)
                continue
        except OSError:  # of a file system without locks
            pass
        else:
            _CLAIMED[path] = lock
            return
        os.close(lock)
        return


def release(path: Path) -> None:
    """Tell other processes that the kernel at `path` is written, or will not be."""
    lock = _CLAIMED.pop(path, None)
    if lock is None:
        return
    with suppress(OSError):
        _lock_of(path).unlink()
    os.close(lock)
