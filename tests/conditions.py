"""Every verb in bad surroundings: folders and caches that cannot be written, full disks, closed pipes, signals.

A condition runs one command and returns what is wrong with how it ended, an empty text if nothing is. The tests take a
part of the table of verbs and conditions, `tests/bench/conditions.py` all of it.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

from damaged_results import write_readable_run
from drivers import read_jsonl
from places import GOLDEN, ROOT
from synthetic_runs import write_arms, write_run
from tiny_run import untrained
from users import AS_USER

from sos.kernels import VERSION, cache_folders
from sos.published.metric import rate
from sos.published.records import FIELDS
from sos.published.solutions import first_solution, optimal_path

SOS = [sys.executable, "-m", "sos"]
SMALL_DISK = 200  # bytes that a file may have on a disk that is full

Done = subprocess.CompletedProcess[str]


class Case(NamedTuple):
    """A command: its words, and what below OUT it writes; "." for a folder, nothing where it only prints."""

    words: str
    writes: str = ""
    status: int = 0

    @property
    def verb(self) -> str:
        return self.words.split()[0]


TRAIN = "experiment=smoke data.train_tokens=6000 trainer.probe_every=0 eval.pass_k=[] eval.num_problems=8"
CASES = {
    case.verb if "train -m" not in case.words else "train -m": case
    for case in (
        Case(f"train {TRAIN} hydra.run.dir=OUT", "."),
        Case(f"train -m {TRAIN} seed=1,2 hydra.sweep.dir=OUT", "."),
        Case("init OUT", "."),
        Case("generate experiment=smoke out=OUT visits=64 shard_size=16 workers=2", "."),
        Case("evaluate RUN out=OUT eval.num_problems=8 eval.pass_k=[]", "."),
        Case("compare TABLE out=OUT", "."),
        Case("doctor TABLE"),
        Case("score ANSWERS out=OUT/verdicts.jsonl", "verdicts.jsonl"),
        Case("losses RUN problems=4 out=OUT/losses.csv", "losses.csv"),
        Case("experience KEPT out=OUT/table.csv", "table.csv"),
        Case("memory READER tasks=iid num=4 block=2 arms=[none,both] out=OUT", "."),
        Case("attempts RUN problems=4 splits=[val] policies=[rule,restart] stories=0 out=OUT", "."),
        Case("recovery RUN problems=4 out=OUT", "."),
        Case("scaling LADDER out=OUT/fit.png", "fit.png"),
        Case("repeat RUN out=OUT", "."),
        Case("view problem=[47,2,17,15] env.num_numbers=3 out=OUT/page.html", "page.html"),
        Case("teachers problems=2 env.num_numbers=3"),
        Case("parts"),
        Case("strategies problems=4 out=OUT/table.csv", "table.csv"),
        Case("alignment KEPT problems=2 out=OUT/table.csv", "table.csv"),
        Case("convert RECORDS out=OUT/traces.jsonl", "traces.jsonl"),
        Case("export DATASET out=OUT/rows.jsonl", "rows.jsonl"),
        Case("import MODEL out=OUT", "."),
        Case("completion bash"),
    )
}
WRITERS = [name for name, case in CASES.items() if case.writes]


class Places(dict[str, Path]):
    """What the words in capitals stand for; each is made when it is first asked for."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self.root = root
        self.making = Lock()

    def __missing__(self, name: str) -> Path:
        with self.making:
            if name not in self:
                place = self.root / name.lower()
                MAKERS[name](place)
                self[name] = place
        return self[name]

    def words(self, case: Case, out: Path) -> list[str]:
        """Return the words of a command with the places in them."""
        found = case.words.replace("OUT", str(out))
        for name in MAKERS:
            if name in found:
                found = found.replace(name, str(self[name]))
        return found.split()


def _table(place: Path) -> None:
    write_arms(place, {"full": [140, 150, 145], "solution_path": [120, 124, 110]})


def _ladder(place: Path) -> None:
    from torch.utils.tensorboard import SummaryWriter

    for size in (1, 2, 3):
        for tokens in (1, 2, 4):
            train = {"parameters": size * 1e5, "tokens": tokens * 1e6, "problems": 100, "steps": 100}
            folder = write_run(place / f"{size}-{tokens}", {"size": f"{size}-{tokens}"}, train=train)
            with SummaryWriter(str(folder)) as writer:
                for step in range(1, 11):
                    writer.add_scalar("loss/all", 0.5 + size**-0.4 + tokens**-0.3, step)


def _records(place: Path) -> None:
    """Write the published records of the golden searches that found the goal."""
    records = []
    for row in read_jsonl(GOLDEN / "published_dfs.jsonl"):
        text, numbers, target = row["texts"]["dfs-sum"], row["numbers"], row["target"]
        if "Goal" in text:
            solution = first_solution(numbers, target)
            path = optimal_path(numbers, target, solution)
            values = (numbers, target, solution, text, rate(text).rating, "dfs", path, "sum_heuristic")
            records.append(json.dumps(dict(zip(FIELDS, values, strict=True))))
    place.write_text("\n".join(records))


def _answers(place: Path) -> None:
    row = json.dumps({"nums": [3, 4, 5], "target": 17, "text": "3 * 4 + 5 is right, I think"})
    place.write_text("\n".join([row] * 20))


def _model(place: Path) -> None:
    run = untrained(place.with_name("untrained"))
    done = sos("export", str(run.path), f"out={place}")
    assert done.returncode == 0, done.stderr[-3000:]


def _made_by(words: str) -> Callable[[Path], None]:
    def make(place: Path) -> None:
        done = sos(*words.replace("OUT", str(place)).split())
        assert done.returncode == 0, done.stderr[-3000:]

    return make


MAKERS: dict[str, Callable[[Path], Any]] = {
    "TABLE": _table,
    "LADDER": _ladder,
    "RECORDS": _records,
    "ANSWERS": _answers,
    "RUN": _made_by(CASES["train"].words),
    "READER": _made_by(CASES["train"].words + " slot=lesson eval.num_problems=1"),
    "KEPT": write_readable_run,
    "MODEL": _model,
    "DATASET": _made_by(CASES["generate"].words),
}


def sos(*words: str, before: Sequence[str] = (), command: Sequence[str] = SOS, **changes: Any) -> Done:
    """Run a command, behind the words `before`; `env` is added to the environment."""
    env = os.environ | changes.pop("env", {})
    options = {"cwd": ROOT, "capture_output": True, "text": True, "timeout": 300, "env": env} | changes
    return subprocess.run([*before, *command, *words], **options)


# What is wrong with how a command ended


def noise(done: Done) -> str:
    """Return what looks like a bug in what was said, or nothing."""
    said = done.stderr + (done.stdout or "")
    for sign in ("Traceback", "Exception ignored", "Process Fork", "Error in sys.excepthook", "Fatal Python error"):
        if sign in said:
            return f"{sign}: {said[-1500:]}"
    return ""


def halves(folder: Path) -> str:
    """Return which files below a folder are not whole, or nothing."""
    left = [str(path) for path in folder.rglob("*") if path.name.startswith((".partial", ".lock", ".part-"))]
    return f"left: {left}" if left else ""


def one_error(done: Done, status: int, named: Path) -> str:
    """Return how an end differs from one line of error that names a file, or nothing."""
    lines = [line for line in done.stderr.splitlines() if "error: " in line]
    if done.returncode != status:
        return f"status {done.returncode}, not {status}: {done.stderr[-1500:]}"
    if len(lines) != 1 or str(named) not in lines[0]:
        return f"not one line that names {named}: {done.stderr[-1500:]}"
    return noise(done)


def ended(done: Done, status: int) -> str:
    """Return how an end differs from that status and silence about bugs, or nothing."""
    return noise(done) or ("" if done.returncode == status else f"status {done.returncode}: {done.stderr[-1500:]}")


# Conditions


def below_a_file(case: Case, places: Places, tmp: Path) -> str:
    """What is to be written lies below something that is a file."""
    (tmp / "file").write_text("")
    done = sos(*places.words(case, tmp / "file" / "below"))
    return one_error(done, 2, tmp / "file")


def read_only(case: Case, places: Places, tmp: Path) -> str:
    """What is to be written lies below a folder that nobody may write into."""
    closed = tmp / "closed"
    closed.mkdir()
    words = places.words(case, closed / "out")
    closed.chmod(0o555)
    done = sos(*words, before=AS_USER)
    closed.chmod(0o755)
    left = f"left: {list(closed.iterdir())}" if list(closed.iterdir()) else ""
    return one_error(done, 2, closed) or left


def read_only_itself(case: Case, places: Places, tmp: Path) -> str:
    """The folder that is written into is there, and nobody may write into it."""
    closed = tmp / "closed"
    closed.mkdir()
    words = places.words(case, closed)
    closed.chmod(0o555)
    done = sos(*words, before=AS_USER)
    closed.chmod(0o755)
    left = f"left: {list(closed.iterdir())}" if list(closed.iterdir()) else ""
    return one_error(done, 2, closed) or left


def _small_files() -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (SMALL_DISK, SMALL_DISK))


def full_disk(case: Case, places: Places, tmp: Path) -> str:
    """The disk has room for some bytes."""
    done = sos(*places.words(case, tmp / "out"), preexec_fn=_small_files)
    return one_error(done, 1, tmp / "out") or halves(tmp / "out")


def closed_pipe(case: Case, places: Places, tmp: Path) -> str:
    """Nobody reads what is printed."""
    reader, writer = os.pipe()
    os.close(reader)
    done = sos(*places.words(case, tmp / "out"), capture_output=False, stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    told = f"said: {done.stderr[-1500:]}" if "rror" in done.stderr else ""
    return ended(done, 141) or told or halves(tmp / "out")


def ascii_terminal(case: Case, places: Places, tmp: Path) -> str:
    """The terminal shows nothing but ASCII."""
    done = sos(*places.words(case, tmp / "out"), env={"PYTHONIOENCODING": "ascii"})
    missing = case.writes and not (tmp / "out" / case.writes).exists()
    return ended(done, case.status) or ("nothing was written" if missing else "") or halves(tmp / "out")


def closed_cache(case: Case, places: Places, tmp: Path) -> str:
    """Compiled kernels can be read and none written."""
    kept = cache_folders()[0][0]
    shutil.copytree(kept, tmp / "cache" / f"kernels-{VERSION}")
    words = places.words(case, tmp / "out")
    for folder in (tmp / "cache" / f"kernels-{VERSION}", tmp / "cache"):
        folder.chmod(0o555)
    done = sos(*words, before=AS_USER, env={"SOS_CACHE_DIR": str(tmp / "cache")})
    warnings = done.stderr.count("cannot write compiled kernels")
    return ended(done, case.status) or (f"{warnings} warnings: {done.stderr[-1500:]}" if warnings > 1 else "")


# Signals

# A command in a process group of its own, which gets a signal when a function of the package is called: the number
# `at` of the calls, or the first one of the function of that name. As from a terminal, its workers get it, too.
STOPPED = f"""
import os, signal, sys
number, at, *words = sys.argv[1:]
from sos.commands.cli import main
signal.signal(signal.SIGINT, signal.default_int_handler)
owner, home, calls = os.getpid(), {str(ROOT / "sos")!r}, 0
last = int(at) if at.isdigit() else -1
once, ready = os.pipe()
os.set_blocking(once, False)
os.write(ready, b"1")
def count(frame, event, argument):
    global calls
    code = frame.f_code
    if event != "call" or not code.co_filename.startswith(home):
        return
    calls += 1
    if (calls == last and os.getpid() == owner) or code.co_name == at:
        sys.setprofile(None)
        try:
            os.read(once, 1)  # of several workers that come here one sends it
        except BlockingIOError:
            return
        os.killpg(0, int(number))
sys.setprofile(count)
status = main(words)
sys.setprofile(None)
if os.getpid() == owner and number == "0":
    print("calls", calls, file=sys.stderr)
sys.exit(status)
"""
SIGNALS = {signal.SIGINT: (130, "interrupted"), signal.SIGTERM: (143, "terminated")}
# What each verb calls in the midst of its work.
MIDST = {
    "train": "on_train_batch_end",
    "train -m": "on_train_batch_end",
    "init": "data_folder",
    "generate": "make_shard",
    "evaluate": "load_model",
    "compare": "written_whole",
    "doctor": "examine",
    "score": "judged_lines",
    "losses": "losses_by_place",
    "experience": "summary",
    "memory": "tasks_of",
    "attempts": "first_attempts",
    "recovery": "cases_of",
    "scaling": "fit",
    "repeat": "on_train_batch_end",
    "view": "written_whole",
    "parts": "shipped_names",
    "teachers": "cover",
    "strategies": "solve_table",
    "alignment": "align_rollouts",
    "convert": "write_lines",
    "export": "trace_rows",
    "import": "named_weights",
    "completion": "words_of",
}


def signalled(case: Case, places: Places, tmp: Path, number: int, at: str) -> Done:
    """Run a command that gets the signal; 0 sends none and says how many calls there are."""
    command = [sys.executable, "-c", STOPPED, str(int(number)), at]
    return sos(*places.words(case, tmp / "out"), command=command, start_new_session=True)


def stopped_by(number: int, name: str, places: Places, tmp: Path, at: str = "") -> str:
    """Stop the command `name` in its midst, or where `at` says; return what is wrong with its end."""
    status, word = SIGNALS[signal.Signals(number)]
    done = signalled(CASES[name], places, tmp, number, at or MIDST[name])
    last = done.stderr.rstrip().splitlines()[-1:] or [""]
    told = "" if word in last[0] or "continue with: " in last[0] else f"the last line: {done.stderr[-1500:]}"
    return ended(done, status) or told or halves(tmp / "out")


CONDITIONS: dict[str, Callable[[Case, Places, Path], str]] = {
    "below a file": below_a_file,
    "read-only": read_only,
    "itself read-only": read_only_itself,
    "full disk": full_disk,
    "closed pipe": closed_pipe,
    "ascii": ascii_terminal,
    "closed cache": closed_cache,
}


def makes_sense(condition: str, name: str) -> bool:
    """Tell whether a command can meet a condition at all."""
    writes = CASES[name].writes
    if condition == "itself read-only":
        return writes == "."
    return bool(writes) or condition not in ("below a file", "read-only", "full disk")
