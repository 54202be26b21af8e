"""Runs of several tasks: compared task by task, and laid side by side in one table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from synthetic_runs import counted, problems, write_run

from sos.analysis.compare import compare, load_runs
from sos.analysis.tables import markdown as markdown_of_one
from sos.analysis.tasks import by_task, compare_tasks, joint, markdown, tasks_figure, verdict, write_tasks
from sos.commands.cli import main
from sos.errors import UserError

MAZE = {"name": "maze", "width": 8}
STARS = {"name": "path_star", "num_arms": 4}
FULL, PATHS = "view=full", "view=solution_path"


def made(folder: Path, env: dict[str, Any], arm: str, seed: int, solved: int, **changes: Any) -> Path:
    """A run of an environment; the problems of different environments differ."""
    view = "full" if arm == "full" else "solution_path"
    config = {"seed": seed, "env": env, "stream": {"view": view}}
    evaluated = problems() + 1000 * len(str(env))
    name = folder / f"{env['name']}_{len(str(env))}_{arm}_{seed}"
    return write_run(name, {"stream.view": view}, seed, solved, config=config, evaluated=evaluated, **changes)


@pytest.fixture
def several(tmp_path: Path) -> Path:
    for seed in (1, 2, 3):
        made(tmp_path, STARS, "full", seed, 190 + seed)
        made(tmp_path, STARS, "paths", seed, 50 + seed)
        costs = {"plan_optimal/val": counted(150 + seed), "optimal/val": counted(100), "solve/val": counted(199)}
        made(tmp_path, MAZE, "full", seed, 199, metrics=costs)
        made(tmp_path, MAZE, "paths", seed, 199, metrics=costs | {"plan_optimal/val": counted(150 - 30 * seed)})
    return tmp_path


def test_each_task_is_compared_as_its_runs_alone_are(several: Path) -> None:
    runs = load_runs([several])
    tasks = compare_tasks(runs)
    assert [task.name for task in tasks] == ["maze", "path_star"]
    assert [task.answer for task in tasks] == ["plan_optimal/val", "solve/val"]
    for task in tasks:
        alone = compare([run for run in runs if run.config["env"]["name"] == task.name])
        assert markdown_of_one(task.comparison) == markdown_of_one(alone)
        assert markdown_of_one(alone) in markdown(tasks)


def test_the_table_says_who_is_right_how_often_and_by_how_much(several: Path) -> None:
    tasks = compare_tasks(load_runs([several]))
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in joint(tasks).splitlines() if "|" in line]
    found = {(row[0], row[1]): row for row in rows[2:]}
    assert len(found) == 4
    assert found["path_star", FULL][2:5] == ["3", "solve", "96.0 ± 1.2"]
    assert found["path_star", PATHS][4] == "26.0 ± 1.2"
    assert found["path_star", PATHS][5].startswith("-70.0 [-7")
    assert found["path_star", FULL][6] == "47.8 ± 0.7"
    assert found["maze", PATHS][3] == "plan_optimal"
    assert found["maze", PATHS][4:7] == ["45.0 ± 37.3", "-31.0 [-68.2, 6.2]", "-"]


def test_a_verdict_names_what_is_not_shown(several: Path) -> None:
    maze, stars = compare_tasks(load_runs([several]))
    assert verdict(stars) == f"path_star: {PATHS} -70.0 points"
    assert verdict(maze) == f"maze: {PATHS} -31.0 points, not shown"
    one_seed = [run for run in load_runs([several]) if run.seed == 1]
    assert verdict(compare_tasks(one_seed)[1]) == f"path_star: {PATHS} -70.0 points, not shown (one seed)"
    alone = compare_tasks([run for run in one_seed if "full" in run.folder.name])
    assert verdict(alone[1]) == "path_star: one arm"


def test_tasks_of_one_environment_are_named_by_the_keys_that_differ(tmp_path: Path) -> None:
    for env in (MAZE, MAZE | {"width": 30}, STARS):
        made(tmp_path, env, "full", 1, 150)
    assert list(by_task(load_runs([tmp_path]))) == ["maze width=8", "maze width=30", "path_star"]


def test_arms_that_learn_from_other_sizes_are_of_one_task(tmp_path: Path) -> None:
    for number, smallest in enumerate((0, 2)):
        config = {"seed": 1, "env": STARS | {"min_arms": smallest}}
        write_run(tmp_path / str(number), {"env.min_arms": str(smallest)}, config=config)
    (task,) = compare_tasks(load_runs([tmp_path]))
    assert [arm.label for arm in task.comparison.arms] == ["min_arms=0", "min_arms=2"]
    assert markdown([task]) == markdown_of_one(task.comparison)


def test_other_problems_of_the_same_task_are_refused_as_before(tmp_path: Path) -> None:
    for seed, evaluated in ((1, problems()), (2, problems(100))):
        write_run(tmp_path / str(seed), seed=seed, config={"seed": seed, "env": MAZE}, evaluated=evaluated)
    with pytest.raises(UserError, match="different val problems"):
        compare_tasks(load_runs([tmp_path]))
    assert len(compare_tasks(load_runs([tmp_path]), allow_different_problems=True)) == 1
    with pytest.raises(UserError, match="no finished run"):
        compare_tasks([])


def test_every_task_has_a_folder_and_all_have_a_page_and_a_figure(
    several: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["compare", str(several), f"out={out}"]) == 0
    tasks = compare_tasks(load_runs([several]))
    assert joint(tasks) in capsys.readouterr().out
    assert joint(tasks) in (out / "tasks.md").read_text()
    for name in ("tasks.png", "tasks.pdf", "maze/comparison.csv", "path_star/comparison.md"):
        assert (out / name).stat().st_size > 500
    assert sorted(path.name for path in out.iterdir()) == ["maze", "path_star", "tasks.md", "tasks.pdf", "tasks.png"]
    figure = tasks_figure(tasks)
    assert [row.get_text() for row in figure.axes[0].get_yticklabels()] == [FULL, PATHS] * 2
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["mean", "one seed"]
    one = write_tasks(tasks[:1], tmp_path / "one")
    assert tmp_path / "one" / "comparison.md" in one


def test_the_doctor_looks_at_each_task(several: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["doctor", str(several)])
    said = capsys.readouterr().out.splitlines()
    heads = [line for line in said if not line.startswith("- ")]
    assert [head.partition(": ")[2] for head in heads] == [
        "maze, 2 arms, 6 runs, solve/val",
        "path_star, 2 arms, 6 runs, solve/val",
    ]
    assert not any("different tasks" in line for line in said)


def test_the_doctor_refuses_arms_of_different_tasks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in (1, 2, 3):
        made(tmp_path, STARS, "full", seed, 150)
        made(tmp_path, MAZE, "paths", seed, 100)
    assert main(["doctor", str(tmp_path)]) == 1
    said = capsys.readouterr().out
    assert said.startswith("not sound: 2 arms, 6 runs")
    assert "different tasks: maze (view=solution_path) and path_star (view=full)" in said
