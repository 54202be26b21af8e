"""Loggers and callbacks by config: what is refused, what they write, and that a run goes on and ends as it should."""

from __future__ import annotations

import csv
import json
import math
import sqlite3
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from sos.compose import compose, no_such_key
from sos.config import Config, config_hash, to_dict
from sos.errors import UserError
from sos.runs.checkpoint import load_checkpoint, load_model
from sos.runs.folder import RunFolder
from sos.runs.provenance import Origin
from sos.runs.resume import check_same_run
from sos.schema.callbacks import MEASURED, CallbacksConfig
from sos.schema.logger import LOGGERS, LoggerConfig
from sos.system import build_system
from sos.train.loggers import Loggers, Silent, build_logger
from sos.train.plan import Plan
from sos.train.pretrain import Interrupted, pretrain
from sos.train.stop import StopOnSignal
from sos.train.watching import Average, KeepBest, StopEarly, watching

TINY = ["experiment=smoke", "data.train_tokens=12000", "eval.num_problems=8", "eval.pass_k=[]", "trainer.log_every=1"]


def train(folder: Path, *words: str) -> RunFolder:
    assert pretrain(compose([*TINY, *words]), folder, Origin("test")) is not None
    return RunFolder(folder)


def points(folder: Path, tag: str) -> dict[int, float]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    return {event.step: event.value for event in events.Scalars(tag)}


# --- what is refused ---


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["logger.use=[tensorboard,comet]"], "logger.use must name some of tensorboard, csv, wandb, mlflow"),
        (["logger.use=[csv,csv]"], "each once"),
        (["logger.online=true"], "logger.online=true has no use without wandb"),
        (["logger.project=mine"], "logger.project=mine has no use without wandb or mlflow"),
        (["+logger._target_=os.system"], "logger._target_ is no key of the config: loggers are named"),
        (["+callbacks._target_=os.system"], "callbacks._target_ is no key of the config: callbacks are chosen"),
        (["callbacks.best=solve/val"], "callbacks.best must be one of None, solve/probe"),
        (["callbacks.best=loss/val"], "callbacks.best=loss/val needs trainer.val_every, which is 0"),
        (["trainer.probe_every=0", "callbacks.stop=solve/probe"], "needs trainer.probe_every, which is 0"),
        (["callbacks.stop=plan/probe"], "needs stream.plan=true"),
        (["callbacks.stop=solve_target/probe"], "is measured in practice alone"),
        (["callbacks.patience=2"], "callbacks.patience=2 needs callbacks.stop"),
        (["callbacks.ema=1"], "callbacks.ema must be below 1"),
        (["callbacks.ema=0.9", "trainer.strategy=fsdp"], "does not go with trainer.strategy=fsdp"),
    ],
)
def test_what_does_not_go_together_is_one_line(words: list[str], said: str) -> None:
    with pytest.raises(UserError) as told:
        compose(words)
    assert said in str(told.value)
    assert "\n" not in str(told.value)


def test_what_others_call_it_is_said() -> None:
    assert "callbacks.stop=loss/val" in str(no_such_key("callbacks.early_stopping"))
    assert "optim/lr is always logged" in str(no_such_key("callbacks.lr_monitor"))


def test_a_package_and_groups_that_are_not_there_are_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(LOGGERS, "wandb", ("no_such_package",))
    with pytest.raises(UserError, match=r"logger.use: wandb is not installed: pip install wandb"):
        Plan.of(compose([*TINY, "logger.use=[wandb]"]))
    words = ["data.held_out_fraction=0", "eval.splits=[val]", "trainer.val_every=5", "callbacks.best=loss/val_target"]
    with pytest.raises(UserError, match=r"callbacks.best=loss/val_target: no group of problems is held out"):
        Plan.of(compose([*TINY, *words]))
    assert not list(tmp_path.iterdir())


def test_runs_are_what_they_were_and_a_logger_is_no_part_of_them() -> None:
    config = Config()
    plain = to_dict(config)
    del plain["logger"], plain["callbacks"]
    plain["trainer"] = {
        key: value for key, value in plain["trainer"].items() if key not in ("val_every", "val_problems", "profiler")
    }
    assert config_hash(config) == config_hash(plain)
    assert config_hash(Config(logger=LoggerConfig(use=["csv"]))) == config_hash(config)
    assert config_hash(Config(callbacks=CallbacksConfig(ema=0.9))) != config_hash(config)
    loaded: Any = SimpleNamespace(config=plain, path="x")
    check_same_run(Config(logger=LoggerConfig(use=[])), loaded)
    with pytest.raises(UserError, match=r"callbacks.ema=0.0, this run has"):
        check_same_run(Config(callbacks=CallbacksConfig(ema=0.9)), loaded)


# --- parts ---


def test_the_default_is_tensorboard_alone_and_none_is_silent(tmp_path: Path) -> None:
    assert type(build_logger(LoggerConfig(), tmp_path, "a")).__name__ == "TensorBoardLogger"
    none = build_logger(LoggerConfig(use=[]), tmp_path, "a")
    assert isinstance(none, Loggers)
    assert isinstance(none.experiment, Silent)
    none.log_metrics({"a": 1.0}, 1)
    none.experiment.add_scalar("a", 1.0, 1)
    with pytest.raises(AttributeError):
        none.experiment.ad_scalar("a", 1.0, 1)
    none.save()
    assert not list(tmp_path.iterdir())
    both = build_logger(LoggerConfig(use=["csv", "tensorboard"]), tmp_path, "a")
    assert isinstance(both, Loggers)
    assert type(both.experiment).__name__ == "SummaryWriter"


@pytest.mark.parametrize(
    ("metric", "values", "kept"),
    [
        ("loss/val", [3.0, 2.0, 2.0, 2.5, 1.0], [0, 1, 4]),
        ("solve/probe", [0.0, 0.5, 0.5, 0.25, 1.0], [0, 1, 4]),
    ],
)
def test_the_best_is_kept_and_the_first_of_equal_ones(metric: str, values: list[float], kept: list[int]) -> None:
    saved: list[int] = []
    best = KeepBest(metric, Path("best.ckpt"))
    for k, value in enumerate(values):
        trainer: Any = SimpleNamespace(save_checkpoint=lambda path, weights_only, k=k: saved.append(k))
        best.measured(trainer, None, {"other": 9.0})  # type: ignore[arg-type]
        best.measured(trainer, None, {metric: value})  # type: ignore[arg-type]
    assert saved == kept
    again = KeepBest(metric, Path("best.ckpt"))
    again.load_state_dict(best.state_dict())
    assert (again.looks, again.best, again.since) == (5, 1.0, 0)


def test_the_end_comes_behind_so_many_looks_and_never_in_mid_round() -> None:
    early = StopEarly("loss/val", 2)
    trainer: Any = SimpleNamespace(should_stop=False, is_global_zero=False)
    for value, inside, stopped in [
        (3, False, False),
        (2, False, False),
        (2, False, False),
        (5, True, False),
        (5, False, True),
    ]:
        early.measured(trainer, None, {"loss/val": value})  # type: ignore[arg-type]
        early.on_train_batch_end(trainer, None, None, {"ends_round": not inside}, 0)  # type: ignore[arg-type]
        assert trainer.should_stop == early.ended_early == stopped


def test_the_average_is_the_mean_that_its_memory_says() -> None:
    model = torch.nn.Linear(2, 2)
    module: Any = SimpleNamespace(model=model)
    average = Average(0.5, model)
    expected = {name: weight.detach().clone().double() for name, weight in model.named_parameters()}
    for step in range(1, 12):
        with torch.no_grad():
            for weight in model.parameters():
                weight.add_(torch.randn_like(weight))
        average.on_train_batch_end(SimpleNamespace(global_step=step), module, None, {}, 0)  # type: ignore[arg-type]
        decay = min(0.5, (1 + step) / (10 + step))
        for name, weight in model.named_parameters():
            expected[name] = decay * expected[name] + (1 - decay) * weight.detach().double()
    for name, weight in average.weights.items():
        torch.testing.assert_close(weight.double(), expected[name], rtol=1e-5, atol=1e-6)
    trained = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    stopped: Any = SimpleNamespace(should_stop=True, callbacks=[average])
    average.on_train_end(stopped, module)
    assert all(torch.equal(weight, trained[name]) for name, weight in model.named_parameters())
    average.on_train_end(SimpleNamespace(should_stop=False, callbacks=[average]), module)  # type: ignore[arg-type]
    assert all(torch.equal(weight, average.weights[name]) for name, weight in model.named_parameters())


def test_every_choice_has_its_callback() -> None:
    options = CallbacksConfig(best="solve/probe", stop="loss/val", ema=0.9)
    found = [type(callback) for callback in watching(options, torch.nn.Linear(1, 1), Path("best.ckpt"))]
    assert found == [KeepBest, StopEarly, Average]
    assert watching(CallbacksConfig(), torch.nn.Linear(1, 1), Path("best.ckpt")) == []
    assert len(MEASURED) == 5


# --- whole runs ---


@pytest.mark.slow
def test_all_loggers_see_the_same_and_the_best_and_the_average_are_kept(tmp_path: Path) -> None:
    words = ["trainer.val_every=1", "trainer.val_problems=20", "callbacks.best=loss/val", "callbacks.ema=0.5"]
    names = [name for name, packages in LOGGERS.items() if all(map(find_spec, packages))]
    assert {"tensorboard", "csv"} <= set(names)
    run = train(tmp_path / "run", *words, f"logger.use=[{','.join(names)}]")
    plain = train(tmp_path / "plain", *words[:2])
    with open(run.path / "csv" / "version_0" / "metrics.csv") as file:
        rows = list(csv.DictReader(file))
    for tag in ("loss/all", "loss/val", "solve/probe", "solve/val", "optim/lr"):
        found = {int(row["step"]): float(row[tag]) for row in rows if row.get(tag)}
        assert found.keys() == points(run.path, tag).keys()
        assert found == pytest.approx(points(run.path, tag), rel=1e-5), tag
        assert len(found) > 0
    assert "wandb" not in names or list(run.path.glob("wandb/offline-run-*/*.wandb"))
    assert "mlflow" not in names or sqlite_points(run.path / "mlflow.db") == points(run.path, "loss/val")
    # The average changes nothing but the end.
    assert points(run.path, "loss/val") == points(plain.path, "loss/val")
    last, best = load_checkpoint(run.checkpoint), load_checkpoint(run.checkpoint.with_name("best.ckpt"))
    averaged = last.content["callbacks"]["Average"]["weights"]
    assert all(torch.equal(weight, last.state_dict[name]) for name, weight in averaged.items())
    assert not torch.equal(
        last.state_dict["embed.weight"], load_checkpoint(plain.checkpoint).state_dict["embed.weight"]
    )
    looks = points(run.path, "loss/val")
    assert best.train["steps"] == min(looks, key=lambda step: (looks[step], step))
    load_model(best, build_system(compose([*TINY, *words])))
    assert "optimizer_states" not in best.content


def sqlite_points(path: Path) -> dict[int, float]:
    """The points of loss/val in mlflow's database, in float32 as TensorBoard has them."""
    with closing(sqlite3.connect(path)) as database:
        found = database.execute("select step, value from metrics where key = 'loss/val'").fetchall()
    return {step: float(np.float32(value)) for step, value in found}


@pytest.mark.slow
def test_a_run_that_gets_no_better_ends_early_and_is_evaluated(tmp_path: Path) -> None:
    run = train(
        tmp_path / "run",
        "trainer.probe_every=0.1",
        "callbacks.stop=solve/probe",
        "callbacks.patience=1",
        "callbacks.ema=0.9",
    )
    content = json.loads(run.metrics.read_text())
    looks = points(run.path, "solve/probe")
    assert 2 <= len(looks) < 9
    assert max(looks.values()) == looks[min(looks)]
    assert content["train"]["tokens"] < 12000
    assert math.isfinite(content["metrics"]["solve/val"]["value"])
    last = load_checkpoint(run.checkpoint)
    averaged = last.content["callbacks"]["Average"]["weights"]
    assert all(torch.equal(weight, last.state_dict[name]) for name, weight in averaged.items())


@pytest.mark.slow
def test_an_interrupted_run_with_an_average_ends_as_an_undisturbed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["callbacks.ema=0.5", "callbacks.best=loss/val", "trainer.val_every=2", "trainer.probe_every=0"]
    whole = train(tmp_path / "whole", *words)
    plain = StopOnSignal.on_train_batch_end

    def stopped(self: StopOnSignal, trainer: Any, *arguments: Any) -> None:
        if trainer.global_step == 3:
            self.received = 15
        plain(self, trainer, *arguments)

    monkeypatch.setattr(StopOnSignal, "on_train_batch_end", stopped)
    with pytest.raises(Interrupted):
        train(tmp_path / "parts", *words)
    monkeypatch.setattr(StopOnSignal, "on_train_batch_end", plain)
    parts = train(tmp_path / "parts", *words)
    a, b = load_checkpoint(whole.checkpoint), load_checkpoint(parts.checkpoint)
    assert all(torch.equal(weight, b.state_dict[name]) for name, weight in a.state_dict.items())
    assert json.loads(whole.metrics.read_text())["metrics"] == json.loads(parts.metrics.read_text())["metrics"]
    assert points(whole.path, "loss/val") == points(parts.path, "loss/val")
