"""The figure over training tokens: a line for each way to spend them, at the tokens that were spent, and a ring for each seed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic_runs import counted, write_run

from sos.analysis.compare import Comparison, compare, load_runs
from sos.analysis.figures_training import points, training_tokens, training_tokens_figure, ways
from sos.analysis.tables import write

NUM_SEEDS = 2
TOKENS = {"a": 1_600_000, "a_800k": 800_000, "b": 1_600_000, "b_800k": 790_000, "alone_1m": 1_000_000}
SOLVED = {"a": 100, "a_800k": 60, "b": 80, "b_800k": 70, "alone_1m": 20, "stage": 110, "stage_800k": 65}


def write_all(root: Path, expect: tuple[str, ...] = ()) -> Comparison:
    """Write two ways at two budgets, an arm of one budget, and stages: whoever starts from `a_800k` and `b_800k` wrote as
    many tokens."""
    record = {"name": "s", "question": "Which?", "primary": "solve/val", "baseline": "a", "arms": list(SOLVED)}
    for arm, solved in SOLVED.items():
        for seed in range(1, NUM_SEEDS + 1):
            config: dict[str, Any] = {"seed": seed, "stream": {"view": "full"}}
            train: dict[str, Any] = {"tokens": TOKENS.get(arm, 7), "problems": 1, "seconds": 1.0}
            if arm.startswith("stage"):
                base = "a" if arm == "stage" else "b_800k"
                end = "" if seed == 1 else "/checkpoints/last.ckpt"  # a start is a run, or a checkpoint of one
                config["start"], train["rollout_tokens"] = f"{root / f'{base}_{seed}'}{end}", 50_000
            metrics = {"solve/val": counted(solved + seed), "solve/val_target": counted(solved // 2)}
            metrics |= (
                {"solve/val.lesson": counted(solved + 9), "solve/val.failure": counted(1)} if arm[0] == "b" else {}
            )
            sweep = record | {"arm": arm, "expect": list(expect)}
            overrides = {"arm": arm} | ({"start": config["start"]} if "start" in config else {})
            write_run(
                root / f"{arm}_{seed}",
                overrides,
                seed,
                solved,
                config=config,
                metrics=metrics,
                sweep=sweep,
                train=train,
            )
    return compare(load_runs([root]))


def test_a_line_is_at_the_tokens_that_were_spent(tmp_path: Path) -> None:
    comparison = write_all(tmp_path / "runs", ("b > a in solve/val.lesson against solve/val",))
    lines = ways(comparison)
    assert {way: [arm.label for arm in arms] for way, arms in lines.items()} == {
        "a": ["a", "a_800k"],
        "b": ["b", "b_800k"],
        "alone": ["alone_1m"],
        "stage": ["stage", "stage_800k"],
    }
    assert [point.tokens for point in points(lines["stage"], "solve/val")] == [840_000, 1_650_000]
    figure = training_tokens_figure(comparison)
    assert figure is not None
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["held-out number sets", "held-out targets"]
    assert figure.axes[0].get_xticks().tolist() == [840_000, 1_000_000, 1_650_000]
    solid = [line for line in figure.axes[0].lines if line.get_linestyle() == "-"]
    for line, (way, arms) in zip(solid, lines.items(), strict=True):
        wanted = sorted((training_tokens(arm.runs[0]), (SOLVED[arm.label] + 1.5) / 2) for arm in arms)
        assert np.allclose(np.transpose([line.get_xdata(), line.get_ydata()]), wanted), way
    rings = [line for line in figure.axes[0].lines if line.get_linestyle() == "None"]
    assert [len(line.get_xdata()) for line in rings] == [NUM_SEEDS] * 7
    broken = [line for line in figure.axes[0].lines if line.get_linestyle() == "--"]
    assert [list(line.get_ydata()) for line in broken] == [pytest.approx([(70 + 9) / 2, (80 + 9) / 2])]
    said = [text.get_text() for text in figure.legends[0].get_texts()]
    assert said == ["a", "b", "b, lesson", "alone", "stage", "one seed"]
    assert "training_tokens.png" in {path.name for path in write(comparison, tmp_path / "out")}


def test_arms_of_one_budget_each_are_no_figure(tmp_path: Path) -> None:
    for number, arm in enumerate(("few", "many_8", "more_1m")):
        write_run(tmp_path / arm, {"arm": arm}, 1, 50 + number)
    comparison = compare(load_runs([f"{arm}={tmp_path / arm}" for arm in ("few", "many_8", "more_1m")]))
    assert ways(comparison) == {}
    assert training_tokens_figure(comparison) is None


def test_a_stage_whose_start_is_gone_has_no_point(tmp_path: Path) -> None:
    comparison = write_all(tmp_path / "runs")
    shutil.rmtree(tmp_path / "runs" / "b_800k_2")
    assert [point.tokens for point in points(ways(comparison)["stage"], "solve/val")] == [1_650_000]
    assert points(ways(comparison)["stage"], "solve/val.lesson") == []
