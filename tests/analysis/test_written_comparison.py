"""What a comparison writes: tables, CSV and figures, whatever arms are called and wherever they go."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from places import ROOT
from synthetic_runs import counted, write_run, write_sweep

from sos.analysis.compare import Comparison, compare, load_runs
from sos.analysis.figures import VIEW_COLOURS, arms_figure, budget_curve_figure, budget_panels_figure, colours
from sos.analysis.tables import markdown, write
from sos.commands.cli import call
from sos.judge.intervals import wilson

main = partial(call, "compare")


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    return write_sweep(tmp_path / "sweep")


def test_csv_parses_back(sweep: Path, tmp_path: Path) -> None:
    comparison = compare(load_runs([sweep]))
    write(comparison, tmp_path / "out")
    with (tmp_path / "out" / "comparison.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * len(comparison.metrics)
    assert {row["metric"] for row in rows} >= {"solve/val", "error/arithmetic/val", "errors_per_trace/val"}
    for row in rows:
        cell = comparison.cells[row["arm"], row["metric"]]
        assert float(row["mean"]) == cell.mean
        assert int(row["num_seeds"]) == 2
        assert int(row["num_problems"]) == cell.num
        assert row["arm"] == f"view={row['stream.view']}"
        assert row["baseline"] == "view=full"
        assert cell.over_seeds == (float(row["seeds_low"]), float(row["seeds_high"]))
        for name, interval in (("problems", cell.over_problems), ("difference", cell.difference_over_seeds)):
            ends = [row[f"{name}_low"], row[f"{name}_high"]]
            assert ends == ["", ""] if interval is None else interval == tuple(map(float, ends))
        assert float(row["train_tokens"]) == 10_600_000


def test_written_files(sweep: Path, tmp_path: Path) -> None:
    comparison = compare(load_runs([sweep]))
    paths = write(comparison, tmp_path / "deep" / "out")
    figures = [
        f"{name}.{kind}"
        for name in ("comparison", "budget_curves", "accuracy_tokens", "differences")
        for kind in ("png", "pdf")
    ]
    assert [path.name for path in paths] == ["comparison.csv", "comparison.tex", "comparison.md", *figures]
    for path in paths[3:]:
        assert path.read_bytes().startswith(b"\x89PNG" if path.suffix == ".png" else b"%PDF")
        assert path.stat().st_size > 5000
    text = paths[2].read_text(encoding="utf-8")
    assert markdown(comparison) in text
    assert "(comparison.png)" in text
    assert "(budget_curves.png)" in text


def test_no_budget_figure_without_curves(tmp_path: Path) -> None:
    write_run(tmp_path / "run", budget_curve=None)
    paths = write(compare(load_runs([tmp_path])), tmp_path / "out")
    assert {path.stem for path in paths} == {"comparison"}
    assert "budget_curves" not in paths[2].read_text(encoding="utf-8")


HOSTILE = (
    "=SUM(A1:A9)",
    "+1",
    "-x|y",
    "@cmd",
    "\x1b[2Jred",
    "a_b^c~d<e>",
    "back`slash\\",
    "\u202eright-to-left",
    "new\nline",
)


def test_hostile_names_of_arms_reach_no_spreadsheet_terminal_or_markup(tmp_path: Path) -> None:
    for number, name in enumerate(HOSTILE):
        write_run(tmp_path / "runs" / str(number), {"stream.dialect": name}, solved=100 + number)
    comparison = compare(load_runs([tmp_path / "runs"]))
    assert len(comparison.arms) == len(HOSTILE)
    paths = write(comparison, tmp_path / "out")
    table = markdown(comparison)
    assert all(c.isprintable() or c == "\n" for c in table)
    rows = [line for line in table.split("\n\n")[0].splitlines() if line.startswith("|")]
    assert len(rows) == 2 + len(HOSTILE)
    assert len({line.replace(r"\|", "").count("|") for line in rows}) == 1
    with paths[0].open(newline="", encoding="utf-8") as file:
        found = list(csv.reader(file))
    num_texts = 0
    for row in found:
        for cell in row:
            assert all(c.isprintable() for c in cell)
            try:
                float(cell)
            except ValueError:
                num_texts += 1
                assert not cell.startswith(("=", "+", "-", "@"))
    assert num_texts > 100
    tex = paths[1].read_text(encoding="utf-8")
    assert r"a\_b\textasciicircum{}c\textasciitilde{}d$<$e$>$" in tex


def test_a_full_disk_leaves_no_file_cut_short(tmp_path: Path, sweep: Path) -> None:
    """A limit on the size of files stands for the full disk: whatever is there afterwards is whole."""
    code = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from sos.analysis.compare import compare, load_runs; from sos.analysis.tables import write\n"
        "comparison = compare(load_runs([sys.argv[1]]))\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))\n"
        "write(comparison, Path(sys.argv[2]))\n"
    )
    folder = tmp_path / "out"
    done = subprocess.run(
        [sys.executable, "-c", code, str(sweep), str(folder)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "cannot write" in done.stderr.splitlines()[-1]
    whole = {path.name: path.stat().st_size for path in write(compare(load_runs([sweep])), tmp_path / "whole")}
    left = {path.name: path.stat().st_size for path in folder.iterdir()}
    assert left
    assert set(left) < set(whole)
    assert all(size == whole[name] for name, size in left.items() if name.endswith(("csv", "tex", "md")))


def test_a_terminal_that_shows_ascii_alone_gets_the_table(tmp_path: Path, sweep: Path) -> None:
    code = (
        "import sys; from types import SimpleNamespace as S; from sos.analysis.after_sweep import CompareAfterMultirun\n"
        "CompareAfterMultirun().on_multirun_end(S(hydra=S(sweep=S(dir=sys.argv[1]))))\n"
    )
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-c", code, str(sweep)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert "61.0 ? 12.7" in done.stdout
    assert "61.0 ± 12.7" in (sweep / "comparison.md").read_text(encoding="utf-8")


def test_a_view_has_its_colour_in_every_label() -> None:
    for view, colour in VIEW_COLOURS.items():
        assert colours([view]) == {view: colour}
        assert colours(["width=64", f"stream.view={view},p=1"])[f"stream.view={view},p=1"] == colour
    assert colours(["dose=0.5"])["dose=0.5"] not in VIEW_COLOURS.values()
    shades = colours([f"view=dose,p={p}" for p in range(4)])
    assert len(set(shades.values())) == 4
    assert len(set(colours([*VIEW_COLOURS, "a", "b", "c"]).values())) == len(VIEW_COLOURS) + 3


def test_budget_curve_figure() -> None:
    curves: dict[str, dict[str, list[float]]] = {
        "full": {"tokens": [8, 16, 32, 64], "solved": [0.1, 0.2, 0.5, 0.6]},
        "val": {"tokens": [8, 16], "solved": [0.1, 0.2], "low": [0.0, 0.1], "high": [0.2, 0.3]},
    }
    (axes,) = budget_curve_figure(curves).axes
    assert axes.get_xscale() == "log"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("generated tokens per problem", "solved, % of problems")
    line = axes.lines[0]
    assert line.get_color() == VIEW_COLOURS["full"]
    assert np.asarray(line.get_ydata()) == pytest.approx([10, 20, 50, 60])
    assert len(axes.collections) == 1  # the band of the second curve
    even: dict[str, dict[str, list[float]]] = {"full": {"tokens": [100, 200, 300, 400], "solved": [0.1, 0.2, 0.5, 0.6]}}
    assert budget_panels_figure({"val": even, "val_target": even}).axes[1].get_xscale() == "linear"
    with pytest.raises(ValueError, match="no curve"):
        budget_curve_figure({})


def inside(comparison: Comparison) -> bool:
    """Tell whether all text of the arms figure lies within its canvas."""
    figure = arms_figure(comparison)
    figure.draw_without_rendering()
    canvas = figure.bbox
    texts = [text for axes in figure.axes for text in (axes.title, *axes.get_yticklabels(), axes.xaxis.label)]
    boxes = [text.get_window_extent() for text in [*texts, *figure.legends[0].get_texts()]]
    return all(canvas.x0 <= b.x0 and b.x1 <= canvas.x1 and canvas.y0 <= b.y0 and b.y1 <= canvas.y1 for b in boxes)


def test_arms_figure_shows_every_arm_within_its_canvas(sweep: Path, tmp_path: Path) -> None:
    comparison = compare(load_runs([sweep]))
    first = arms_figure(comparison).axes[0]
    assert [label.get_text() for label in first.get_yticklabels()] == [arm.label for arm in comparison.arms]
    assert first.get_title(loc="left") == "held-out number sets"
    assert first.lines[0].get_xdata() == pytest.approx([100 * end for end in wilson(290, 400)])
    assert inside(comparison)
    write_run(tmp_path / "one" / "a", metrics={"solve/val": counted(50)})
    assert inside(compare(load_runs([tmp_path / "one"]), ["solve/val"]))
