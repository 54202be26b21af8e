"""Finding and reading run folders; every refusal is a ValueError that names the path and the reason."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic_runs import problems, write_run, write_sweep

from sos.runs.finished import load_runs


def test_a_run_named_twice_is_one_run(tmp_path: Path) -> None:
    run = write_run(tmp_path / "a")
    assert len(load_runs([tmp_path, run, str(run)])) == 1


def test_unfinished_runs_are_listed_and_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    sweep = write_sweep(tmp_path)
    (sweep / "config.yaml").write_text("of the sweep, not of a run")
    (sweep / "0" / ".hydra").mkdir()
    (sweep / "0" / ".hydra" / "config.yaml").write_text("")
    (sweep / "9" / "metrics.json").unlink()
    with caplog.at_level(logging.WARNING):
        runs = load_runs([sweep])
    assert [run.folder.name for run in runs] == ["0", "1", "2", "3", "10"]
    assert caplog.messages == [f"unfinished run left out (config.yaml but no metrics.json): {sweep / '9'}"]


def test_null_is_undefined_and_nan_is_damage(tmp_path: Path) -> None:
    path = write_run(tmp_path / "a", metrics={"nodes/val": {"value": None, "low": 0, "num": 3}}) / "metrics.json"
    assert load_runs([tmp_path])[0].metrics["nodes/val"] == (None, 0, None, 3)
    path.write_text(path.read_text().replace('"low": 0', '"low": NaN'))
    with pytest.raises(ValueError, match=f"damaged {path}: metrics/nodes/val/low must be finite, got nan"):
        load_runs([tmp_path])


def test_no_run_found(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"no such run folder: {tmp_path / 'x'}"):
        load_runs([tmp_path / "x"])
    with pytest.raises(ValueError, match=f"no run found in {tmp_path}"):
        load_runs([tmp_path])
    with pytest.raises(ValueError, match="no finished run"):
        load_runs([])


def test_only_unfinished_runs(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("")
    with pytest.raises(ValueError, match=f"no finished run; unfinished: {tmp_path}"):
        load_runs([tmp_path])


@pytest.mark.parametrize("content", [b"", b'{"name": "cut', b"\xff\xfe\x00", b"Traceback"])
def test_damaged_metrics(tmp_path: Path, content: bytes) -> None:
    write_run(tmp_path / "a")
    (tmp_path / "a" / "metrics.json").write_bytes(content)
    with pytest.raises(ValueError, match=f"damaged {tmp_path / 'a' / 'metrics.json'}: ."):
        load_runs([tmp_path])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"metrics": {"solve/val": 0.7}}, "metrics/solve/val must hold value, low, high and num"),
        ({"metrics": {"solve/val": {"value": 0.7}}}, "metrics/solve/val must hold value, low, high and num"),
        ({"metrics": {"solve/val": {"value": "0.7", "num": 1}}}, "metrics/solve/val/value must be a number or null"),
        ({"metrics": {"solve/val": {"value": True, "num": 1}}}, "metrics/solve/val/value must be a number or null"),
        ({"metrics": {}}, "metrics is empty"),
        ({"overrides": ["seed=1"]}, "overrides must be dict, got list"),
        ({"seed": None}, "seed must be int, got NoneType"),
        ({"train": {"tokens": 5}}, "train/problems must be a number, got None"),
        ({"budget_curve": [1]}, "budget_curve must be an object, got list"),
        ({"budget_curve": {"val": 3}}, "budget_curve/val must hold lists of numbers"),
        ({"budget_curve": {"val": {"tokens": [1], "solved": [None]}}}, "budget_curve/val must hold lists of numbers"),
        (
            {"budget_curve": {"val": {"tokens": [1, 2], "solved": [0.1]}}},
            "budget_curve/val holds 2 tokens and 1 solved",
        ),
    ],
)
def test_another_metric_schema(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    path = write_run(tmp_path / "a") / "metrics.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(ValueError, match=f"^{path} is not of this metric schema: {reason}"):
        load_runs([tmp_path])


@pytest.mark.parametrize(("content", "reason"), [("[]", "it holds list"), ('{"accuracy": 1}', "name must be str")])
def test_json_of_something_else(tmp_path: Path, content: str, reason: str) -> None:
    (tmp_path / "metrics.json").write_text(content)
    with pytest.raises(ValueError, match=reason):
        load_runs([tmp_path])


def test_damaged_rollouts(tmp_path: Path) -> None:
    path = write_run(tmp_path / "a") / "rollouts_val.npz"
    whole = path.read_bytes()
    with_wrong_shape: dict[str, Any] = {"problems": problems(), "num_errors": np.zeros(3, "i4")}
    damages = {
        "cut": lambda: path.write_bytes(whole[: len(whole) // 2]),
        "empty": lambda: path.write_bytes(b""),
        "flipped": lambda: path.write_bytes(whole[:300] + bytes([whole[300] ^ 255]) + whole[301:]),
        "one array": lambda: np.save(path.open("wb"), problems()),
        "no problems": lambda: np.savez(path, num_errors=np.zeros(3)),
        "wrong shape": lambda: np.savez(path, **with_wrong_shape),
    }
    for damage in damages.values():
        damage()
        with pytest.raises(ValueError, match=f"damaged {path}: ."):
            load_runs([tmp_path])
