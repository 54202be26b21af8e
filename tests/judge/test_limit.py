"""An evaluation with a limit of seconds: the first problems of each split, the same answers, and the table says so."""

from __future__ import annotations

import logging
import time
from dataclasses import replace

import pytest
import torch

from sos.config import Config, DataConfig, EvalConfig, SearchConfig
from sos.envs.countdown.config import CountdownConfig
from sos.judge.evaluation import Limit, evaluate
from sos.model.gpt import GPT
from sos.system import build_system, gpt_config

CONFIG = Config(
    env=CountdownConfig(max_target=50, max_value=100),
    search=SearchConfig(max_nodes=12),
    data=DataConfig(context=160, val_fraction=0.3, held_out_fraction=0.1),
)
CONFIG.model.width, CONFIG.model.num_heads, CONFIG.model.num_layers = 16, 1, 1


def test_the_last_problems_are_left_out_and_the_table_says_so(caplog: pytest.LogCaptureFixture) -> None:
    system = build_system(CONFIG)
    torch.manual_seed(1)
    model = GPT(gpt_config(CONFIG, len(system.dialect.vocab)))
    wanted = EvalConfig(num_problems=12, batch_size=4, max_tokens=9, pass_k=[4], pass_k_problems=3, num_rollout_texts=1)
    whole = evaluate(model, system, wanted)
    with caplog.at_level(logging.WARNING):
        some = evaluate(model, system, replace(wanted, max_seconds=1e-9))
    assert list(some.arrays) == wanted.splits
    for split, arrays in some.arrays.items():
        assert some.not_begun[split] == 8
        assert some.metrics[f"solve/{split}"].num == 4
        assert some.metrics[f"pass@4/{split}"].num == 1
        for name in ("problems", "solved", "generated_tokens", "num_errors"):
            assert arrays[name].tolist() == whole.arrays[split][name][:4].tolist()
    assert "problems           4 of 12" in some.table()
    assert "val: eval.max_seconds=1e-09 was enough for 4 of 12 problems" in caplog.text
    assert evaluate(model, system, replace(wanted, max_seconds=1e6)).metrics == whole.metrics


def test_a_split_without_problems_has_no_share(monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(CONFIG, data=replace(CONFIG.data, held_out_fraction=0.0))
    system, asked = build_system(config), []
    model = GPT(gpt_config(config, len(system.dialect.vocab)))
    monkeypatch.setattr(
        "sos.judge.evaluation.Limit", lambda seconds, num: asked.append((seconds, num)) or Limit(None, 1)
    )
    wanted = EvalConfig(num_problems=4, batch_size=4, max_tokens=3, pass_k=[1], max_seconds=9.0, num_rollout_texts=0)
    assert list(evaluate(model, system, wanted).arrays) == ["val"]
    assert asked == [(9.0, 2)]


def test_the_samples_of_a_problem_begin_together() -> None:
    with pytest.raises(ValueError, match=r"eval\.batch_size=3 must be 4 with eval\.max_seconds"):
        EvalConfig(batch_size=3, pass_k=[1, 4], max_seconds=1.0)


def test_seconds_are_shared_out_over_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([100.0, 100.0, 140.0, 150.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(now))
    limit = Limit(60.0, 3)
    shares = [limit.share() for _ in range(3)]
    monkeypatch.undo()
    assert shares == [120.0, 150.0, 160.0]
    assert Limit(None, 2).share() is None
