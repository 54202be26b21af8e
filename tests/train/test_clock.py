"""Runs whose budget is seconds: trained, recorded, and refused where their clock cannot be kept."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from sizes import INTERPRETED

from sos.commands.repeat import repeat
from sos.compose import compose
from sos.errors import UserError
from sos.runs.provenance import Origin
from sos.train.plan import Plan
from sos.train.pretrain import pretrain

TIMED = ["experiment=smoke", "data.match=seconds", "data.train_seconds=0.5"]
SMALL = ["eval.num_problems=8", "eval.batch_size=8", "eval.pass_k=[2]", "eval.max_seconds=60", "trainer.log_every=1"]


@pytest.mark.skipif(INTERPRETED, reason="trains")
def test_a_run_of_seconds_ends_with_them(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        found = pretrain(compose([*TIMED, *SMALL]), tmp_path / "run", Origin("timed", {}))
    assert found is not None
    assert found.not_begun == {}
    assert "data.match=seconds follows the clock: this run cannot be repeated bit by bit" in caplog.text
    assert "eval.max_seconds=60 follows the clock" in caplog.text
    train = json.loads((tmp_path / "run" / "metrics.json").read_text())["train"]
    assert train["steps"] >= 2
    assert train["seconds"] >= 0.5
    with pytest.raises(UserError, match=r"data\.match=seconds follows the clock; eval\.max_seconds=60 follows"):
        repeat(tmp_path / "run", tmp_path / "again", keep_going=False)
    assert not (tmp_path / "again").exists()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["trainer.devices=2", "trainer.strategy=ddp"], "data.match=seconds needs one process, trainer.devices=2"),
        (["data.shards=missing"], "data.match=seconds can use up more than data.shards=missing holds"),
        (["data.train_tokens=5"], "data.train_tokens"),
        (["data.train_seconds=0"], "data.train_seconds"),
        (["eval.max_seconds=nan"], "eval.max_seconds"),
    ],
)
def test_what_has_no_clock_is_refused_by_key(overrides: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Plan.of(compose([*TIMED, *overrides]))
