"""Verdicts over seeds: intervals beside scipy's, decisions beside their definition, and what is printed."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from synthetic_runs import NUM, counted, write_arms, write_run

from sos.analysis.compare import Comparison, compare, load_runs
from sos.analysis.expected import (
    CONFIRMED,
    NOT_RUN,
    REFUTED,
    UNDECIDED,
    against_baseline,
    decide,
    difference,
    seeds_that_decide,
    verdicts,
)
from sos.analysis.figures_differences import differences_figure
from sos.analysis.tables import markdown, write
from sos.errors import UserError
from sos.judge.intervals import Interval, welch_interval
from sos.runs.expectations import read_expectation

SOLVED = {"base": [100, 110, 104], "better": [150, 157, 151], "same": [101, 109, 106], "wild": [60, 140, 130]}


def made(
    folder: Path, expect: list[str], solved: dict[str, list[int]] = SOLVED, primary: str = "solve/val"
) -> Comparison:
    for arm, counts in solved.items():
        sweep = {"name": "s", "question": "Which?", "primary": primary, "baseline": "base", "arm": arm}
        for seed, count in enumerate(counts, start=1):
            config = {"seed": seed, "stream": {"view": arm}}
            options: dict[str, Any] = {"config": config, "sweep": sweep | {"arms": list(SOLVED), "expect": expect}}
            write_run(folder / f"{arm}_{seed}", {"stream.view": arm}, seed, count, **options)
    return compare(load_runs([folder]))


def test_differences_are_those_of_scipy(tmp_path: Path) -> None:
    found = {one.arm: one for one in against_baseline(made(tmp_path, []), "solve/val")}
    assert list(found) == ["better", "same", "wild"]
    for arm, one in found.items():
        x, y = np.array(SOLVED[arm]) / NUM, np.array(SOLVED["base"]) / NUM
        assert one.value == pytest.approx(x.mean() - y.mean())
        test = stats.ttest_ind(x, y, equal_var=False)
        assert one.p_welch == pytest.approx(test.pvalue)
        assert one.welch == pytest.approx(tuple(test.confidence_interval()))
        paired = stats.ttest_rel(x, y).confidence_interval()
        assert one.paired == pytest.approx((paired.low, paired.high))
        assert one.seeds == (3, 3)
    # What the seeds have in common is in the paired interval alone.
    widths = [
        interval.high - interval.low for one in (found["same"],) for interval in (one.welch, one.paired) if interval
    ]
    assert widths[1] < widths[0] / 2


def test_pairs_are_seeds_that_both_arms_have(tmp_path: Path) -> None:
    comparison = made(tmp_path, [], SOLVED | {"better": [150]})
    one = difference(comparison, "better", "base", "solve/val")
    assert one is not None
    assert (one.seeds, one.welch, one.paired, one.p_welch, one.variances) == ((1, 3), None, None, None, None)
    assert difference(comparison, "better", "base", "no/metric") is None
    assert difference(comparison, "absent", "base", "solve/val") is None


@given(st.sampled_from(["<", ">", "=", "<=", ">="]), st.floats(-1, 1), st.floats(0, 1))
def test_a_decision_is_about_all_of_the_interval(sign: str, low: float, width: float) -> None:
    margin = 0.25
    line = read_expectation(f"a {sign} b" + (f" within {margin}" if sign not in "<>" else ""), "m")
    interval = Interval(low, low + width)
    holds = {
        "<": lambda d: d < 0,
        ">": lambda d: d > 0,
        "=": lambda d: abs(d) < margin,
        "<=": lambda d: d < margin,
        ">=": lambda d: d > -margin,
    }[sign]
    # Every edge of a region that lies in the interval, and both ends.
    points = [low, low + width, *(edge for edge in (0.0, margin, -margin) if low <= edge <= low + width)]
    seen = {
        holds(point + step) for point in points for step in (0.0, 1e-12, -1e-12) if low <= point + step <= low + width
    }
    expected = CONFIRMED if seen == {True} else REFUTED if seen == {False} else UNDECIDED
    assert decide(line, interval) == expected
    assert decide(line, None) == UNDECIDED


def test_the_seeds_that_decide_are_the_fewest_by_welchs_interval() -> None:
    """Beside arms of n seeds that have just these means and variances."""
    rng = np.random.default_rng(3)
    num_checked = num_never = 0
    for _ in range(60):
        value, variances = float(rng.normal(0, 0.5)), (float(rng.uniform(0.01, 1)), float(rng.uniform(0.01, 1)))
        line = read_expectation(str(rng.choice(["a < b", "a > b", "a = b within 0.3"])), "m")
        needed = seeds_that_decide(line, value, variances)
        if needed is None:
            num_never += 1
        for n in (needed - 1, needed) if needed else (1000,):
            if n < 2:
                continue
            shape = np.resize([1.0, -1.0], n) if n % 2 == 0 else np.append(np.resize([1.0, -1.0], n - 1), 0.0)
            unit = shape / np.std(shape, ddof=1)
            found = welch_interval(value + unit * math.sqrt(variances[0]), unit * math.sqrt(variances[1]))
            assert (decide(line, found) != UNDECIDED) == (n == needed)
            num_checked += 1
    assert num_checked > 80
    assert num_never < 20
    assert seeds_that_decide(read_expectation("a > b", "m"), 0.1, (0.0, 0.0)) == 2
    assert seeds_that_decide(read_expectation("a = b within 1", "m"), 1.0, (1e-9, 1e-9)) is None


EXPECT = [
    "better > base",
    "better < base",
    "same > base",
    "same = base within 0.1",
    "wild > base in solve/val_target",
    "better = base within 0.05",
]


def test_every_line_gets_its_verdict(tmp_path: Path) -> None:
    found = verdicts(made(tmp_path, EXPECT))
    assert [one.verdict for one in found] == [CONFIRMED, REFUTED, UNDECIDED, CONFIRMED, UNDECIDED, REFUTED]
    needed = [one.seeds_to_decide for one in found]
    assert [one is None for one in needed] == [True, True, False, True, False, True]
    assert needed[2] is not None
    assert needed[2] > 100
    for one in found:
        assert one.found is not None
        assert one.p_holm is not None
        assert one.found.p_welch is not None
        assert one.p_holm >= one.found.p_welch


def test_a_line_can_take_another_metric_of_the_second_arm(tmp_path: Path) -> None:
    comparison = made(tmp_path, ["better < better in solve/val_target against solve/val", "same > base in solve/val"])
    found = [one.found for one in verdicts(comparison)]
    assert found[0] is not None
    assert found[0].means == tuple(comparison.cells["better", f"solve/{split}"].mean for split in ("val_target", "val"))
    assert verdicts(comparison)[0].verdict == CONFIRMED


def test_what_was_not_run_or_once_alone_is_not_decided(tmp_path: Path) -> None:
    solved = {arm: counts[:1] for arm, counts in SOLVED.items() if arm != "wild"}
    comparison = made(tmp_path, ["better > base", "wild > base"], solved)
    found = verdicts(comparison)
    assert [(one.verdict, one.p_holm) for one in found] == [(UNDECIDED, None), (NOT_RUN, None)]
    text = markdown(comparison)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if "> base" in line]
    assert [row[-2:] for row in rows] == [["undecided", "not known"], ["not run", "-"]]
    assert "(one seed)" in text
    assert {path.stem for path in write(comparison, tmp_path / "out")} == {
        "comparison",
        "budget_curves",
        "accuracy_tokens",
        "differences",
    }


def test_the_table_says_arms_and_expectations(tmp_path: Path) -> None:
    text = markdown(made(tmp_path, EXPECT))
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
    head = next(row for row in rows if row[0] == "over seeds, solve/val, %")
    assert head[3:] == ["minus base", "Welch 95%", "seed by seed 95%", "Welch p"]
    better = rows[rows.index(head) + 2]
    assert better[:4] == ["better", "3", "76.3", "+24.0"]
    lines = {row[0]: row for row in rows if row[0] in EXPECT}
    assert list(lines) == EXPECT
    assert lines["better > base"][1:3] == ["3", "+24.0"]
    assert [lines[line][-2] for line in EXPECT[:4]] == [CONFIRMED, REFUTED, UNDECIDED, CONFIRMED]
    assert "Expected before any run" in text


def test_without_expectations_there_is_no_such_table(tmp_path: Path) -> None:
    write_arms(tmp_path, {"full": [140, 150], "paths": [120, 124]})
    text = markdown(compare(load_runs([tmp_path])))
    assert "over seeds, solve/val, % | seeds" in " ".join(text.split())
    assert "Expected before any run" not in text


def test_expectations_that_are_damaged_name_the_file(tmp_path: Path) -> None:
    made(tmp_path / "runs", ["better > base"])
    path = tmp_path / "runs" / "base_1" / "provenance.json"
    path.write_text(path.read_text().replace('["better > base"]', "5"))
    with pytest.raises(UserError, match=r"provenance.json.*sweep/expect must be a list of texts, got 5"):
        load_runs([tmp_path / "runs"])


def test_the_figure_has_a_row_for_every_arm_and_a_panel_for_every_metric(tmp_path: Path) -> None:
    comparison = made(tmp_path, [], primary="tokens_per_solved/val")
    figure = differences_figure(comparison)
    said = [text.get_text() for text in figure.legends[0].get_texts()]
    assert said == ["difference of means", "Welch's 95% over seeds", "95% over seeds, paired"]
    panels = figure.axes
    assert [axes.get_title(loc="left") for axes in panels] == ["tokens_per_solved/val", "solve/val", "solve/val_target"]
    assert [text.get_text() for text in panels[0].get_yticklabels()] == ["better", "same", "wild"]
    for axes, metric in zip(panels, ("tokens_per_solved/val", "solve/val", "solve/val_target"), strict=True):
        scale = 1 if metric.startswith("tokens") else 100
        for row, one in enumerate(against_baseline(comparison, metric)):
            dots = [
                line.get_xdata()[0] for line in axes.lines if line.get_marker() == "o" and line.get_ydata()[0] == row
            ]
            assert dots == [pytest.approx(scale * one.value)]
            bars = [line.get_xdata() for line in axes.lines if line.get_linewidth() == 5 and line.get_ydata()[0] == row]
            assert [tuple(bar) for bar in bars] == [pytest.approx(tuple(scale * end for end in one.welch or ()))]


def test_a_metric_that_some_arms_lack_is_left_out_of_their_rows(tmp_path: Path) -> None:
    made(tmp_path, [])
    for seed in (1, 2):
        metrics = {
            "solve/val": counted(120 + seed),
            "nodes/val": {"value": 1.0 * seed, "low": None, "high": None, "num": 9},
        }
        sweep = {"name": "s", "question": "", "primary": "solve/val", "baseline": "base", "arm": "few"}
        record = sweep | {"arms": [*SOLVED, "few"]}
        config = {"seed": seed, "stream": {"view": "few"}}
        write_run(
            tmp_path / f"few_{seed}", {"stream.view": "few"}, seed, 120, config=config, metrics=metrics, sweep=record
        )
    comparison = compare(load_runs([tmp_path]))
    assert [one.arm for one in against_baseline(comparison, "solve/val_target")] == ["better", "same", "wild"]
    assert len(against_baseline(comparison, "solve/val")) == 4
    assert len(differences_figure(comparison).axes) == 2
