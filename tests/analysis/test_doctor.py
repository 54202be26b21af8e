"""The doctor: a sound table passes, and each planted fault is found, by name and alone."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from synthetic_runs import NUM, counted, problems, write_arms, write_run

from sos.analysis.compare import compare, load_runs
from sos.analysis.doctor import CHECKS, examine
from sos.analysis.tables import markdown
from sos.commands.cli import call

main = partial(call, "doctor")

SOUND = {"full": [140, 150, 145], "solution_path": [120, 124, 110], "dose": [130, 131, 90]}


def findings(root: Path) -> list[str]:
    return examine(compare(load_runs([root]), allow_different_problems=True))


def change(root: Path, pattern: str, **changes: Any) -> None:
    for path in root.glob(f"{pattern}/metrics.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_sound_table_passes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_arms(tmp_path, SOUND)
    assert findings(tmp_path) == []
    assert main([str(tmp_path)]) == 0
    assert capsys.readouterr().out == "sound: 3 arms, 9 runs, solve/val\n"
    assert "The doctor finds nothing wrong" in markdown(compare(load_runs([tmp_path])))


def test_a_key_that_came_later_has_its_default_in_runs_from_before(tmp_path: Path) -> None:
    write_arms(tmp_path, SOUND)
    change(tmp_path, "dose*", config={"stream": {"view": "dose"}, "eval": {"first_action": False}})
    assert findings(tmp_path) == []


def plant_same_config(root: Path) -> None:
    write_arms(root, SOUND)
    for seed in (1, 2, 3):
        config = {"seed": seed, "stream": {"view": "full"}, "trainer": {"batch_tokens": 2048}}
        change(root, f"dose,seed={seed}", config=config)


def plant_same_rollouts(root: Path) -> None:
    write_arms(root, SOUND | {"dose": SOUND["full"]})


def plant_saturated(root: Path) -> None:
    write_arms(root, SOUND | {"dose": [NUM, NUM, NUM]})


def plant_floor(root: Path) -> None:
    write_arms(root, SOUND | {"dose": [0, 1, 0]})


def plant_budget(root: Path) -> None:
    write_arms(root, SOUND)
    change(root, "dose*", train={"tokens": 5_300_000, "problems": 50_000})


def plant_seeds(root: Path) -> None:
    write_arms(root, SOUND | {"dose": [130, 131]})


def plant_problems(root: Path) -> None:
    write_arms(root, SOUND)
    write_arms(root / "more", {"redundant": [100, 90, 80]}, evaluated=problems() + 1)


def plant_eval(root: Path) -> None:
    write_arms(root, SOUND)
    for seed in (1, 2, 3):
        for arm in SOUND:
            config = {"stream": {"view": arm}, "eval": {"max_tokens": 64 if arm == "dose" else 128}}
            change(root, f"{arm},seed={seed}", config=config)


def plant_code(root: Path) -> None:
    write_arms(root, SOUND)
    change(root, "dose,seed=2", code_hash="other")


def plant_tasks(root: Path) -> None:
    write_arms(root, SOUND)
    for seed in (1, 2, 3):
        for arm in SOUND:
            env = {"name": "path_star" if arm == "dose" else "countdown"}
            change(root, f"{arm},seed={seed}", config={"stream": {"view": arm}, "env": env})


def plant_plans(root: Path) -> None:
    """Arms of which one has no plan."""
    write_arms(root, SOUND)
    for seed in (1, 2, 3):
        for arm in SOUND:
            change(root, f"{arm},seed={seed}", config={"stream": {"view": arm, "plan": arm != "dose"}})


def plant_no_search(root: Path) -> None:
    """An arm without a search, judged by its search."""
    write_arms(root, SOUND | {"plan_only": [60, 50, 40]})
    planned(root)


def plant_unmatched_swap(root: Path) -> None:
    """Swapped streams on as many tokens, but fewer problems."""
    write_planned_arms(root, SOUND | {"swapped": [60, 50, 40]})
    change(root, "swapped*", train={"tokens": 10_600_000, "problems": 90_000})


def planned(root: Path) -> None:
    for folder in root.iterdir():
        arm, seed = folder.name.split(",seed=")
        change(root, folder.name, config={"seed": int(seed), "stream": {"view": arm, "plan": True}})


def write_planned_arms(root: Path, right: dict[str, list[int]]) -> None:
    """Write arms that are compared by their plans."""
    write_arms(root, right)
    planned(root)
    for folder in root.iterdir():
        content = json.loads((folder / "metrics.json").read_text())
        content["metrics"]["plan/val"] = content["metrics"]["solve/val"]
        (folder / "metrics.json").write_text(json.dumps(content))
        provenance = json.loads((folder / "provenance.json").read_text())
        provenance["sweep"]["primary"] = "plan/val"
        (folder / "provenance.json").write_text(json.dumps(provenance))


def test_swapped_arms_that_are_matched_and_compared_by_plans_are_sound(tmp_path: Path) -> None:
    write_planned_arms(tmp_path, SOUND | {"swapped": [60, 50, 40], "plan_only": [61, 51, 41]})
    assert findings(tmp_path) == []


@pytest.mark.parametrize(
    ("plant", "finding"),
    [
        (plant_tasks, "different tasks: countdown (full) and path_star (dose)"),
        (plant_plans, "different answers: the streams of full have a plan and those of dose none (stream.plan)"),
        (plant_no_search, "no search of its own: plan_only (view=plan_only) is judged by solve/val, not by its plan"),
        (plant_unmatched_swap, "swapped without its match: swapped does not have both the tokens and the problems of"),
        (plant_same_config, "identical arms: full and dose have the same configuration"),
        (plant_same_rollouts, "identical arms: full and dose wrote the same number of tokens and solved the same"),
        (plant_saturated, "saturated: solve/val of dose is 100.0%, at 1"),
        (plant_floor, "saturated: solve/val of dose is 0.2%, at 0"),
        (plant_budget, "unequal budgets: dose and full were trained on 5,300,000 and 10,600,000 tokens"),
        (plant_seeds, "too few seeds: dose has 2, a table needs 3"),
        (plant_problems, "evaluated on different problems: val differs between"),
        (plant_eval, "evaluated in different ways: eval.max_tokens is 128 and 64"),
        (plant_code, "different code: the runs come from 2 versions"),
    ],
)
def test_a_planted_fault_is_found_and_nothing_else(
    tmp_path: Path, plant: Any, finding: str, capsys: pytest.CaptureFixture[str]
) -> None:
    plant(tmp_path)
    found = findings(tmp_path)
    assert len(found) == 1, found
    assert found[0].startswith(finding)
    assert main([str(tmp_path)]) == 1
    assert f"- {finding}" in capsys.readouterr().out


def test_every_check_is_planted_at_least_once() -> None:
    assert len(CHECKS) == 8


def test_matching_on_either_budget_will_do_and_one_batch_may_be_over(tmp_path: Path) -> None:
    write_arms(tmp_path, SOUND)
    change(tmp_path, "dose*", train={"tokens": 5_300_000, "problems": 98_000})
    change(tmp_path, "solution_path*", train={"tokens": 10_650_000, "problems": 300_000})
    assert findings(tmp_path) == []
    small = {"config": {"trainer": {"batch_tokens": 2048}}}
    for number, tokens in enumerate((20_000, 21_500)):
        for seed in (1, 2, 3):
            train = {"tokens": tokens, "problems": 10 + 100 * number}
            write_run(
                tmp_path / "small" / f"{number}{seed}", {"v": str(number)}, seed, 50 + 9 * number, train=train, **small
            )
    assert not [finding for finding in findings(tmp_path / "small") if "budget" in finding]


def test_an_arm_may_have_more_attempts_and_contexts(tmp_path: Path) -> None:
    write_arms(tmp_path, SOUND)
    for arm in SOUND:
        pass_k = [1, 4, 64] if arm == "dose" else [1, 4]
        context = ["none", "plan"] if arm == "dose" else ["none"]
        change(tmp_path, f"{arm},*", config={"stream": {"view": arm}, "eval": {"pass_k": pass_k, "context": context}})
    for folder in tmp_path.glob("dose,*"):
        shutil.copy(folder / "rollouts_val.npz", folder / "rollouts_val.plan.npz")
    assert findings(tmp_path) == []
    rows = problems() + 1
    write_run(tmp_path / "other" / "run", evaluated=rows)
    shutil.copy(tmp_path / "other" / "run" / "rollouts_val.npz", tmp_path / "dose,seed=2" / "rollouts_val.plan.npz")
    shutil.rmtree(tmp_path / "other")
    assert [text.partition(" differs")[0] for text in findings(tmp_path)] == [
        "evaluated on different problems: val.plan"
    ]


def test_what_cannot_be_read_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err == f"error: no such run folder: {tmp_path / 'none'}\n"


def test_the_table_carries_the_verdict_and_a_metric_that_is_no_rate_cannot_saturate(tmp_path: Path) -> None:
    plant_seeds(tmp_path)
    text = markdown(compare(load_runs([tmp_path])))
    assert "**Not a sound table**" in text
    assert "- too few seeds: dose has 2" in text
    one = {"nodes/val": {"value": 0.0, "low": None, "high": None, "num": 5}, "solve/val": counted(3)}
    write_run(tmp_path / "other" / "a", {"view": "x"}, metrics=one)
    write_run(tmp_path / "other" / "b", {"view": "y"}, metrics=one)
    comparison = compare(load_runs([tmp_path / "other"]), ["nodes/val"])
    assert not [finding for finding in examine(comparison) if "saturated: nodes" in finding]
