"""A comparison as text: Markdown for the terminal, LaTeX for a paper, CSV for everything else, and the files of its
folder."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

from sos.analysis.compare import Arm, Comparison
from sos.analysis.doctor import examine
from sos.analysis.expected import MOST_SEEDS, NOT_RUN, UNDECIDED, Difference, Verdict, against_baseline, verdicts
from sos.analysis.paired import PairedTest, paired_tests
from sos.errors import visible
from sos.files import written_whole
from sos.judge.intervals import Interval
from sos.judge.metrics import ANSWERS, CEILINGS, is_rate, possible

_LATEX = {
    "\\": r"\textbackslash{}",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "±": r"$\pm$",
    "<": "$<$",
    ">": "$>$",
} | {letter: "\\" + letter for letter in "&%$#_{}"}
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet takes for the start of one


def markdown(comparison: Comparison) -> str:
    """Return the comparison as Markdown tables, what the doctor says about it, and notes on how to read it."""
    header = ["arm", "seeds", "training tokens", "problems", *(_titled(metric) for metric in comparison.columns)]
    blocks = [visible(comparison.question)] if comparison.question else []
    blocks.append(markdown_table(header, [_arm_row(comparison, arm) for arm in comparison.arms]))
    blocks += _over_seeds(comparison)
    for metric, found in _tests(comparison).items():
        blocks.append(_paired_block(comparison, metric, found))
    for metric in comparison.columns:
        if metric.startswith(CEILINGS):
            continue  # a ceiling, not a result of the arm
        points = ", points" if is_rate(metric) else ""
        header = [
            _titled(metric),
            "mean",
            "95% over seeds",
            "95% over problems",
            f"minus {comparison.baseline}{points}",
        ]
        shown = 5 if len(comparison.arms) > 1 else 4  # a single arm has no difference
        blocks.append(
            markdown_table(header[:shown], [_details(comparison, arm, metric)[:shown] for arm in comparison.arms])
        )
    notes = [
        "± and intervals over seeds: 95%, Student's t (differences: Welch's).",
        "Intervals over problems pool the problems of all seeds as if they were independent.",
        *comparison.notes,
    ]
    blocks.append("\n".join(f"- {visible(line)}" for line in notes))
    if len(comparison.arms) > 1:
        blocks.append(diagnosis(comparison))
    return "\n\n".join(blocks) + "\n"


def diagnosis(comparison: Comparison) -> str:
    """Return what the doctor says about the table, one finding a line."""
    findings = examine(comparison)
    if not findings:
        return "The doctor finds nothing wrong with this table."
    return "\n".join(
        ["**Not a sound table**, says the doctor:", "", *(f"- {visible(finding)}" for finding in findings)]
    )


def latex(comparison: Comparison) -> str:
    """Return the main table as a LaTeX tabular (booktabs), the best arm of a rate in bold, significance starred.

    A star: p < 0.05 over seeds (Welch's test against the baseline, Holm's correction over the arms).
    """
    tests = _tests(comparison)
    stars = {
        (test.arm, metric)
        for metric, found in tests.items()
        for test in found
        if test.p_welch_holm is not None and test.p_welch_holm < 0.05
    }
    columns = [metric for metric in comparison.columns if not metric.startswith(CEILINGS)]
    lines = [rf"\begin{{tabular}}{{l{'r' * (len(columns) + 2)}}}", r"\toprule"]
    lines.append(" & ".join(map(_tex, ["arm", "seeds", "tokens", *map(_titled, columns)])) + r" \\")
    lines.append(r"\midrule")
    for arm in comparison.arms:
        row = [_tex(arm.label), str(len(arm.runs)), _tex(_amount(arm.mean_train("tokens")))]
        for metric in columns:
            text = _tex(summary(comparison, arm, metric))
            means = [comparison.cells[other.label, metric].mean for other in comparison.arms]
            best = max((mean for mean in means if mean is not None), default=None)
            if metric.startswith(ANSWERS) and best is not None and comparison.cells[arm.label, metric].mean == best:
                text = rf"\textbf{{{text}}}"
            row.append(text + (r"$^{*}$" if (arm.label, metric) in stars else ""))
        lines.append(" & ".join(row) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def write(comparison: Comparison, folder: Path) -> list[Path]:
    """Write comparison.csv, .tex and .md and every figure as .png and .pdf; return the paths, in that order."""
    from sos.analysis import figures  # matplotlib takes a second to import
    from sos.analysis.figures_differences import differences_figure
    from sos.analysis.figures_training import training_tokens_figure

    folder.mkdir(parents=True, exist_ok=True)
    splits = sorted({split for arm in comparison.arms for run in arm.runs for split in run.budget_curve})
    panels = {split: curves for split in splits if (curves := comparison.budget_curves(split))}
    drawn: dict[str, tuple[str, Any]] = {"comparison": ("Solve rates", figures.arms_figure(comparison))}
    if panels:
        figure = figures.budget_panels_figure(panels, comparison.views())
        drawn["budget_curves"] = ("Solve rate against generated tokens", figure)
        title = "Solve rate against all tokens generated for a problem, samples included"
        drawn["accuracy_tokens"] = (title, figures.accuracy_tokens_figure(comparison, next(iter(panels))))
    if against_baseline(comparison, comparison.primary):
        drawn["differences"] = (f"Differences to {comparison.baseline} over seeds", differences_figure(comparison))
    if (over_tokens := training_tokens_figure(comparison)) is not None:
        drawn["training_tokens"] = ("Solve rate against training tokens", over_tokens)
    images = [f"![{title}]({name}.png)" for name, (title, _) in drawn.items()]
    text = "\n\n".join(["# Comparison", markdown(comparison), *images]) + "\n"
    paths = [folder / "comparison.csv", folder / "comparison.tex", folder / "comparison.md"]
    write_csv(comparison, paths[0])
    for path, content in ((paths[1], latex(comparison)), (paths[2], text)):
        with written_whole(path) as partial:
            partial.write_text(content, encoding="utf-8")
    for name, (_, figure) in drawn.items():
        for suffix in ("png", "pdf"):
            paths.append(folder / f"{name}.{suffix}")
            with written_whole(paths[-1]) as partial:
                figure.savefig(partial, format=suffix)
    return paths


def write_csv(comparison: Comparison, path: Path) -> None:
    """Write one row per arm and metric; rates and their differences are fractions, undefined numbers are empty."""
    tests = {(test.arm, metric): test for metric, found in _tests(comparison).items() for test in found}
    keys = list(comparison.arms[0].settings)
    interval_names = [f"{name}_{end}" for name in ("seeds", "problems") for end in ("low", "high")]
    header = ["arm", *keys, "metric", "num_seeds", "mean", *interval_names, "num_problems", "baseline"]
    header += ["difference", "difference_low", "difference_high", "train_tokens", "train_problems"]
    header += ["won", "lost", "paired_low", "paired_high", "p_mcnemar", "p_mcnemar_holm", "p_welch", "p_welch_holm"]
    header += ["cohen_h", "hedges_g"]
    with written_whole(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(map(_cell_text, header))
        for arm in comparison.arms:
            for metric in comparison.metrics:
                cell, none = comparison.cells[arm.label, metric], (None, None)
                texts = [arm.label, *arm.settings.values(), metric]
                row = [*map(_cell_text, texts), len(cell.values), cell.mean]
                row += [
                    *(cell.over_seeds or none),
                    *(cell.over_problems or none),
                    cell.num,
                    _cell_text(comparison.baseline),
                ]
                row += [cell.difference, *(cell.difference_over_seeds or none)]
                row += [arm.mean_train("tokens"), arm.mean_train("problems")]
                if test := tests.get((arm.label, metric)):
                    row += [test.won, test.lost, *test.bootstrap, test.p_mcnemar, test.p_mcnemar_holm]
                    row += [test.p_welch, test.p_welch_holm, test.cohen_h, test.hedges_g]
                writer.writerow(row + [None] * (len(header) - len(row)))


def _tests(comparison: Comparison) -> dict[str, list[PairedTest]]:
    """Return the paired tests by metric; a single arm has none."""
    if len(comparison.arms) < 2:
        return {}
    metrics = [metric for metric in comparison.columns if metric.startswith(ANSWERS)]
    return {metric: found for metric in metrics if (found := paired_tests(comparison, metric))}


def _paired_block(comparison: Comparison, metric: str, tests: list[PairedTest]) -> str:
    header = [
        f"paired, {metric.removeprefix('solve/')}",
        "seeds",
        f"minus {comparison.baseline}, points",
        "95% paired bootstrap",
        "won : lost",
    ]
    header += ["McNemar p", "Holm", "Welch p", "Holm", "Cohen's h", "Hedges' g"]
    rows = [
        [
            test.arm,
            str(len(test.seeds)),
            f"{100 * test.difference:+.1f}",
            _interval(test.bootstrap, metric),
            f"{test.won} : {test.lost}",
            _p_value(test.p_mcnemar),
            _p_value(test.p_mcnemar_holm),
            _p_value(test.p_welch),
            _p_value(test.p_welch_holm),
            f"{test.cohen_h:+.2f}",
            "-" if test.hedges_g is None else f"{test.hedges_g:+.1f}",
        ]
        for test in tests
    ]
    legend = (
        "McNemar (exact) and bootstrap: these trained models on other problems. Welch: other training runs, over "
        "seeds. Holm: corrected for the number of arms."
    )
    return f"{markdown_table(header, rows)}\n\n{legend}"


def _over_seeds(comparison: Comparison) -> list[str]:
    """Return every arm against the baseline on the primary metric, and what became of the sweep's expectations."""
    blocks = []
    metric = comparison.primary
    differences = against_baseline(comparison, metric)
    if differences:
        header = [f"over seeds, {_titled(metric)}", "seeds", "mean", f"minus {comparison.baseline}"]
        rows = [[one.arm, _seeds(one), number(one.means[0], metric), *_difference_cells(one)] for one in differences]
        blocks.append(markdown_table([*header, "Welch 95%", "seed by seed 95%", "Welch p"], rows))
    judged = verdicts(comparison)
    if judged:
        header = ["expected", "seeds", "difference", "Welch 95%", "seed by seed 95%", "Welch p", "Holm", "verdict"]
        blocks.append(markdown_table([*header, "seeds that would decide"], [_verdict_row(one) for one in judged]))
        blocks.append(
            "Expected before any run, from the sweep file. Confirmed or refuted: Welch's interval lies on one side. "
            "Seeds that would decide: of each arm, if means and spreads stay as they are. Holm: corrected for the "
            "number of lines. Seed by seed: of the difference in each seed."
        )
    return blocks


def _seeds(found: Difference) -> str:
    ours, theirs = found.seeds
    return str(ours) if ours == theirs else f"{ours}, {theirs}"


def _difference_cells(found: Difference) -> list[str]:
    intervals = [_interval(one, found.metric) if one else "(one seed)" for one in (found.welch, found.paired)]
    return [number(found.value, found.metric, sign="+"), *intervals, _p_value(found.p_welch)]


def _verdict_row(judged: Verdict) -> list[str]:
    if judged.found is None:
        return [judged.expectation.text, *["-"] * 6, NOT_RUN, "-"]
    needed = "-"
    if judged.verdict == UNDECIDED:
        needed = str(judged.seeds_to_decide or f"more than {MOST_SEEDS}")
        if judged.found.welch is None:
            needed = "not known"
    cells = [_seeds(judged.found), *_difference_cells(judged.found), _p_value(judged.p_holm)]
    return [judged.expectation.text, *cells, judged.verdict, needed]


def _p_value(p: float | None) -> str:
    return "-" if p is None or math.isnan(p) else "<0.001" if p < 0.001 else f"{p:.3f}"


def _arm_row(comparison: Comparison, arm: Arm) -> list[str]:
    totals = [_amount(arm.mean_train("tokens")), _amount(arm.mean_train("problems"))]
    return [
        arm.label,
        str(len(arm.runs)),
        *totals,
        *(summary(comparison, arm, metric) for metric in comparison.columns),
    ]


def summary(comparison: Comparison, arm: Arm, metric: str) -> str:
    """Return the mean of a metric over the seeds of an arm, and half its interval."""
    cell = comparison.cells[arm.label, metric]
    if cell.mean is None:
        return "-"
    half = ""
    if cell.over_seeds and not metric.startswith(CEILINGS):  # which no seed of a run can change
        half = f" ± {number(cell.over_seeds.high - cell.mean, metric)}"
    missing = f" ({len(cell.values)} of {len(arm.runs)} seeds)" if len(cell.values) < len(arm.runs) else ""
    return number(cell.mean, metric) + half + missing


def _details(comparison: Comparison, arm: Arm, metric: str) -> list[str]:
    cell = comparison.cells[arm.label, metric]
    if cell.mean is None:
        return [arm.label, "-", "-", "-", "-"]
    difference = ""
    if cell.difference is not None:
        spread = _interval(cell.difference_over_seeds, metric) if cell.difference_over_seeds else "(one seed)"
        difference = f"{number(cell.difference, metric, sign='+')} {spread}"
    over_seeds = _interval(possible(metric, cell.over_seeds), metric) if cell.over_seeds else "one seed"
    over_problems = _interval(possible(metric, cell.over_problems), metric) if cell.over_problems else "-"
    return [arm.label, number(cell.mean, metric), over_seeds, over_problems, difference]


def _titled(metric: str) -> str:
    return f"{metric}, %" if is_rate(metric) else metric


def number(value: float, metric: str, sign: str = "") -> str:
    """Return a value of a metric as text, a rate in percent."""
    if is_rate(metric):
        return f"{100 * value:{sign}.1f}"
    decimals = 0 if abs(value) >= 1000 else 1 if abs(value) >= 100 else 2
    return f"{value:{sign},.{decimals}f}"


def _interval(interval: Interval, metric: str) -> str:
    return f"[{number(interval.low, metric)}, {number(interval.high, metric)}]"


def _amount(value: float) -> str:
    """Return a count in three digits or so: 950, 12.4k, 10.6M."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.1f}{unit}"
    return f"{value:.0f}"


def markdown_table(header: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table, its first column left-aligned, the others right-aligned."""
    header, *rows = [[visible(text).replace("|", r"\|") for text in row] for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    pad = [str.ljust, *[str.rjust] * (len(widths) - 1)]
    lines = [[fill(text, width) for fill, text, width in zip(pad, row, widths, strict=True)] for row in (header, *rows)]
    lines.insert(1, ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _tex(text: str) -> str:
    """Return plain text as LaTeX."""
    return "".join(_LATEX.get(letter, letter) for letter in visible(text))


def _cell_text(text: str) -> str:
    """Return text for a cell of a CSV file, which no spreadsheet takes for a formula; numbers stay numbers."""
    text = visible(text)
    try:
        float(text)
    except ValueError:
        return f"'{text}" if text.startswith(_FORMULA) else text
    return text
