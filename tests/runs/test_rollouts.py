"""The door for what finished runs hold: nothing impossible passes, every refusal is one line with the file's name."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from damaged_results import CONFIG, METRICS, NUM_PROBLEMS, PROVENANCE, READERS, ROLLOUTS, fuzz, write_readable_run

from sos.commands.cli import call
from sos.data.splits import evaluation_problems
from sos.errors import UserError
from sos.runs import rollouts
from sos.runs.finished import load_runs
from sos.runs.rollouts import ARRAYS, OPTIONAL, read_rollouts, read_streams
from sos.system import System, build_system

Arrays = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def system() -> System:
    return build_system(CONFIG)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_readable_run(tmp_path_factory.mktemp("whole") / "run")


@pytest.fixture
def run(written: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    for name in (ROLLOUTS, METRICS, PROVENANCE):
        (folder / name).write_bytes((written / name).read_bytes())
    return folder


def arrays_of(path: Path) -> Arrays:
    with np.load(path) as stored:
        return dict(stored)


def put(array: np.ndarray, place: Any, value: Any) -> np.ndarray:
    changed = array.copy()
    changed[place] = value
    return changed


def refusal(path: Path, system: System | None) -> str:
    """The one line with which a file is refused."""
    with pytest.raises(UserError) as caught:
        read_rollouts(path, system)
    told = str(caught.value)
    assert told.startswith(f"damaged {path}: "), told
    assert "\n" not in told
    return told.removeprefix(f"damaged {path}: ")


def test_a_whole_file_is_read_as_it_was_written(run: Path, system: System) -> None:
    arrays = arrays_of(run / ROLLOUTS)
    assert arrays.keys() == ARRAYS.keys() - set(OPTIONAL)
    found = read_rollouts(run / ROLLOUTS, system)
    assert found.columns.keys() == ARRAYS.keys() - set(OPTIONAL)
    for name, array in arrays.items():
        np.testing.assert_array_equal(found.columns[name], array)
        assert found.columns[name].dtype == ARRAYS[name][0]
    problems, streams = read_streams(run, "val", system)
    expected = evaluation_problems(system.env, system.splits, "val", NUM_PROBLEMS)
    np.testing.assert_array_equal(problems, expected)
    assert [len(stream) for stream in streams] == np.diff(arrays["offsets"]).tolist()
    np.testing.assert_array_equal(np.concatenate(streams), arrays["tokens"])


def test_what_an_evaluation_writes_is_what_is_read() -> None:
    """A column that evaluation.py adds must get its type and its bounds here."""
    source = (Path(rollouts.__file__).parents[1] / "judge" / "evaluation.py").read_text()
    body = source[source.index("def _arrays(") :]
    body = body[: body.index("\ndef ")]
    assert re.findall(r'^        "(\w+)":', body, re.MULTILINE) == [name for name in ARRAYS if name not in OPTIONAL]
    assert re.findall(r'arrays\[label\]\["(\w+)"\]', source) == list(OPTIONAL)


WRONG: dict[str, tuple[Callable[[Arrays], Arrays], str]] = {
    "solved no bool": (lambda a: {"solved": a["solved"].astype("i4")}, "solved holds int32, not bool"),
    "errors as floats": (lambda a: {"num_errors": a["num_errors"] / 2}, "num_errors holds float64, not int32"),
    "texts": (lambda a: {"nodes": a["nodes"].astype("U8")}, "nodes holds <U8, not int32"),
    "objects": (lambda a: {"problems": a["problems"].astype(object)}, "problems: no .npy file of plain numbers"),
    "Fortran": (lambda a: {"problems": np.asfortranarray(a["problems"])}, "the shape (6, 5), not 2 axes in C order"),
    "an axis more": (lambda a: {"solved": a["solved"][None]}, "solved has the shape (1, 6), not 1 axes"),
    "a row less": (lambda a: {"flops": a["flops"][1:]}, "flops has 5 rows, not 6 as 6 problems need"),
    "offsets short": (lambda a: {"offsets": a["offsets"][1:]}, "offsets has 6 rows, not 7"),
    "no rows": (lambda a: {k: v[:0] for k, v in a.items()}, "problems has the shape (0, 5): it holds nothing"),
    "offsets from 1": (lambda a: {"offsets": put(a["offsets"], 0, 1)}, "offsets do not ascend from 0"),
    "offsets down": (lambda a: {"offsets": put(a["offsets"], 2, 10**9)}, "offsets do not ascend from 0"),
    "offsets far": (lambda a: {"offsets": put(a["offsets"], -1, 10**9)}, "offsets end at 1000000000, and there are"),
    "offsets negative": (lambda a: {"offsets": put(a["offsets"], 1, -5)}, "offsets must be 0 to"),
    "negative count": (lambda a: {"num_errors": put(a["num_errors"], 3, -1)}, "got -1 in row 3"),
    "negative tokens": (lambda a: {"generated_tokens": put(a["generated_tokens"], 1, -7)}, "got -7 in row 1"),
    "before the goal": (lambda a: {"tokens_to_goal": put(a["tokens_to_goal"], 0, -2)}, "tokens_to_goal must be -1 to"),
    "NaN": (lambda a: {"flops": put(a["flops"], 2, np.nan)}, "flops must be 0 to"),
    "too wide": (lambda a: {"problems": put(a["problems"].astype("i8"), (0, 0), 2**40)}, "got 1099511627776"),
}  # fmt: skip
WRONG_FOR_SYSTEM: dict[str, tuple[Callable[[Arrays], Arrays], str]] = {
    "count": (lambda a: {"problems": put(a["problems"], (slice(None), 1), 10**9)}, "must be 3 to 3, got 1000000000"),
    "one column": (lambda a: {"problems": a["problems"][:, :1].copy()}, "problems has 1 columns, not 5"),
    "a column more": (lambda a: {"problems": np.hstack([a["problems"], a["problems"][:, :1]])}, "6 columns, not 5"),
    "target": (lambda a: {"problems": put(a["problems"], (2, 0), 61)}, "the target, must be 10 to 60, got 61"),
    "number": (lambda a: {"problems": put(a["problems"], (4, 3), 10**9)}, "must be 1 to 20, got 1000000000 in row 4"),
    "zero": (lambda a: {"problems": put(a["problems"], (5, 4), 0)}, "the numbers, must be 1 to 20, got 0 in row 5"),
    "token": (lambda a: {"tokens": put(a["tokens"], 7, 65535)}, "got 65535 in row 7"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_arrays_that_no_evaluation_writes_are_refused(name: str, run: Path, system: System) -> None:
    change, reason = WRONG[name]
    arrays = arrays_of(run / ROLLOUTS)
    np.savez(run / ROLLOUTS, **(arrays | change(arrays)))  # type: ignore[arg-type]
    for known in (None, system):
        assert reason in refusal(run / ROLLOUTS, known)


@pytest.mark.parametrize("name", WRONG_FOR_SYSTEM)
def test_what_the_environment_has_no_room_for_is_refused(
    name: str, run: Path, tmp_path: Path, system: System, capsys: pytest.CaptureFixture[str]
) -> None:
    change, reason = WRONG_FOR_SYSTEM[name]
    arrays = arrays_of(run / ROLLOUTS)
    np.savez(run / ROLLOUTS, **(arrays | change(arrays)))  # type: ignore[arg-type]
    assert reason in refusal(run / ROLLOUTS, system)
    for command, words in {"view": [f"rollout={run}"], "alignment": [str(run)]}.items():
        assert partial(call, command)([*words, f"out={tmp_path / 'out.csv'}"]) == 2
        told = capsys.readouterr().err
        assert told.startswith(f"error: damaged {run / ROLLOUTS}: ")
        assert reason in told
        assert told.count("\n") == 1
        assert not (tmp_path / "out.csv").exists()


def with_header(path: Path, name: str, header: str, stored: int = zipfile.ZIP_DEFLATED) -> None:
    """Give an array another header, with the right checksum."""
    target = io.BytesIO()
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(target, "w", stored) as copied:
        for member in archive.namelist():
            content = archive.read(member)
            if member == f"{name}.npy":
                start = 10 + int.from_bytes(content[8:10], "little")
                text = header.encode() + b"\n"
                content = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + content[start:]
            copied.writestr(member, content)
    path.write_bytes(target.getvalue())


@pytest.mark.parametrize(
    ("name", "descr", "shape", "reason"),
    [
        ("tokens", "<u2", "(10**12,)", "tokens: no .npy file of plain numbers"),
        ("tokens", "<u2", "(1000000000000,)", "tokens has .* bytes for the shape .1000000000000,. of uint16"),
        ("problems", "<i4", "(1000000000000, 5)", "problems has .* bytes for the shape"),
        ("problems", "<i4", "(-6, 5)", "problems: no .npy file of plain numbers"),
        ("solved", "|O", "(6,)", "solved: no .npy file of plain numbers"),
        ("nodes", "<i4", "()", r"nodes has the shape \(\), not 1 axes"),
        ("solved", "|O8", "(6,)", "solved holds object, not bool"),
        ("nodes", "<q9", "(6,)", "nodes: data type .<q9. not understood"),
        ("offsets", "<i8", f"({'9' * 400},)", "offsets has .* bytes for the shape"),
    ],
)
def test_headers_are_checked_before_anything_is_allocated(
    name: str, descr: str, shape: str, reason: str, run: Path, system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_header(run / ROLLOUTS, name, f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}, }}")
    monkeypatch.setattr(zipfile.ZipFile, "read", lambda *args: pytest.fail("an array was read before its header"))
    assert re.match(reason, refusal(run / ROLLOUTS, system))


def test_members_that_declare_impossible_sizes_are_refused(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, tried = run / ROLLOUTS, 0
    whole = path.read_bytes()
    place = whole.rindex(b"PK\x01\x02") + 24  # the size of the last member, as the directory declares it
    for size in (0, 1, 2**31 - 1, 2**32 - 2):
        path.write_bytes(whole[:place] + size.to_bytes(4, "little") + whole[place + 4 :])
        assert refusal(path, None)
        tried += 1
    path.write_bytes(whole)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("solved.npy", b"")
    assert refusal(path, None) == "solved is in it twice"
    path.write_bytes(whole)
    monkeypatch.setattr(rollouts, "MOST_BYTES", 1000)
    assert refusal(path, None) == "its arrays have more than 1000 bytes"
    assert tried == 4


@pytest.mark.parametrize("name", ["problems", "num_errors", "solved", "generated_tokens", "tokens", "offsets"])
def test_a_missing_array_is_named(name: str, run: Path) -> None:
    arrays = arrays_of(run / ROLLOUTS)
    del arrays[name]
    np.savez(run / ROLLOUTS, **arrays)  # type: ignore[arg-type]
    streams = name in rollouts.STREAMS
    reason = "it holds only one of tokens and offsets" if streams else f"it holds no {name}"
    assert refusal(run / ROLLOUTS, None) == reason


def test_an_older_file_without_tokens_compares_and_is_not_shown(run: Path, system: System) -> None:
    arrays = arrays_of(run / ROLLOUTS)
    kept = {name: array for name, array in arrays.items() if name not in rollouts.STREAMS}
    np.savez(run / ROLLOUTS, **kept)  # type: ignore[arg-type]
    assert load_runs([run])[0].solved["val"].sum() == 3
    with pytest.raises(UserError, match=f"^{run / ROLLOUTS} keeps no tokens"):
        read_streams(run, "val", system)


def set_in(path: Path, keys: str, value: Any) -> None:
    content = json.loads(path.read_text())
    node = content
    *parents, last = keys.split(":")
    for key in parents:
        node = node[key]
    node[last] = value
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("keys", "value", "reason"),
    [
        ("metrics:solve/val:value", 1.5, "metrics/solve/val/value must be -1e-09 to 1, got 1.5"),
        ("metrics:solve/val:low", -0.5, "metrics/solve/val/low must be"),
        ("metrics:pass@4/val:high", 2, "metrics/pass@4/val/high must be"),
        ("metrics:solve/val:low", 1.0, "metrics/solve/val/low=1.0 is above high="),
        ("metrics:solve/val:value", float("nan"), "metrics/solve/val/value must be -1e-09 to 1, got nan"),
        ("metrics:nodes/val:high", float("inf"), "metrics/nodes/val/high must be finite, got inf"),
        ("metrics:nodes/val:value", -3, "metrics/nodes/val/value must be at least 0, got -3"),
        ("metrics:tokens_per_solved/val:value", 10**400, "metrics/tokens_per_solved/val/value must be at least 0"),
        ("metrics:solve/val:num", -1, "metrics/solve/val/num must be 0 to"),
        ("metrics:solve/val:num", 2.5, "metrics/solve/val/num must be a whole number, got 2.5"),
        ("metrics:solve/val:num", None, "metrics/solve/val/num must be a whole number, got None"),
        ("train:tokens", -5, "train/tokens must be at least 0, got -5"),
        ("train:problems", float("nan"), "train/problems must be at least 0, got nan"),
        ("train:seconds", "x", "train/seconds must be at least 0, got 'x'"),
        ("seed", 2**70, "seed must be"),
        ("code_hash", [1], "code_hash must be a text, got [1]"),
        ("overrides:view", {"a": 1}, "overrides/view must be one value, got {'a': 1}"),
        ("config:trainer", "x", "config/trainer must hold keys, got 'x'"),
        ("config:trainer", {"batch_tokens": "x"}, "config/trainer/batch_tokens must be"),
        ("budget_curve:val:tokens", [8, 16, 32, -64], "budget_curve/val/tokens must be"),
        ("budget_curve:val:solved", [0.1, 0.2, 0.3, 1.2], "budget_curve/val/solved must be"),
    ],
)  # fmt: skip
def test_metrics_that_no_run_can_have_are_refused_by_name(keys: str, value: Any, reason: str, run: Path) -> None:
    set_in(run / METRICS, keys, value)
    with pytest.raises(UserError) as caught:
        load_runs([run])
    assert str(caught.value).startswith(f"damaged {run / METRICS}: {reason}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("keys", "value", "reason"),
    [
        ("sweep", [1], "sweep must be an object, got [1]"),
        ("sweep:arm", 3, "sweep/arm must be a text, got 3"),
        ("sweep:name", ["s"], "sweep/name must be a text, got ['s']"),
        ("sweep:arms", [{}], "sweep/arms must be a list of names, got [{}]"),
        ("sweep:baseline", {}, "sweep/baseline must be a text, got {}"),
    ],
)
def test_a_sweep_that_no_run_records_is_refused_by_name(keys: str, value: Any, reason: str, run: Path) -> None:
    set_in(run / PROVENANCE, keys, value)
    with pytest.raises(UserError) as caught:
        load_runs([run])
    assert str(caught.value) == f"damaged {run / PROVENANCE}: {reason}"


def test_an_interpolation_in_a_recorded_config_stays_text(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "hunter2")
    text = "${oc.env:SECRET}"
    set_in(run / METRICS, "config:stream:view", text)
    set_in(run / METRICS, "overrides", {"stream.view": text})
    (found,) = load_runs([run])
    assert (found.setting("stream.view"), found.overrides["stream.view"]) == (text, text)
    with pytest.raises(
        UserError, match=r"metrics.json was written under another schema: stream.view=.*oc.env"
    ) as caught:
        READERS["view"](run)
    assert "hunter2" not in str(caught.value)


def test_a_whole_run_beside_another_is_read_by_all(tmp_path: Path) -> None:
    write_readable_run(tmp_path / "a", "a")
    folder = write_readable_run(tmp_path / "b", "b", solved=4)
    for read in READERS.values():
        read(folder)
    assert len(READERS) == 5


def test_damaged_results_are_refused_in_one_line_or_read_right(tmp_path: Path) -> None:
    """A child process reads them, so that a crash would be seen."""
    counts = fuzz(tmp_path, seed=5, num=80, batch=40)
    assert sum(counts.values()) == 80
    assert counts["refused"] >= 40
    assert counts["right"] >= 5
