"""What is installed: a wheel that holds all it needs, folders with YAML of one's own, and `sos init`."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from places import ROOT

from sos import errors
from sos.commands.cli import call
from sos.commands.words import taken_folders
from sos.compose import compose
from sos.errors import UserError, install_hint, train_words
from sos.runs.provenance import Origin, git_state
from sos.schema import folders
from sos.schema.folders import config_folder, search_also, searched

SMALL = ["experiment=smoke", "data.train_tokens=6000", "trainer.probe_every=0", "eval.pass_k=[]", "eval.num_problems=8"]


@pytest.fixture
def forgotten() -> object:
    """Folders that a test adds are gone behind it."""
    yield None
    search_also([])


def hashes(folder: Path) -> dict[str, str]:
    """Relative path -> hash of every file that belongs to the folder."""
    paths = [p for p in folder.rglob("*") if p.is_file() and not {"__pycache__", ".pytest_cache"} & set(p.parts)]
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in paths}


# Checkout or wheel


def test_conf_is_found_beside_the_package_and_within_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert config_folder() == (ROOT / "conf").resolve()
    package = tmp_path / "site-packages" / "sos"
    monkeypatch.setattr(folders, "ROOT", package)
    with pytest.raises(UserError, match=r"the package is not whole: neither .*sos/conf nor .*site-packages/conf"):
        config_folder()
    (package / "conf").mkdir(parents=True)
    (tmp_path / "site-packages" / "conf").mkdir()  # somebody else's
    assert config_folder() == package / "conf"


def test_hints_and_commands_name_the_form_that_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert install_hint("parquet") == 'pip install -e ".[parquet]"'
    assert train_words() == ["python", "train.py"]
    monkeypatch.chdir(tmp_path)
    assert train_words() == ["sos", "train"]
    monkeypatch.setattr(errors, "_CHECKOUT", tmp_path)
    assert install_hint("parquet") == 'pip install "sos-pretraining[parquet]"'
    assert Origin.of("a", ["seed=1"], None, tmp_path / "run").command == "sos train seed=1 hydra.run.dir=run"


def test_an_installed_package_has_no_commit_of_the_repository_around_it(tmp_path: Path) -> None:
    inside = tmp_path / "venv"
    inside.mkdir()
    for command in (
        ["init", "-q"],
        ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "--allow-empty", "-m", "a"],
    ):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    assert git_state(inside) == (None, "")
    found, difference = git_state(tmp_path)
    assert found is not None
    assert (len(found["commit"]), found["dirty"], difference) == (40, False, "")


# Folders with YAML of one's own


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["--config-dir", "a", "seed=1"], "hydra.searchpath=[file://a]"),
        (["seed=1", "--config-dir=a"], "hydra.searchpath=[file://a]"),
        (["-cd", "a", "seed=1", "--config-dir", "b c"], "hydra.searchpath=['file://a','file://b c']"),
        (["hydra.searchpath=[pkg://mine]", "seed=1"], "hydra.searchpath=[pkg://mine]"),
        (["seed=1"], ""),
    ],
)
def test_a_folder_is_taken_from_the_words(
    words: list[str], found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b c"):
        Path(name).mkdir()
    rest, taken = taken_folders(words)
    assert rest == ["seed=1"]
    assert "".join(taken).replace("'file://a'", "file://a") == found.replace("'file://a'", "file://a")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--config-dir", "none"], "^--config-dir=none is no folder$"),
        (["--config-dir"], "^--config-dir= is no folder$"),
        (["--config-dir", ".", "hydra.searchpath=[file://.]"], "^say --config-dir or hydra.searchpath, not both$"),
    ],
)
def test_a_folder_that_is_none_is_one_line(words: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        taken_folders(words)


@pytest.mark.usefixtures("forgotten")
def test_presets_of_ones_own_are_found_by_every_verb(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my conf" / "env").mkdir(parents=True)
    (tmp_path / "my conf" / "env" / "tiny.yaml").write_text("name: countdown\nnum_numbers: 3\nmax_number: 7\n")
    monkeypatch.chdir(tmp_path)
    assert call("teachers", ["--config-dir", "my conf", "env=tiny", "problems=2"]) == 0
    assert "3 numbers in 1..7" in capsys.readouterr().out
    assert searched() == ["hydra.searchpath=['file://my conf']"]
    assert compose(["env=tiny"]).env.max_number == 7
    command = Origin.of("a", ["env=tiny"], None, tmp_path / "run").command
    assert command == """sos train "hydra.searchpath=['file://my conf']" env=tiny hydra.run.dir=run"""
    search_also(["seed=1"])
    assert searched() == []
    with pytest.raises(UserError, match="env/tiny"):
        compose(["env=tiny"])


# sos init


def test_init_writes_the_project_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "mine"
    assert call("init", [str(folder)]) == 0
    assert f"wrote {folder}" in capsys.readouterr().out
    written = hashes(folder)
    assert written.pop(".gitignore")
    kept = hashes(ROOT / "sos" / "starter")
    assert kept.pop("gitignore")
    assert written == kept
    assert {"README.md", "climb/__init__.py", "conf/sweep/climb.yaml", "tests/test_climb.py"} <= kept.keys()
    assert call("init", [str(folder)]) == 2
    assert capsys.readouterr().err == f"error: {folder} is there already and not an empty folder\n"
    assert call("init", []) == 2
    assert "FOLDER is missing" in capsys.readouterr().err


def sos(
    words: list[str], cwd: Path, *, python: str = sys.executable, path: str = "."
) -> subprocess.CompletedProcess[str]:
    """Run a verb in a folder whose modules can be imported."""
    command = [python, "-m", "sos", *words]
    env = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    return done


@pytest.mark.slow
def test_the_project_runs(tmp_path: Path) -> None:
    """Its test, a run of its experiment, its sweep, and the run again by the command that was recorded."""
    assert call("init", [str(tmp_path / "mine")]) == 0
    folder, path = tmp_path / "mine", f".:{ROOT}"
    tested = subprocess.run(
        [sys.executable, "-m", "pytest", "-q"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert tested.returncode == 0, tested.stdout[-3000:]
    few = ["data.train_tokens=8000", "trainer.probe_every=0"]
    sos(["train", "--config-dir", "conf", "experiment=climb", "hydra.run.dir=outputs/one", *few], folder, path=path)
    command = json.loads((folder / "outputs" / "one" / "provenance.json").read_text())["command"]
    assert command.startswith("sos train 'hydra.searchpath=[file://conf]' experiment=climb ")
    again = sos(command.replace("'", "").split()[1:], folder, path=path)
    assert "outputs/one" in again.stdout
    sos(["train", "--config-dir", "conf", "-m", "+sweep=climb", "hydra.sweep.dir=multirun/it", *few], folder, path=path)
    assert len(list((folder / "multirun" / "it").glob("*/metrics.json"))) == 4
    assert (folder / "multirun" / "it" / "comparison.csv").is_file()


@pytest.mark.slow
def test_a_wheel_does_all_that_a_checkout_does(tmp_path: Path) -> None:
    """A source archive, a wheel of it, an environment of its own, an empty folder: the same code, and every verb runs."""
    build = "from setuptools.build_meta import build_{0}; print(build_{0}({1!r}))"
    source = tmp_path / "source"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(source)], check=True)
    subprocess.run(
        [sys.executable, "-c", build.format("sdist", str(tmp_path))], cwd=source, check=True, capture_output=True
    )
    archive = next(tmp_path.glob("sos_pretraining-*.tar.gz"))
    subprocess.run(["tar", "xzf", str(archive), "-C", str(tmp_path)], check=True)
    unpacked = next(path for path in tmp_path.glob("sos_pretraining-*") if path.is_dir())
    subprocess.run(
        [sys.executable, "-c", build.format("wheel", str(tmp_path))], cwd=unpacked, check=True, capture_output=True
    )
    wheel = next(tmp_path.glob("*.whl"))
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"sos/conf/{name}" for name in hashes(source / "conf")} <= names
    assert {f"sos/{name}" for name in hashes(source / "sos")} <= names
    assert {name.split("/")[0].split("-")[0] for name in names} == {"sos", "sos_pretraining"}
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--system-site-packages", str(venv)], check=True)
    python, empty = str(venv / "bin" / "python"), tmp_path / "empty"
    empty.mkdir()
    subprocess.run([python, "-m", "pip", "install", "-q", "--no-deps", str(wheel)], check=True)
    shown = "import sos; print(sos.__file__, sos.source_hash(), sos.kernel_hash())"
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    asked = subprocess.run([python, "-c", shown], cwd=empty, env=env, capture_output=True, text=True, check=True)
    place, *found = asked.stdout.split()
    assert place.startswith(str(venv))
    same = subprocess.run(
        [sys.executable, "-c", shown],
        cwd=source,
        env={**env, "PYTHONPATH": "."},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found == same.stdout.split()[1:]
    for words in (
        ["train", *SMALL, "hydra.run.dir=run"],
        ["generate", "experiment=smoke", "out=set", "kind=tokens", "visits=32"],
        ["view", "run", "index=0", "out=page.html"],
        ["train", "-m", *SMALL, "stream.view=full,solution_path", "seed=1", "hydra.sweep.dir=sweep"],
        ["compare", "sweep", "out=comparison"],
        ["init", "mine"],
    ):
        sos(words, empty, python=python)
    assert json.loads((empty / "run" / "provenance.json").read_text())["command"].startswith(
        "sos train experiment=smoke"
    )
