"""What people do with a base that has the slot: evaluate it with hints, look at an answer, keep it, export its data."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shard_sets import job
from tiny_run import LENGTH, MODEL, TASK, untrained

from sos.commands.cli import call
from sos.commands.view import build
from sos.compose import compose
from sos.config import to_dict
from sos.context.forms import read_context
from sos.datasets.make import generate
from sos.datasets.read import Shards
from sos.improve.experience_files import load
from sos.interop.datasets import token_rows
from sos.runs.folder import RunFolder
from sos.stream.text import annotate
from sos.system import System, build_system
from sos.view.page import trace_data

WORDS = ["slot=hint", "data.context=160"]
EVALUATE = ["eval.context=[none,plan,wrong_first]", "eval.num_problems=6", "eval.max_tokens=30"]


@pytest.fixture(scope="module")
def system() -> System:
    return build_system(compose([*TASK, *MODEL, *LENGTH, *WORDS]))


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    home = untrained(tmp_path_factory.mktemp("runs") / "hinted", *WORDS)
    assert call("evaluate", [str(home.path), *EVALUATE]) == 0
    return home


def test_metrics_have_the_name_of_the_context(evaluated: RunFolder) -> None:
    metrics = json.loads((evaluated.evaluation / "metrics.json").read_text())["metrics"]
    for label in ("val", "val.plan", "val.wrong_first"):
        assert metrics[f"solve/{label}"]["num"] == 6
        assert (f"plan_nats/{label}" in metrics) == (label != "val")
    assert metrics["context_tokens/val.plan"]["value"] > metrics["context_tokens/val.wrong_first"]["value"] > 3


def test_answers_behind_a_hint_are_kept_as_experience(evaluated: RunFolder, system: System) -> None:
    kept = load(evaluated.evaluation / "rollouts_val.plan.npz", system)
    bare = load(evaluated.evaluation / "rollouts_val.npz", system)
    assert np.array_equal(kept.problems, bare.problems)
    for i in range(6):
        tokens = kept.tokens_of(i)
        context = read_context(system.dialect, tokens)
        assert context.sound
        assert [item.name for item in context.items] == ["hint:plan"]
        assert len(tokens) <= 160


def test_a_page_shows_the_hint_in_front_of_the_problem(evaluated: RunFolder, system: System) -> None:
    shown = build({"checkpoint": str(evaluated.checkpoint), "context": "plan", "index": "0,1", "teacher": "false"}, [])
    bare = build({"checkpoint": str(evaluated.checkpoint), "index": "0,1", "teacher": "false"}, [])
    assert len(shown) == len(bare) == 2
    for (dialect, env, with_hint), (_, _, without) in zip(shown, bare, strict=True):
        assert with_hint.detail.endswith("greedy, context plan")
        data: dict[str, Any] = trace_data(dialect, env, with_hint)
        texts = [data["words"][token].strip() for token in data["tokens"]]
        start, stop = texts.index("<context>"), texts.index("</context>")
        assert (start, texts[start + 1]) == (1, "<hint:plan>")
        assert data["problem"] == trace_data(dialect, env, without)["problem"]
        assert data["stated"] is None
        assert data["starts"][1] > stop
        assert np.array_equal(with_hint.problem, without.problem)
        assert "<hint:plan>" in annotate(system.dialect, system.env, with_hint.problem, with_hint.tokens)


def test_a_context_that_is_none_or_has_no_place_is_refused(
    evaluated: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    without = untrained(tmp_path / "bare")
    out = f"out={tmp_path / 'page.html'}"
    refused = [
        ("view", [str(evaluated.checkpoint), "context=plans", out], "context: 'plans' is none of none, classes"),
        ("view", ["split=val", "context=plan", out], "context=plan stands before what a model answers"),
        ("view", [str(without.checkpoint), "context=plan", out], "context=plan: this base has no context slot"),
        ("view", [str(evaluated.evaluation), "context=trace", out], "holds no answers behind it; checkpoint="),
        ("evaluate", [str(without.path), "eval.context=[plan]"], "eval.context=[plan]: this base has no context slot"),
    ]
    for verb, words, message in refused:
        assert call(verb, words) == 2
        said = capsys.readouterr().err.strip()
        assert message in said
        assert "\n" not in said
    assert not (tmp_path / "page.html").exists()


def test_exported_prompts_hold_the_context(tmp_path: Path) -> None:
    config = compose([*TASK, *MODEL, *LENGTH, *WORDS, "slot.dropout=0.3"])
    folder = tmp_path / "set"
    generate(job(folder, values=to_dict(config), visits=64, shard_size=64))
    shards = Shards(folder, "tokens")
    columns = shards.columns(0)
    system = build_system(config)
    (rows,) = token_rows(shards, "prompt")
    hinted = 0
    for row, prompt, (start, stop) in zip(rows, columns["prompts"], pairwise(columns["offsets"]), strict=True):
        tokens = np.asarray(columns["tokens"][start:stop], np.int64)
        said = read_context(system.dialect, tokens)
        hinted += bool(said.items)
        assert row["prompt"].split() == system.dialect.text(tokens[1:prompt]).split()
        assert row["completion"].split() == system.dialect.text(tokens[prompt:-1]).split()
        assert ("<context>" in row["prompt"]) == bool(said.items)
        assert "<context>" not in row["completion"]
    assert 20 < hinted < 64
