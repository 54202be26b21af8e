"""Runs of several tasks in one table: on which of them are the mistakes worth anything?

Each task has a comparison of its own, since runs that were evaluated on different problems cannot be subtracted from
each other. The table says for every arm of every task how often it is right, how far it lies from the task's
baseline, and what it writes; a line per task says what follows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sos.analysis.compare import Arm, Comparison, compare
from sos.analysis.tables import markdown as markdown_of_one
from sos.analysis.tables import markdown_table, number, summary, write
from sos.errors import UserError
from sos.files import written_whole
from sos.runs.finished import Run, as_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# What counts as a right answer: where answers have costs, the cheapest ones.
BEST = ("plan_optimal/val", "optimal/val")
BESIDE = ("errors_per_trace/val", "tokens_per_solved/val")


@dataclass(frozen=True)
class Task:
    """The runs of one task, compared."""

    name: str
    comparison: Comparison
    answer: str  # the metric that counts right answers

    @property
    def held_out(self) -> str:
        """The same metric on held-out groups, which a task may lack."""
        return f"{self.answer}_target"

    def cell(self, arm: Arm, metric: str) -> str:
        """Return a metric of an arm as text; nothing where it was not measured."""
        return summary(self.comparison, arm, metric) if (arm.label, metric) in self.comparison.cells else "-"


def _environment(run: Run) -> dict[str, Any]:
    found = run.config.get("env")
    return found if isinstance(found, dict) else {}


def _belongs(run: Run, others: Sequence[Run]) -> bool:
    """Say whether a run is of the task of the others: of the same environment, and evaluated on the same problems or,
    by its keys, meant to be."""
    if _environment(run).get("name") != _environment(others[0]).get("name"):
        return False
    for other in others:
        shared = run.problem_digests.keys() & other.problem_digests.keys()
        if shared and all(run.problem_digests[split] == other.problem_digests[split] for split in shared):
            return True
        if _environment(run) == _environment(other):
            return True
    return False


def by_task(runs: Iterable[Run]) -> dict[str, list[Run]]:
    """Group runs by their task, in order of appearance: those of one environment that were evaluated on the same
    problems. A task is named by its environment and, where several have one, by the keys that differ."""
    tasks: list[list[Run]] = []
    for run in runs:
        own = next((task for task in tasks if _belongs(run, task)), None)
        if own is None:
            tasks.append([run])
        else:
            own.append(run)
    names = [str(_environment(task[0]).get("name") or "the task") for task in tasks]
    return {_title(number, names, tasks): task for number, task in enumerate(tasks)}


def _title(number: int, names: list[str], tasks: list[list[Run]]) -> str:
    twins = [_environment(task[0]) for name, task in zip(names, tasks, strict=True) if name == names[number]]
    own = _environment(tasks[number][0])
    keys = [key for key in own if len({as_text(twin.get(key)) for twin in twins}) > 1]
    return " ".join([names[number], *(f"{key}={as_text(own[key])}" for key in keys)])


def compare_tasks(
    runs: Sequence[Run],
    metrics: Sequence[str] | None = None,
    baseline: str | None = None,
    allow_different_problems: bool = False,
) -> list[Task]:
    """Compare the runs of every task among themselves; see `sos.analysis.compare.compare` for what it raises.

    With `allow_different_problems` all runs are of one task.
    """
    if not runs:
        raise UserError("no finished run to compare")
    found = {"all": list(runs)} if allow_different_problems else by_task(runs)
    tasks = []
    for name, members in found.items():
        comparison = compare(members, metrics, baseline, allow_different_problems)
        known = {metric for run in members for metric in run.metrics}
        tasks.append(Task(name, comparison, next((m for m in BEST if m in known), comparison.primary)))
    return tasks


def verdict(task: Task) -> str:
    """Say in words what the arms of a task show, beside its baseline."""
    comparison, sides = task.comparison, []
    for arm in comparison.arms:
        cell = comparison.cells.get((arm.label, task.answer))
        if arm.label == comparison.baseline or cell is None or cell.difference is None:
            continue
        spread = cell.difference_over_seeds
        shown = "not shown (one seed)" if spread is None else "not shown" if spread.low <= 0 <= spread.high else "shown"
        text = f"{number(cell.difference, task.answer, sign='+')} points"
        sides.append(f"{arm.label} {text}{'' if shown == 'shown' else f', {shown}'}")
    return f"{task.name}: {'; '.join(sides) or 'one arm'}"


def markdown(tasks: Sequence[Task]) -> str:
    """Return the comparison of every task, and behind them the table over all."""
    if len(tasks) == 1:
        return markdown_of_one(tasks[0].comparison)
    blocks = [f"## {task.name}\n\n{markdown_of_one(task.comparison)}" for task in tasks]
    return "\n".join([*blocks, "## All tasks\n", joint(tasks)])


def joint(tasks: Sequence[Task]) -> str:
    """Return the table over all tasks as Markdown, and a line for each."""
    header = ["task", "arm", "seeds", "right", "val, %", "minus the baseline", "val_target, %", *BESIDE]
    rows = []
    for task in tasks:
        for arm in task.comparison.arms:
            cell = task.comparison.cells[arm.label, task.answer]
            away = "" if cell.difference is None else number(cell.difference, task.answer, sign="+")
            if cell.difference_over_seeds is not None:
                low, high = (number(end, task.answer) for end in cell.difference_over_seeds)
                away += f" [{low}, {high}]"
            right = task.answer.partition("/")[0]
            beside = [task.cell(arm, metric) for metric in (task.held_out, *BESIDE)]
            rows.append([task.name, arm.label, str(len(arm.runs)), right, task.cell(arm, task.answer), away, *beside])
    lines = [f"- {verdict(task)}" for task in tasks]
    return "\n\n".join([markdown_table(header, rows), "\n".join(lines)]) + "\n"


def write_tasks(tasks: Sequence[Task], folder: Path) -> list[Path]:
    """Write the files of every comparison, each task's in a folder of its own where there are several, and tasks.md,
    .png and .pdf over all; return the paths."""
    if len(tasks) == 1:
        return write(tasks[0].comparison, folder)
    paths = [path for task in tasks for path in write(task.comparison, folder / task.name.replace(" ", "_"))]
    paths += [folder / f"tasks.{suffix}" for suffix in ("md", "png", "pdf")]
    with written_whole(paths[-3]) as partial:
        partial.write_text(f"# All tasks\n\n{joint(tasks)}\n![right answers](tasks.png)\n", encoding="utf-8")
    figure = tasks_figure(tasks)
    for path in paths[-2:]:
        with written_whole(path) as partial:
            figure.savefig(partial, format=path.suffix[1:])
    return paths


def tasks_figure(tasks: Sequence[Task]) -> Figure:
    """Return how often every arm of every task is right: a band of rows for each task, a row for each arm, the mean
    over seeds and a ring for each seed."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    from sos.analysis.figures import STYLE, colours

    rows = sum(len(task.comparison.arms) + 1 for task in tasks)
    with rc_context(STYLE):
        figure = Figure(figsize=(7.2, 1.2 + 0.24 * rows), layout="constrained")
        axes = figure.subplots()
        ticks: list[tuple[float, str]] = []
        row = 0.0
        for task in tasks:
            arms = task.comparison.arms
            palette = colours([arm.label for arm in arms], task.comparison.views())
            answer = task.answer.partition("/")[0].replace("_", " ")
            axes.text(0, row - 0.1, f"{task.name} ({answer})", fontweight="bold", va="center")
            for arm in arms:
                row += 1
                cell, colour = task.comparison.cells[arm.label, task.answer], palette[arm.label]
                seeds = [100 * value for value in cell.values]
                axes.plot(seeds, [row] * len(seeds), "o", markerfacecolor="none", markeredgecolor=colour, markersize=4)
                if cell.mean is not None:
                    axes.plot([100 * cell.mean], [row], "o", color=colour, markersize=7, alpha=0.75)
                ticks.append((row, arm.label))
            row += 1.4
        axes.set_yticks([place for place, _ in ticks], [label for _, label in ticks])
        axes.set_ylim(row - 0.6, -0.8)
        axes.set_xlim(-2, 102)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("right answers to unseen problems, %")
        grey = "#777777"
        mean = Line2D([], [], color=grey, marker="o", linestyle="", markersize=7, label="mean")
        seed = Line2D([], [], color=grey, marker="o", linestyle="", markersize=4, label="one seed")
        seed.set_markerfacecolor("none")
        figure.legend(handles=[mean, seed], loc="outside lower center", ncols=2, frameon=False)
    return figure
