"""How kernels are compiled and kept: alone among other users of numba, from every state of the cache folder."""

from __future__ import annotations

import ast
import gc
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FunctionType

import numpy as np
import pytest
from numba import njit
from numba.core.errors import TypingError
from numba.extending import overload
from numba.np import arrayobj
from places import ROOT
from users import AS_USER, CAN_BE_USER

from sos.kernels import DIGEST_BYTES, OPTIONS, allocating, claims, compiled, inner, kernel
from sos.kernels.claims import claim, release
from sos.stream.write.spans import SLACK, copy_longer_run, copy_run, fill_run

FOLD = """
import numpy as np
from sos.rng import fold
print(int(fold(np.uint64(5), 7)), sum(fold.stats.cache_hits.values()))
"""
FOLDED = 9428158358266441515


def run_python(code: str, folder: Path, **environment: str | None) -> subprocess.CompletedProcess[str]:
    """Run `code` in `folder`; a variable of the environment that is None is removed."""
    variables: dict[str, str | None] = dict(os.environ)
    variables |= {"PYTHONPATH": f"{ROOT}{os.pathsep}{folder}", "PYTHONDONTWRITEBYTECODE": "1", **environment}
    given = {name: value for name, value in variables.items() if value is not None}
    command = [*AS_USER, sys.executable, "-c", code]
    return subprocess.run(command, cwd=folder, env=given, text=True, capture_output=True)


def folded(folder: Path, code: str = FOLD, **environment: str | None) -> tuple[int, list[str]]:
    """Fold a number in a process of its own; return how many compiled kernels it found, and the lines that it said."""
    done = run_python(code, folder, **environment)
    assert done.returncode == 0, done.stderr
    value, hits = done.stdout.split()
    assert int(value) == FOLDED
    return int(hits), done.stderr.splitlines()


def files_of_numba() -> list[Path]:
    return [p for p in (ROOT / "sos").rglob("*") if p.suffix in (".nbi", ".nbc", ".kernel")]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder that holds one compiled kernel."""
    folder = tmp_path_factory.mktemp("filled")
    assert folded(folder, SOS_CACHE_DIR=str(folder / "cache")) == (0, [])
    assert folded(folder, SOS_CACHE_DIR=str(folder / "cache")) == (1, [])
    assert len(list(folder.rglob("fold-*.kernel"))) == 1
    return folder / "cache"


@pytest.fixture
def cache(filled: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(filled, tmp_path / "cache"))


def _flip(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def _signed(packed: bytes) -> bytes:
    return hashlib.sha256(packed).digest() + packed


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "emptied": lambda content: b"",
    "cut": lambda content: content[:-1],
    "half": lambda content: content[: len(content) // 2],
    "a digest alone": lambda content: content[:DIGEST_BYTES],
    "a bit": _flip,
    "more": lambda content: content + b"x",
    "no pickle": lambda content: _signed(b"no pickle"),
    "another pickle": lambda content: _signed(b"I1\n."),
    "an unknown class": lambda content: _signed(b"cnowhere\nnothing\n."),
}


OFTEN = ("emptied", "half", "an unknown class")


@pytest.mark.compiled
@pytest.mark.parametrize(
    "damage", [name if name in OFTEN else pytest.param(name, marks=pytest.mark.slow) for name in DAMAGES]
)
def test_a_damaged_entry_is_said_and_made_anew(damage: str, cache: Path, tmp_path: Path) -> None:
    (entry,) = cache.rglob("fold-*.kernel")
    entry.write_bytes(DAMAGES[damage](entry.read_bytes()))
    hits, said = folded(tmp_path, SOS_CACHE_DIR=str(cache))
    assert hits == 0
    assert len(said) == 1
    assert str(entry) in said[0]
    assert "damaged" in said[0]
    assert folded(tmp_path, SOS_CACHE_DIR=str(cache)) == (1, [])


@pytest.mark.compiled
def test_an_entry_of_another_kernel_is_not_taken(cache: Path, tmp_path: Path) -> None:
    code = FOLD.replace("fold", "below").replace("(np.uint64(5), 7)", "(np.uint64(5), 7, 10)")
    assert run_python(code, tmp_path, SOS_CACHE_DIR=str(cache)).returncode == 0
    (entry,), (other,) = cache.rglob("fold-*.kernel"), cache.rglob("below-*.kernel")
    shutil.copy(other, entry)
    assert folded(tmp_path, SOS_CACHE_DIR=str(cache)) == (0, [])
    assert folded(tmp_path, SOS_CACHE_DIR=str(cache)) == (1, [])


TOGETHER = """
import time
from pathlib import Path
import numpy as np
from sos.rng import fold
here = Path.cwd()
(here / f"ready-{NUMBER}").touch()
while len(list(here.glob("ready-*"))) < 3:
    time.sleep(0.001)
print(int(fold(np.uint64(5), 7)), sum(fold.stats.cache_hits.values()))
"""


@pytest.mark.compiled
def test_of_processes_that_need_the_same_kernel_one_compiles_it(tmp_path: Path) -> None:
    variables = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}", "SOS_CACHE_DIR": str(tmp_path / "cache")}
    commands = [[sys.executable, "-c", TOGETHER.replace("NUMBER", str(n))] for n in range(3)]
    started = [subprocess.Popen(c, env=variables, stdout=subprocess.PIPE, text=True, cwd=tmp_path) for c in commands]
    found = [process.communicate()[0].split() for process in started]
    assert [int(value) for value, _ in found] == [FOLDED] * 3
    assert sorted(int(hits) for _, hits in found) == [0, 1, 1]
    assert not list((tmp_path / "cache").rglob(".*.lock"))


HOLDER = """
import sys, time
from pathlib import Path
from sos.kernels.claims import claim
claim(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(600)
"""


def test_a_process_that_is_killed_claims_nothing_any_more(tmp_path: Path) -> None:
    path = tmp_path / "fold.kernel"
    command = [sys.executable, "-c", HOLDER, str(path)]
    variables = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        started = time.monotonic()
        claim(path, patience=0.3)
        assert time.monotonic() - started >= 0.3  # in vain
        assert path not in claims._CLAIMED
        holder.kill()
    claim(path)
    assert path in claims._CLAIMED
    release(path)
    assert list(tmp_path.iterdir()) == []


def test_a_claim_where_no_file_can_be_made_is_none(tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "fold.kernel"
    claim(path)
    assert path not in claims._CLAIMED
    release(path)


def _read_only(folder: Path) -> Path:
    for path in (folder, *(p for p in folder.rglob("*") if p.is_dir())):
        path.chmod(0o555)
    return folder


UNUSABLE: dict[str, tuple[str, Callable[[Path, Path], dict[str, str | None]]]] = {
    "a file": ("Not a directory", lambda at, _: {"SOS_CACHE_DIR": str(at / "file")}),
    "below a file": ("Not a directory", lambda at, _: {"SOS_CACHE_DIR": str(at / "file" / "cache")}),
    "no place": ("No such file", lambda at, _: {"SOS_CACHE_DIR": "/proc/nowhere"}),
    "read only": ("Permission denied", lambda at, _: {"SOS_CACHE_DIR": str(_read_only(at / "empty"))}),
    "read only and filled": ("Permission denied", lambda at, cache: {"SOS_CACHE_DIR": str(_read_only(cache))}),
    "no home": ("No such file", lambda at, _: {"SOS_CACHE_DIR": None, "HOME": "/proc/nowhere"}),
    "a home without a place": ("no home folder", lambda at, _: {"SOS_CACHE_DIR": None, "HOME": "nowhere"}),
    "a read-only home": ("Permission denied", lambda at, _: {"SOS_CACHE_DIR": "", "HOME": str(_read_only(at / "empty"))}),
}  # fmt: skip


@pytest.mark.compiled
@pytest.mark.skipif(not CAN_BE_USER, reason="root may write everywhere")
@pytest.mark.parametrize("case", list(UNUSABLE))
def test_an_unusable_folder_is_replaced_by_one_that_is_removed(case: str, cache: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name in ("empty", "tmp"):
        (tmp_path / name).mkdir()
    reason, variables_in = UNUSABLE[case]
    variables = variables_in(tmp_path, cache)
    hits, said = folded(tmp_path, TMPDIR=str(tmp_path / "tmp"), **variables)
    assert len(said) == 1
    assert said[0].startswith("sos: cannot write compiled kernels into ")
    assert reason in said[0]
    assert "SOS_CACHE_DIR" in said[0]
    assert hits == (case == "read only and filled")  # what is there can be read
    assert list((tmp_path / "tmp").iterdir()) == []
    assert not (tmp_path / "nowhere").exists()
    assert files_of_numba() == []


@pytest.mark.compiled
def test_without_any_folder_kernels_are_compiled(tmp_path: Path) -> None:
    nowhere = """
import tempfile
def refuse(*args, **options):
    raise FileNotFoundError("No usable temporary directory found")
tempfile.mkdtemp = refuse
"""
    hits, said = folded(tmp_path, nowhere + FOLD, SOS_CACHE_DIR="/proc/nowhere")
    assert hits == 0
    assert len(said) == 1
    assert "they are not kept" in said[0]
    assert files_of_numba() == []


@pytest.mark.compiled
def test_a_full_disk_is_said_once(tmp_path: Path) -> None:
    full = """
import os
def refuse(*args):
    raise OSError(28, "No space left on device")
os.replace = refuse
from sos import rng
rng.uniform(rng.np.uint64(1), 2)
"""
    _, said = folded(tmp_path, full + FOLD, SOS_CACHE_DIR=str(tmp_path / "cache"))
    assert len(said) == 1
    assert "No space left" in said[0]
    assert not [p for p in (tmp_path / "cache").rglob("*") if p.is_file()]


FOREIGN = """
from numba import njit

@njit(cache=True)
def last(row):
    return row[-1]

@njit(cache=True)
def before_last(row):
    return row[-2]
"""
AMONG_OTHERS = """
import os, sys
import numpy as np
from foreign import before_last, last
from numba import config, njit
from numba.np import arrayobj
row = np.arange(10)[5:]
surroundings = lambda: (dict(os.environ), config.CACHE_DIR, config.CACHE_LOCATOR_CLASSES, arrayobj.fix_integer_index)
before = surroundings()
place = before_last.stats.cache_path
assert last(row) == 9
import sos
from sos.kernels import inner, kernel
from sos.rng import fold
assert fold(np.uint64(5), 7) == %d
assert before_last(row) == 8
assert before_last.stats.cache_path == last.stats.cache_path == place
late = njit(lambda row: row[-3])
assert late(row) == 7
assert surroundings() == before
print(place)
"""


@pytest.mark.compiled
@pytest.mark.parametrize("named", [False, True])
def test_others_who_compile_keep_their_folder_and_their_indices(named: bool, tmp_path: Path) -> None:
    (tmp_path / "foreign.py").write_text(FOREIGN)
    theirs = str(tmp_path / "theirs") if named else None
    ours = tmp_path / "ours"
    done = run_python(AMONG_OTHERS % FOLDED, tmp_path, SOS_CACHE_DIR=str(ours), NUMBA_CACHE_DIR=theirs)
    assert done.returncode == 0, done.stderr
    place = Path(done.stdout.strip())
    assert place.is_relative_to(theirs) if theirs else place == tmp_path / "__pycache__"
    assert len(list(place.glob("*.nbc"))) == 2
    assert [p.suffix for p in ours.rglob("*") if p.is_file()] == [".kernel"]


def test_importing_the_package_loads_and_changes_nothing(tmp_path: Path) -> None:
    code = """
import os, sys
before, modules = dict(os.environ), set(sys.modules)
import sos
assert dict(os.environ) == before
print(*sorted({name.partition(".")[0] for name in set(sys.modules) - modules}))
"""
    done = run_python(code, tmp_path, SOS_CACHE_DIR=str(tmp_path / "cache"))
    assert done.returncode == 0, done.stderr
    assert "sos" in done.stdout.split()
    assert not {"numba", "numpy", "torch", "yaml", "hydra"} & set(done.stdout.split())
    assert not (tmp_path / "cache").exists()


@pytest.mark.compiled
def test_the_plain_switch_compiles_the_same_kernels_and_keeps_none(tmp_path: Path) -> None:
    assert folded(tmp_path, SOS_CACHE_DIR=str(tmp_path / "cache"), SOS_KERNELS="plain") == (0, [])
    assert not (tmp_path / "cache").exists()
    code = "import sos.kernels as k; print(k.OPTIONS, k.INNER)"
    assert run_python(code, tmp_path, SOS_KERNELS="plain").stdout == "{'nogil': True} {'nogil': True}\n"
    done = run_python(code, tmp_path, SOS_KERNELS="fast")
    assert done.stderr.splitlines()[-1].endswith("SOS_KERNELS must be plain or unset, got 'fast'")


def test_kernels_are_made_by_our_decorators_alone() -> None:
    """What numba's own decorator keeps lies beside the source, where an edit of what it inlines is not noticed."""
    files = [p for p in (ROOT / "sos").rglob("*.py") if p.parent.name != "kernels"]
    files += [ROOT / "tests" / "drivers.py", *(ROOT / "tests" / "bench").glob("*.py")]
    assert len(files) > 100
    for path in files:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("numba"):
                assert not {"njit", "jit", "register_jitable"} & {a.name for a in node.names}, path


def _element(row, k):
    return row[k]


@pytest.mark.compiled
def test_only_kernels_of_this_package_index_without_wraparound() -> None:
    row = np.arange(10)[5:]
    assert njit(_element)(row, -1) == 9
    assert njit(**OPTIONS)(_element)(row, -1) == 9
    ours = FunctionType(_element.__code__, {"__name__": "sos.imagined"})
    ours.__module__ = "sos.imagined"
    assert njit(ours)(row, -1) == 9
    fix = arrayobj.fix_integer_index
    without = compiled(**OPTIONS)(ours)
    assert without(row, 2) == 7
    assert without(row, -1) == 4  # what lies before the row
    assert arrayobj.fix_integer_index is fix


@inner
def _twice(x):
    return 2 * x


@inner
def _fourfold(x):
    return _twice(_twice(x))


@pytest.mark.compiled
@pytest.mark.parametrize("compiler", [njit, kernel, allocating])
def test_what_only_kernels_call_is_linked_into_whatever_calls_it(compiler) -> None:
    assert compiler(lambda x: _fourfold(x) + _twice(x))(3) == 18


@pytest.mark.compiled
@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("fails", [False, True])
def test_the_collector_rests_while_a_kernel_compiles(before: bool, fails: bool) -> None:
    seen = []

    def noted(x):
        return x

    @overload(noted, strict=False)
    def note(x):
        seen.append(gc.isenabled())
        return None if fails else noted

    made = compiled(**OPTIONS)(lambda x: noted(x))
    made._cache.disable()
    (gc.enable if before else gc.disable)()
    try:
        if fails:
            with pytest.raises(TypingError):
                made(1.5)
        else:
            assert made(1.5) == 1.5
        after = gc.isenabled()
    finally:
        gc.enable()
    assert seen
    assert not any(seen)
    assert after == before


@compiled(**OPTIONS)
def _copy(source, start, count, target, at, longer):
    if longer:
        return copy_longer_run(source, start, count, target, at)
    return copy_run(source, start, count, target, at)


@compiled(**OPTIONS)
def _fill(target, start, stop, value):
    fill_run(target, start, stop, value)


@pytest.mark.parametrize("longer", [False, True])
def test_runs_of_every_length_are_copied(longer: bool) -> None:
    source = np.arange(1, 400, dtype=np.uint16)
    for count in range(200):
        target = np.zeros(3 + count + SLACK, np.uint16)
        assert _copy(source, 7, count, target, 3, longer) == 3 + count
        assert target[3 : 3 + count].tolist() == source[7 : 7 + count].tolist()
        assert not target[:3].any()


@pytest.mark.parametrize("count", [1, 16, 17, 63, 64, 65, 150])
def test_a_run_is_copied_right_behind_itself(count: int) -> None:
    row = np.zeros(2 * count + SLACK, np.uint16)
    row[:count] = np.arange(1, count + 1)
    for longer in (False, True):
        assert _copy(row, 0, count, row, count, longer) == 2 * count
        assert row[: 2 * count].tolist() == 2 * list(range(1, count + 1))


def test_runs_of_every_length_are_filled() -> None:
    for count in range(200):
        target = np.zeros(2 + count + SLACK, np.int8)
        _fill(target, 2, 2 + count, np.int8(5))
        assert target[: 2 + count].tolist() == [0, 0, *[5] * count]
