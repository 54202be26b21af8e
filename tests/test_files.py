"""Files: whole or not at all, one reader, one lock; every refusal is one line that names the file."""

from __future__ import annotations

import errno
import gc
import json
import linecache
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest
from places import ROOT

from sos import files
from sos.errors import UserError
from sos.files import claim, parse_yaml, read_json, read_json_lines, read_text, write_json, write_lines, written_whole

# Writing


@pytest.mark.parametrize("before", [None, "old"])
def test_after_an_error_nothing_is_left_and_the_old_file_stays(tmp_path: Path, before: str | None) -> None:
    path = tmp_path / "file.txt"
    if before:
        path.write_text(before)

    def write(error: BaseException) -> None:
        with written_whole(path) as partial:
            partial.write_text("half")
            raise error

    for error in (KeyboardInterrupt(), RuntimeError("a bug"), SystemExit(3), BrokenPipeError(32, "Broken pipe")):
        with pytest.raises(type(error)) as found:
            write(error)
        assert found.value is error
        assert [p.name for p in tmp_path.iterdir()] == (["file.txt"] if before else [])
    with pytest.raises(OSError, match=f"cannot write {path}: No space left on device") as full:
        write(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    assert full.value.errno == errno.ENOSPC
    assert [p.name for p in tmp_path.iterdir()] == (["file.txt"] if before else [])
    if before:
        assert path.read_text() == before


def interrupted_at(number: int, work: Callable[[], object]) -> str | None:
    """Do the work, with a KeyboardInterrupt before the line number `number` of sos/files.py that it comes to.

    Return that line, None if there are fewer. The line that removes the file has no signal before it: no program can
    help that.
    """
    seen: list[str] = []

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_code.co_filename != files.__file__:
            return None
        line = linecache.getline(files.__file__, frame.f_lineno).strip()
        if event == "line" and "unlink" not in line and line != "with suppress(OSError):":
            seen.append(line)
            if len(seen) == number:
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        with suppress(KeyboardInterrupt):
            work()
    finally:
        sys.settrace(before)
    return seen[-1] if len(seen) >= number else None


@pytest.mark.parametrize(
    ("before", "sync"),
    [
        ("old", True),
        *(
            pytest.param(before, sync, marks=pytest.mark.slow)
            for before, sync in [(None, True), (None, False), ("old", False)]
        ),
    ],
)
def test_a_signal_before_any_line_leaves_the_old_file_or_the_new_one(
    tmp_path: Path, before: str | None, sync: bool
) -> None:
    path = tmp_path / "new" / "file.txt"
    found, lines = [], []
    gc.freeze()  # what is there already need not be looked through each time
    for number in range(1, 100):
        shutil.rmtree(path.parent, ignore_errors=True)
        if before:
            path.parent.mkdir()
            path.write_text(before)
        line = interrupted_at(number, lambda: write_json(path, {}, sync=sync))
        gc.collect()  # what was interrupted has ended
        found.append(path.read_text() if path.exists() else None)
        names = [p.name for p in path.parent.iterdir()] if path.parent.exists() else []
        assert names == (["file.txt"] if found[-1] else []), line
        assert found[-1] in (before, "{}\n"), line
        if line is None:
            break
        lines.append(line)
    gc.unfreeze()
    assert {"partial.touch()", "yield partial", "partial.replace(path)"} <= set(lines)
    assert 12 <= len(lines) <= 40
    assert (found[0], found[-1]) == (before, "{}\n")


def test_an_error_about_another_file_keeps_its_name(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as found, written_whole(tmp_path / "out"):
        (tmp_path / "missing").read_text()
    assert found.value.filename == str(tmp_path / "missing")


SMALL_FILES = """
import resource, sys
import numpy as np
from sos.files import written_whole
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    with written_whole(sys.argv[1]) as partial:
        {write}
except OSError as error:
    print(error.strerror)
"""


@pytest.mark.parametrize(
    "write",
    [
        'partial.write_text("x" * 5000)',
        'np.savez(open(partial, "wb"), a=np.zeros(5000))',
        "np.zeros(5000).tofile(partial)",
        '[file := open(partial, "w"), file.write("x" * 5000), file.close()]',
    ],
)
def test_a_disk_that_is_full_is_one_line_whoever_writes(tmp_path: Path, write: str) -> None:
    path = tmp_path / "file"
    result = subprocess.run(
        [sys.executable, "-c", SMALL_FILES.format(write=write), str(path)], cwd=ROOT, capture_output=True, text=True
    )
    assert result.stdout.startswith(f"cannot write {path}: "), result.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    for path in (tmp_path / "file", tmp_path / "a" / "b" / "file"):
        with pytest.raises(PermissionError, match=f"cannot write {path}: Permission denied"):
            write_json(path, {})
        with pytest.raises(UserError, match=r"cannot write into .*: Permission denied"), claim(path, "run"):
            pass


def test_a_file_in_place_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"cannot write .*file/below.json: "):
        write_json(tmp_path / "file" / "below.json", {})
    with pytest.raises(UserError, match=r"cannot write into .*/file: "), claim(tmp_path / "file", "run"):
        pass


@pytest.mark.parametrize("mask", [0o022, 0o002, 0o077])
def test_new_files_get_the_mode_of_the_umask(tmp_path: Path, mask: int) -> None:
    old = os.umask(mask)
    try:
        write_json(tmp_path / "a", {})
        write_lines(tmp_path / "b", iter(["1"]))
        with written_whole(tmp_path / "c") as partial:  # a writer that has its own idea of modes
            partial.unlink()
            os.close(os.open(partial, os.O_CREAT | os.O_WRONLY, 0o600))
    finally:
        os.umask(old)
    assert {(tmp_path / name).stat().st_mode & 0o777 for name in "abc"} == {0o666 & ~mask}


def test_without_replace_the_first_writer_wins(tmp_path: Path) -> None:
    for content in ({"a": 1}, {"a": 2}):
        write_json(tmp_path / "x", content, sync=True, replace=False)
    assert read_json(tmp_path / "x") == {"a": 1}
    write_json(tmp_path / "x", {"a": 3})
    assert read_json(tmp_path / "x") == {"a": 3}
    assert len(list(tmp_path.iterdir())) == 1


# Claims

HOLDER = """
import os, sys, time
from contextlib import suppress
from pathlib import Path
from sos.files import claim
with claim(Path(sys.argv[1]), "run"):
    if sys.argv[2] == "alone" or os.fork() == 0:
        print("held", flush=True)  # in the worker: it runs now, and has let go of what it was born with
    time.sleep(60)
"""


@pytest.mark.parametrize("worker", ["fork", "alone"])
def test_a_claim_ends_with_its_process_whoever_it_started(tmp_path: Path, worker: str) -> None:
    arguments = [sys.executable, "-c", HOLDER, str(tmp_path), worker]
    holder = subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline().strip() == "held"
        held = rf"another run is writing into {tmp_path} \(process {holder.pid} on "
        with pytest.raises(UserError, match=held), claim(tmp_path, "run"):
            pass
        holder.kill()
        holder.wait()
        with claim(tmp_path, "run"):
            assert (tmp_path / ".lock").exists()
    finally:
        with suppress(ProcessLookupError):
            os.killpg(holder.pid, signal.SIGKILL)
    assert not list(tmp_path.iterdir())


def _take_turns(folder: Path, until: float, log: Any) -> None:
    while time.monotonic() < until:
        try:
            with claim(folder, "run"):
                marker = folder / "held"
                descriptor = os.open(marker, os.O_CREAT | os.O_EXCL)  # fails where somebody else is inside
                os.close(descriptor)
                marker.unlink()
                log.put("in")
        except UserError:
            continue
        except FileExistsError:
            log.put("both")


def test_two_processes_never_hold_a_claim_together(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    log = context.SimpleQueue()
    until = time.monotonic() + 2
    processes = [context.Process(target=_take_turns, args=(tmp_path, until, log)) for _ in range(4)]
    for process in processes:
        process.start()
    seen = []
    while any(process.is_alive() for process in processes) or not log.empty():
        if not log.empty():
            seen.append(log.get())
        else:
            time.sleep(0.01)
    assert len(seen) > 100
    assert set(seen) == {"in"}


def test_an_error_in_a_forked_process_does_not_end_the_claim(tmp_path: Path) -> None:
    def child() -> None:
        raise ValueError("in a worker")

    with claim(tmp_path, "run"):
        pid = os.fork()
        if pid == 0:
            try:
                raise KeyboardInterrupt
            except KeyboardInterrupt:
                os._exit(0)
        os.waitpid(pid, 0)
        process = multiprocessing.get_context("fork").Process(target=child)
        process.start()
        process.join()
        assert (tmp_path / ".lock").exists()
        with pytest.raises(UserError, match="another run"), claim(tmp_path, "run"):
            pass


# Reading

DAMAGED = {
    "empty": (b"", "Expecting value"),
    "cut short": (b'{"a": [1, 2', "Expecting"),
    "another type": (b"[1]", "it holds no JSON object"),
    "not text": (b'{"a": "\xff"}', r"not a text file \(invalid start byte at byte 7\)"),
    "deep lists": (b'{"a": ' + b"[" * 10**6 + b"]" * 10**6 + b"}", "nested more than 64 levels deep"),
    "deep objects": (b'{"a": ' * 1000 + b"1" + b"}" * 1000, "nested more than 64 levels deep"),
    "unclosed": (b"[" * 10**6, "nested more than 64 levels deep"),
    "NaN": (b'{"a": NaN}', "NaN is no number"),
    "infinity": (b'{"a": -Infinity}', "-Infinity is no number"),
    "overflow": (b'{"a": 1e999}', "1e999 is no finite number"),
    "digits": (b'{"a": ' + b"1" * 5000 + b"}", "Exceeds the limit"),
    "half a character": (b'{"a": "\\ud800"}', "holds half a character"),
    "twice": (b"{} {}", "Extra data"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_json_is_one_line_that_names_the_file(tmp_path: Path, name: str) -> None:
    content, reason = DAMAGED[name]
    path = tmp_path / "file.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"^damaged {path}: .*{reason}") as found:
        read_json(path, missing={})
    assert "\n" not in str(found.value)
    assert len(str(found.value)) < 300


def test_sizes_are_checked_before_a_file_is_read(tmp_path: Path) -> None:
    with open(tmp_path / "sparse", "wb") as file:
        file.truncate(1 << 40)
    for path in (tmp_path / "sparse", Path("/dev/zero")):
        for read in (read_json, read_text):
            with pytest.raises(UserError, match=f"damaged {path}: more than {1 << 26} bytes"):
                read(path)
    with pytest.raises(UserError, match=f"damaged {tmp_path}: Is a directory"):
        read_json(tmp_path, missing={})


def test_what_is_missing_is_said_or_replaced(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No such file"):
        read_json(tmp_path / "none")
    assert read_json(tmp_path / "none", missing={}) == {}
    (tmp_path / "nan").write_text('{"a": NaN}')
    assert np.isnan(read_json(tmp_path / "nan", finite=False)["a"])
    (tmp_path / "list").write_text("[1]")
    assert read_json(tmp_path / "list", kind=list) == [1]


def test_a_byte_order_mark_is_as_if_it_were_not_there(tmp_path: Path) -> None:
    path = tmp_path / "file"
    mark = b"\xef\xbb\xbf"
    for content, read in (
        (b'{"a": 1}', read_json),
        (b"a\nb", read_text),
        (b"a: 1\n", files.read_yaml),
        (b'{"a": 1}\n{"a": 2}\n', lambda p: list(read_json_lines(p))),
        (b"\n [1,\n 2]", lambda p: list(read_json_lines(p))),
    ):
        path.write_bytes(content)
        plain = read(path)
        assert plain
        path.write_bytes(mark + content)
        assert read(path) == plain


def test_brackets_in_texts_and_siblings_are_not_depth() -> None:
    value = {"a": "[[[" * 100 + '\\"[[[' * 50, "b": [[1]] * 500, "c": "{" * 500}
    assert files.parse_json(json.dumps(value)) == value
    deepest: Any = 1
    for _ in range(files.MOST_DEPTH):
        deepest = [deepest]
    assert files.parse_json(json.dumps(deepest)) == deepest
    with pytest.raises(ValueError, match="nested more than 64"):
        files.parse_json(json.dumps([deepest]))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: &x [1]\nb: *x", r"aliases are not allowed \(line 2\)"),
        ("&x [*x]", "aliases are not allowed"),
        ("[" * 1000, "nested more than 64"),
        ("".join("  " * k + "a:\n" for k in range(100)), "nested more than 64"),
        ("!!python/object/apply:os.system [echo]", "could not determine a constructor"),
        ("a: [", "expected the node content|while parsing"),
        ("a: \x07", "special characters are not allowed"),
    ],
)
def test_yaml_that_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as found:
        parse_yaml(text)
    assert "\n" not in str(found.value)


def test_a_long_array_is_read_in_linear_time(tmp_path: Path) -> None:
    path = tmp_path / "zeros.json"
    seconds = []
    for num in (50_000, 400_000):
        path.write_text("[" + ",".join("0" * num) + "]")
        start = time.perf_counter()
        assert sum(1 for _ in read_json_lines(path)) == num
        seconds.append(time.perf_counter() - start)
    assert seconds[1] < 24 * seconds[0]  # quadratic would be 64 times


def test_one_long_value_of_an_array_is_read_in_linear_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "CHUNK", 1000)
    path = tmp_path / "long.json"
    path.write_text(json.dumps(["x" * 2_000_000, 1]))
    start = time.perf_counter()
    assert [len(str(value)) for _, value in read_json_lines(path)] == [2_000_000, 1]
    assert time.perf_counter() - start < 5
    monkeypatch.setattr(files, "LONGEST", 100_000)
    with pytest.raises(UserError, match=r"long.json:1: not JSON"):
        list(read_json_lines(path))
    path.write_text('"' + "x" * 200_000)
    with pytest.raises(UserError, match=r"long.json:1: a line of more than 100000 characters"):
        list(read_json_lines(path))


def test_damaged_values_of_long_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for text, reason in (
        ("[1,\n[" + "[" * 100 + "]" * 101 + "]", r"file:2: not JSON \(nested more than 64"),
        ("[" * 10**6, r"file:1: not JSON \(nested more than 64"),
        ("[1,\n\nNaN]", r"file:3: not JSON \(NaN is no number"),
        ('["\\udfff"]', r"file:1: not JSON \(.*half a character"),
        ("\n\n[1,\nx]", r"file:4: not JSON \(Expecting value"),
    ):
        path.write_text(text)
        with pytest.raises(UserError, match=reason) as found:
            list(read_json_lines(path))
        assert "\n" not in str(found.value)
    path.write_text("1\nNaN\n" + "[" * 10**5 + "\n2\n")
    values = list(read_json_lines(path))
    assert [line for line, _ in values] == [1, 2, 3, 4]
    assert [type(value) for _, value in values] == [int, UserError, UserError, int]
