"""Paired tests and effect sizes: against scipy, brute force and printed values."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from synthetic_runs import NUM, problems, write_arms, write_run

from sos.analysis.compare import compare, load_runs
from sos.analysis.figures import VIEW_COLOURS, accuracy_tokens_figure, colours
from sos.analysis.paired import cohen_h, hedges_g, holm, mcnemar, paired_bootstrap, paired_tests, welch
from sos.analysis.tables import latex, markdown, write

ARMS = {"full": [140, 150, 145], "solution_path": [120, 124, 110], "dose": [144, 147, 146]}


@given(st.integers(0, 40), st.integers(0, 40))
def test_mcnemar_is_the_exact_binomial_of_the_discordant_pairs(won: int, lost: int) -> None:
    n, k = won + lost, min(won, lost)
    tail = sum(math.comb(n, i) for i in range(k + 1)) / 2**n
    assert mcnemar(won, lost) == pytest.approx(min(1.0, 2 * tail) if won != lost else 1.0)


def test_the_bootstrap_covers_and_resamples_problems() -> None:
    rng = np.random.default_rng(1)
    inside = 0
    for seed in range(60):
        sample = rng.choice([-1.0, 0.0, 1.0], p=[0.1, 0.6, 0.3], size=150)
        low, high = paired_bootstrap(sample, seed)
        assert low < sample.mean() < high
        inside += low <= 0.2 <= high
        half = 1.96 * sample.std() / math.sqrt(150)
        assert (high - low) / 2 == pytest.approx(half, rel=0.1)
    assert inside >= 51  # 95% of 60 is 57; below 51 has a chance of 0.3%
    assert paired_bootstrap([0.5, 0.5]) == (0.5, 0.5)


def test_holm_of_the_printed_example_and_its_properties() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_only_raises_keeps_the_order_and_stays_below_bonferroni(values: list[float]) -> None:
    adjusted = holm(values)
    for p, q in zip(values, adjusted, strict=True):
        assert p <= q <= min(1.0, len(values) * p) + 1e-12
    order = np.argsort(values, kind="stable")
    assert (np.diff(np.array(adjusted)[order]) >= 0).all()


def test_effect_sizes() -> None:
    assert cohen_h(0.5, 0.5) == 0
    assert cohen_h(0.65, 0.5) == pytest.approx(0.3047, abs=1e-4)  # Cohen 1988, table 6.2.2: phi 1.875 and 1.571
    x, y = [0.7, 0.75, 0.8], [0.5, 0.52, 0.57]
    pooled = math.sqrt((np.var(x, ddof=1) + np.var(y, ddof=1)) / 2)
    assert hedges_g(x, y) == pytest.approx((np.mean(x) - np.mean(y)) / pooled * (1 - 3 / (4 * 6 - 9)))
    assert hedges_g([0.5], y) is None
    assert hedges_g([0.5, 0.5], [0.4, 0.4]) is None


def test_welch_is_scipys_and_says_nothing_without_spread() -> None:
    x, y = [0.7, 0.75, 0.8], [0.5, 0.52]
    assert welch(x, y) == pytest.approx(stats.ttest_ind(x, y, equal_var=False).pvalue)
    assert welch([0.5], y) is None
    assert welch([0.5, 0.5], [0.4, 0.4]) is None
    assert welch([0.5, 0.5], [0.4, 0.42]) is not None


def test_arms_are_paired_problem_by_problem_and_seed_by_seed(tmp_path: Path) -> None:
    write_arms(tmp_path, ARMS)
    comparison = compare(load_runs([tmp_path]))
    assert [arm.label for arm in comparison.arms] == ["full", "solution_path", "dose"]
    tests = {test.arm: test for test in paired_tests(comparison, "solve/val")}
    assert list(tests) == ["solution_path", "dose"]
    runs = {arm.label: arm.runs for arm in comparison.arms}
    for arm, test in tests.items():
        won = sum((x.solved["val"] & ~y.solved["val"]).sum() for x, y in zip(runs[arm], runs["full"], strict=True))
        lost = sum((~x.solved["val"] & y.solved["val"]).sum() for x, y in zip(runs[arm], runs["full"], strict=True))
        assert (test.won, test.lost, test.num_problems, test.seeds) == (won, lost, NUM, (1, 2, 3))
        assert test.difference == pytest.approx((won - lost) / (3 * NUM))
        assert test.difference == pytest.approx((sum(ARMS[arm]) - sum(ARMS["full"])) / (3 * NUM))
        assert test.bootstrap.low < test.difference < test.bootstrap.high
        assert test.p_mcnemar <= test.p_mcnemar_holm <= 1
    assert tests["solution_path"].p_welch_holm < 0.05 < tests["dose"].p_welch_holm
    assert tests["solution_path"].cohen_h < -0.2


def test_the_order_in_which_problems_were_written_does_not_matter(tmp_path: Path) -> None:
    order = np.random.default_rng(0).permutation(NUM)
    for name, seed in (("a", 1), ("b", 1)):
        write_run(tmp_path / name, {"view": name}, seed, 90 if name == "a" else 120)
    before = paired_tests(compare(load_runs([tmp_path])), "solve/val")
    path = tmp_path / "b" / "rollouts_val.npz"
    with np.load(path) as arrays:
        shuffled = {name: array[order] for name, array in arrays.items()}
    np.savez(path, **shuffled)
    assert paired_tests(compare(load_runs([tmp_path])), "solve/val") == before


def test_other_problems_and_other_seeds_are_not_paired(tmp_path: Path) -> None:
    write_run(tmp_path / "a", {"view": "a"}, 1, 90)
    write_run(tmp_path / "b", {"view": "b"}, 2, 90)
    write_run(tmp_path / "c", {"view": "c"}, 1, 90, evaluated=problems() + 1)
    comparison = compare(load_runs([tmp_path]), allow_different_problems=True)
    assert paired_tests(comparison, "solve/val") == []
    assert "paired" not in markdown(comparison)


def test_the_tables_carry_the_tests(tmp_path: Path) -> None:
    write_arms(tmp_path / "runs", ARMS)
    comparison = compare(load_runs([tmp_path / "runs"]))
    text = markdown(comparison)
    assert text.startswith("Which is better?\n")
    assert "| paired, val" in text
    assert "Holm" in text
    tex = latex(comparison)
    assert tex.count(r"\\") == 4
    assert r"solution\_path" in tex
    assert r"\textbf{" in tex
    starred = [line for line in tex.splitlines() if "$^{*}$" in line]
    assert len(starred) == 1
    assert starred[0].startswith(r"solution\_path")
    write(comparison, tmp_path / "out")
    with (tmp_path / "out" / "comparison.csv").open(newline="") as file:
        rows = {(row["arm"], row["metric"]): row for row in csv.DictReader(file)}
    test = next(test for test in paired_tests(comparison, "solve/val") if test.arm == "dose")
    row = rows["dose", "solve/val"]
    assert (int(row["won"]), int(row["lost"])) == (test.won, test.lost)
    assert float(row["p_mcnemar_holm"]) == test.p_mcnemar_holm
    assert rows["full", "solve/val"]["won"] == ""


def test_arms_of_a_sweep_file_have_the_colour_of_their_view(tmp_path: Path) -> None:
    write_arms(tmp_path, ARMS)
    comparison = compare(load_runs([tmp_path]))
    assert colours(["a", "b"], {"a": "full", "b": "?"})["a"] == VIEW_COLOURS["full"]
    (axes,) = accuracy_tokens_figure(comparison, "val").axes
    assert [line.get_color() for line in axes.lines] == [VIEW_COLOURS[arm] for arm in ARMS]
