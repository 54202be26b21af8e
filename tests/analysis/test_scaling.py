"""Scaling laws: a known law is found again, its prediction holds, and what cannot be fitted is refused."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from torch.utils.tensorboard import SummaryWriter

from sos.analysis.scaling import Law, Point, final_loss, fit, markdown, predict, scaling_figure
from sos.commands.cli import call

main = partial(call, "scaling")

LAW = Law(3e4, 0.5, 4e5, 0.8, 6.0, 1.2)
SIZES, TOKENS = (1e5, 4e5, 1.6e6), (1e6, 3e6, 9e6)


def points() -> list[Point]:
    made = []
    for size in SIZES:
        for tokens in TOKENS:
            loss = LAW.loss(size, tokens)
            made.append(Point(f"{size:g},{tokens:g}", size, tokens, loss, LAW.solve(loss)))
    return made


def test_a_known_law_is_found_again() -> None:
    found = fit(points())
    assert vars(found) == pytest.approx(vars(LAW), rel=0.02)
    size = found.optimal_parameters(1e16)
    best = found.loss(size, 1e16 / (6 * size))
    assert all(best <= found.loss(other, 1e16 / (6 * other)) for other in (size / 2, size * 2))


def test_a_prediction_holds_and_shows_how_much_hangs_on_one_run() -> None:
    exact = predict(points(), 2.5e7, 4e8)
    assert exact.loss == pytest.approx(LAW.loss(2.5e7, 4e8), rel=0.02)
    assert exact.solve == pytest.approx(LAW.solve(exact.loss), abs=0.01)
    noisy = [p._replace(loss=p.loss * (1.1 if i == 4 else 1.0)) for i, p in enumerate(points())]
    shaken = predict(noisy, 2.5e7, 4e8)
    assert shaken.loss_range[1] - shaken.loss_range[0] > 2 * (exact.loss_range[1] - exact.loss_range[0])
    assert shaken.loss_range[0] <= shaken.loss <= shaken.loss_range[1]
    text = markdown(points(), fit(points()), exact)
    assert text.count("\n| ") == 9
    assert "25.0M parameters, 400M tokens" in text
    assert "at its limit" not in text


def test_an_exponent_that_the_runs_do_not_determine_is_named() -> None:
    steep = [p._replace(loss=(3e4 / p.parameters) ** 0.5 + (4e5 / p.tokens) ** 5) for p in points()]
    text = markdown(steep, fit(steep), None)
    assert "The exponent of tokens is at its limit" in text
    assert "The exponent of parameters" not in text


def test_the_figure_shows_runs_law_and_prediction(tmp_path: Path) -> None:
    figure = scaling_figure(points(), LAW, predict(points(), 2.5e7, 4e8))
    left, right = figure.axes
    dots = [line for line in left.lines if line.get_marker() == "o"]
    assert sum(len(line.get_xdata()) for line in dots) == 9
    assert sum(len(line.get_xdata()) for line in right.lines if line.get_marker() == "o") == 9
    figure.savefig(tmp_path / "fit.png")
    assert (tmp_path / "fit.png").stat().st_size > 10_000


def test_too_few_runs_are_refused() -> None:
    with pytest.raises(ValueError, match="6 runs of 3 sizes, got 3 of 1"):
        fit(points()[:3])


def test_the_final_loss_is_that_of_the_last_tenth(tmp_path: Path) -> None:
    writer = SummaryWriter(str(tmp_path))
    for step in range(1, 101):
        writer.add_scalar("loss/all", 2.0 if step < 90 else 0.5, step)
    writer.close()
    assert final_loss(tmp_path) == pytest.approx(0.5)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"empty.*loss/all"):
        final_loss(tmp_path / "empty")


def test_bad_input_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, said in (
        ([str(tmp_path / "none")], "no such run folder"),
        ([str(tmp_path), "tokens=5"], "parameters and tokens go together"),
        ([str(tmp_path), "tokens=5", "parameters=-1"], "parameters must be positive, got -1"),
    ):
        assert main(arguments) == 2
        error = capsys.readouterr().err
        assert said in error
        assert error.count("\n") == 1
