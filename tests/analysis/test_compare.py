"""Comparison of synthetic run folders: arms, table values, and every error by name."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from places import ROOT
from synthetic_runs import NUM, counted, problems, write_run, write_sweep

from sos.analysis.after_sweep import CompareAfterMultirun
from sos.analysis.compare import compare, load_runs
from sos.analysis.tables import markdown, write
from sos.commands.cli import call
from sos.judge.intervals import seed_interval, welch_interval, wilson
from sos.judge.metrics import Metric, format_metric

main = partial(call, "compare")


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    return write_sweep(tmp_path / "sweep")


def cells(text: str, metric: str, arm: str) -> list[str]:
    """Return the row of `arm` in the block of `metric`, as stripped cells."""
    block = next(block for block in text.split("\n\n") if block.startswith(f"| {metric}"))
    row = next(line for line in block.splitlines() if line.startswith(f"| {arm} "))
    return [cell.strip() for cell in row.strip("|").split("|")]


def test_arms_and_intervals(sweep: Path) -> None:
    comparison = compare(load_runs([sweep]))
    assert [arm.label for arm in comparison.arms] == ["view=full", "view=solution_path", "view=dose"]
    assert [[run.seed for run in arm.runs] for arm in comparison.arms] == [[1, 2]] * 3
    assert comparison.baseline == "view=full"
    assert comparison.cells["view=full", "solve/val"].difference is None
    cell = comparison.cells["view=solution_path", "solve/val"]
    assert cell.values == (0.6, 0.62)
    assert cell.mean == pytest.approx(0.61)
    assert cell.over_seeds == seed_interval([0.6, 0.62])
    assert (cell.num, cell.over_problems) == (400, wilson(244, 400))
    assert cell.difference == pytest.approx(0.61 - 0.725)
    assert cell.difference_over_seeds == welch_interval([0.6, 0.62], [0.7, 0.75])


def test_table_values(sweep: Path) -> None:
    text = markdown(compare(load_runs([sweep])))
    summary = cells(text, "arm", "view=solution_path")
    # arm, seeds, tokens, problems, solve/val, solve/val_target, pass@4, errors per trace, tokens per solved, nodes
    assert summary[:4] == ["view=solution_path", "2", "10.6M", "98.0k"]
    assert summary[4:] == [
        "61.0 ± 12.7",
        "30.5 ± 6.4",
        "80.0 ± 0.0",
        "0.50 ± 0.00",
        "301.5 ± 6.35",
        "18.00 ± 0.00",
        "95.0",
    ]
    details = cells(text, "solve/val,", "view=solution_path")
    assert details == ["view=solution_path", "61.0", "[48.3, 73.7]", "[56.1, 65.7]", "-11.5 [-31.4, 8.4]"]
    assert cells(text, "solve/val,", "view=full")[-1] == ""
    assert "The arms are matched on training tokens and training problems." in text
    assert len({len(line) for line in text.split("\n\n")[0].splitlines()}) == 1  # aligned


def test_means_pool_their_standard_errors_and_the_teacher_counts_once(sweep: Path) -> None:
    comparison = compare(load_runs([sweep]))
    pooled = comparison.cells["view=full", "pass@4/val"].over_problems
    assert pooled == pytest.approx((0.8 - 0.05 / np.sqrt(2), 0.8 + 0.05 / np.sqrt(2)))
    assert comparison.cells["view=full", "nodes/val"].over_problems is None
    teacher = comparison.cells["view=full", "teacher/val"]
    assert (teacher.num, teacher.over_problems) == (NUM, wilson(190, NUM))
    errors = comparison.cells["view=full", "errors_per_trace/val"]
    assert errors.mean == 0.5
    assert errors.num == 2 * NUM


@pytest.mark.parametrize("wanted", ["solution_path", "view=solution_path"])
def test_baseline(sweep: Path, wanted: str) -> None:
    comparison = compare(load_runs([sweep]), ["solve/val"], wanted)
    assert comparison.baseline == "view=solution_path"
    assert comparison.cells["view=full", "solve/val"].difference == pytest.approx(0.115)
    assert comparison.metrics == comparison.columns == ("solve/val",)


def test_budget_curves_over_seeds_at_shared_budgets(tmp_path: Path) -> None:
    for seed, (tokens, solved) in enumerate([([8, 16, 32], [0.1, 0.2, 0.4]), ([16, 32, 64], [0.3, 0.5, 0.6])]):
        write_run(tmp_path / str(seed), seed=seed, budget_curve={"val": {"tokens": tokens, "solved": solved}})
    curve = compare(load_runs([tmp_path])).budget_curves("val")["all runs"]
    assert curve["tokens"] == [16, 32]
    assert curve["solved"] == pytest.approx([0.25, 0.45])
    assert (curve["low"], curve["high"]) == ([0.2, 0.4], [0.3, 0.5])
    assert compare(load_runs([tmp_path])).budget_curves("other") == {}


# --- which runs make an arm ---


def labels(*folders: Path) -> list[str]:
    return [arm.label for arm in compare(load_runs(folders)).arms]


def test_equal_overrides_make_one_arm(tmp_path: Path) -> None:
    for seed in (1, 2):
        write_run(tmp_path / str(seed), {"stream.view": "full", "seed": str(seed)}, seed)
    comparison = compare(load_runs([tmp_path]))
    assert [arm.label for arm in comparison.arms] == ["all runs"]
    assert "minus" not in markdown(comparison)


def test_varying_config_makes_arms_without_overrides(tmp_path: Path) -> None:
    for seed, width in ((1, 64), (1, 96), (2, 64)):
        config = {"seed": seed, "name": f"{width}-{seed}", "out_dir": f"runs/{width}", "model": {"width": width}}
        write_run(tmp_path / f"{width}-{seed}", {"seed": str(seed)}, seed, config=config)
    assert labels(tmp_path) == ["width=64", "width=96"]


def test_the_user_may_label_the_arms(tmp_path: Path) -> None:
    for seed in (1, 2):
        for view in ("full", "solution_path"):
            write_run(tmp_path / view / str(seed), {"stream.view": view, "x": str(seed), "seed": str(seed)}, seed)
    odd = tmp_path / "seed=1"  # as the runs of a multirun are called: no label
    write_run(odd / "run", {"stream.view": "full"}, 3)
    words = [f"whole searches={tmp_path / 'full'}", f"paths={tmp_path / 'solution_path'}"]
    comparison = compare(load_runs(words), baseline="paths")
    assert [(arm.label, len(arm.runs)) for arm in comparison.arms] == [("whole searches", 2), ("paths", 2)]
    assert load_runs([odd])[0].label == ""
    with pytest.raises(ValueError, match=r"seed=1/run has no label"):
        compare(load_runs([*words, odd]))
    with pytest.raises(ValueError, match=r"no such run folder: .*nowhere"):
        load_runs([f"paths={tmp_path / 'nowhere'}"])


def test_a_missing_override_is_taken_from_the_config(tmp_path: Path) -> None:
    write_run(tmp_path / "a", config={"stream": {"view": "full"}})
    write_run(tmp_path / "b", {"stream.view": "full"}, 2, config={"stream": {"view": "full"}})
    write_run(tmp_path / "c", {"stream.view": "dose"}, config={"stream": {"view": "dose"}})
    assert labels(tmp_path) == ["view=full", "view=dose"]


def test_values_come_from_the_config_and_groups_from_the_override(tmp_path: Path) -> None:
    write_run(tmp_path / "a", {"+p": "0.50", "stream": "dose"}, 1, config={"p": 0.5, "stream": {"view": "dose"}})
    write_run(tmp_path / "b", {"+p": ".5", "stream": "dose"}, 2, config={"p": 0.5, "stream": {"view": "dose"}})
    write_run(tmp_path / "c", {"+p": "0.5"}, 1, config={"p": 0.5, "stream": {"view": "full"}})
    assert labels(tmp_path) == ["stream=dose", "stream=default"]


def test_keys_with_the_same_last_part_keep_their_full_name(tmp_path: Path) -> None:
    write_run(tmp_path / "a", {"model.width": "64", "search.width": "2"})
    write_run(tmp_path / "b", {"model.width": "96", "search.width": "4"})
    assert labels(tmp_path)[0] == "model.width=64,search.width=2"


def test_what_is_looked_at_beside_training_names_no_arm(tmp_path: Path) -> None:
    for name, view, probe in (("a", "full", "0.1"), ("b", "dose", "0")):
        changes = {"stream.view": view, "trainer.probe_every": probe, "eval.pass_k": f"[{len(probe)}]"}
        write_run(tmp_path / name, changes, config={"stream": {"view": view}})
    assert labels(tmp_path) == ["view=full", "view=dose"]
    for name in "cd":
        write_run(tmp_path / "alone" / name, {"eval.pass_k": f"[{ord(name)}]"})
    assert labels(tmp_path / "alone") == ["pass_k=[99]", "pass_k=[100]"]


def test_a_key_that_came_later_is_no_difference(tmp_path: Path) -> None:
    """A record from before a key came ran as one with its default does."""
    write_run(tmp_path / "a", {"experiment": "x"}, 1, config={"stream": {"view": "full"}})
    later = {"stream": {"view": "full", "erase": False}}
    write_run(tmp_path / "b", {"experiment": "x"}, 2, config=later)
    assert "also differ" not in markdown(compare(load_runs([tmp_path])))
    write_run(tmp_path / "c", {"experiment": "x"}, 3, config={"stream": {"view": "full", "erase": True}})
    assert "the runs also differ in stream.erase." in markdown(compare(load_runs([tmp_path])))


def test_runs_that_differ_in_more_are_noted(tmp_path: Path) -> None:
    write_run(tmp_path / "a", {"experiment": "x"}, 1, config={"optim": {"lr": 0.1}})
    write_run(tmp_path / "b", {"experiment": "x"}, 2, config={"optim": {"lr": 0.2}}, code_hash="other")
    text = markdown(compare(load_runs([tmp_path])))
    assert "Within 'all runs' the runs also differ in optim.lr." in text
    assert "different versions of the code" in text


def test_unmatched_arms_are_noted(tmp_path: Path) -> None:
    write_run(tmp_path / "a", {"view": "full"})
    write_run(tmp_path / "b", {"view": "dose"}, train={"tokens": 1000, "problems": 950})
    text = markdown(compare(load_runs([tmp_path])))
    assert "matched on neither training tokens nor problems" in text
    assert cells(text, "arm", "view=dose")[2:4] == ["1.0k", "950"]
    assert cells(text, "solve/val,", "view=dose")[2:] == ["one seed", "[43.1, 56.9]", "+0.0 (one seed)"]


def test_intervals_are_cut_at_what_can_occur(tmp_path: Path) -> None:
    for seed, (rate, errors) in enumerate(((0.1, 0.2), (0.95, 1.9)), start=1):
        entries = {"solve/val": rate, "errors_per_trace/val": errors, "plan_nats/val": errors}
        metrics = {name: {"value": value, "low": -1.0, "high": 2.0, "num": NUM} for name, value in entries.items()}
        metrics["solve/val"] |= {"low": 0.05, "high": 0.99}
        write_run(tmp_path / str(seed), seed=seed, metrics=metrics)
    comparison = compare(load_runs([tmp_path]), [*entries])
    text = markdown(comparison)
    low, high = comparison.cells["all runs", "errors_per_trace/val"].over_seeds or (0, 0)
    assert low < -5  # two seeds that differ say no more
    assert cells(text, "errors_per_trace/val", "all runs")[2:4] == [f"[0.00, {high:.2f}]", "[0.00, 2.11]"]
    assert cells(text, "plan_nats/val", "all runs")[2] == f"[{low:.2f}, {high:.2f}]"
    assert cells(text, "solve/val,", "all runs")[2] == "[0.0, 100.0]"
    assert format_metric("tokens_per_solved/val", Metric(3.0, -1.0, 7.0, 5)) == "3.00 [0.00, 7.00]"


def test_undefined_metrics_are_shown_as_such(tmp_path: Path) -> None:
    undefined = {"value": None, "low": None, "high": None, "num": 0}
    for view, seed, entry in (("full", 1, undefined), ("full", 2, counted(9)), ("dose", 1, undefined)):
        metrics = {"solve/val": counted(50), "pass@4/val": entry, "tokens_per_solved/val": undefined}
        write_run(tmp_path / f"{view}{seed}", {"view": view, "seed": str(seed)}, seed, metrics=metrics)
    comparison = compare(load_runs([tmp_path]), baseline="full")
    text = markdown(comparison)
    assert cells(text, "arm", "view=full")[5] == "4.5 (1 of 2 seeds)"
    assert cells(text, "pass@4/val,", "view=dose")[1:] == ["-", "-", "-", "-"]
    write(comparison, tmp_path / "out")
    write(compare(load_runs([tmp_path]), ["tokens_per_solved/val"]), tmp_path / "other")


def test_unknown_metric_names_are_shown_where_none_is_known(tmp_path: Path) -> None:
    write_run(tmp_path / "a", metrics={"solve/test": counted(50)})
    assert compare(load_runs([tmp_path]), ["solve/test"]).columns == ("solve/test",)
    (tmp_path / "a" / "rollouts_val.npz").unlink()
    assert compare(load_runs([tmp_path])).columns == ("solve/test",)


# --- errors ---


def test_nothing_to_compare() -> None:
    with pytest.raises(ValueError, match="no finished run"):
        compare([])


def test_different_problems(tmp_path: Path) -> None:
    a = write_run(tmp_path / "a", {"view": "full"})
    b = write_run(tmp_path / "b", {"view": "dose"}, evaluated=problems() + 1)
    runs = load_runs([tmp_path])
    with pytest.raises(ValueError, match=f"different val problems: {a} and {b}"):
        compare(runs)
    assert "different val problems" in markdown(compare(runs, allow_different_problems=True))


def test_the_order_of_the_problems_does_not_matter_but_their_number_does(tmp_path: Path) -> None:
    write_run(tmp_path / "a", {"view": "full"})
    write_run(tmp_path / "b", {"view": "dose"}, evaluated=problems()[::-1])
    assert labels(tmp_path) == ["view=full", "view=dose"]
    write_run(tmp_path / "c", {"view": "redundant"}, evaluated=problems(100))
    with pytest.raises(ValueError, match="different val problems"):
        labels(tmp_path)


def test_a_seed_twice_in_an_arm(tmp_path: Path) -> None:
    a = write_run(tmp_path / "a", {"experiment": "x"}, 1, config={"lr": 1})
    b = write_run(tmp_path / "b", {"experiment": "x"}, 1, config={"lr": 2})
    with pytest.raises(ValueError, match=f"seed 1 twice in the arm 'all runs': {a} and {b} differ in lr"):
        compare(load_runs([tmp_path]))


def test_unknown_metric_or_baseline(sweep: Path) -> None:
    runs = load_runs([sweep])
    with pytest.raises(ValueError, match=r"no run has the metric solve/vall; there are .*solve/val"):
        compare(runs, ["solve/vall"])
    with pytest.raises(ValueError, match="baseline 'ful' is no arm; there are view=full"):
        compare(runs, baseline="ful")


def test_ambiguous_baseline(tmp_path: Path) -> None:
    for p in ("0.1", "0.2"):
        write_run(tmp_path / p, {"view": "dose", "p": p})
    write_run(tmp_path / "full", {"view": "full"})
    with pytest.raises(ValueError, match="baseline 'dose' fits several arms"):
        compare(load_runs([tmp_path]), baseline="dose")


# --- the command ---


def test_command(sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    options = [f"out={out}", "metric=[solve/val,nodes/val,teacher/val]", "baseline=dose"]
    assert main([str(sweep), *options]) == 0
    printed = capsys.readouterr().out
    assert "minus view=dose, points" in printed
    assert f"wrote {out / 'comparison.csv'}" in printed
    assert "pass@4" not in printed
    assert (out / "comparison.png").exists()


def test_command_errors_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = write_run(tmp_path / "a", {"view": "full"})
    b = write_run(tmp_path / "b", {"view": "dose"}, evaluated=problems() + 1)
    assert main([str(tmp_path)]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"error: different val problems: {a} and {b}")
    assert printed.err.count("\n") == 1
    assert main([str(tmp_path), "different_problems=true"]) == 0
    assert main([str(a), f"out={a / 'metrics.json'}"]) == 2  # a file is in the way


def test_command_as_a_module_warns_of_unfinished_runs(tmp_path: Path) -> None:
    write_run(tmp_path / "a")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "config.yaml").write_text("")
    command = [sys.executable, "-m", "sos", "compare", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stderr.strip() == (
        f"warning: unfinished run left out (config.yaml but no metrics.json): {tmp_path / 'b'}"
    )
    assert "50.0" in done.stdout


def test_the_sweeps_primary_metric_comes_first_whatever_else_there_is(tmp_path: Path) -> None:
    metrics = {"error/arithmetic/difficult": counted(20), "solve/difficult": counted(90)}
    sweep = {"name": "s", "question": "?", "primary": "solve/difficult", "baseline": "a", "arms": ["a"], "arm": "a"}
    write_run(tmp_path / "a", metrics=metrics, sweep=sweep)
    comparison = compare(load_runs([tmp_path]))
    assert (comparison.primary, comparison.columns[0]) == ("solve/difficult", "solve/difficult")
    write_run(tmp_path / "b" / "c", metrics=metrics)
    assert compare(load_runs([tmp_path / "b"])).primary == "errors_per_trace/val"


def test_a_sweep_without_a_comparison_says_so_and_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = SimpleNamespace(hydra=SimpleNamespace(sweep=SimpleNamespace(dir=str(tmp_path))))
    with pytest.raises(SystemExit) as ended:
        CompareAfterMultirun().on_multirun_end(config)
    assert ended.value.code == 1
    assert capsys.readouterr().err.startswith("no comparison: ")
