"""Tests of the evaluation: exact metrics on hand-made rollouts, the teacher, the curve and the files."""

from __future__ import annotations

import errno
import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hand_made import (
    CONFIG,
    CUT,
    FALSE_GOAL,
    PERFECT,
    PROBLEM,
    hand_made,
    stream,
    teacher_stream,
)

from sos.config import DataConfig, EvalConfig
from sos.data.splits import sample_problems
from sos.envs.countdown.config import CountdownConfig
from sos.judge import rolling
from sos.judge.evaluation import Cost, Evaluation, evaluate, write_metrics
from sos.judge.intervals import wilson
from sos.judge.metrics import budget_curve, chance_metric, mean_metric, rate_metric, ratio_metric
from sos.judge.rollouts import judge, pass_metrics, summarize, teacher_solves
from sos.model.gpt import GPT
from sos.model.rollout import Rollout
from sos.published.judging import legacy_metrics
from sos.runs.finished import load_runs
from sos.stream.codec import encode_prompt
from sos.system import System, build_system, gpt_config


@pytest.fixture(scope="module")
def system() -> System:
    return build_system(CONFIG)


@pytest.fixture(scope="module")
def model(system: System) -> GPT:
    torch.manual_seed(0)
    return GPT(gpt_config(CONFIG, len(system.dialect.vocab)))


def perfect_rollout(system: System, gibberish: int = 0) -> Any:
    """Return a stand-in for `rollout` that writes the teacher's streams, every `gibberish`-th answer nonsense."""

    def play(
        model: Any, prompts: Sequence[np.ndarray], *, max_tokens: int, progress: Any = None, **_: Any
    ) -> list[Rollout]:
        rollouts = []
        for number, prompt in enumerate(prompts):
            numbers = [system.dialect.vocab.tokens[token] for token in prompt[1:]]
            *values, _, target, _ = numbers  # the compact prompt: numbers > target :
            tokens, num_prompt, _ = teacher_stream(
                system, np.array(system.env.problem_row(int(target), [int(v) for v in values]), np.int32)
            )
            limit = min(system.context, num_prompt + max_tokens)
            written = tokens[:limit].astype(np.int32)
            if gibberish and number % gibberish == 0:
                written[num_prompt:] = 0
            rollouts.append(Rollout(written, num_prompt, len(tokens) <= limit, np.zeros(0, np.float32)))
        if progress:
            progress(len(prompts), len(prompts))
        return rollouts

    return play


def test_hand_made_rollouts_are_judged_exactly(system: System) -> None:
    judged = judge(system, np.stack([PROBLEM] * 5), hand_made(system))
    assert judged.solved.tolist() == [True, True, False, False, False]
    assert judged.wrong_goal.tolist() == [False, False, False, True, False]
    assert judged.generated_tokens.tolist() == [16, 38, 7, 16, 4]
    assert judged.tokens_to_goal.tolist() == [15, 37, -1, -1, -1]
    assert judged.num_errors.tolist() == [0, 1, 1, 1, 0]
    assert judged.malformed.tolist() == [False, False, True, False, False]
    assert judged.unfinished.tolist() == [False, False, True, False, True]
    assert judged.nodes.tolist() == [2, 3, 1, 2, 1]


def test_metrics_of_hand_made_rollouts(system: System) -> None:
    metrics = summarize(judge(system, np.stack([PROBLEM] * 5), hand_made(system)))
    nonzero = {name: metric.value for name, metric in metrics.items() if metric.value}
    assert nonzero == pytest.approx(
        {
            "solve": 0.4,
            "error/arithmetic": 0.2,
            "error/false_goal": 0.2,
            "error/malformed": 0.2,
            "error/unfinished": 0.4,
            "errors_per_trace": 0.6,
            "errors_per_solved": 0.5,
            "first_goal_wrong": 0.2,
            "tokens": 16.2,
            "tokens_per_solved": 40.5,
            "nodes": 1.8,
        }
    )
    with pytest.raises(ValueError, match="longer than"):
        judge(system, np.stack([PROBLEM] * 3), hand_made(system))
    kinds = [name for name in metrics if name.startswith("error/")]
    assert len(kinds) == 16  # 14 kinds of wrong events, malformed and unfinished
    parts = sum(metrics[name].value for name in kinds if name != "error/unfinished")
    assert parts == pytest.approx(metrics["errors_per_trace"].value)
    assert all(metric.num == 5 for metric in metrics.values())
    low, high = wilson(2, 5)
    assert metrics["solve"] == (0.4, low, high, 5)


def test_plans_are_counted_apart_and_only_where_streams_have_them(system: System) -> None:
    planning = build_system(replace(CONFIG, stream=replace(CONFIG.stream, plan=True)))
    plan = "plan 3 * 4 = 12 plan 2 + 12 = 14"
    texts = [f"{PERFECT} {plan}", plan, f"{FALSE_GOAL} {plan}", PERFECT, f"{PERFECT} plan 2 + 3 = 5"]
    judged = judge(planning, np.stack([PROBLEM] * 5), [stream(planning, text) for text in texts])
    assert judged.planned.tolist() == [True, True, True, False, False]
    assert judged.solved.tolist() == [True, False, False, True, True]
    metrics = summarize(judged, True)
    assert (metrics["plan"].value, metrics["solve"].value) == (0.6, 0.6)
    assert "plan" not in summarize(judged)
    sampled = judge(planning, np.stack([PROBLEM] * 4), [stream(planning, text) for text in (plan, *[PERFECT] * 3)])
    values = {name: metric.value for name, metric in pass_metrics(sampled, np.ones(4), 4, [1, 4], True).items()}
    assert (values["plan_pass@1"], values["plan_pass@4"], values["pass@1"]) == (0.25, 1.0, 0.75)


def test_a_stream_that_answers_another_problem_is_not_solved(system: System) -> None:
    other = np.array([24, 3, 2, 3, 4], np.int32)
    assert not judge(system, other[None], [stream(system, PERFECT)]).solved[0]


def test_intervals() -> None:
    assert rate_metric(np.array([True, False])).value == 0.5
    metric = mean_metric([1.0, 2.0, 3.0, 4.0])
    half = 1.959964 * np.std([1, 2, 3, 4], ddof=1) / 2
    assert (metric.low, metric.high) == pytest.approx((2.5 - half, 2.5 + half), rel=1e-5)
    assert mean_metric([3]).low is None
    # Chances that are all 0 still leave doubt, and no interval leaves [0, 1].
    assert chance_metric(np.zeros(10)).high == wilson(0, 10).high
    nearly = chance_metric(np.array([1.0] * 9 + [0.9]))
    assert nearly.high == 1.0
    assert nearly.low > 0.96


def test_a_ratio_has_the_interval_that_resampling_gives() -> None:
    rng = np.random.default_rng(0)
    solved = rng.random(1000) < 0.6
    costs = np.where(solved, rng.integers(20, 60, 1000), 200)
    metric = ratio_metric(costs, solved)
    assert metric.value == pytest.approx(costs.sum() / solved.sum())
    draws = rng.integers(0, 1000, (2000, 1000))
    low, high = np.percentile(costs[draws].sum(1) / solved[draws].sum(1), [2.5, 97.5])
    assert (metric.low, metric.high) == pytest.approx((low, high), rel=0.03)
    assert ratio_metric(costs, np.zeros(1000, bool)) == (None, None, None, 1000)


def test_pass_at_k_by_hand(system: System) -> None:
    # Two problems, four samples each: one of four solved, then three of four.
    good, bad = stream(system, PERFECT), stream(system, CUT, False)
    judged = judge(system, np.stack([PROBLEM] * 8), [good, bad, bad, bad, good, good, bad, good])
    metrics = pass_metrics(judged, np.full(8, 2.5), 4, [1, 2, 4])
    values = {name: metric.value for name, metric in metrics.items()}
    assert values == pytest.approx(
        {
            "pass@1": (1 / 4 + 3 / 4) / 2,
            "pass@2": (1 - 3 / 6 + 1) / 2,
            "pass@4": 1.0,
            "pass_tokens@1": 10.0,
            "pass_tokens@2": 20.0,
            "pass_tokens@4": 40.0,
            "pass_flops@1": 2.5,
            "pass_flops@2": 5.0,
            "pass_flops@4": 10.0,
        }
    )
    assert all(metric.num == 2 for metric in metrics.values())


def test_budget_curve_counts_solutions_within_a_budget() -> None:
    goals = np.array([15, 37, -1, -1, 64], np.int32)
    curve = budget_curve(goals, 64, 7)
    assert curve["tokens"][0] == 8
    assert curve["tokens"][-1] == 64
    assert curve["solved"] == [((goals >= 0) & (goals <= budget)).mean() for budget in curve["tokens"]]
    assert budget_curve(goals, 64, 1) == {"tokens": [64], "solved": [0.6]}
    assert budget_curve(goals, 5, 10) == {"tokens": [5], "solved": [0.0]}
    json.dumps(curve)


@pytest.mark.parametrize("max_tokens", [None, 40])
def test_teacher_agrees_with_the_search_itself(system: System, max_tokens: int | None) -> None:
    problems = sample_problems(system.env, system.splits, "val", 100, seed=3)
    tight = replace(system, context=60)
    expected = []
    for problem in problems:
        tokens, num_prompt, solved = teacher_stream(system, problem)
        fits = len(tokens) <= 60 and (max_tokens is None or len(tokens) - num_prompt <= max_tokens)
        expected.append(solved and fits)
    found = teacher_solves(tight, problems, max_tokens)
    assert found.tolist() == expected
    assert 0 < found.sum() < 100


def test_a_model_that_writes_the_teachers_streams_solves_what_the_teacher_does(
    system: System, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(rolling, "rollout", perfect_rollout(system, gibberish=4))
    wanted = EvalConfig(num_problems=60, pass_k=[1, 2], pass_k_problems=10, num_rollout_texts=3)
    seen: list[tuple[str, int, int]] = []
    model = GPT(gpt_config(CONFIG, 200))
    result = evaluate(model, system, wanted, progress=lambda *call: seen.append(call))

    assert seen == [("val", 60, 60), ("val pass@k", 20, 20), ("val_target", 60, 60), ("val_target pass@k", 20, 20)]
    for split in ("val", "val_target"):
        arrays = result.arrays[split]
        solvable = teacher_solves(system, arrays["problems"])
        readable = np.arange(60) % 4 != 0
        np.testing.assert_array_equal(arrays["solved"], solvable & readable)
        assert result.metrics[f"teacher/{split}"].value == solvable.mean() < 1
        assert result.metrics[f"ceiling/{split}"] == result.metrics[f"teacher/{split}"]  # these are full streams
        assert result.metrics[f"error/malformed/{split}"].value == 0.25
        assert result.metrics[f"errors_per_trace/{split}"].value == 0.25
        assert result.metrics[f"pass@2/{split}"].num == 10
        curve = result.budget_curve[split]
        goals = arrays["tokens_to_goal"]
        assert curve["solved"] == [((goals >= 0) & (goals <= budget)).mean() for budget in curve["tokens"]]
        assert curve["solved"] == sorted(curve["solved"])
        assert curve["solved"][-1] == result.metrics[f"solve/{split}"].value == arrays["solved"].mean()
        np.testing.assert_array_equal(goals >= 0, arrays["solved"])
        kept = [arrays["tokens"][start:stop] for start, stop in pairwise(arrays["offsets"])]
        prompts = [encode_prompt(system.dialect, problem) for problem in arrays["problems"]]
        assert [len(tokens) for tokens in kept] == (arrays["generated_tokens"] + [len(p) for p in prompts]).tolist()
        assert all(tokens[: len(p)].tolist() == p for tokens, p in zip(kept, prompts, strict=True))
    targets = result.arrays["val_target"]["problems"][:, 0]
    assert set(targets) <= set(system.splits.held_out.tolist())
    assert [text.splitlines()[0] for text in result.texts] == ["## val 0", "## val 1", "## val_target 0"]

    check_files(result, tmp_path / "run")


def check_files(result: Evaluation, folder: Path) -> None:
    """Write the files of a run and read them back as the comparison does."""
    write_metrics(
        folder,
        name="view=full",
        overrides={"stream.view": "full"},
        config={"seed": 1},
        config_hash="c0",
        code_hash="5e",
        train={"tokens": 10, "problems": 2},
        evaluation=result,
    )
    assert sorted(path.name for path in folder.iterdir()) == [
        "metrics.json",
        "rollouts.md",
        "rollouts_val.npz",
        "rollouts_val_target.npz",
    ]
    with np.load(folder / "rollouts_val.npz") as stored:
        for name, array in result.arrays["val"].items():
            np.testing.assert_array_equal(stored[name], array)
        dtypes = {name: stored[name].dtype.name for name in stored}
    integers = ("problems", "generated_tokens", "tokens_to_goal", "num_errors", "nodes")
    assert dtypes == {"solved": "bool"} | dict.fromkeys(integers, "int32") | {
        "flops": "float64",
        "tokens": "uint16",
        "offsets": "int64",
    }
    (run,) = load_runs([folder])
    assert run.budget_curve == result.budget_curve
    assert run.metrics == result.metrics


def test_the_published_metric_beside_ours(system: System) -> None:
    metrics = legacy_metrics(system, hand_made(system))
    values = {name: metric.value for name, metric in metrics.items()}
    # Written out in the published wording: only the first two reach a goal that is the target.
    assert values["legacy/solve"] == 0.4
    assert values["legacy/error/arithmetic"] == 0.2
    assert metrics["legacy/solve"] == rate_metric([True, True, False, False, False])
    perfect = 1 - 3 / 48
    assert values["legacy/rating"] == pytest.approx((perfect + 1 - 5 / 48) / 5)


def test_splits_and_the_published_metric_are_asked_for(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rolling, "rollout", perfect_rollout(system))
    wanted = EvalConfig(splits=["difficult", "val"], legacy=True, num_problems=10, pass_k=[], num_rollout_texts=2)
    model = GPT(gpt_config(CONFIG, 200))
    result = evaluate(model, system, wanted)
    assert list(result.arrays) == ["difficult", "val"]
    assert result.table().splitlines()[3].startswith("sos_legacy  ")
    for split in result.arrays:
        # Its judge passes all that ours does, where the whole stream fits.
        assert result.metrics[f"legacy/solve/{split}"].value == result.metrics[f"solve/{split}"].value > 0
        assert result.metrics[f"legacy/error/other/{split}"].value == 0
    assert "sos_legacy" not in evaluate(model, system, replace(wanted, legacy=False, splits=["val"])).table()


def test_a_real_model_is_evaluated_the_same_twice(system: System, model: GPT) -> None:
    wanted = EvalConfig(num_problems=12, batch_size=5, max_tokens=9, pass_k=[2], pass_k_problems=3, num_rollout_texts=1)
    first = evaluate(model, system, wanted)
    second = evaluate(model, system, replace(wanted, batch_size=64))
    assert first.metrics == second.metrics
    assert first.texts == second.texts
    assert first.arrays["val"]["generated_tokens"].max() <= 9
    assert first.budget_curve["val"]["tokens"] == [8, 9]
    written = first.arrays["val"]["generated_tokens"]
    prompts = np.diff(first.arrays["val"]["offsets"]) - written
    assert first.metrics["flops/val"].value == pytest.approx(model.answer_flops(prompts, written).mean())
    none_drawn = evaluate(model, system, replace(wanted, pass_k=[], num_rollout_texts=0), splits=["val"])
    assert not any(name.startswith("pass") or name.endswith("val_target") for name in none_drawn.metrics)
    assert none_drawn.texts == ()
    assert none_drawn.arrays["val"]["problems"].tolist() == first.arrays["val"]["problems"].tolist()
    assert none_drawn.cost.rollouts == 12
    assert none_drawn.cost.generated_tokens == written.sum()
    assert 0 < none_drawn.cost.rollout_seconds < none_drawn.cost.seconds
    assert first.cost.rollouts == 2 * (12 + 3 * 2)
    assert "36 rollouts" in str(first.cost)


def test_too_few_problems_are_used_and_said(model: GPT, caplog: pytest.LogCaptureFixture) -> None:
    env = CountdownConfig(num_numbers=3, max_number=4, min_target=10, max_target=12, max_value=100)
    small = build_system(replace(CONFIG, env=env, data=DataConfig(context=64, val_fraction=0.5, held_out_fraction=0.0)))
    wanted = EvalConfig(num_problems=200, max_tokens=2, pass_k=[], num_rollout_texts=0)
    with caplog.at_level(logging.WARNING):
        result = evaluate(model, small, wanted)
    num = result.metrics["solve/val"].num
    assert 0 < num < 60
    assert list(result.arrays) == ["val"]
    said = [record.getMessage() for record in caplog.records]
    assert said[0] == f"split val: eval.num_problems=200 asked for, {num} distinct found"
    assert said[1].startswith("split val_target: no group of problems is held out")
    assert "val_target" not in result.table()


def test_the_table_is_aligned_and_complete(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rolling, "rollout", perfect_rollout(system))
    result = evaluate(
        GPT(gpt_config(CONFIG, 200)),
        system,
        EvalConfig(num_problems=40, pass_k=[4, 1], pass_k_problems=5, num_rollout_texts=0),
    )
    lines = result.table().splitlines()
    titles = ["problems", "solved", "teacher", "ceiling", "pass@1", "pass@4", "errors", "unfinished", "tokens", "nodes"]
    assert [line.split()[0] for line in lines] == ["val", *titles]
    column = lines[0].index("val_target")
    assert all(line[column - 2 : column] == "  " and line[column] != " " for line in lines)
    solved = result.metrics["solve/val"]
    assert f"{100 * solved.value:.1f}% [{100 * solved.low:.1f}, {100 * solved.high:.1f}]" in lines[2]
    nothing = replace(result, metrics=result.metrics | {"tokens_per_solved/val": ratio_metric(np.ones(2), np.zeros(2))})
    assert nothing.table().splitlines()[-2].split()[:4] == ["tokens", "per", "solved", "-"]


def test_a_result_replaces_an_earlier_one_as_a_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(solved: int, *splits: str, texts: tuple[str, ...] = ()) -> dict[str, bytes]:
        arrays = {"solved": np.arange(9) < solved}
        found = Evaluation({}, {}, dict.fromkeys(splits, arrays), texts, Cost())
        known: dict[str, Any] = {"overrides": {}, "config_hash": "", "code_hash": "", "train": {}}
        write_metrics(tmp_path, name=str(solved), config={"seed": 1}, evaluation=found, **known)
        return content()

    def content() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    first = write(3, "val", "val_target", texts=("a text",))
    assert sorted(first) == ["metrics.json", "rollouts.md", "rollouts_val.npz", "rollouts_val_target.npz"]
    whole = np.savez_compressed

    def full(file: Any, **arrays: Any) -> None:
        if "val_target" in file.name:
            raise OSError(errno.ENOSPC, "No space left on device")
        whole(file, **arrays)

    with monkeypatch.context() as patched:
        patched.setattr(np, "savez_compressed", full)
        with pytest.raises(OSError, match=r"cannot write [^ ]*rollouts_val_target\.npz: No space left") as error:
            write(5, "val", "val_target")
    assert str(error.value).count("cannot write") == 1
    assert content() == first
    last = write(5, "val")  # what the earlier one had besides is removed
    assert sorted(last) == ["metrics.json", "rollouts_val.npz"]
    assert last["rollouts_val.npz"] != first["rollouts_val.npz"]
