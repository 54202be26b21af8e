"""Bad surroundings: whatever is wrong around a command, it ends without a traceback, with the right status, and leaves nothing half."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from places import GOLDEN, ROOT
from synthetic_runs import write_arms

from sos.commands.verbs import VERBS

RECORDS = GOLDEN / "published_dfs.jsonl"
SOS = [sys.executable, "-m", "sos"]


def sos(*words: str, **changes: object) -> subprocess.CompletedProcess[str]:
    """Run a command; `env` is added to the environment."""
    env = os.environ | dict(changes.pop("env", {}))  # type: ignore[call-overload]
    options = {"cwd": ROOT, "capture_output": True, "text": True, "timeout": 200, "env": env} | changes
    return subprocess.run([*SOS, *words], **options)  # type: ignore[call-overload, no-any-return]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with runs of two arms."""
    root = tmp_path_factory.mktemp("table")
    write_arms(root, {"full": [140, 150, 145], "solution_path": [120, 124, 110]})
    return root


def small_files() -> None:
    """Let files be no larger than 1 KB, as on a disk that is full."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))


def is_quiet(done: subprocess.CompletedProcess[str]) -> bool:
    """Tell whether nothing looks like a traceback."""
    return "Traceback" not in done.stderr + (done.stdout or "") and "Exception ignored" not in done.stderr


# What writes a file of more than 1 KB without a kernel being compiled.
WRITERS: dict[str, list[str]] = {
    "compare": ["TABLE", "out=OUT"],
}
# What is refused before any kernel is compiled.
REFUSED = WRITERS | {
    "convert": ["RECORDS", "out=OUT/traces.jsonl"],
    "view": ["problem=[47,2,17,15]", "out=OUT/page.html"],
    "strategies": ["problems=4", "out=OUT/t.csv"],
    "losses": ["RUN", "out=OUT/t.csv"],
    "alignment": ["TABLE", "out=OUT/t.csv"],
}


def filled(words: list[str], table: Path, out: Path) -> list[str]:
    return [
        word.replace("TABLE", str(table)).replace("OUT", str(out)).replace("RECORDS", str(RECORDS)) for word in words
    ]


@pytest.mark.parametrize("verb", WRITERS)
def test_a_full_disk_is_one_line_with_the_file(verb: str, table: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = sos(verb, *filled(WRITERS[verb], table, out), preexec_fn=small_files)
    assert is_quiet(done), done.stderr[-2000:]
    assert done.returncode == 1, done.stderr[-2000:]
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: ")
    assert str(out) in last
    left = [path for path in out.rglob("*") if path.is_file() and ".partial" in path.name]
    assert not left


@pytest.mark.parametrize("verb", REFUSED)
def test_a_folder_that_is_a_file_is_one_line(verb: str, table: Path, tmp_path: Path) -> None:
    """Root may write into read-only folders; nobody can write below a file."""
    (tmp_path / "file").write_text("")
    done = sos(verb, *filled(REFUSED[verb], table, tmp_path / "file" / "below"))
    assert is_quiet(done), done.stderr[-2000:]
    assert done.returncode == 2, done.stderr[-2000:]
    assert str(tmp_path / "file") in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"], ["completion", "bash"], ["compare", "TABLE"]])
def test_a_closed_pipe_ends_quietly(words: list[str], table: Path, tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with open(tmp_path / "said", "w+") as said:
        command = [*SOS, *filled(words, table, tmp_path)]
        done = subprocess.run(command, cwd=ROOT, stdout=writer, stderr=said, timeout=100)
        os.close(writer)
        said.seek(0)
        assert said.read() == ""
    assert done.returncode == 141


@pytest.mark.parametrize(("verb", "status"), [("compare", 0), ("doctor", 0)])
def test_a_terminal_without_our_signs_shows_others(verb: str, status: int, table: Path) -> None:
    done = sos(verb, str(table), env={"PYTHONIOENCODING": "ascii"})
    assert is_quiet(done), done.stderr[-2000:]
    assert done.returncode == status
    assert done.stdout.isascii()
    assert "+-" in done.stdout or verb == "doctor"


def test_every_verb_helps_without_a_home_in_ascii() -> None:
    env = {key: value for key, value in os.environ.items() if key != "HOME"} | {"PYTHONIOENCODING": "ascii"}
    script = "import sys; from sos.commands.cli import main; sys.exit(max(main([v, '--help']) for v in sys.argv[1:]))"
    verbs = [verb.name for verb in VERBS]
    done = subprocess.run([sys.executable, "-c", script, *verbs], cwd=ROOT, env=env, capture_output=True, text=True)
    assert len(verbs) == 15
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.isascii()


def stopped(command: list[str], number: int, ready: Callable[[], bool]) -> tuple[int, str]:
    """Return (status, what was said) of a command that gets a signal once `ready`."""
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 100
    while not ready() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(number)
    _, said = process.communicate(timeout=100)
    return process.returncode, said


@pytest.mark.parametrize(
    ("number", "status", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_a_signal_is_one_line_and_leaves_nothing_half(number: int, status: int, word: str, tmp_path: Path) -> None:
    """A verb that takes minutes, stopped in the midst of its work: the file that it would write is not there."""
    out = tmp_path / "records" / "out.jsonl"
    pipe = tmp_path / "in.jsonl"
    os.mkfifo(pipe)  # it waits for ever for its input, the file that it writes is open by then
    found, said = stopped(
        [*SOS, "convert", str(pipe), f"out={out}"], number, lambda: any(out.parent.glob(".partial-*"))
    )
    assert (found, said.splitlines()[-1]) == (status, word)
    assert "Traceback" not in said
    assert not list(out.parent.iterdir())


def test_output_to_a_full_disk_is_one_line() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run([*SOS, "completion", "bash"], cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (1, "error: No space left on device\n")


def test_the_traceback_of_a_mistake_is_shown_where_it_is_asked_for() -> None:
    done = sos("compare", "/no/such", env={"SOS_TRACEBACK": "1"})
    assert done.returncode == 1
    assert "Traceback" in done.stderr


# Found when the words are read, and when the first streams are made.
IMPOSSIBLE = ("data.train_tokens=-1", "data.context=20")


@pytest.mark.parametrize("word", IMPOSSIBLE)
def test_a_run_that_is_refused_leaves_no_new_folder(word: str, tmp_path: Path) -> None:
    out = tmp_path / "new" / "below"
    done = sos("train", "experiment=smoke", word, f"hydra.run.dir={out}")
    assert done.returncode == 2, done.stderr[-2000:]
    assert is_quiet(done)
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("held", [[], ["notes.txt"]])
def test_a_run_that_is_refused_leaves_a_folder_as_it_was(held: list[str], tmp_path: Path) -> None:
    out = tmp_path / "old"
    out.mkdir()
    for name in held:
        (out / name).write_text("mine")
    done = sos("train", "experiment=smoke", IMPOSSIBLE[0], f"hydra.run.dir={out}")
    assert done.returncode == 2
    assert {path.name: path.read_text() for path in out.iterdir()} == dict.fromkeys(held, "mine")
