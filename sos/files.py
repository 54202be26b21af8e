"""Files: written whole or not at all, read in one way, and claimed by one process at a time.

Every text is UTF-8; a byte order mark at its start is treated as if it were not there. What cannot be read is a
`UserError` `damaged PATH: reason`; what cannot be written an `OSError` that says `cannot write PATH: reason`.
"""

from __future__ import annotations

import errno
import fcntl
import json
import math
import os
import re
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, TextIO

from sos.errors import UserError

PathLike = str | os.PathLike[str]
TEMPORARY = ".partial-"
LOCK = ".lock"
MOST_BYTES = 1 << 26  # of a file that is read in one piece
MOST_DEPTH = 64  # levels of lists and objects within each other
CHUNK = 1 << 20  # characters of a long file read at a time
LONGEST = 1 << 26  # characters of one record of a long file at most

_STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"?', re.DOTALL)
_NOT_BRACKETS = bytes(code for code in range(256) if code not in b"[]{}")
_BETWEEN = re.compile(r"[ \t\r\n]*(,?)[ \t\r\n]*")
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_REFUSED: Any = object()
# What a write to an open file fails with. Numpy's writer gives no number.
_DISK = (None, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)


# Writing


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def cannot_write(path: PathLike, error: OSError) -> OSError:
    """Return the same error with the path in its message."""
    reason = error.strerror or str(error) or type(error).__name__
    return OSError(error.errno, f"cannot write {os.fspath(path)}: {reason}")


@contextmanager
def written_whole(path: PathLike, *, sync: bool = False, replace: bool = True) -> Iterator[Path]:
    """Give a name beside `path` to write to, and rename that file to `path` at the end; after an error nothing is left.

    No reader and no kill ever sees half a file. The folder is made where it is missing, and the file gets the mode
    that the umask asks for, whoever writes it. With `sync` it is on the disk before it has its name. Without
    `replace` a file that is there stays as it is. Raises OSError with `cannot write PATH` for whatever goes wrong
    with the file itself.
    """
    path = Path(path)
    partial = path.with_name(f"{TEMPORARY}{os.getpid()}-{path.name}")
    try:
        mode = _touched(partial, path)
        yield partial
        if partial.stat().st_mode != mode:
            partial.chmod(mode & 0o7777)
        if sync:
            _sync(partial)
        _rename(partial, path, replace)
        if sync:
            _sync(path.parent)
    except OSError as error:
        # The block may read other files and print, too; those errors are not about this file.
        said = str(error.strerror).startswith("cannot write")  # of another file that is written within the block
        about_disk = error.filename is None and error.errno in _DISK and not said
        if not about_disk and error.filename not in (str(partial), partial):
            raise
        raise cannot_write(path, error) from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def _touched(partial: Path, path: Path) -> int:
    """Make the file, and its folder where it is missing; return its mode."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.touch()
        return partial.stat().st_mode
    except OSError as error:
        raise cannot_write(path, error) from error


def _rename(partial: Path, path: Path, replace: bool) -> None:
    if replace:
        partial.replace(path)
    else:
        with suppress(FileExistsError):  # only the first of several writers succeeds
            os.link(partial, path)


def json_bytes(content: Any) -> bytes:
    """Return the text of a JSON file, a value a line."""
    return (json.dumps(content, indent=1) + "\n").encode()


def write_json(path: PathLike, content: Mapping[str, Any], *, sync: bool = False, replace: bool = True) -> None:
    """Write a JSON file whole, see `written_whole`."""
    with written_whole(path, sync=sync, replace=replace) as partial:
        partial.write_bytes(json_bytes(content))


# Claims

_held: set[int] = set()


@cache
def _register_release() -> None:
    """Let forked processes drop the descriptors of the claims, which else outlive a killed parent in its workers."""

    def release() -> None:
        for descriptor in _held:
            os.close(descriptor)
        _held.clear()

    os.register_at_fork(after_in_child=release)


@contextmanager
def claim(folder: Path, what: str, lock: str = LOCK) -> Iterator[None]:
    """Hold the file `lock` in `folder` for this process, and make the folder where it is missing.

    The lock is the kernel's: it ends with the process, however that ends. `what` names the holder's work, such as
    "run". The lock file is removed at the end. Raises UserError where another process holds it or where nothing can
    be written.
    """
    path, owner = Path(folder) / lock, os.getpid()
    _register_release()
    descriptor = _locked(path, what)
    _held.add(descriptor)
    with suppress(OSError):  # the note is for the message alone; a full disk is reported by what is written next
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {owner} on {socket.gethostname()}".encode(), 0)
    try:
        yield
    finally:
        if os.getpid() == owner:  # a forked process runs this, too, when it ends by an exception
            path.unlink(missing_ok=True)
            _held.discard(descriptor)
            os.close(descriptor)


def _locked(path: Path, what: str) -> int:
    """Return a descriptor of the lock file that `path` names, locked."""
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise UserError(f"cannot write into {path.parent}: {error.strerror}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever held the lock before may have removed the file; then a third process could lock a new one.
            if os.stat(path).st_ino == os.fstat(descriptor).st_ino:
                return descriptor
        except FileNotFoundError:
            pass
        except OSError as error:
            holder = os.pread(descriptor, 200, 0).decode(errors="replace").strip() or "unknown"
            os.close(descriptor)
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise UserError(f"cannot lock {path}: {error.strerror}") from error
            raise UserError(
                f"another {what} is writing into {path.parent} ({holder}); choose another folder"
            ) from error
        os.close(descriptor)


# Reading


def damaged(path: PathLike, reason: object) -> UserError:
    """Return the error that says why a file cannot be read, in one line."""
    if isinstance(reason, UnicodeDecodeError):
        reason = f"not a text file ({reason.reason} at byte {reason.start})"
    elif isinstance(reason, OSError):
        reason = reason.strerror or reason
    return UserError(f"damaged {os.fspath(path)}: {' '.join(str(reason).split())}")


def read_text(path: PathLike, most: int = MOST_BYTES) -> str:
    """Return the text of a file of at most `most` bytes. Raises UserError that names the file."""
    try:
        with open(path, "rb") as file:
            content = file.read(most + 1)
        if len(content) > most:
            raise damaged(path, f"more than {most} bytes")
        return content.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise damaged(path, error) from error


def read_json(
    path: PathLike, *, kind: type = dict, missing: Any = _REFUSED, finite: bool = True, most: int = MOST_BYTES
) -> Any:
    """Return the value in a JSON file, of type `kind`; `missing`, if it is given, where there is no such file.

    Raises UserError `damaged PATH: reason` for a file that is too large (`most` bytes), nested more than `MOST_DEPTH`
    deep, no JSON, of another type, or, with `finite`, holds NaN or an infinite number.
    """
    if missing is not _REFUSED and not os.path.lexists(path):
        return missing
    text = read_text(path, most)
    try:
        value = parse_json(text, finite=finite)
    except ValueError as error:
        raise damaged(path, error) from error
    if isinstance(value, kind):
        return value
    raise damaged(path, f"it holds no JSON {'object' if kind is dict else 'of the right type'}")


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:40]} is no finite number")
    return number


_FINITE = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite)
_ANY = json.JSONDecoder()


def parse_json(text: str, *, finite: bool = True) -> Any:
    """Return the value of a JSON text. Raises ValueError for what `read_json` calls damaged."""
    check_depth(text)
    value = (_FINITE if finite else _ANY).decode(text)
    check_characters(text)
    return value


def check_depth(text: str) -> None:
    """Raise ValueError for a JSON text with more than `MOST_DEPTH` levels; found without parsing it."""
    if text.count("[") + text.count("{") <= MOST_DEPTH:
        return
    import numpy as np  # commands that read nothing deep start without it

    kept = _STRING.sub("", text).encode("utf-8", "replace").translate(None, _NOT_BRACKETS)
    steps = np.where(np.isin(np.frombuffer(kept, np.uint8), (ord("["), ord("{"))), 1, -1)
    if len(steps) and int(np.cumsum(steps).max()) > MOST_DEPTH:
        raise ValueError(f"nested more than {MOST_DEPTH} levels deep")


def check_characters(text: str) -> None:
    """Raise ValueError for a JSON text with half a character (a lone surrogate), which nothing could print."""
    if _SURROGATE.search(text):
        for quoted in _STRING.findall(text):
            if _SURROGATE.search(quoted):
                try:
                    json.loads(quoted).encode()
                except UnicodeEncodeError as error:
                    raise ValueError(f"{quoted[:40]} holds half a character") from error


def read_yaml(path: PathLike) -> Any:
    """Return the value of a YAML file: plain data of at most `MOST_DEPTH` levels, without aliases. Raises UserError."""
    text = read_text(path)
    try:
        return parse_yaml(text)
    except ValueError as error:
        raise damaged(path, error) from error


def parse_yaml(text: str) -> Any:
    """Return the value of a YAML text, see `read_yaml`. Raises ValueError in one line."""
    import yaml

    class Plain(yaml.SafeLoader):
        """Refuses aliases, with which a short text can stand for a huge value, and deep nesting."""

        depth = 0

        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                raise ValueError(f"aliases are not allowed (line {self.peek_event().start_mark.line + 1})")
            self.depth += 1
            if self.depth > MOST_DEPTH:
                raise ValueError(f"nested more than {MOST_DEPTH} levels deep")
            node = super().compose_node(parent, index)
            self.depth -= 1
            return node

    try:
        return yaml.load(text, Plain)
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error


def read_json_lines(path: PathLike) -> Iterator[tuple[int, Any]]:
    """Yield (line, value) for every value of a JSON array, or of a file of JSON lines, without reading the whole file.

    A damaged line of JSON lines is yielded as the UserError that names it, for the caller to raise or to count;
    behind damage in an array nothing can be read, so that it raises. NaN and infinite numbers are damage.
    """
    try:
        with open(path, encoding="utf-8-sig") as file:
            start = file.read(CHUNK)
            blank = 0
            while start and not start.strip():
                blank += start.count("\n")
                start = file.read(CHUNK)
            if start.lstrip().startswith("["):
                yield from _array(path, file, start, blank + 1)
                return
            file.seek(0)
            yield from _lines(path, file)
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not a text file ({error.reason} at byte {error.start})") from error


def _lines(path: PathLike, file: TextIO) -> Iterator[tuple[int, Any]]:
    number = 0
    while line := file.readline(LONGEST + 1):
        number += 1
        if len(line) > LONGEST:
            raise UserError(f"{path}:{number}: a line of more than {LONGEST} characters")
        if not line.strip():
            continue
        try:
            yield number, parse_json(line)
        except ValueError as error:
            yield number, UserError(f"{path}:{number}: not JSON ({error}): {line.strip()[:60]!r}")


def _array(path: PathLike, file: TextIO, text: str, line: int) -> Iterator[tuple[int, Any]]:
    """Yield (line, value) of an array that starts in `text`, which begins in `line`, and goes on in `file`.

    Only what has been used is cut off, and only when more is read: the time is linear in the length of the file.
    """
    place, counted, first = text.index("[") + 1, 0, True
    while True:
        between = _BETWEEN.match(text, place)
        assert between is not None
        begin, comma = between.end(), bool(between[1])
        if text.startswith("]", begin) and not comma:
            break
        line += text.count("\n", counted, begin)
        counted = begin
        try:
            if comma == first:
                raise json.JSONDecodeError("a comma too many" if comma else "no comma between two values", text, begin)
            value, end = _FINITE.raw_decode(text, begin)
            if end == len(text):  # a number could go on
                raise json.JSONDecodeError("the array does not end", text, begin)
            check_depth(text[begin:end])
            check_characters(text[begin:end])
        except json.JSONDecodeError as error:
            kept = len(text) - place
            more = file.read(max(CHUNK, kept)) if kept < LONGEST else ""
            if not more:
                found = text[begin : begin + 60]
                raise UserError(f"{path}:{line}: not JSON ({error.msg}): {found!r}") from error
            text, counted, place = text[place:] + more, counted - place, 0
            continue
        except (ValueError, RecursionError) as error:
            reason = f"nested more than {MOST_DEPTH} levels deep" if isinstance(error, RecursionError) else error
            raise UserError(f"{path}:{line}: not JSON ({reason}): {text[begin : begin + 60]!r}") from error
        yield line, value
        place, first = end, False
    tail, more = text[begin + 1 :].strip(), " "
    while more and not tail:
        more = file.read(CHUNK)
        tail = more.strip()
    if tail:
        raise UserError(f"{path}: more behind the end of the array: {tail[:60]!r}")


def write_lines(path: PathLike, lines: Iterator[str], array: bool = False) -> int:
    """Write JSON texts as lines, or as a JSON array with a value a line, whole or not at all. Return how many."""
    num = 0
    with written_whole(path) as partial, open(partial, "w", encoding="utf-8") as file:
        file.write("[\n" if array else "")
        for line in lines:
            separator = ",\n" if array else "\n"
            file.write((separator if num else "") + line)
            num += 1
        file.write("\n]\n" if array else "\n" * (num > 0))
    return num
