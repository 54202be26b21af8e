"""Bad surroundings: whatever is wrong around a command, it ends without a traceback, with the right status, and leaves nothing half.

The cheap half of a table, verb by condition; `tests/bench/conditions.py` goes over all of it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conditions import (
    CASES,
    CONDITIONS,
    MIDST,
    SIGNALS,
    SOS,
    WRITERS,
    Places,
    makes_sense,
    noise,
    sos,
    stopped_by,
)
from places import ROOT
from users import CAN_BE_USER

from sos.commands.verbs import VERBS


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Places:
    """What the commands read."""
    return Places(tmp_path_factory.mktemp("places"))


@pytest.fixture(scope="module")
def table(places: Places) -> Path:
    """A folder with runs of two arms."""
    return places["TABLE"]


@pytest.fixture(scope="module")
def unread(places: Places, tmp_path_factory: pytest.TempPathFactory) -> Places:
    """The same where a command is refused before it reads anything: no run has to be made."""
    found = Places(tmp_path_factory.mktemp("unread"))
    found |= places | dict.fromkeys(("RUN", "DATASET", "READER"), places["TABLE"])
    return found


def test_every_verb_has_a_command_and_a_midst() -> None:
    assert {case.verb for case in CASES.values()} == {verb.name for verb in VERBS}
    assert CASES.keys() == MIDST.keys()
    assert len(WRITERS) == 20


# Both are found before the work starts; making a run again and its data takes a while before that.
EARLY = [name for name in WRITERS if name not in ("repeat", "generate", "train -m")]


@pytest.mark.parametrize("name", EARLY)
def test_a_folder_that_is_a_file_is_one_line(name: str, unread: Places, tmp_path: Path) -> None:
    assert CONDITIONS["below a file"](CASES[name], unread, tmp_path) == ""


@pytest.mark.skipif(not CAN_BE_USER, reason="root may write everywhere")
@pytest.mark.parametrize("name", EARLY)
def test_a_read_only_folder_is_one_line(name: str, unread: Places, tmp_path: Path) -> None:
    assert CONDITIONS["read-only"](CASES[name], unread, tmp_path) == ""


@pytest.mark.skipif(not CAN_BE_USER, reason="root may write everywhere")
@pytest.mark.parametrize("name", ["compare", "evaluate", "train"])
def test_a_folder_that_is_read_only_itself_is_one_line(name: str, unread: Places, tmp_path: Path) -> None:
    assert makes_sense("itself read-only", name)
    assert CONDITIONS["itself read-only"](CASES[name], unread, tmp_path) == ""


@pytest.mark.parametrize(
    ("condition", "name"),
    [
        ("full disk", "compare"),
        pytest.param("full disk", "strategies", marks=pytest.mark.slow),
        ("full disk", "train"),
        pytest.param("closed pipe", "train", marks=pytest.mark.slow),
        ("closed pipe", "view"),
        ("ascii", "compare"),
        ("closed cache", "view"),
        ("closed cache", "generate"),
    ],
)
def test_a_condition_ends_in_order(condition: str, name: str, places: Places, tmp_path: Path) -> None:
    if condition == "closed cache" and not CAN_BE_USER:
        pytest.skip("root may write everywhere")
    assert CONDITIONS[condition](CASES[name], places, tmp_path) == ""


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"], ["completion", "bash"], ["compare", "TABLE"]])
def test_a_closed_pipe_ends_quietly(words: list[str], table: Path, tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with open(tmp_path / "said", "w+") as said:
        command = [*SOS, *(word.replace("TABLE", str(table)) for word in words)]
        done = subprocess.run(command, cwd=ROOT, stdout=writer, stderr=said, timeout=100)
        os.close(writer)
        said.seek(0)
        assert said.read() == ""
    assert done.returncode == 141


def test_every_verb_helps_without_a_home_in_ascii() -> None:
    env = {key: value for key, value in os.environ.items() if key != "HOME"} | {"PYTHONIOENCODING": "ascii"}
    script = "import sys; from sos.commands.cli import main; sys.exit(max(main([v, '--help']) for v in sys.argv[1:]))"
    verbs = [verb.name for verb in VERBS]
    done = subprocess.run([sys.executable, "-c", script, *verbs], cwd=ROOT, env=env, capture_output=True, text=True)
    assert len(verbs) == 23
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
    ("name", "number"),
    [
        pytest.param("train", signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param("generate", signal.SIGINT, marks=pytest.mark.slow),
        pytest.param("generate", signal.SIGTERM, marks=pytest.mark.slow),
        ("view", signal.SIGINT),
        pytest.param("teachers", signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param("strategies", signal.SIGINT, marks=pytest.mark.slow),
        ("export", signal.SIGINT),
        pytest.param("compare", signal.SIGTERM, marks=pytest.mark.slow),
    ],
)
def test_a_signal_in_the_midst_is_one_line_and_leaves_nothing_half(
    name: str, number: int, places: Places, tmp_path: Path
) -> None:
    assert stopped_by(number, name, places, tmp_path) == ""


@pytest.mark.parametrize(("number", "status", "word"), [(number, *end) for number, end in SIGNALS.items()])
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
    assert noise(done) == ""
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
