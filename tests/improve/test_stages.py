"""Whole stages of practice."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from places import ROOT
from stages import ALGORITHMS, BEHIND_HINTS, SLOT, SMALL, STEPS, equal, points, read, train, weights

from sos.judge.rollouts import ERRORS
from sos.runs.folder import RunFolder


def test_practice_leaves_a_run_behind_that_says_what_it_took(base: RunFolder, tmp_path: Path) -> None:
    run = train(tmp_path / "run", f"start={base.path}", "improve=grpo", *SMALL, *STEPS, "improve.kl_weight=0.01")
    metrics = read(run.metrics)
    assert metrics["train"]["rounds"] == 3
    assert metrics["train"]["rollouts"] == metrics["train"]["problems"] * 8 >= 3 * 128
    assert metrics["train"]["steps"] == 12
    assert metrics["train"]["tokens"] > 0
    assert metrics["train"]["rollout_tokens"] > 0
    assert metrics["train"]["rollout_seconds"] < metrics["train"]["data_seconds"]
    assert metrics["config"]["model"]["width"] == 32
    assert not equal(weights(base), weights(run))
    tags = points(run.path)
    for tag in ("reward", "zero_variance/all_right", "kept", "kl_start", "clip", "entropy", "seconds/gradient"):
        assert sorted(tags[f"improve/{tag}"]) == [4, 8, 12], tag
    assert len(tags["loss/all"]) == 12
    assert not any(tag.startswith("improve/") for tag in points(base.path))
    page = (ROOT / "docs" / "improve.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([\w/]+)`", page)) | {f"error_right/{error.name.lower()}" for error in ERRORS}
    assert {tag.removeprefix("improve/") for tag in tags if tag.startswith("improve/")} <= named
    shared = set(read(base.metrics)["train"])
    assert set(metrics["train"]) - shared - named == set()
    assert len(set(metrics["train"]) - shared) > 5


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm_runs(base: RunFolder, tmp_path: Path, algorithm: str, request: pytest.FixtureRequest) -> None:
    hinted = algorithm in BEHIND_HINTS
    base = request.getfixturevalue("slotted") if hinted else base
    words = SLOT if hinted else []
    words = [*words, "improve.rounds=1", "improve.problems=32", "improve.minibatches=2", "improve.epochs=1"]
    words += ["improve.group=8"] if algorithm in ("star", "apa", "apa_released") else []
    run = train(tmp_path / "run", f"start={base.path}", f"improve={algorithm}", *words)
    assert read(run.metrics)["train"]["steps"] == 2
    assert not equal(weights(base), weights(run))


def test_pretraining_goes_on_from_other_weights(base: RunFolder, tmp_path: Path) -> None:
    """`start` without `improve` is another stage of pretraining."""
    run = train(tmp_path / "run", f"start={base.path}", "data.train_tokens=4000", "seed=2")
    assert not equal(weights(base), weights(run))
    change = max(float((a - b).abs().max()) for a, b in zip(weights(base).values(), weights(run).values(), strict=True))
    assert change < 0.5
